"""Microcode: whose file is for which processor, and one file for each maker in the tree."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.formats.root_entry import FileType
from minbuild.manifest.model import Component, LocatedName, Location, Section
from minbuild.paths import RootPath, list_parents
from minbuild.resolve.model import Need, NeedKind
from minbuild.rootfs.microcode import VENDORS, join_microcode, serves_processor
from minbuild.rootfs.model import RootfsNode

AMD, INTEL = VENDORS
XEON, EPYC, OLD = (0, 6, 0x55), (2, 0x19, 1), (2, 0x12, 1)


@pytest.mark.parametrize(
    ("name", "processors", "serves"),
    [
        ("06-55-04", (), True),
        ("06-55-04", (XEON,), True),
        ("06-55-0b", (XEON, EPYC), True),
        ("06-8f-08_0x10", (XEON,), False),
        ("06-55-04", (EPYC,), False),
        ("README", (XEON,), False),
    ],
)
def test_intels_files_are_named_by_family_and_model(
    name: str, processors: tuple[tuple[int, int, int], ...], serves: bool
) -> None:
    assert serves_processor(INTEL, name, processors) is serves


@pytest.mark.parametrize(
    ("name", "processors", "serves"),
    [
        ("microcode_amd_fam19h.bin", (EPYC,), True),
        ("microcode_amd_fam17h.bin", (EPYC,), False),
        ("microcode_amd.bin", (OLD,), True),
        ("microcode_amd.bin", (EPYC,), False),
        ("microcode_amd_fam19h.bin", (XEON,), False),
        ("microcode_amd.bin", (), True),
    ],
)
def test_amds_files_are_named_by_family(
    name: str, processors: tuple[tuple[int, int, int], ...], serves: bool
) -> None:
    assert serves_processor(AMD, name, processors) is serves


HERE = Location("host.yaml", 1, 1)
MICROCODE = "boot/microcode"
JOINED = "/kernel/x86/microcode/GenuineIntel.bin"


def join(
    store: Store, contents: Mapping[str, bytes], owners: Mapping[str, str], device: str = ""
) -> tuple[dict[RootPath, RootfsNode], list[Need]]:
    """Lay down files with their directories, and join the microcode among them."""
    nodes: dict[RootPath, RootfsNode] = {}
    needs: list[Need] = []
    for text, content in contents.items():
        path, owner = RootPath(text), owners.get(text, MICROCODE)
        nodes[path] = RootfsNode(
            path, FileType.FILE, 0o644, 0, 0, len(content), store.add(content), "", "p", owner
        )
        needs.append(Need(path, owner, NeedKind.ROOT, "a test"))
        child = path
        for parent in reversed(list_parents(path)):
            nodes[parent] = RootfsNode(
                parent, FileType.DIRECTORY, 0o755, 0, 0, 0, "", "", "p", owner
            )
            needs.append(Need(parent, child, NeedKind.PARENT, "directory"))
            child = parent
    component = Component(
        MICROCODE,
        Section.BOOT,
        "",
        HERE,
        hardware=(LocatedName(device, HERE),) if device else (),
        microcode=True,
    )
    return join_microcode((component,), nodes, needs, store)


@pytest.mark.parametrize("count", range(1, 7))
def test_no_directory_of_joined_files_is_left(tmp_path: Path, count: int) -> None:
    """With any number of files: as many may go as come."""
    store = Store(tmp_path)
    files = {f"/usr/lib/firmware/intel-ucode/06-55-0{n}": b"%d" % n for n in range(count)}
    nodes, needs = join(store, files | {"/usr/bin/x": b"x"}, {"/usr/bin/x": "system/x"})
    assert set(nodes) == {
        *list_parents(RootPath(JOINED)), JOINED, "/usr", "/usr/bin", "/usr/bin/x",
    }  # fmt: skip
    assert store.read(nodes[RootPath(JOINED)].sha256) == b"012345"[:count]
    assert {path for need in needs for path in (need.path, need.needed_by)} <= {
        *nodes, MICROCODE, "system/x",
    }  # fmt: skip


def test_what_another_component_has_beside_microcode_stays_in_its_directory(tmp_path: Path) -> None:
    readme = "/usr/lib/firmware/intel-ucode/README"
    nodes, needs = join(
        Store(tmp_path),
        {readme: b"read", "/usr/lib/firmware/intel-ucode/06-55-04": b"one"},
        {readme: "system/docs"},
    )
    assert {*list_parents(RootPath(readme)), readme, JOINED} <= set(nodes)
    assert any(need.path == "/usr/lib/firmware/intel-ucode" for need in needs)


def test_microcode_of_no_listed_processor_is_left_out(tmp_path: Path) -> None:
    nodes, needs = join(
        Store(tmp_path),
        {"/usr/lib/firmware/intel-ucode/06-8f-08": b"one"},
        {},
        device="cpu:type:x86,ven0000fam0006mod0055:feature:,0000",
    )
    assert (nodes, needs) == ({}, [])
