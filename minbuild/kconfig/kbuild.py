"""Options that build a module, read from the kernel's Kbuild files.

`obj-$(CONFIG_VIRTIO_NET) += virtio_net.o` says that the option VIRTIO_NET builds the module virtio_net.
Source: Linux, Documentation/kbuild/makefiles.rst, "Loadable module goals - obj-m".
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

_SKIPPED = frozenset({"Documentation", "samples", "scripts", "tools"})
_GOAL = re.compile(r"^\s*obj-\$\(CONFIG_(\w+)\)\s*[:+]?=\s*(.*)$", re.MULTILINE)
_OBJECT = re.compile(r"(?<![\w/-])([\w-]+)\.o\b")


def find_module_options(
    source: Path, architecture: str, names: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Module name (with `_`) → options that build an object of that name, for each of `names`.

    `architecture` is the kernel's own name (x86): other architectures' modules are not looked at.
    """
    options_by_module: dict[str, dict[str, None]] = {
        name.replace("-", "_"): {} for name in sorted(names)
    }
    for path in _list_makefiles(source, architecture):
        for module, options in parse_goals(path.read_text("utf-8", "replace")).items():
            if module in options_by_module:
                options_by_module[module].update(dict.fromkeys(options))
    return {name: tuple(options) for name, options in options_by_module.items()}


def parse_goals(text: str) -> Mapping[str, tuple[str, ...]]:
    """Object (with `_`) → the options of one Makefile that build it."""
    goals: dict[str, tuple[str, ...]] = {}
    for match in _GOAL.finditer(text.replace("\\\n", " ")):
        for name in _OBJECT.findall(match[2].partition("#")[0]):
            module = name.replace("-", "_")
            goals[module] = (*goals.get(module, ()), match[1])
    return goals


def _list_makefiles(source: Path, architecture: str) -> list[Path]:
    """Every Makefile and Kbuild file of an architecture, sorted."""
    paths: list[Path] = []
    for top in sorted(source.iterdir()):
        if not top.is_dir() or top.name in _SKIPPED:
            continue
        roots = [top / architecture] if top.name == "arch" else [top]
        paths += [
            path for root in roots for name in ("Makefile", "Kbuild") for path in root.rglob(name)
        ]
    return sorted(paths)
