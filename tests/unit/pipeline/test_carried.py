"""What of an installed root's files is more than bytes comes through: capabilities, odd names."""

import contextlib
import io
import json
import struct
import tarfile
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.formats.initramfs import unpack_members
from tests.support.elf import Elf, elf
from tests.support.measured_inputs import STORE
from tests.support.tars import Row, tar

CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 7 | 1 << 13, 0, 0, 0)
"""CAP_SETUID and CAP_NET_RAW: with a byte that is no ASCII."""
ROWS = (
    Row(b"boot/vmlinuz-6.1-t", body=b"MZ"), Row(b"boot/config-6.1-t", body=b"CONFIG_INET=y\n"),
    Row(b"usr/lib/modules/6.1-t/modules.builtin"), Row(b"usr/bin/sh", body=elf(Elf()), mode=0o755),
    Row(b"usr/bin/ping", body=elf(Elf()), mode=0o755, form="pax",
        pax=[(b"LIBARCHIVE.xattr.security.capability", b"AQAAAoAgAAAAAAAAAAAAAAAAAAA")]),
    Row(b"opt/caf\xe9", body=b"latin", form="gnu"), Row(b"opt/caf\\xe9", body=b"literal"),
    Row(b"opt/n\nl", "2", target=b"caf\xe9"),
)  # fmt: skip
MANIFEST = """\
minbuild: 1
name: m
archive: {root: r.tar, owners: false}
kernel: {}
keep: [{paths: [/usr/bin/ping, "/opt/**"]}]
image: {formats: [tar, cpio], compression: none}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    place = tmp_path_factory.mktemp("carried")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.chdir(place)
        Path("r.tar").write_bytes(tar(*ROWS))
        Path("m.yaml").write_text(MANIFEST)
        assert run_command_line(["make", "m.yaml", "--store", str(STORE)]) == 0, said.getvalue()
    return place / "build/m", said.getvalue()


def test_capabilities_and_names_come_through_to_a_tar(made: tuple[Path, str]) -> None:
    with tarfile.open(made[0] / "m.tar", errors="surrogateescape") as archive:
        held = {one.name: one for one in archive}
        assert (
            held["usr/bin/ping"]
            .pax_headers["SCHILY.xattr.security.capability"]
            .encode("utf-8", "surrogateescape")
            == CAPABILITY
        )
        assert archive.extractfile("opt/caf\udce9").read() == b"latin"  # type: ignore[union-attr]
        assert archive.extractfile("opt/caf\\xe9").read() == b"literal"  # type: ignore[union-attr]
        assert held["opt/n\nl"].linkname == "caf\udce9"


def test_what_an_initramfs_cannot_hold_is_said(made: tuple[Path, str]) -> None:
    assert "cpio: an initramfs cannot hold file capabilities" in made[1]
    assert "/usr/bin/ping" in made[1]


def test_names_come_through_to_an_initramfs(made: tuple[Path, str]) -> None:
    held = unpack_members((made[0] / "m.cpio").read_bytes())
    assert held["opt/caf\udce9"].content == b"latin"
    assert held["opt/caf\\xe9"].content == b"literal"
    assert held["opt/n\nl"].content == b"caf\xe9"


@pytest.mark.parametrize("form", ["m.tar", "m.cpio", "footprint.json"])
def test_every_reader_spells_names_alike(
    made: tuple[Path, str], form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["report", str(made[0] / form), "--json"]) == 0
    rows = {row["path"]: row for row in json.loads(capsys.readouterr().out)["files"]}
    assert [path for path in sorted(rows) if path.startswith("/opt/")] == [
        "/opt/caf\\x5cxe9", "/opt/caf\\xe9", "/opt/n\nl",
    ]  # fmt: skip
    assert rows["/opt/n\nl"]["target"] == "caf\\xe9"
