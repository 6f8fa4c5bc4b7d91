import hashlib
import shutil
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ToolError
from minbuild.formats import cpio, initramfs
from minbuild.image import tar_cpio
from minbuild.image.initramfs_segments import InitramfsSegment, concatenate_segments, pack_initramfs
from minbuild.manifest.image_settings import Compression
from minbuild.progress import SilentProgress
from minbuild.rootfs.model import RootfsTree
from tests.unit.image.trees import KERNEL, file, link, program, tree
from tests.unit.toolbox.real import toolbox

pytestmark = [pytest.mark.mirror]


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "empty")


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a store in which the host was packed by xz: seconds, spent once."""
    store = Store(tmp_path_factory.mktemp("segments") / "store")
    packed(host(store), store)
    return store.directory


@pytest.fixture
def store(warm: Path, tmp_path: Path) -> Store:
    """A copy of it."""
    return Store(Path(shutil.copytree(warm, tmp_path / "store")))


def host(store: Store, *, motd: bytes = b"hello\n") -> RootfsTree:
    return tree(
        file(KERNEL, b"MZ", store=store),
        file("/usr/bin/big", program(200_000, 1) * 22, 0o755, store),
        *(file(f"/usr/lib/{n}.so", program(50_000, n), store=store) for n in range(2, 6)),
        file("/usr/lib/m.ko.xz", b"\xfd7zXZ\0" + bytes(range(256)) * 9, store=store),
        file("/etc/motd", motd, store=store),
        link("/bin", "usr/bin"),
    )


def packed(
    tree: RootfsTree, store: Store, how: Compression = Compression.XZ
) -> tuple[InitramfsSegment, ...]:
    return pack_initramfs(tree, store, toolbox(), how, arch="amd64", progress=SilentProgress())


def joined(segments: tuple[InitramfsSegment, ...], store: Store) -> bytes:
    place = store.directory / "initrd"
    concatenate_segments(segments, store, place)
    return place.read_bytes()


@pytest.mark.parametrize("how", list(Compression))
def test_segments_unpack_to_the_tree(store: Store, how: Compression) -> None:
    wanted = host(store)
    found = initramfs.unpack_members(joined(packed(wanted, store, how), store))
    paths = sorted(f"/{raw}" for raw in found)
    assert paths == [node.path for node in wanted.nodes if node.path != KERNEL]
    for node in wanted.nodes:
        if node.sha256 and node.path != KERNEL:
            assert hashlib.sha256(found[node.path[1:]].content).hexdigest() == node.sha256


def test_every_segment_begins_where_the_kernel_looks_for_it(store: Store) -> None:
    segments = packed(host(store), store)
    assert len(segments) == 4
    assert all(segment.size % cpio.ALIGNMENT == 0 for segment in segments)
    assert sum(segment.size for segment in segments) == len(joined(segments, store))


def test_what_did_not_change_is_not_packed_again(empty: Store) -> None:
    first = packed(host(empty), empty)
    again = packed(host(empty), empty)
    changed = packed(host(empty, motd=b"other\n"), empty)
    assert not any(segment.from_cache for segment in first)
    assert all(segment.from_cache for segment in again)
    assert [segment.from_cache for segment in changed] == [False, True, True, True]
    assert [s.sha256 for s in again] == [s.sha256 for s in first]


def test_a_cold_store_gives_the_same_bytes_as_a_warm_one(store: Store, empty: Store) -> None:
    before, after = (packed(host(one, motd=b"after\n"), one) for one in (store, empty))
    assert [segment.from_cache for segment in before] == [False, True, True, True]
    assert joined(before, store) == joined(after, empty)


def test_a_damaged_segment_is_packed_again(store: Store) -> None:
    first = packed(host(store), store)
    place = store.path(first[-1].sha256)
    assert place is not None
    place.chmod(0o644)
    place.write_bytes(place.read_bytes()[:-4] + b"oops")
    opened = Store(store.directory)  # one that has not looked at it yet
    again = packed(host(opened), opened)
    assert [segment.from_cache for segment in again] == [True, True, True, False]
    assert again[-1].sha256 == first[-1].sha256


def test_a_content_that_the_store_lost_is_an_error(store: Store) -> None:
    wanted = host(store)
    store.discard(next(node.sha256 for node in wanted.nodes if node.path == "/etc/motd"))
    with pytest.raises(ToolError, match="lost a file"):
        packed(wanted, store)


def test_segments_stay_near_the_best_solid_archive(store: Store) -> None:
    wanted = tree(*(file(f"/usr/{n}", program(n * 300_000, n), store=store) for n in (1, 2, 5)))
    nodes = [node for node in wanted.nodes if node.path != KERNEL]
    whole = tar_cpio.encode_cpio(nodes, lambda sha256: store.read(sha256) or b"")
    words = ["--format=xz", "--check=crc32", "--x86", "--lzma2=preset=9e", "--stdout"]
    solid = toolbox().run("xz", words, purpose="packing it whole", stdin=whole)
    assert sum(segment.size for segment in packed(wanted, store)) <= len(solid) * 1.01
