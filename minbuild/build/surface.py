"""What a tree's own contents and its kernel's options say of the attack surface."""

import json
from dataclasses import asdict

from minbuild.build.commands import started
from minbuild.build.ground import Ground
from minbuild.facts.capability import capability
from minbuild.facts.traits import Traits, traits
from minbuild.facts.types import KernelConfig, Kind
from minbuild.footprint.measure import file_row
from minbuild.footprint.surface import Evidence, surface, wanted
from minbuild.footprint.types import Surface
from minbuild.paths import RootPath
from minbuild.resolve.kernel import MODULES
from minbuild.store import Store
from minbuild.tree.types import Tree

KIND = "traits/2"


def look(ground: Ground, tree: Tree, cmdline: str, store: Store) -> Surface:
    """Judge a tree; each content is looked into once and remembered."""
    files = [node for node in tree.nodes if node.kind is Kind.FILE]
    texts = {
        str(node.path): (store.read(node.sha256) or b"").decode("utf-8", "replace")
        for node in files
        if wanted(node.path, node.size)
    }
    evidence = Evidence(
        traits=_traits({str(node.path): node.sha256 for node in files}, store),
        texts=texts,
        cmdline=cmdline,
        kconfig=kconfig(ground, tree.release),
        starts=started(tree, store),
        capabilities={
            str(node.path): capability(bytes.fromhex(node.capability))
            for node in files
            if node.capability
        },
    )
    return surface([file_row(node) for node in tree.nodes], evidence)


def _traits(digests: dict[str, str], store: Store) -> dict[str, Traits]:
    by_digest: dict[str, Traits] = {}
    new: dict[str, bytes] = {}
    for digest in sorted(set(digests.values())):
        kept = store.get(KIND, digest)
        if kept is None:
            found = traits(store.read(digest) or b"")
            new[digest] = json.dumps(asdict(found)).encode()
        else:
            row = json.loads(kept)
            found = Traits(**row | {"lacks": tuple(row["lacks"])})
        by_digest[digest] = found
    if new:
        store.put(KIND, new)
    return {path: by_digest[digest] for path, digest in digests.items()}


def kconfig(ground: Ground, release: str) -> dict[str, str] | None:
    """The options of the kernel's configuration without CONFIG_; None: nobody has it."""
    for text in (f"{MODULES}/{release}/config", f"/boot/config-{release}"):
        path = RootPath(text)
        for files in ground.files:
            if path in files.entries and isinstance(found := files.facts(path), KernelConfig):
                return dict(found.options)
    return None
