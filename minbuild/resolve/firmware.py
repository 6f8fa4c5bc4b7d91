"""Firmware of a kernel's drivers: which files serve a name, and the need for them."""

from collections.abc import Iterator, Mapping

from minbuild.resolve import path_glob
from minbuild.resolve.model import NeedKind, ResolvedPath, RuleResult, UnmetNeed
from minbuild.resolve.package_view import PackageView
from minbuild.resolve.resolve_state import ResolveState

FIRMWARE_DIRECTORY = "/lib/firmware"
FIRMWARE_FORMS = {"": "", ".zst": "FW_LOADER_COMPRESS_ZSTD", ".xz": "FW_LOADER_COMPRESS_XZ"}
"""Endings in the kernel's order → the option that lets it read them."""
BUILT_IN_FIRMWARE_OPTION = "EXTRA_FIRMWARE"
"""Names of files that are part of the kernel, which go before all others."""
OLD_COMPRESS_OPTION = "FW_LOADER_COMPRESS"
"""Up to Linux 5.18 it stands for xz alone."""


class FirmwareFiles:
    """The firmware files of one kernel."""

    def __init__(self, view: PackageView, version: str, options: Mapping[str, str]) -> None:
        """`options`: the kernel's configuration; empty where it is unknown: all forms count."""
        self._view = view
        self._options = options
        self._directories = (
            f"{FIRMWARE_DIRECTORY}/updates/{version}", f"{FIRMWARE_DIRECTORY}/updates", f"{FIRMWARE_DIRECTORY}/{version}", FIRMWARE_DIRECTORY,
        )  # fmt: skip

    def find_files(self, name: str) -> Iterator[tuple[str, ResolvedPath]]:
        """Every file that serves the firmware `name`, which may be a glob: raw path and its end."""
        for file_name in sorted(self._expand_glob(name)) if path_glob.is_glob(name) else (name,):
            file = next(self._find_by_name(file_name), None)
            if file is not None:
                yield file

    def list_unreadable(self, name: str) -> tuple[str, ...]:
        """Files in forms that this kernel does not read, each with the option that it lacks."""
        return tuple(
            f"{raw} (CONFIG_{option} is not set)"
            for form, option in FIRMWARE_FORMS.items()
            if form and not self._can_read(form)
            for directory in self._directories
            if not path_glob.is_glob(name)
            and self._view.look_up(raw := f"{directory}/{name}{form}") is not None
        )

    def _find_by_name(self, name: str) -> Iterator[tuple[str, ResolvedPath]]:
        """Files in the kernel's order; links to nothing, which it passes over, come last."""
        dangling = []
        for form in filter(self._can_read, FIRMWARE_FORMS):
            for directory in self._directories:
                raw = f"{directory}/{name}{form}"
                resolved = self._view.look_up(raw)
                if resolved is None:
                    continue
                real = self._view.resolve_links(resolved.path)
                if real is None:
                    dangling.append((raw, resolved))
                elif not self._view.is_directory(real):
                    yield raw, resolved
        yield from dangling

    def _expand_glob(self, glob: str) -> Iterator[str]:
        """Names that match a glob; a compressed file has its name without the ending."""
        names: dict[str, None] = {}
        for directory in self._directories:
            start = f"/usr{directory}/"
            for form in filter(self._can_read, FIRMWARE_FORMS):
                for path in self._view.find_paths(start + glob + form):
                    name = path.removeprefix(start).removesuffix(form)
                    if form or not name.endswith(tuple(FIRMWARE_FORMS)[1:]):
                        names[name] = None
        yield from names

    def _can_read(self, form: str) -> bool:
        options = self._options
        if not form or not options or options.get(FIRMWARE_FORMS[form]) == "y":
            return True
        before_zstd = not any(option in options for option in FIRMWARE_FORMS.values())
        return form == ".xz" and before_zstd and options.get(OLD_COMPRESS_OPTION) == "y"


def follow_firmware(
    state: ResolveState, name: str, needed_by: str, evidence: str, package: str
) -> Iterator[RuleResult]:
    """A firmware file in any of the forms that the kernel reads; none that is built into it."""
    kernel = state.find_kernel(needed_by)
    firmware_name = f"firmware {name}"
    if not state.take_firmware:
        state.note_skipped(firmware_name, needed_by)
        return
    if name in kernel.options.get(BUILT_IN_FIRMWARE_OPTION, "").split():
        state.note_builtin(firmware_name, needed_by)
    if firmware_name in state.builtin_modules or firmware_name in state.known_builtin:
        return
    firmware_files = FirmwareFiles(state.view, kernel.version, kernel.options)
    files = tuple(firmware_files.find_files(name))
    for raw, resolved in files:
        yield resolved.make_found_path(needed_by, NeedKind.FIRMWARE, evidence, raw)
    if not files:
        searched = ("/usr/lib/firmware", *firmware_files.list_unreadable(name))
        yield UnmetNeed(NeedKind.FIRMWARE, name, needed_by, package, evidence, looked=searched)
