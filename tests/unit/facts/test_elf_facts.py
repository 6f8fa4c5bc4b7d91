"""ELF objects: what they ask of the loader, and what damaged ones become."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection
from hypothesis import given, settings
from hypothesis import strategies as st

from minbuild.facts import detect
from minbuild.facts.elf_facts import read_elf
from minbuild.facts.model import Dlopen, Elf, Filter, Malformed, Symbols, VersionNeed
from minbuild.facts.serialize import decode_facts, encode_facts
from minbuild.process import run_program
from tests.support import elf as made
from tests.unit.facts.packages import facts

PLACE = "/usr/lib/x.so"
FULL = made.Elf(
    soname="libfull.so.1",
    needed=("liba.so.1", "libc.so.6"),
    interp="/lib64/ld-linux-x86-64.so.2",
    runpath="$ORIGIN/../lib:/opt/lib",
    exports=("plain", "new@FULL_2"),
    imports=("malloc@GLIBC_2.2.5", "?maybe", "other"),
    versions={"libc.so.6": ("GLIBC_2.2.5", "?GLIBC_2.99")},
    dlopen=({"soname": ["libx.so.2", "libx.so.1"], "priority": "required", "feature": "x"},),
    rodata=b"\0libx.so.1\0liby.so.3\0not/libz.so\0libfull.so.1\0liba.so.1\0libno.sox\0libw-2.0.so\0",
    df_1=0x08000800,
)


def read(wish: made.Elf) -> Elf:
    found = read_elf(made.elf(wish))
    assert isinstance(found, Elf), found
    return found


def test_filters_are_read_with_their_place_among_what_is_needed() -> None:
    wish = made.Elf(needed=("liba.so",), filters=("libf.so", "?libx.so"))
    wanted = (Filter("libf.so", False, 1), Filter("libx.so", True, 1))
    assert read(wish).filters == wanted
    first = read(replace(wish, filters_first=True))
    assert [one.after for one in first.filters] == [0, 0]
    for found in (first, read(FULL)):
        assert decode_facts(encode_facts(found)) == found


def test_everything_the_loader_asks_is_read() -> None:
    assert read(FULL) == Elf(
        bits=64,
        little=True,
        machine="EM_X86_64",
        kind="ET_DYN",
        interpreter="/lib64/ld-linux-x86-64.so.2",
        dynamic=True,
        soname="libfull.so.1",
        needed=("liba.so.1", "libc.so.6"),
        runpath=("$ORIGIN/../lib", "/opt/lib"),
        nodeflib=True,
        pie=True,
        dlopen=(Dlopen(("libx.so.2", "libx.so.1"), "required", "x"),),
        version_needs=(VersionNeed("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.99"), ("GLIBC_2.99",)),),
        version_defs=("FULL_2",),
        maybe_dlopen=("libw-2.0.so", "liby.so.3"),
    )


def test_symbols_carry_their_versions() -> None:
    assert detect.read_symbols(PLACE, made.elf(FULL)) == Symbols(
        defined=("new@FULL_2", "plain"),
        undefined=("malloc@GLIBC_2.2.5", "other"),
        weak=("maybe",),
    )


@pytest.mark.parametrize(
    ("imports", "function"),
    [
        (("abort", "pthread_exit@GLIBC_2.2.5", "puts"), "pthread_exit"),
        (("thrd_exit", "pthread_cancel"), "pthread_cancel"),
        (("?pthread_cancel", "puts"), ""),
        (("my_pthread_cancel", "pthread_cancel_self"), ""),
    ],
)
def test_a_call_that_ends_threads_is_a_fact(imports: tuple[str, ...], function: str) -> None:
    wish = made.Elf(imports=imports, versions={"libc.so.6": ("GLIBC_2.2.5",)})
    assert read(wish).cancel_function == function


def test_a_function_that_an_object_has_itself_is_no_call() -> None:
    assert not read(made.Elf(exports=("pthread_cancel", "pthread_exit"))).cancel_function


@pytest.mark.parametrize("machine", sorted(made.MACHINES))
def test_foreign_objects_are_facts_like_others(machine: str) -> None:
    number = made.MACHINES[machine]
    bits = 32 if machine in {"i386", "armhf"} else 64
    wish = made.Elf(
        soname="libx.so.1",
        needed=("libc.so.6",),
        exports=("one@X_1",),
        imports=("two@C_1",),
        versions={"libc.so.6": ("C_1",)},
        bits=bits,
        big=machine == "s390x",
        machine=number,
        flags=5,
    )
    found = read(wish)
    assert (found.bits, found.little, found.flags) == (bits, machine != "s390x", 5)
    assert (found.soname, found.needed) == ("libx.so.1", ("libc.so.6",))
    assert found.version_defs == ("X_1",)
    known = detect.read_symbols(PLACE, made.elf(wish))
    assert known == Symbols(("one@X_1",), ("two@C_1",), ())


def test_an_rpath_is_not_a_runpath() -> None:
    found = read(made.Elf(rpath="/a::$LIB"))
    assert (found.rpath, found.runpath) == (("/a", "", "$LIB"), ())


def test_a_static_program_asks_nothing() -> None:
    found = read(made.Elf(executable=True, dynamic=False))
    assert (found.kind, found.dynamic, found.needed) == ("ET_EXEC", False, ())
    assert detect.read_symbols(PLACE, made.elf(made.Elf(executable=True, dynamic=False))) is None


def test_an_unknown_machine_is_named_by_its_number() -> None:
    assert read(made.Elf(machine=0xFACE)).machine == "EM_64206"


def without_sections(data: bytes) -> bytes:
    """As `strip --strip-section-headers` leaves it."""
    return data[:40] + bytes(8) + data[48:58] + bytes(6) + data[64:]


def test_facts_do_not_need_section_headers() -> None:
    data = made.elf(replace(FULL, rodata=b""))
    bare = without_sections(data)
    assert read_elf(bare) == read_elf(data)
    assert detect.read_symbols(PLACE, bare) == detect.read_symbols(PLACE, data)


def test_unsound_section_headers_harm_nobody() -> None:
    data = made.elf(replace(FULL, rodata=b""))
    assert read_elf(data[:40] + b"\xff" * 8 + data[48:]) == read_elf(data)


def note(payload: str) -> bytes:
    """An object whose one dlopen note says `payload`, padded to the length of another."""
    wish = made.Elf(dlopen=({"soname": ["libx.so.1"], "feature": "f" * 40},))
    data = made.elf(wish)
    start = data.index(b'[{"')
    end = data.index(b"]", data.index(b"f" * 40)) + 1
    room = end - start
    assert len(payload) <= room
    return data[:start] + payload.encode().ljust(room) + data[end:]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("[", "is not JSON"),
        ("{}", "is not a list"),
        ("[3]", "without sonames"),
        ('[{"soname":"libx.so"}]', "without sonames"),
        ('[{"soname":["a\\nb"]}]', "without sonames"),
        ('[{"soname":["a"],"priority":"maybe"}]', "unknown priority"),
        ('[{"soname":["a"],"priority":[]}]', "unknown priority"),
    ],
)
def test_a_wrong_dlopen_note_damages_the_object(payload: str, reason: str) -> None:
    found = read_elf(note(payload))
    assert isinstance(found, Malformed)
    assert reason in found.reason


def test_a_note_without_priority_is_recommended() -> None:
    found = read_elf(note(json.dumps([{"soname": ["a"]}])))
    assert isinstance(found, Elf)
    assert found.dlopen == (Dlopen(("a",), "recommended"),)


def test_a_broken_object_does_not_stop_a_package(tmp_path: Path) -> None:
    found = facts(tmp_path, '/usr/share/test/broken.so file "\\x7fELF and no more"')
    assert found == Malformed("its ELF header is truncated")


def test_a_table_outside_of_the_file_is_damage() -> None:
    data = made.elf(FULL)
    found = read_elf(data[:400])
    assert isinstance(found, Malformed)
    assert "point outside" in found.reason
    assert detect.read_symbols(PLACE, data[:400]) is None


SEEDS = [made.elf(FULL), without_sections(made.elf(FULL)), made.elf(made.Elf(bits=32, big=True))]


@given(
    data=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=6),
    end=st.integers(0, 1 << 14),
)
@settings(max_examples=1000, deadline=None)
def test_damaged_objects_are_facts_or_damaged(
    data: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(data[: len(data) - end] if end < len(data) else data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    assert isinstance(detect.read_facts("/a", b"\x7fELF" + damaged[4:]), Elf | Malformed)
    assert isinstance(detect.read_symbols(PLACE, bytes(damaged)), Symbols | None)


def real() -> list[Path]:
    """Programs and libraries of this machine."""
    found = [*Path("/usr/bin").iterdir(), *Path("/usr/lib").glob("*-linux-gnu/*.so*")]
    plain = sorted(path for path in found if path.is_file() and not path.is_symlink())
    small = [path for path in plain if path.stat().st_size < 4 << 20]
    return [path for path in small[::20] if is_elf(path)][:60]


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


@pytest.mark.oracle
@pytest.mark.parametrize("path", real(), ids=str)
def test_pyelftools_agrees(path: Path) -> None:
    data = path.read_bytes()
    found, known = read_elf(data), detect.read_symbols(PLACE, data)
    assert isinstance(found, Elf)
    with path.open("rb") as file:
        theirs = ELFFile(file)
        assert found.machine == theirs["e_machine"]
        assert found.kind == theirs["e_type"]
        dynamic = theirs.get_section_by_name(".dynamic")
        if not isinstance(dynamic, DynamicSection):
            assert not found.dynamic
            return
        tags: list[Any] = list(dynamic.iter_tags())
        assert found.needed == tuple(t.needed for t in tags if t.entry.d_tag == "DT_NEEDED")
        assert found.soname == "".join(t.soname for t in tags if t.entry.d_tag == "DT_SONAME")
        needs = theirs.get_section_by_name(".gnu.version_r")
        if isinstance(needs, GNUVerNeedSection):
            assert found.version_needs == tuple(
                VersionNeed(
                    need.name or "",
                    tuple(one.name for one in ones),
                    tuple(one.name for one in ones if one["vna_flags"] & 2),
                )
                for need, ones in ((need, list(ones)) for need, ones in needs.iter_versions())
            )
        assert known == symbols_of(theirs)


def symbols_of(theirs: ELFFile) -> Symbols:
    """The dynamic symbols as pyelftools reads them."""
    versions = versions_of(theirs)
    table = theirs.get_section_by_name(".gnu.version")
    found: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    dynsym = theirs.get_section_by_name(".dynsym")
    assert isinstance(dynsym, SymbolTableSection)
    for number, symbol in enumerate(dynsym.iter_symbols()):
        binding = symbol["st_info"]["bind"]
        hidden = symbol["st_other"]["visibility"] in ("STV_HIDDEN", "STV_INTERNAL")
        if not symbol.name or binding == "STB_LOCAL" or hidden:
            continue
        index = table.get_symbol(number)["ndx"] if isinstance(table, GNUVerSymSection) else 0
        version = versions.get(index & 0x7FFF) if isinstance(index, int) else None
        name = f"{symbol.name}@{version}" if version else symbol.name
        weak = 2 if binding == "STB_WEAK" else 1
        found[weak if symbol["st_shndx"] == "SHN_UNDEF" else 0].add(name)
    return Symbols(*(tuple(sorted(part)) for part in found))


def versions_of(theirs: ELFFile) -> dict[int, str]:
    """What each version index stands for, as pyelftools reads it."""
    versions: dict[int, str] = {}
    defs = theirs.get_section_by_name(".gnu.version_d")
    if isinstance(defs, GNUVerDefSection):
        for one, names in defs.iter_versions():
            if not one["vd_flags"] & 1:
                versions[one["vd_ndx"]] = next(iter(names)).name
    needs = theirs.get_section_by_name(".gnu.version_r")
    if isinstance(needs, GNUVerNeedSection):
        for _, ones in needs.iter_versions():
            versions |= {one["vna_other"] & 0x7FFF: one.name for one in ones}
    return versions


@pytest.mark.oracle
def test_symbols_are_counted_without_section_headers(tmp_path: Path) -> None:
    """The hash table ends where the section says it does, for every library of this machine."""
    for path in real():
        data = path.read_bytes()
        if data[4] != 2:
            continue
        assert detect.read_symbols(PLACE, without_sections(data)) == detect.read_symbols(
            PLACE, data
        ), path


@pytest.mark.oracle
def test_readelf_agrees_on_the_loader() -> None:
    path = Path("/usr/bin/env")
    if not Path("/usr/bin/readelf").exists():
        pytest.skip("no readelf on this machine")
    said = run_program(["readelf", "-d", path], purpose="comparing").decode()
    found = read_elf(path.read_bytes())
    assert isinstance(found, Elf)
    for name in found.needed:
        assert f"[{name}]" in said
    assert said.count("(NEEDED)") == len(found.needed)


def test_a_count_of_symbols_beyond_the_file_takes_no_memory() -> None:
    """Found by the property test above: a hash table that promised 4,294,967,295 symbols."""
    data = without_sections(made.elf(FULL))
    names = set()
    for place in range(16, len(data) - 4, 4):
        huge = data[:place] + b"\xff" * 4 + data[place + 4 :]
        names.add(type(detect.read_symbols(PLACE, huge)))
    assert names == {Symbols, type(None)}
