"""The proof that a tree needs nothing outside of it, made once for each tree."""

import hashlib
from dataclasses import replace

from minbuild.build.ground import Ground
from minbuild.build.request import Doors
from minbuild.build.state import code
from minbuild.manifest.rulebook import rulebook
from minbuild.resolve import explain
from minbuild.resolve.check import check
from minbuild.resolve.waivers import Waivers
from minbuild.tree.reread import reread
from minbuild.tree.types import Tree

KIND = "proved/1"


def prove(ground: Ground, tree: Tree, doors: Doors) -> None:
    """Check a tree's own bytes; a tree that was proved by this very code is not checked again.

    Raises: ResolveError that lists all that dangles.
    """
    manifest = ground.manifest
    parts = [
        code(),
        repr(manifest.drop),
        repr(manifest.allow_missing),
        repr(manifest.dlopen),
        *(manifest.inputs[str(path.absolute())] for path in manifest.rules),
        *map(repr, tree.nodes),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    if doors.store.get(KIND, key) is not None:
        return
    doors.progress.step(f"proving that {manifest.name} needs nothing outside of it")
    waivers = Waivers(manifest.drop, manifest.allow_missing)
    found = check(
        reread(tree, doors.store),
        arch=manifest.arch,
        waivers=waivers,
        dlopen=manifest.dlopen,
        rulebook=rulebook(manifest.rules),
        closure=replace(ground.closure, needs=tree.needs),
    )
    if found or waivers.unproved:
        raise explain.dangling(found, waivers.unproved)
    doors.store.put(KIND, {key: b""})
