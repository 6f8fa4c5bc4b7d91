"""What the kernel of a host is told when it starts, and whether it can read all of it."""

from collections.abc import Iterator, Mapping

from minbuild.errors import ManifestError, together
from minbuild.image import bios, netboot
from minbuild.manifest.cmdline import LARGEST, join, split
from minbuild.manifest.types import ImageFormat, Manifest

_IGNORED = ("CMDLINE_OVERRIDE", "CMDLINE_FORCE")
"""Options of kernels that use their own line alone."""
_ADDED = ("CMDLINE_BOOL", "CMDLINE_EXTEND")
"""Options of kernels that read their own line too. Source: Linux, arch/*/Kconfig."""


def cmdline(manifest: Manifest) -> str:
    """The kernel's command line: the components' words, then the manifest's, since the last counts.

    Source: Linux, Documentation/admin-guide/kernel-parameters.rst.
    """
    return join(*(part.cmdline for part in manifest.components), manifest.kernel.cmdline)


def check_cmdline(manifest: Manifest, options: Mapping[str, str]) -> None:
    """Make sure that the kernel, of which `options` is the configuration, reads the whole line.

    Raises: ManifestError when it does not, or a boot loader cannot hand it over.
    """
    problems = [*_unread(manifest, options), *_too_long(manifest, options), *_unsayable(manifest)]
    if problems:
        raise together(problems)


def _unread(manifest: Manifest, options: Mapping[str, str]) -> Iterator[ManifestError]:
    option = next((name for name in _IGNORED if options.get(name) == "y"), "")
    if option and cmdline(manifest):
        yield ManifestError(
            f"the kernel has a command line of its own and reads no other (CONFIG_{option})",
            where=f"{manifest.kernel.where}",
            fix="take another kernel, or remove every cmdline: word",
        )


def _too_long(manifest: Manifest, options: Mapping[str, str]) -> Iterator[ManifestError]:
    line = cmdline(manifest)
    given = options.get("COMMAND_LINE_SIZE", "")
    most = (int(given) if given.isdecimal() else LARGEST[manifest.arch]) - 1
    added = dict(_added(manifest, options))
    size = len(line.encode())
    if size + sum(added.values()) <= most:
        return
    more = "".join(f", and {count} that {who} adds" for who, count in added.items())
    shares = {part.name: part.cmdline for part in manifest.components}
    shares["the manifest"] = manifest.kernel.cmdline
    sizes = {name: len(" ".join(words).encode()) for name, words in shares.items() if words}
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:4]
    yield ManifestError(
        f"the kernel's command line has {size:,} bytes{more}; the kernel of {manifest.arch} reads "
        f"{most:,} and drops the end",
        where=f"{manifest.kernel.where}",
        fix="remove words: " + ", ".join(f"{name} gives {sizes[name]:,} bytes" for name in largest),
    )


def _added(manifest: Manifest, options: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Who adds words to the line on its way to the kernel, and how many bytes at most."""
    own = options.get("CMDLINE", "")
    if own and any(options.get(name) == "y" for name in _ADDED):
        yield "the kernel's CONFIG_CMDLINE", len(own.encode()) + 1
    if manifest.image.disk.bios:
        yield "GRUB", bios.ADDED
    if ImageFormat.PXE in manifest.image.formats:
        yield "iPXE", netboot.ADDED


def _unsayable(manifest: Manifest) -> Iterator[ManifestError]:
    """Words that a boot loader of the image cannot hand over as they are."""
    faults = []
    if manifest.image.disk.bios:
        faults.append(("GRUB (boot/bios)", bios.fault))
    if ImageFormat.PXE in manifest.image.formats:
        faults.append(("iPXE (image.formats: pxe)", netboot.fault))
    for word in split(cmdline(manifest)):
        for loader, fault in faults:
            why = fault(word)
            if why:
                yield ManifestError(
                    f"{loader} cannot hand over the word {word!r}: {why}",
                    where=f"{manifest.kernel.where}",
                    fix="write it otherwise, or leave out that way to boot",
                )
