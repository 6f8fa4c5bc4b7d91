"""Options that the components of a manifest ask of a kernel that is compiled for it."""

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path

from minbuild.errors import ResolveError, combine
from minbuild.kconfig.kbuild import find_module_options
from minbuild.kconfig.model import OptionRequest
from minbuild.kconfig.tree import OptionTree
from minbuild.kernel.model import KernelArchitecture
from minbuild.manifest.image_settings import Compression
from minbuild.manifest.model import LocatedName, Manifest
from minbuild.resolve.model import shorten_location

_COMPRESSION_OPTIONS = {
    Compression.XZ: ("RD_XZ", "XZ_DEC_X86"),
    Compression.ZSTD: ("RD_ZSTD",),
    Compression.NONE: (),
}
"""What unpacks an initramfs. Source: Linux, usr/Kconfig; lib/xz/Kconfig for the filter of `xz --x86`."""


def list_option_requests(manifest: Manifest) -> Iterator[OptionRequest]:
    """Every option that a component asks for by name, and those of the image's compression."""
    for component in manifest.components:
        for name in (*component.kconfig, *component.kernel_options):
            option, _, value = name.text.partition("=")
            evidence = shorten_location(name.where)
            yield OptionRequest(option, value or "y", component.name, evidence)
    compression = manifest.image.compression
    for option in ("BLK_DEV_INITRD", *_COMPRESSION_OPTIONS[compression]):
        yield OptionRequest(option, "y", "image", f"compression: {compression}")


def list_module_requests(
    manifest: Manifest, source: Path, architecture: KernelArchitecture, tree: OptionTree
) -> list[OptionRequest]:
    """For each module that a component names, the option that builds it.

    Raises: ResolveError with every module that no option builds, and those named by alias or path.
    """
    wanted = [(part.name, module) for part in manifest.components for module in part.modules]
    names = [module.text for _, module in wanted]
    options = find_module_options(source, architecture.directory, names)
    requests: list[OptionRequest] = []
    problems: list[ResolveError] = []
    for component, module in wanted:
        candidates = options.get(module.text.replace("-", "_"), ())
        option = next(filter(tree.is_module, candidates), "")
        if option:
            evidence = f"{shorten_location(module.where)}: module {module.text}"
            requests.append(OptionRequest(option, "y", component, evidence))
        elif not any(
            fnmatch.fnmatch(module.text, waiver.path) for waiver in manifest.allow_missing
        ):
            problems.append(_explain_unknown(component, module, candidates))
    if problems:
        raise combine(problems)
    return requests


def _explain_unknown(
    component: str, module: LocatedName, candidates: Sequence[str]
) -> ResolveError:
    named_otherwise = any(character in module.text for character in ":/*?[")
    reason = (
        "is named by alias, path or glob, and a kernel's source says which option builds a module by its name"
        if named_otherwise
        else "is built by no option of this kernel that can be a module"
    )
    listed = f" ({', '.join(candidates[:3])} build an object of that name)" if candidates else ""
    return ResolveError(
        f"{component} asks for the module {module.text}, which {reason}{listed}",
        where=shorten_location(module.where),
        fix="ask for the option itself: kernel: {options: [NAME]}, or a component's kernel-options",
    )
