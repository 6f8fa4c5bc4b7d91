"""What a disk's layout must keep to before anything is measured."""

from dataclasses import replace

from minbuild.manifest import files
from minbuild.manifest.document.problems import Problems
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
"""Every partition begins and ends at a multiple of this."""
MAX_LABEL_LENGTH = {
    PartitionType.FAT: 11,
    PartitionType.ESP: 11,
    PartitionType.EXT4: 16,
    PartitionType.EMPTY: 0,
}
"""Characters of a file system's label."""
MIN_EXT4_SIZE = 2 << 20
"""Bytes below which mke2fs leaves no room for anything. Source: mke2fs(8), measured."""


def validate_disk(image: ImageSettings, problems: Problems) -> ImageSettings:
    """Report what is wrong with the disk of `image`; gives it back."""
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
    """A partition without a size takes the rest of a disk that has one."""
    if disk.size is None:
        fix = "give this partition a size, or the disk: image.disk.size"
        problems.add("nothing says how large the partition is", partition.where, fix)
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
        problems.add(f"the size {partition.size} is no multiple of 1 MiB", partition.where, fix)
    elif partition.type is PartitionType.EXT4 and partition.size < MIN_EXT4_SIZE:
        problems.add(
            "the partition is too small for ext4", partition.where, "make it 2 MiB or more"
        )


TOKEN_URI_PREFIX = "pkcs11:"
"""How the URI of a key in a token begins. Source: RFC 7512."""


def add_signing_key(image: ImageSettings, host: RawManifest, inputs: InputFiles) -> ImageSettings:
    """An image with what it is signed with: files that must be there, or a key in a token."""
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
            message = "a PKCS#11 module is named, and the key is a file"
            inputs.problems.add(
                message, signing.module.where, "name the key's pkcs11: URI, or no module"
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
        problems.add("nothing says which PKCS#11 module has the key", signing.key.where, fix)
    if "pin-value=" in signing.key.text:
        fix = "write it to a file that only you may read, and name that: ?pin-source=file:/PATH"
        problems.add("a PIN does not belong in a manifest", signing.key.where, fix)


def _require_signing_file(name: LocatedName, inputs: InputFiles) -> str:
    """Where a key, certificate or module lies; one outside of the manifest's tree is the user's own."""
    path = files.resolve_relative(name.where, name.text)
    if not inputs.permissions.can_read(path):
        inputs.require_code_permission(
            f"{name.text}, outside of the manifest's own tree, is used to sign", name.where
        )
    inputs.record_certificate(path, name.where)
    return str(path.absolute())
