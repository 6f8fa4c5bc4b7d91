"""Which file the kernel loads for a firmware's name: its directories, its forms, its own order.

Source: Linux, drivers/base/firmware_loader/main.c (fw_path, _request_firmware): every directory is
looked through for the plain file, then every directory for the compressed ones that the kernel was
built to read.
"""

from collections.abc import Iterator, Mapping

from minbuild.resolve import pattern
from minbuild.resolve.catalog import Catalog, Reach

PLACE = "/lib/firmware"
FORMS = {"": "", ".zst": "FW_LOADER_COMPRESS_ZSTD", ".xz": "FW_LOADER_COMPRESS_XZ"}
"""Endings in the kernel's order → the option that lets it read them."""
BUILT_IN = "EXTRA_FIRMWARE"
"""Names of files that are part of the kernel, which go before all others."""
BEFORE_ZSTD = "FW_LOADER_COMPRESS"
"""Up to Linux 5.18 it stands for xz alone."""


class Blobs:
    """The firmware files of one kernel."""

    def __init__(self, catalog: Catalog, version: str, options: Mapping[str, str]) -> None:
        """`options`: the kernel's configuration; empty where nobody knows it: all forms count."""
        self._catalog = catalog
        self._options = options
        self._directories = (
            f"{PLACE}/updates/{version}", f"{PLACE}/updates", f"{PLACE}/{version}", PLACE,
        )  # fmt: skip

    def serving(self, name: str) -> Iterator[tuple[str, Reach]]:
        """Every file that serves the firmware `name`, which may be a glob: raw path and its end."""
        for each in sorted(self._named(name)) if pattern.is_pattern(name) else (name,):
            found = next(self._files(each), None)
            if found is not None:
                yield found

    def unreadable(self, name: str) -> tuple[str, ...]:
        """Files in forms that this kernel does not read, each with the option that it lacks."""
        return tuple(
            f"{raw} (CONFIG_{option} is not set)"
            for form, option in FORMS.items()
            if form and not self._reads(form)
            for directory in self._directories
            if not pattern.is_pattern(name)
            and self._catalog.reach(raw := f"{directory}/{name}{form}") is not None
        )

    def _files(self, name: str) -> Iterator[tuple[str, Reach]]:
        """Files in the kernel's order; links to nothing, which it passes over, come last."""
        dangling = []
        for form in filter(self._reads, FORMS):
            for directory in self._directories:
                raw = f"{directory}/{name}{form}"
                reached = self._catalog.reach(raw)
                if reached is None:
                    continue
                real = self._catalog.real(reached.path)
                if real is None:
                    dangling.append((raw, reached))
                elif not self._catalog.is_directory(real):
                    yield raw, reached
        yield from dangling

    def _named(self, glob: str) -> Iterator[str]:
        """Names that a glob stands for; a packed file has the name of what it holds."""
        names: dict[str, None] = {}
        for directory in self._directories:
            start = f"/usr{directory}/"
            for form in filter(self._reads, FORMS):
                for path in self._catalog.matching(start + glob + form):
                    name = path.removeprefix(start).removesuffix(form)
                    if form or not name.endswith(tuple(FORMS)[1:]):
                        names[name] = None
        yield from names

    def _reads(self, form: str) -> bool:
        options = self._options
        if not form or not options or options.get(FORMS[form]) == "y":
            return True
        old = not any(option in options for option in FORMS.values())
        return form == ".xz" and old and options.get(BEFORE_ZSTD) == "y"
