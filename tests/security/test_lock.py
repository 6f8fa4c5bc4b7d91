"""What a lock becomes, what it says of newer packages, and how it is carried to other machines."""

import json
import re
import shutil
from pathlib import Path

import jsonschema

from minbuild.archive.lockfile import lock_json_schema
from tests.e2e.small_host import CommandResult, Small, minbuild
from tests.security.world import AHEAD, packages, run


def run_store(small: Small, *argv: str) -> CommandResult:
    return minbuild("store", *argv, "--store", "store", cwd=small.directory)


def write_lock(small: Small) -> Path:
    return small.directory / "small.lock"


def read_fresh_lock(small: Small) -> str:
    """The text of a fresh lock."""
    ended = run(small, "lock", "small.yaml")
    assert ended.code == 0, ended.err
    return write_lock(small).read_text()


def diff_lines(before: str, after: str) -> set[str]:
    """The lines that one text has and the other has not, suites left out."""
    lines = set(before.splitlines()) ^ set(after.splitlines())
    return {line for line in lines if '"root": "debian", "date"' not in line}


def test_a_lock_fits_its_schema(small: Small) -> None:
    jsonschema.Draft202012Validator(lock_json_schema()).validate(json.loads(read_fresh_lock(small)))


def test_an_update_of_one_package_is_a_diff_of_one_package(small: Small) -> None:
    before = read_fresh_lock(small)
    small.archive.publish("trixie", packages(hello="1.1", libhello1="1.1"), date=AHEAD)
    ended = run(small, "lock", "small.yaml", "libhello1", "--update")
    assert ended.code == 0, ended.err
    changed = diff_lines(before, write_lock(small).read_text())
    assert len(changed) == 2, changed
    assert all('"libhello1"' in line for line in changed)
    assert "libhello1" in ended.out
    assert "1.0" in ended.out
    assert "1.1" in ended.out
    assert "footprint:" in ended.out


def test_an_update_tells_what_it_does_to_files_bytes_and_the_packed_size(small: Small) -> None:
    read_fresh_lock(small)
    old = next(line for line in packages().splitlines() if line.startswith("/usr/bin/hello "))
    changed = packages(hello="1.1").replace(old, f"{old} dlopen=libx.so.1:suggested:x")
    assert changed != packages(hello="1.1")
    small.archive.publish("trixie", changed, date=AHEAD)
    ended = run(small, "lock", "small.yaml", "--update", "--dry-run")
    result = re.search(r"footprint: (\d+) -> (\d+) files .*, ([\d,]+) -> ([\d,]+) bytes .*, "
                      r"packed about ([\d,]+) -> ([\d,]+) \(([+-][\d,]+)\)", ended.out)  # fmt: skip
    assert result, ended.out
    numbers = [int(one.replace(",", "")) for one in result.groups()]
    assert numbers[1] == numbers[0]
    assert numbers[3] > numbers[2]
    assert numbers[6] == numbers[5] - numbers[4] > 0
    planned = json.loads(run(small, "plan", "small.yaml", "--json").out)["totals"]
    assert [numbers[0], numbers[2], numbers[4]] == [
        planned[name] for name in ("files", "bytes", "packed")
    ]


def test_nothing_newer_means_nothing_to_change(small: Small) -> None:
    before = read_fresh_lock(small)
    ended = run(small, "lock", "small.yaml", "--update")
    assert (ended.code, ended.out) == (0, "nothing to change\n")
    assert write_lock(small).read_text() == before


def test_a_dry_run_prints_and_writes_nothing(small: Small) -> None:
    before = read_fresh_lock(small)
    small.archive.publish("trixie", packages(hello="1.1"), date=AHEAD)
    ended = run(small, "lock", "small.yaml", "--update", "--dry-run", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert [row["name"] for row in document["changes"]] == ["hello"]
    assert document["footprint"]["before"] == document["footprint"]["after"]
    assert write_lock(small).read_text() == before


def test_a_name_that_the_lock_has_not_is_an_error_with_the_nearest(small: Small) -> None:
    read_fresh_lock(small)
    ended = run(small, "lock", "small.yaml", "helo", "--update")
    assert ended.code == 2
    assert "did you mean hello" in ended.err


def test_check_is_quiet_about_a_lock_that_is_new(small: Small) -> None:
    read_fresh_lock(small)
    ended = run(small, "lock", "small.yaml", "--check")
    assert (ended.code, ended.out) == (0, "the lock pins what the archive has\n")


def test_check_names_what_is_newer_and_what_is_a_security_update(small: Small) -> None:
    path = small.write()
    path.write_text(path.read_text().replace("[trixie]", "[trixie, trixie-security]"))
    small.archive.publish("trixie-security", "Package: x\nVersion: 1\n")
    read_fresh_lock(small)
    small.archive.publish("trixie", packages(libhello1="1.1"), date=AHEAD)
    hello = packages(hello="1.0+deb13u1").partition("Package: hello\n")[2].partition("\n\n")[0]
    small.archive.publish("trixie-security", f"Package: hello\n{hello}\n", date=AHEAD)
    ended = run(small, "lock", "small.yaml", "--check", "--json")
    assert ended.code == 1, ended.err
    rows = {row["name"]: row for row in json.loads(ended.out)["newer"]}
    assert rows["hello"]["security"] is True
    assert rows["hello"]["newest"] == "1.0+deb13u1"
    assert rows["libhello1"]["security"] is False
    assert run(small, "lock", "small.yaml", "--check").code == 1


def test_packages_that_no_mirror_has_any_more_are_all_named(small: Small) -> None:
    read_fresh_lock(small)
    small.archive.publish("trixie", packages(hello="1.1", libc6="3.0"), date=AHEAD)
    for name in ("hello_1.0", "libc6_2.41"):
        next(small.archive.directory.rglob(f"{name}_*.deb")).unlink()
    shutil.rmtree(small.directory / "store")
    ended = run(small, "lock", "small.yaml", "--fetch")
    assert ended.code == 4
    assert "package hello 1.0" in ended.err
    assert "package libc6 2.41" in ended.err
    assert "--update" in ended.err


def test_a_store_is_filled_carried_and_used_without_a_network(small: Small) -> None:
    before = read_fresh_lock(small)
    shutil.rmtree(small.directory / "store")
    ended = run(small, "lock", "small.yaml", "--fetch", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["schema"] == "minbuild.lock-fetch/1"
    assert document["packages"] > 1
    ended = run_store(small, "export", "carried.tar", "small.lock")
    assert ended.code == 0, ended.err
    shutil.rmtree(small.directory / "store")
    small.server.faults.clear()
    asked = len(small.server.requests)
    ended = run_store(small, "import", "carried.tar")
    assert ended.code == 0, ended.err
    ended = run(small, "plan", "small.yaml", "--offline")
    assert ended.code == 0, ended.err
    assert len(small.server.requests) == asked
    assert write_lock(small).read_text() == before


def test_an_older_archive_does_not_replace_a_lock_without_being_told(small: Small) -> None:
    small.archive.publish("trixie", packages(), date=AHEAD)
    read_fresh_lock(small)
    small.archive.publish("trixie", packages())
    shutil.rmtree(small.directory / "store")
    ended = run(small, "lock", "small.yaml", "--update")
    assert ended.code == 4
    assert "--allow-downgrade" in ended.err
    assert run(small, "lock", "small.yaml", "--update", "--allow-downgrade").code == 0
