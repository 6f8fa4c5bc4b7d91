"""Any root proves itself closed or says what dangles: directory, archive, image."""

import json
import lzma
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.errors import UsageError
from minbuild.formats.root_entry import FileType
from minbuild.image.tar_cpio import encode_cpio
from minbuild.manifest.model import Location, Waiver
from minbuild.paths import RootPath
from minbuild.pipeline.installed_root import check_root
from minbuild.pipeline.session import Session
from minbuild.report.needs import render_root_check
from minbuild.resolve.closed_world import RootCheck
from minbuild.resolve.policy import ResolvePolicy
from minbuild.rootfs.model import RootfsNode
from tests.dib.installed import as_layout
from tests.support.disks import ext4
from tests.support.elf import LOADER, Elf, elf, module
from tests.support.measured_inputs import STORE
from tests.support.uki import uki

LIB = "usr/lib/x86_64-linux-gnu"
ROOT: Mapping[str, bytes | str] = {
    "bin": "-> usr/bin",
    "lib64": "-> usr/lib64",
    "usr/lib64/ld-linux-x86-64.so.2": elf(Elf(soname="ld-linux-x86-64.so.2")),
    "usr/bin/app": elf(Elf(interp=LOADER, needed=["liba.so.1"], df_1=0x08000000)),
    f"{LIB}/liba.so.1": "-> liba.so.1.2",
    f"{LIB}/liba.so.1.2": elf(Elf(soname="liba.so.1")),
    "usr/bin/run": b"#!/bin/app\n",
}


def lay(top: Path, root: Mapping[str, bytes | str], *, without: str = "") -> Path:
    for name, what in root.items():
        if name == without:
            continue
        place = top / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, str):
            place.symlink_to(what.removeprefix("-> "))
        else:
            place.write_bytes(what)
            place.chmod(0o755)
    return top


def examined(place: Path, tmp_path: Path, **more: object) -> RootCheck:
    return check_root(place, Session(tmp_path / "store"), **more)  # type: ignore[arg-type]


def wanted(found: RootCheck) -> list[str]:
    return [f"{one.by} {one.kind} {one.wanted}" for one in found.dangling]


def cpio(top: Path) -> bytes:
    nodes: list[RootfsNode] = []
    bodies: dict[str, bytes] = {}
    for place in sorted(top.rglob("*")):
        path = RootPath(f"/{place.relative_to(top)}")
        kind, digest, target = FileType.DIRECTORY, "", ""
        if place.is_symlink():
            kind, target = FileType.LINK, str(place.readlink())
        elif place.is_file():
            kind, digest = FileType.FILE, path
            bodies[digest] = place.read_bytes()
        nodes.append(RootfsNode(path, kind, 0o755, 0, 0, 0, digest, target, "", ""))
    return encode_cpio(nodes, bodies.__getitem__)


def test_a_whole_root_needs_nothing_outside_of_it(tmp_path: Path) -> None:
    found = examined(lay(tmp_path / "root", ROOT), tmp_path)
    assert (wanted(found), found.arch) == ([], "amd64")


@pytest.mark.parametrize(
    ("gone", "dangles"),
    [
        (f"{LIB}/liba.so.1.2", ["/usr/bin/app needed liba.so.1", f"/{LIB}/liba.so.1 link /{LIB}/liba.so.1.2"]),
        (f"{LIB}/liba.so.1", ["/usr/bin/app needed liba.so.1"]),
        ("usr/bin/app", ["/usr/bin/run shebang /bin/app"]),
        ("bin", ["/usr/bin/run shebang /bin/app"]),
        ("lib64", [f"/usr/bin/app interp {LOADER}"]),
    ],
)  # fmt: skip
def test_what_is_taken_away_dangles(gone: str, dangles: list[str], tmp_path: Path) -> None:
    found = examined(lay(tmp_path / "root", ROOT, without=gone), tmp_path)
    assert sorted(wanted(found)) == sorted(dangles)


def test_what_a_manifest_waives_does_not_dangle(tmp_path: Path) -> None:
    top = lay(tmp_path / "root", ROOT, without=f"{LIB}/liba.so.1")
    waiver = Waiver("liba.so.1", "a test", Location("host.yaml", 1, 1))
    assert wanted(examined(top, tmp_path, policy=ResolvePolicy(allow_missing=(waiver,)))) == []


@pytest.mark.parametrize("beside", ["", "usr/lib64/other", "usr/bin/run"])
def test_a_root_that_is_not_merged_is_read_as_it_is(tmp_path: Path, beside: str) -> None:
    root = {
        name: what for name, what in ROOT.items() if name not in ("bin", "lib64", "usr/bin/run")
    }
    root["bin/run"] = b"#!/usr/bin/app\n"
    root["bin/up"] = "-> ../etc/here"
    root["etc/here"] = b""
    loader = root.pop("usr/lib64/ld-linux-x86-64.so.2")
    root["lib64/ld-linux-x86-64.so.2"] = loader
    if beside:
        root[beside] = b"#!/bin/run\n"
    assert wanted(examined(lay(tmp_path / "root", root), tmp_path)) == []
    (tmp_path / "root/lib64").rename(tmp_path / "root/usr/lib64b")
    assert wanted(examined(tmp_path / "root", tmp_path)) == [f"/usr/bin/app interp {LOADER}"]


@pytest.mark.parametrize("text", ["../bin", "/bin", "./../bin/"])
def test_a_root_merged_the_other_way_round_needs_nothing(tmp_path: Path, text: str) -> None:
    """Links lead from /usr back to directories at the top."""
    root = {
        "usr/bin": f"-> {text}",
        "usr/lib": "-> ../lib",
        "lib64/ld-linux-x86-64.so.2": "-> ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2": ROOT["usr/lib64/ld-linux-x86-64.so.2"],
        "lib/x86_64-linux-gnu/liba.so.1": elf(Elf(soname="liba.so.1")),
        "bin/app": ROOT["usr/bin/app"],
        "bin/run": b"#!/usr/bin/app\n",
    }
    top = lay(tmp_path / "root", root)
    assert wanted(examined(top, tmp_path)) == []
    (top / "lib/x86_64-linux-gnu/liba.so.1").unlink()
    assert wanted(examined(top, tmp_path)) == ["/usr/bin/app needed liba.so.1"]


def test_a_foreign_library_is_none(tmp_path: Path) -> None:
    root = {**ROOT, f"{LIB}/liba.so.1.2": elf(Elf(soname="liba.so.1", machine=183))}
    assert "/usr/bin/app needed liba.so.1" in wanted(
        examined(lay(tmp_path / "root", root), tmp_path)
    )


def test_a_tar_archive_is_a_root(tmp_path: Path) -> None:
    top = lay(tmp_path / "root", ROOT, without="usr/bin/app")
    with tarfile.open(tmp_path / "root.tar.xz", "w:xz") as tar:
        tar.add(top, ".")
    found = examined(tmp_path / "root.tar.xz", tmp_path)
    assert wanted(found) == ["/usr/bin/run shebang /bin/app"]


@pytest.mark.parametrize("form", ["cpio", "efi"])
def test_an_image_is_read_as_its_kernel_would(form: str, tmp_path: Path) -> None:
    packed = lzma.compress(
        cpio(lay(tmp_path / "root", ROOT, without="usr/bin/app")), check=lzma.CHECK_CRC32
    )
    if form == "efi":
        packed = uki({".linux": b"MZ kernel", ".initrd": packed, ".uname": b"6.1\0"})
    place = tmp_path / f"image.{form}"
    place.write_bytes(packed)
    found = examined(place, tmp_path)
    assert wanted(found) == ["/usr/bin/run shebang /bin/app"]


def test_reading_a_root_changes_nothing(tmp_path: Path) -> None:
    top = lay(tmp_path / "root", ROOT)
    before = {path: path.lstat().st_mtime_ns for path in top.rglob("*")}
    examined(top, tmp_path)
    assert before == {path: path.lstat().st_mtime_ns for path in top.rglob("*")}


def test_no_root_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        examined(tmp_path / "nowhere", tmp_path)


def chains(found: RootCheck) -> list[str]:
    return [" ".join((*one.chain, one.wanted)) for one in found.dangling]


def test_a_need_says_which_program_leads_to_it(tmp_path: Path) -> None:
    root = {
        **ROOT,
        f"{LIB}/liba.so.1.2": elf(Elf(soname="liba.so.1", needed=["libb.so"])),
        f"{LIB}/libb.so": elf(Elf(soname="libb.so", needed=["libgone.so"])),
        "usr/lib/plug.so": elf(Elf(needed=["libhost.so"])),
        "etc/old": "-> nowhere",
    }
    found = examined(lay(tmp_path / "root", root), tmp_path)
    assert chains(found) == [
        "link /etc/old /etc/nowhere",
        f"program /usr/bin/app /{LIB}/liba.so.1 /{LIB}/liba.so.1.2 /{LIB}/libb.so libgone.so",
        "library /usr/lib/plug.so libhost.so",
    ]
    text = render_root_check(found)
    assert text.splitlines()[0].startswith("program  /usr/bin/app → ")
    assert text.splitlines()[1].startswith("weak library  /usr/lib/plug.so → libhost.so")
    assert text.splitlines()[-1].endswith(
        "1 needs dangle: 1 of programs; "
        "2 weak: 1 of libraries that no program here loads, 1 of links (--strict counts them)"
    )
    strict = render_root_check(found, strict=True)
    assert strict.splitlines()[-1].endswith(
        "3 needs dangle: 1 of programs, 1 of libraries that no program here loads, 1 of links"
    )


WEAK: Mapping[str, bytes | str] = {
    "usr/lib/plug.so": elf(Elf(needed=["libhost.so"])),
    "etc/old": "-> nowhere",
    "usr/share/doc/example": b"#!/usr/bin/python9\n",
    "usr/lib/modules/6.1/a.ko": module([("name", "a"), ("firmware", "gone.bin")]),
}
STRONG: Mapping[str, bytes | str] = {
    "opt/app": elf(Elf(interp=LOADER, needed=["libhost.so"])),
    "usr/sbin/old": "-> nowhere",
    "usr/bin/example": b"#!/usr/bin/python9\n",
    "usr/lib/modules/6.1/a.ko": module([("name", "a"), ("depends", "gone")]),
}


@pytest.mark.parametrize("name", WEAK)
def test_what_keeps_nothing_from_starting_is_no_verdict_unless_strict(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = str(lay(tmp_path / "root", {**ROOT, "lib": "-> usr/lib", name: WEAK[name]}))
    words = ["check-tree", top, "--store", str(tmp_path / "store")]
    assert run_command_line(words) == 0
    said = capsys.readouterr().out
    assert "what it starts needs nothing outside of it; 1 weak: " in said
    assert run_command_line([*words, "--strict"]) == 1
    assert "1 needs dangle: " in capsys.readouterr().out
    run_command_line([*words, "--json"])
    assert [row["weak"] for row in json.loads(capsys.readouterr().out)["dangling"]] == [True]


@pytest.mark.parametrize("name", STRONG)
def test_what_keeps_something_from_starting_is_the_verdict(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = str(lay(tmp_path / "root", {**ROOT, "lib": "-> usr/lib", name: STRONG[name]}))
    assert run_command_line(["check-tree", top, "--store", str(tmp_path / "store")]) == 1
    assert "1 needs dangle: " in capsys.readouterr().out


def test_a_program_that_lacks_a_library_is_not_told_that_librarys_symbols(tmp_path: Path) -> None:
    app = Elf(interp=LOADER, needed=["liba.so.1"], imports=["a_do"], df_1=0x08000000)
    root = {**ROOT, "usr/bin/app": elf(app)}
    whole = examined(lay(tmp_path / "whole", root), tmp_path)
    assert wanted(whole) == ["/usr/bin/app needed symbol a_do"]
    without = lay(tmp_path / "root", root, without=f"{LIB}/liba.so.1")
    assert wanted(examined(without, tmp_path)) == ["/usr/bin/app needed liba.so.1"]


def test_a_program_of_another_machine_is_one_line(tmp_path: Path) -> None:
    other = Elf(interp="/lib/ld-linux-aarch64.so.1", needed=["libx.so"], machine=183)
    found = examined(lay(tmp_path / "root", {**ROOT, "usr/bin/arm": elf(other)}), tmp_path)
    assert wanted(found) == ["/usr/bin/arm interp /lib/ld-linux-aarch64.so.1"]


def test_what_a_running_root_fills_itself_is_not_looked_at(tmp_path: Path) -> None:
    root = {**ROOT, "tmp/build/app": ROOT["usr/bin/app"], "run/x": "-> nowhere"}
    root["tmp/build/bad"] = b"#!/nowhere\n"
    found = examined(lay(tmp_path / "root", root), tmp_path)
    assert (wanted(found), found.paths) == (
        [],
        examined(lay(tmp_path / "plain", {**ROOT, "tmp/x": b"", "run/x": b""}), tmp_path).paths,
    )


def test_no_more_of_a_file_is_read_than_is_looked_at(tmp_path: Path) -> None:
    top = lay(tmp_path / "root", ROOT)
    for name in ("usr/share/disk.img", f"{LIB}/liba.so.1.2"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        with (top / name).open("ab") as file:
            file.truncate(1 << 40)  # of holes: what would read all of it would not end
    assert wanted(examined(top, tmp_path)) == []


def test_commands_that_a_roots_scripts_run_and_it_has_not_are_warnings(tmp_path: Path) -> None:
    script = b"#!/bin/sh\nhelper() { app; }\nhelper\nlsblk\n"
    top = lay(tmp_path / "root", {**ROOT, "usr/bin/sh": "-> app", "usr/bin/work": script})
    doors = Session(tmp_path / "store")
    found = check_root(top, doors)
    assert [(one.path, one.line, one.what) for one in found.warnings] == [
        ("/usr/bin/work", 4, 'command "lsblk" is not in the image')
    ]
    assert found.dangling == ()
    text = render_root_check(found)
    assert text.startswith("warning  /usr/bin/work:4: ")
    waived = (Waiver("lsblk", "a test", Location("host.yaml", 1, 1)),)
    assert check_root(top, doors, policy=ResolvePolicy(allow_missing=waived)).warnings == ()


@pytest.mark.mirror
def test_a_file_system_is_read_like_a_directory(tmp_path: Path) -> None:
    gone = f"{LIB}/liba.so.1.2"
    root = {**ROOT, **{f"usr/bin/script{number}": b"#!/bin/app\n" for number in range(40)}}
    top = lay(tmp_path / "root", root, without=gone)
    place = ext4(top, tmp_path / "root.img", "4M")
    assert wanted(check_root(place, Session(STORE))) == wanted(examined(top, tmp_path))


def test_the_layers_of_a_container_image_are_one_root(tmp_path: Path) -> None:
    lower = lay(tmp_path / "lower", ROOT, without="usr/bin/app")
    upper = lay(tmp_path / "upper", {"usr/bin/.wh.run": b"", "usr/bin/more": b"#!/bin/app\n"})
    layers = []
    for top in (lower, upper):
        with tarfile.open(tmp_path / f"{top.name}.tar", "w") as tar:
            tar.add(top, ".")
        layers.append((tmp_path / f"{top.name}.tar").read_bytes())
    layout = as_layout(tmp_path / "layout", *layers)
    for found in (examined(layout, tmp_path, arch="amd64"), examined(layout, tmp_path)):
        assert wanted(found) == ["/usr/bin/more shebang /bin/app"]


MUSL = "lib/ld-musl-x86_64.so.1"
ALPINE: Mapping[str, bytes | str] = {
    MUSL: elf(Elf(soname="libc.musl-x86_64.so.1", exports=("puts",))),
    "lib/libc.musl-x86_64.so.1": "-> ld-musl-x86_64.so.1",
    "usr/bin/app": elf(
        Elf(interp=f"/{MUSL}", needed=["libg.so.1", "libc.musl-x86_64.so.1"], imports=("puts",), df_1=0x08000000)
    ),
    "usr/local/lib/libg.so.1": elf(Elf(soname="other.so", needed=["libc.so", "libm.so.6"])),
}  # fmt: skip


@pytest.mark.parametrize(
    ("listed", "lost"),
    [(None, []), (b"/lib:/usr/local/lib\n", []), (b"/lib\n/opt\n", ["libg.so.1"]), (b"", ["libg.so.1"])],
)  # fmt: skip
def test_a_program_for_musl_finds_what_musl_finds(
    tmp_path: Path, listed: bytes | None, lost: list[str]
) -> None:
    root = dict(ALPINE)
    if listed is not None:
        root["etc/ld-musl-x86_64.path"] = listed
    found = examined(lay(tmp_path / "root", root), tmp_path)
    assert [one.wanted for one in found.dangling] == lost


@pytest.mark.parametrize("interp", ["/lib64/ld-linux-x86-64.so.2", "/opt/lib/ld-musl-x86_64.so.1"])
def test_musl_is_known_by_what_a_link_leads_to(tmp_path: Path, interp: str) -> None:
    app = elf(Elf(interp=interp, needed=["libg.so.1"], df_1=0x08000000))
    root = {**ALPINE, "usr/bin/app": app, interp[1:]: f"-> /{MUSL}"}
    top = lay(tmp_path / "root", root)
    assert wanted(examined(top, tmp_path)) == []
    (top / "opt/etc").mkdir(parents=True)
    (top / "opt/etc/ld-musl-x86_64.path").write_text("/nowhere")
    lost = ["/usr/bin/app needed libg.so.1"] if interp.startswith("/opt") else []
    assert wanted(examined(top, tmp_path)) == lost


@pytest.mark.parametrize("program", ["usr/bin/perl", "bin/perl"])
@pytest.mark.parametrize("top", ["usr/lib", "lib"])
def test_rules_hold_for_a_root_that_is_not_merged(tmp_path: Path, program: str, top: str) -> None:
    """Rules name /usr/bin and /usr/lib; a root with two of each may have the other one."""
    modules = f"{top}/x86_64-linux-gnu/perl-base"
    root: dict[str, bytes | str] = {
        program: elf(Elf()), "bin/x": b"", "usr/bin/x": b"", "lib/x": b"", "usr/lib/x": b"",
        f"{modules}/strict.pm": b"", f"{modules}/warnings.pm": b"",
    }  # fmt: skip
    needs = lay(tmp_path / "root", root)
    lacks = lay(tmp_path / "other", root, without=f"{modules}/strict.pm")
    name = "/usr/lib/x86_64-linux-gnu/perl-base/strict.pm"
    assert f"/{program} data {name}" in wanted(examined(lacks, tmp_path))
    assert f"/{program} data {name}" not in wanted(examined(needs, tmp_path))
