"""A lock is held against the signed index, and a package against the row that names it."""

import hashlib
import json
import shutil
from pathlib import Path

from tests.e2e.small_host import CommandResult, Small, minbuild
from tests.security.world import AHEAD, packages, run
from tests.support.deb import build, parse

Row = dict[str, object]
OTHER = """
Package: hello
Version: 1.0
/usr/bin/hello 0755 file "#!/bin/sh\\necho somebody else\\n"
"""


def make_foreign_lock(small: Small) -> Path:
    """A lock that another machine has made: this one's store is empty."""
    ended = run(small, "lock", "small.yaml")
    assert ended.code == 0, ended.err
    shutil.rmtree(small.directory / "store")
    return small.directory / "small.lock"


def change_row(lock: Path, name: str, fields: Row) -> None:
    """Change the row of a package, as a pull request might."""
    document = json.loads(lock.read_text())
    rows = [one for key in ("packages", "toolbox") for one in document[key] if one["name"] == name]
    assert rows
    for row in rows:
        row.update(fields)
    lock.write_text(json.dumps(document))


def plan(small: Small, *argv: str) -> CommandResult:
    return run(small, "plan", "small.yaml", *argv)


def test_a_lock_of_another_machine_is_held_against_the_index_once(small: Small) -> None:
    make_foreign_lock(small)
    assert plan(small).code == 0
    asked = len(small.server.requests)
    assert plan(small).code == 0
    assert len(small.server.requests) == asked


LIES: tuple[Row, ...] = (
    {"version": "9.9"},
    {"name": "hallo"},
    {"arch": "all"},
    {"source": "linux"},
    {"source_version": "3"},
    {"size": 7},
    {"sha256": "0" * 64},
)


def test_a_row_that_the_index_has_otherwise_is_refused(small: Small) -> None:
    lock = make_foreign_lock(small)
    text = lock.read_text()
    for fields in LIES:
        lock.write_text(text)
        change_row(lock, "hello", fields)
        ended = plan(small)
        assert ended.code == 4, fields
        assert "signed index" in ended.err
        assert "small.lock" in ended.err


def test_a_row_that_its_package_denies_is_refused_even_when_it_is_trusted(small: Small) -> None:
    lock = make_foreign_lock(small)
    text = lock.read_text()
    for name, value in {"version": "9.9", "source": "x", "arch": "all"}.items():
        lock.write_text(text)
        change_row(lock, "hello", {name: value})
        ended = plan(small, "--trust-lock")
        assert ended.code == 4, name
        assert "the package is another one than its row says" in ended.err


def publish_hostile(small: Small) -> dict[str, object]:
    """Another package, at the mirror and by its digest in no index."""
    (package,) = parse(OTHER)
    data = build(package)
    path = small.archive.directory / "debian/pool/evil.deb"
    path.write_bytes(data)
    return {"path": "pool/evil.deb", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_package_that_only_the_mirror_and_the_lock_have_is_refused(small: Small) -> None:
    lock = make_foreign_lock(small)
    change_row(lock, "hello", publish_hostile(small))
    assert plan(small).code == 4
    assert not list((small.directory / "store").glob("files/*/*.deb"))
    assert not any("evil" in request for request in small.server.requests)


def test_tools_are_held_against_the_index_too(small: Small) -> None:
    lock = make_foreign_lock(small)
    document = json.loads(lock.read_text())
    name = document["toolbox"][0]["name"]
    change_row(lock, name, {"sha256": "0" * 64})
    key = ("--allow-code",)  # the archive has a key of its own
    ended = run(small, "make", "small.yaml", *key)
    assert ended.code == 4, ended.err
    assert f"signed index of {name}" in ended.err
    assert "(toolbox)" in ended.err


def test_what_the_archive_no_longer_has_needs_the_users_word_once(small: Small) -> None:
    make_foreign_lock(small)
    old = next(small.archive.directory.rglob("hello_1.0_*.deb")).read_bytes()
    small.archive.publish("trixie", packages(hello="1.1"), date=AHEAD)
    assert next(small.archive.directory.rglob("hello_1.0_*.deb")).read_bytes() == old
    ended = plan(small)
    assert ended.code == 4
    assert "no signed index has hello 1.0 (amd64), which the lock pins" in ended.err
    assert "--trust-lock" in ended.err
    assert plan(small, "--trust-lock").code == 0
    assert plan(small).code == 0


def test_an_unsigned_archive_does_not_vouch_for_a_signed_one(small: Small) -> None:
    """The rows of a stranger's unsigned archive stay unknown where Debian's keys are asked."""
    lock = make_foreign_lock(small)
    change_row(lock, "hello", publish_hostile(small))
    text = (small.directory / "small.yaml").read_text()
    key = str(small.archive.certificate)
    other = small.directory / "other.yaml"
    other.write_text(text.replace(f"signed-by: {key}", "trusted: true"))
    shutil.copy(lock, small.directory / "other.lock")
    run(small, "plan", "other.yaml", "--trust-lock")
    assert plan(small).code == 4


def test_a_lock_names_no_file_of_this_machine(small: Small) -> None:
    lock = make_foreign_lock(small)
    file = small.directory / "evil.deb"
    (result,) = parse(OTHER)
    file.write_bytes(build(result))
    text = lock.read_text()
    rows: dict[str, Row] = {
        "absolute": {"root": "", "path": str(file)},
        "installed": {"root": "", "path": "installed/deb/debian"},
        "nobody's": {"root": "local", "path": file.name},
    }
    for argv in rows.values():
        lock.write_text(text)
        change_row(lock, "hello", argv)
        assert plan(small).code == 4, argv
    lock.write_text(text)
    change_row(lock, json.loads(text)["toolbox"][0]["name"], rows["absolute"])
    assert run(small, "make", "small.yaml", "--allow-code", "--trust-lock").code == 4


def test_an_index_that_lies_about_a_package_is_seen(small: Small) -> None:
    """Signed or not: what the index calls it must be what the package says it is."""
    small.archive.publish("trixie", packages(), damage={"Source": "linux (6.1)"})
    ended = run(small, "lock", "small.yaml")
    assert ended.code == 4
    assert "its control file has source its own, not linux" in ended.err


def test_an_export_carries_what_indices_have_said(small: Small) -> None:
    make_foreign_lock(small)
    assert run(small, "lock", "small.yaml", "--fetch").code == 0
    carried = ["carried.tar", "small.lock", "--store", "store"]
    assert minbuild("store", "export", *carried, cwd=small.directory).code == 0
    shutil.rmtree(small.directory / "store")
    assert minbuild("store", "import", "carried.tar", "--store", "store", cwd=small.directory).code == 0  # fmt: skip
    assert plan(small, "--offline").code == 0
    change_row(small.directory / "small.lock", "hello", {"version": "1.1"})
    ended = plan(small, "--offline")
    assert ended.code == 4
    assert "--offline forbids" in ended.err
