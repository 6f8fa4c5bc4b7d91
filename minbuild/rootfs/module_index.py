"""Module index (modules.dep and others) of the modules in a tree, as depmod(8) writes it."""

import posixpath
from collections.abc import Callable, Mapping

from minbuild.facts.model import Module
from minbuild.paths import RootPath

Modules = Mapping[RootPath, Module]


def render_modules_dep(modules: Modules, top: str) -> bytes:
    """Make modules.dep: every module with all it needs, the needed ones last.

    `top` is /usr/lib/modules/VERSION. Source: modules.dep(5); the order within a line is
    depmod's: a topological sort that takes modules no other one needs from the list's end.
    """
    by_name = {module.name: path for path, module in sorted(modules.items())}
    direct = {
        path: [by_name[name] for name in module.depends if name in by_name]
        for path, module in sorted(modules.items())
    }
    order = {path: number for number, path in enumerate(_sort_by_dependency(direct))}
    lines = []
    for path in direct:
        needed = sorted(_find_needed(path, direct) - {path}, key=order.__getitem__)
        lines.append(
            " ".join(
                [f"{_make_relative(path, top)}:", *(_make_relative(one, top) for one in needed)]
            )
        )
    return _join_lines(lines)


def render_modules_alias(modules: Modules, top: str) -> bytes:
    """Make modules.alias: which module serves a device's or a protocol's alias.

    Source: modules.alias in depmod(8), modprobe.d(5) "alias".
    """
    del top
    return _join_lines(
        ["# Aliases extracted from modules themselves."]
        + [
            f"alias {alias} {module.name}"
            for _, module in sorted(modules.items())
            for alias in module.aliases
        ]
    )


def render_modules_softdep(modules: Modules, top: str) -> bytes:
    """Make modules.softdep. Source: modprobe.d(5) "softdep"."""
    del top
    lines = ["# Soft dependencies extracted from modules themselves."]
    for _, module in sorted(modules.items()):
        fields = [f"softdep {module.name}"]
        fields += ["pre:", *module.soft_pre] if module.soft_pre else []
        fields += ["post:", *module.soft_post] if module.soft_post else []
        if len(fields) > 1:
            lines.append(" ".join(fields))
    return _join_lines(lines)


def render_modules_weakdep(modules: Modules, top: str) -> bytes:
    """Make modules.weakdep. Source: modprobe.d(5) "weakdep"."""
    del top
    return _join_lines(
        ["# Weak dependencies extracted from modules themselves."]
        + [
            " ".join(("weakdep", module.name, *module.weak))
            for _, module in sorted(modules.items())
            if module.weak
        ]
    )


INDEX_FILES: Mapping[str, Callable[[Modules, str], bytes]] = {
    "modules.alias": render_modules_alias,
    "modules.dep": render_modules_dep,
    "modules.softdep": render_modules_softdep,
    "modules.weakdep": render_modules_weakdep,
}
"""Files of the index that can be made: name → maker."""


def _sort_by_dependency(direct: Mapping[RootPath, list[RootPath]]) -> list[RootPath]:
    users = dict.fromkeys(direct, 0)
    for needed in direct.values():
        for path in needed:
            users[path] += 1
    unneeded = [path for path, count in users.items() if not count]
    ordered = []
    while unneeded:
        path = unneeded.pop()
        ordered.append(path)
        for needed_path in direct[path]:
            users[needed_path] -= 1
            if not users[needed_path]:
                unneeded.append(needed_path)
    return ordered + sorted(set(direct) - set(ordered))


def _find_needed(path: RootPath, direct: Mapping[RootPath, list[RootPath]]) -> set[RootPath]:
    seen: set[RootPath] = set()
    queue = [path]
    while queue:
        for needed in direct[queue.pop()]:
            if needed not in seen:
                seen.add(needed)
                queue.append(needed)
    return seen


def _make_relative(path: RootPath, top: str) -> str:
    return posixpath.relpath(path, top)


def _join_lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
