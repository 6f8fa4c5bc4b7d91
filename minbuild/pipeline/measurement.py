"""What a tree's own contents and its kernel's options say of the attack surface."""

import json
import lzma
from dataclasses import asdict

from minbuild.cache.kinds import RecordKind
from minbuild.cache.store import Store
from minbuild.facts.file_hardening import Hardening, read_capability, read_hardening
from minbuild.facts.model import KernelConfig
from minbuild.footprint.attack_surface import SurfaceInputs, find_surface, is_surface_text
from minbuild.footprint.measure import SOLID_XZ, estimate_compressed, make_file_row
from minbuild.footprint.model import Surface
from minbuild.formats.root_entry import FileType
from minbuild.parallel import map_in_threads
from minbuild.paths import RootPath
from minbuild.pipeline.resolved_host import ResolvedHost
from minbuild.pipeline.shell_check import list_started_commands
from minbuild.resolve.kernel import MODULES_DIRECTORY
from minbuild.rootfs.model import RootfsTree


def analyse_surface(
    resolved: ResolvedHost, tree: RootfsTree, cmdline: str, xen_cmdline: str, store: Store
) -> Surface:
    """Judge a tree; each content is looked into once and remembered."""
    files = [node for node in tree.nodes if node.kind is FileType.FILE]
    texts = {
        str(node.path): (store.read(node.sha256) or b"").decode("utf-8", "replace")
        for node in files
        if is_surface_text(node.path, node.size)
    }
    evidence = SurfaceInputs(
        traits=_load_hardening({str(node.path): node.sha256 for node in files}, store),
        texts=texts,
        cmdline=cmdline,
        xen_cmdline=xen_cmdline if tree.hypervisor_image else "",
        kconfig=find_kernel_config(resolved, tree.kernel_release),
        started_by=list_started_commands(tree, store),
        capabilities={
            str(node.path): read_capability(bytes.fromhex(node.capability))
            for node in files
            if node.capability
        },
    )
    return find_surface([make_file_row(node) for node in tree.nodes], evidence)


def _load_hardening(digests: dict[str, str], store: Store) -> dict[str, Hardening]:
    by_digest: dict[str, Hardening] = {}
    new_records: dict[str, bytes] = {}
    for digest in sorted(set(digests.values())):
        record = store.get(RecordKind.HARDENING, digest)
        if record is None:
            result = read_hardening(store.read(digest) or b"")
            new_records[digest] = json.dumps(asdict(result)).encode()
        else:
            row = json.loads(record)
            result = Hardening(**row | {"lacks": tuple(row["lacks"])})
        by_digest[digest] = result
    if new_records:
        store.put(RecordKind.HARDENING, new_records)
    return {path: by_digest[digest] for path, digest in digests.items()}


def find_kernel_config(resolved: ResolvedHost, release: str) -> dict[str, str] | None:
    """The options of the kernel's configuration without CONFIG_; None: nobody has it."""
    for text in (f"{MODULES_DIRECTORY}/{release}/config", f"/boot/config-{release}"):
        path = RootPath(text)
        for files in resolved.files:
            if path in files.entries and isinstance(config := files.facts(path), KernelConfig):
                return dict(config.options)
    return None


LZMA_FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 0}]


def weigh_contents(tree: RootfsTree, store: Store) -> dict[str, int]:
    """Content digest → about its bytes in a solid archive, for every file but the kernel."""
    digests = sorted(
        {node.sha256 for node in tree.nodes if node.sha256 and not tree.is_boot_image(node)}
    )
    records = {digest: store.get(RecordKind.WEIGHT, digest) for digest in digests}
    todo = [digest for digest, value in records.items() if value is None]
    new_records: dict[str, bytes] = {}
    if todo:
        sizes = map_in_threads(lambda digest: _estimate_packed_size(store.require(digest)), todo)
        new_records = {digest: str(size).encode() for digest, size in zip(todo, sizes, strict=True)}
        store.put(RecordKind.WEIGHT, new_records)
    return {digest: int(new_records.get(digest) or records[digest] or b"0") for digest in digests}


def estimate_initramfs(tree: RootfsTree, weights: dict[str, int]) -> int:
    """How many bytes the initramfs of a tree will have, before it is packed."""
    packed = [node.sha256 for node in tree.nodes if node.sha256 and not tree.is_boot_image(node)]
    return sum(weights[digest] for digest in packed)


def _estimate_packed_size(data: bytes) -> int:
    packed = lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA_FILTERS)
    return estimate_compressed(len(packed), len(data), SOLID_XZ)
