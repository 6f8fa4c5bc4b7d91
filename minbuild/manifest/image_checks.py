"""Checks of the disk layout and of the signing key of an image."""

from dataclasses import replace

from minbuild.manifest import files
from minbuild.manifest.document.nodes import Problems
from minbuild.manifest.image_settings import (
    DiskSettings,
    ImageSettings,
    PartitionSettings,
    PartitionType,
    SigningSettings,
)
from minbuild.manifest.input_files import InputFiles
from minbuild.manifest.model import LocatedName
from minbuild.manifest.raw import RawManifest, RawSigning

PARTITION_ALIGNMENT = 1 << 20
"""Start and end of partitions are multiples of this, in bytes."""
MAX_LABEL_LENGTH = {
    PartitionType.FAT: 11,
    PartitionType.ESP: 11,
    PartitionType.EXT4: 16,
    PartitionType.EMPTY: 0,
}
"""Characters of the label of a file system."""
MIN_EXT4_SIZE = 2 << 20
"""Bytes below which mke2fs leaves no space for files. Source: mke2fs(8), measured."""


def validate_disk(image: ImageSettings, problems: Problems) -> ImageSettings:
    """Add problems of the disk layout; return the image."""
    disk = image.disk
    if not disk.partitions:
        return image
    esps = [partition for partition in disk.partitions if partition.type is PartitionType.ESP]
    if len(esps) != 1:
        where = (esps or disk.partitions)[-1].where
        message = "no partition is the ESP" if not esps else "two partitions are the ESP"
        problems.add(message, where, "write type: esp for exactly one, which the firmware reads")
    unsized = [
        partition
        for partition in disk.partitions
        if partition.size is None and partition.type is not PartitionType.ESP
    ]
    for partition in unsized:
        _check_unsized(partition, disk, unsized, problems)
    for partition in disk.partitions:
        _check_partition(partition, problems)
    return image


def _check_unsized(
    partition: PartitionSettings,
    disk: DiskSettings,
    unsized: list[PartitionSettings],
    problems: Problems,
) -> None:
    """Check a partition without a size: it takes the rest of a disk with one."""
    if disk.size is None:
        fix = "give this partition a size, or the disk: image.disk.size"
        problems.add("the partition has no size", partition.where, fix)
    elif partition is not unsized[0]:
        problems.add("two partitions take the rest of the disk", partition.where, "give one a size")
    elif partition is not disk.partitions[-1]:
        fix = "give it a size, or put it last"
        problems.add(
            "a partition takes the rest of the disk, and others follow", partition.where, fix
        )


def _check_partition(partition: PartitionSettings, problems: Problems) -> None:
    max_length = MAX_LABEL_LENGTH[partition.type]
    if len(partition.label) > max_length:
        message = (
            f"the label {partition.label!r} has {len(partition.label)} characters; {partition.type} takes {max_length}"
            if max_length
            else f"the {partition.type} partition has a label, but no file system"
        )
        problems.add(message, partition.where, "shorten it" if max_length else "remove label")
    if partition.size is None:
        return
    if partition.size % PARTITION_ALIGNMENT or not partition.size:
        fix = "write it in MiB: size: 64 MiB"
        problems.add(f"the size {partition.size} is not a multiple of 1 MiB", partition.where, fix)
    elif partition.type is PartitionType.EXT4 and partition.size < MIN_EXT4_SIZE:
        problems.add(
            "the partition is too small for ext4", partition.where, "make it 2 MiB or more"
        )


TOKEN_URI_PREFIX = "pkcs11:"
"""Start of the URI of a key in a token. Source: RFC 7512."""


def add_signing_key(image: ImageSettings, host: RawManifest, inputs: InputFiles) -> ImageSettings:
    """Add the signing key: existing files, or a key in a token."""
    signing = host.image.sign
    if signing is None:
        return image
    key = signing.key.text
    if key.startswith(TOKEN_URI_PREFIX):
        _check_token(signing, inputs.problems)
        inputs.require_code_permission(
            "the image is signed with a key of a token", signing.key.where
        )
    else:
        key = _require_signing_file(signing.key, inputs)
        if signing.module is not None:
            message = "a PKCS#11 module requires a key in a token, but the key is a file"
            inputs.problems.add(
                message, signing.module.where, "write the pkcs11: URI of the key, or remove module"
            )
    module = "" if signing.module is None else _require_signing_file(signing.module, inputs)
    if signing.module is not None:
        inputs.require_code_permission(
            f"the module {signing.module.text} runs on this machine", signing.module.where
        )
    return replace(
        image, sign=SigningSettings(key, _require_signing_file(signing.certificate, inputs), module)
    )


def _check_token(signing: RawSigning, problems: Problems) -> None:
    if signing.module is None:
        fix = "add module: to image.sign, the shared library that came with the token"
        problems.add("a key in a token requires a PKCS#11 module", signing.key.where, fix)
    if "pin-value=" in signing.key.text:
        fix = "write it to a file that only you can read, and refer to it: ?pin-source=file:/PATH"
        problems.add("a PIN does not belong in a manifest", signing.key.where, fix)


def _require_signing_file(name: LocatedName, inputs: InputFiles) -> str:
    """Return the path of a key, certificate or module; outside of the manifest's tree it requires trust."""
    path = files.resolve_relative(name.where, name.text)
    if not inputs.permissions.can_read(path):
        inputs.require_code_permission(
            f"{name.text}, outside of the manifest's own tree, is used to sign", name.where
        )
    inputs.record_certificate(path, name.where)
    return str(path.absolute())
