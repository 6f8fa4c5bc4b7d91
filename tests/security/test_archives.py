"""Several archives, pins, snapshots, local packages, and archives that go back in time."""

from tests.e2e.small_host import MANIFEST, CommandResult, Small, minbuild
from tests.security.world import AHEAD, packages, run
from tests.support.archive import Archive
from tests.support.deb import build, parse

HELLO = """
Package: hello
Version: %s
Depends: libhello1, libc6
/usr/bin/hello 0755 elf interp=/lib64/ld-linux-x86-64.so.2 needed=libhello.so.1
"""


def run_lock(small: Small, *argv: str) -> CommandResult:
    return run(small, "lock", "small.yaml", "--update", *argv)


def find_hello_row(small: Small) -> str:
    """The line of the lock that pins hello."""
    lines = (small.directory / "small.lock").read_text().splitlines()
    return next(line for line in lines if '"name": "hello"' in line)


def test_a_store_never_goes_back_to_an_older_release(small: Small) -> None:
    small.archive.publish("trixie", packages(), date=AHEAD)
    assert run(small, "plan", "small.yaml").code == 0
    small.archive.publish("trixie", packages())
    ended = run(small, "plan", "small.yaml")
    assert ended.code == 4
    assert "is older than one already seen (2026-01-03" in ended.err
    assert run(small, "plan", "small.yaml", "--allow-downgrade").code == 0


def test_a_pin_chooses_a_version_and_its_absence_is_an_error(small: Small) -> None:
    small.archive.publish("trixie", packages() + HELLO % "1.1")
    small.write("pins: {hello: {version: '1.0*'}}\n")
    ended = run_lock(small)
    assert ended.code == 0, ended.err
    assert '"version": "1.0"' in find_hello_row(small)
    small.write("pins: {hello: {version: '3.*'}}\n")
    ended = run_lock(small)
    assert ended.code == 4
    for part in (
        "no version of hello matches the pin 3.*",
        "1.0 in trixie",
        "1.1 in trixie",
        "small.yaml:7:",
    ):
        assert part in ended.err


def test_a_lock_of_other_suites_is_not_used(small: Small) -> None:
    """`--set suite=forky` beside the lock of another one once made that host under forky's name."""
    base = (
        MANIFEST.replace("suites: [trixie]", "suites: ['{{ suite }}']") + "vars: {suite: trixie}\n"
    )
    small.write(base=base)
    small.archive.publish("forky", packages() + HELLO % "2.0")
    assert run_lock(small).code == 0
    ended = run(small, "plan", "small.yaml", "--set", "suite=forky")
    assert ended.code == 4
    assert "the lock has packages of trixie, and the manifest takes them from forky" in ended.err
    assert "--lock " in ended.err
    assert "matrix: {suite: […]}" in ended.err
    assert "minbuild lock small.yaml --set suite=forky" in ended.err
    assert run(small, "lock", "small.yaml", "--set", "suite=forky").code == 0
    assert '"version": "2.0"' in find_hello_row(small)
    assert run(small, "plan", "small.yaml", "--set", "suite=forky").code == 0


def test_a_lock_that_a_new_pin_rules_out_is_not_used(small: Small) -> None:
    small.archive.publish("trixie", packages() + HELLO % "1.1")
    assert run_lock(small).code == 0
    small.write("pins: {hello: {version: '1.0'}}\n")
    ended = run(small, "plan", "small.yaml")
    assert ended.code == 4
    assert "pin rules out" in ended.err
    assert run(small, "lock", "small.yaml").code == 0
    assert '"version": "1.0"' in find_hello_row(small)
    assert run(small, "plan", "small.yaml").code == 0


def test_a_pin_by_suite_takes_the_suite_that_is_not_the_newest(small: Small) -> None:
    small.archive.publish("trixie-updates", HELLO % "1.1")
    path = small.write("pins: {hello: {suite: trixie}}\n")
    path.write_text(path.read_text().replace("[trixie]", "[trixie, trixie-updates]"))
    assert run_lock(small).code == 0
    assert '"version": "1.0"' in find_hello_row(small)


def make_own_archive(small: Small) -> Archive:
    """An archive beside the host's, with an older package and a key of its own."""
    directory = small.archive.directory / "own"
    directory.mkdir()
    other = Archive(directory)
    other.publish("ours", HELLO % "0.9")
    return other


def test_an_archive_of_higher_priority_gives_an_older_version(small: Small) -> None:
    other = make_own_archive(small)
    more = (
        f"archives:\n  - {{name: own, mirror: '{small.server.url}/own/debian', suites: [ours], "
        f"signed-by: {other.certificate}, priority: %s}}\n"
    )
    small.write(more % 600)
    ended = run_lock(small)
    assert ended.code == 0, ended.err
    assert '"version": "0.9"' in find_hello_row(small)
    assert '"root": "own"' in find_hello_row(small)
    small.write(more % 500)
    assert run_lock(small).code == 0
    assert '"version": "1.0"' in find_hello_row(small)


def test_another_archive_needs_its_own_key(small: Small) -> None:
    make_own_archive(small)
    small.write(
        f"archives: [{{name: own, mirror: '{small.server.url}/own/debian', suites: [ours]}}]\n"
    )
    ended = run_lock(small)
    assert ended.code == 4
    assert "signature cannot be trusted" in ended.err


def test_a_directory_of_debs_is_an_archive(small: Small) -> None:
    path = small.directory / "debs"
    path.mkdir()
    (package,) = parse(HELLO % "2.0~local+1")
    (path / "hello 2%3a0#1.deb").write_bytes(build(package))
    small.write("archives: [{name: local, directory: debs}]\n")
    ended = run_lock(small)
    assert ended.code == 0, ended.err
    assert '"root": "local"' in find_hello_row(small)
    assert str(small.directory) not in find_hello_row(small)
    ended = run(small, "plan", "small.yaml", "--store", str(small.directory / "other"))
    assert ended.code == 0, ended.err


def test_a_snapshot_is_the_only_tree_that_is_asked(small: Small) -> None:
    directory = small.archive.directory / "then"
    directory.mkdir()
    small.archive.publish("trixie", packages(hello="1.1"))
    other = Archive(directory)
    other.publish("trixie", packages(), valid_until=AHEAD)  # long over by now
    base = MANIFEST.replace("signed-by:", f"snapshot: '{small.server.url}/then/debian', signed-by:")
    path = small.write(base=base)
    path.write_text(
        path.read_text().replace(str(small.archive.certificate), str(other.certificate))
    )
    argv = ["lock", "small.yaml", "--store", str(small.directory / "store")]
    small.server.requests.clear()
    environment = {"MINBUILD_MIRROR": small.mirror}
    ended = minbuild(*argv, cwd=small.directory, env=environment)
    assert ended.code == 0, ended.err
    assert '"version": "1.0"' in find_hello_row(small)
    assert all(path.startswith("/then/debian") for path in small.server.requests)
    next(directory.rglob("hello_1.0_*.deb")).unlink()
    argv = ["plan", "small.yaml", "--store", str(small.directory / "empty")]
    ended = minbuild(*argv, cwd=small.directory, env=environment)
    assert ended.code == 4
    assert "package hello 1.0" in ended.err
    assert run(small, "plan", "small.yaml").code == 2
