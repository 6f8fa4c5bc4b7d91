"""The module index of exactly the modules in a tree, as depmod(8) would write it."""

import posixpath
from collections.abc import Callable, Mapping

from minbuild.facts.types import Module
from minbuild.paths import RootPath

Modules = Mapping[RootPath, Module]


def dependencies(modules: Modules, top: str) -> bytes:
    """Make modules.dep: every module with all it needs, the needed ones last.

    `top` is /usr/lib/modules/VERSION. Source: modules.dep(5); the order within a line is
    depmod's: a topological sort that takes modules no other one needs from the list's end.
    """
    by_name = {module.name: path for path, module in sorted(modules.items())}
    direct = {
        path: [by_name[name] for name in module.depends if name in by_name]
        for path, module in sorted(modules.items())
    }
    order = {path: number for number, path in enumerate(_sorted(direct))}
    lines = []
    for path in direct:
        needed = sorted(_reached(path, direct) - {path}, key=order.__getitem__)
        lines.append(" ".join([f"{_short(path, top)}:", *(_short(one, top) for one in needed)]))
    return _text(lines)


def aliases(modules: Modules, top: str) -> bytes:
    """Make modules.alias: which module serves a device's or a protocol's alias.

    Source: modules.alias in depmod(8), modprobe.d(5) "alias".
    """
    del top
    return _text(
        ["# Aliases extracted from modules themselves."]
        + [
            f"alias {alias} {module.name}"
            for _, module in sorted(modules.items())
            for alias in module.aliases
        ]
    )


def softdeps(modules: Modules, top: str) -> bytes:
    """Make modules.softdep. Source: modprobe.d(5) "softdep"."""
    del top
    lines = ["# Soft dependencies extracted from modules themselves."]
    for _, module in sorted(modules.items()):
        words = [f"softdep {module.name}"]
        words += ["pre:", *module.soft_pre] if module.soft_pre else []
        words += ["post:", *module.soft_post] if module.soft_post else []
        if len(words) > 1:
            lines.append(" ".join(words))
    return _text(lines)


def weakdeps(modules: Modules, top: str) -> bytes:
    """Make modules.weakdep. Source: modprobe.d(5) "weakdep"."""
    del top
    return _text(
        ["# Weak dependencies extracted from modules themselves."]
        + [
            " ".join(("weakdep", module.name, *module.weak))
            for _, module in sorted(modules.items())
            if module.weak
        ]
    )


INDEX: Mapping[str, Callable[[Modules, str], bytes]] = {
    "modules.alias": aliases,
    "modules.dep": dependencies,
    "modules.softdep": softdeps,
    "modules.weakdep": weakdeps,
}
"""Files of the index that can be made: name → maker."""


def _sorted(direct: Mapping[RootPath, list[RootPath]]) -> list[RootPath]:
    users = dict.fromkeys(direct, 0)
    for needed in direct.values():
        for path in needed:
            users[path] += 1
    free = [path for path, count in users.items() if not count]
    done = []
    while free:
        path = free.pop()
        done.append(path)
        for needed_path in direct[path]:
            users[needed_path] -= 1
            if not users[needed_path]:
                free.append(needed_path)
    return done + sorted(set(direct) - set(done))


def _reached(path: RootPath, direct: Mapping[RootPath, list[RootPath]]) -> set[RootPath]:
    seen: set[RootPath] = set()
    todo = [path]
    while todo:
        for needed in direct[todo.pop()]:
            if needed not in seen:
                seen.add(needed)
                todo.append(needed)
    return seen


def _short(path: RootPath, top: str) -> str:
    return posixpath.relpath(path, top)


def _text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
