"""Files that texts name: listed, followed where the manifest says so, confirmed by a traced boot."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.small_host import PACKAGES, Small, minbuild, serve_small_host

OWN = r"""
Package: server
Version: 1.0
Depends: server-common, libc6
/usr/sbin/server 0755 file "#!/usr/bin/hello\nread /etc/server/main.conf /usr/share/server /usr/share\n"
/usr/share/doc/server/README file "x"

Package: server-common
Version: 1.0
/etc/server/main.conf file "include /etc/server/more.conf\nlog /var/log/server\n"
/etc/server/more.conf file "x"
/etc/server/other.conf file "x"
/usr/share/server/a file "a"
/usr/share/server/b/c file "c"
/usr/share/server/gone -> nowhere
"""
KEEP = "  - {package: server, paths: [/usr/sbin/server]}\n"
FOLLOW = "paths: {/usr/sbin/server: follow}\n"


@pytest.fixture
def server_host(tmp_path: Path) -> Iterator[Small]:
    with serve_small_host(tmp_path, PACKAGES + OWN) as small:
        yield small


def plan(small: Small, more: str, *argv: str) -> dict[str, object]:
    small.write(KEEP + more)
    ended = minbuild(*small.argv("plan", "small.yaml", "--json", *argv), cwd=small.directory)
    assert ended.code == 0, ended.err
    document: dict[str, object] = json.loads(ended.out)
    return document


def list_edges(document: dict[str, object]) -> set[tuple[str, str]]:
    rows = document["edges"]
    assert isinstance(rows, list)
    return {(row["from"], row["to"]) for row in rows if row["kind"] == "string"}


def test_named_files_come_along_where_they_are_followed(server_host: Small) -> None:
    result = plan(server_host, FOLLOW)
    assert list_edges(result) == {
        ("/usr/sbin/server", "/etc/server/main.conf"),
        ("/usr/sbin/server", "/usr/share/server/a"),
        ("/usr/sbin/server", "/usr/share/server/b/c"),
    }
    globbed = plan(
        server_host,
        "paths: {'/{usr/sbin,etc/server}/*': follow}\n".replace("{usr/sbin,etc/server}", "**"),
    )
    assert ("/etc/server/main.conf", "/etc/server/more.conf") in list_edges(globbed)


def test_a_lock_that_was_written_so_is_enough(server_host: Small) -> None:
    server_host.write(KEEP + FOLLOW)
    first = plan(server_host, FOLLOW)
    lock = minbuild(
        *server_host.argv("export", "small.yaml", "-o", "x.tar"), cwd=server_host.directory
    )
    assert (
        lock.code == 0 or "toolbox" in lock.err or (server_host.directory / "small.lock").exists()
    )
    assert list_edges(plan(server_host, FOLLOW)) == list_edges(first)


def test_what_is_not_followed_is_listed_and_why_says_so(server_host: Small) -> None:
    keep = "  - {package: server-common, paths: [/etc/server/main.conf]}\n"
    result = plan(server_host, keep)
    rows = result["possible_data"]
    assert isinstance(rows, list)
    named = {(row["by"], row["wanted"]): row for row in rows if row["priority"] == "string"}
    assert set(named) == {
        ("/etc/server/main.conf", "/etc/server/more.conf"),
        ("/usr/sbin/server", "/usr/share/server"),
    }
    row = named["/usr/sbin/server", "/usr/share/server"]
    assert (row["evidence"], row["because"]) == ('string "/usr/share/server"', "2 files")

    def why(path: str) -> str:
        return minbuild(*server_host.argv("why", "small.yaml", path), cwd=server_host.directory).out

    assert "its text names what is not in the image: /usr/share/server" in why("/usr/sbin/server")
    output = why("/etc/server/more.conf")
    assert 'named by /etc/server/main.conf (string "/etc/server/more.conf")' in output
    assert "paths: {/etc/server/main.conf: follow} takes it along" in output


def test_a_traced_boot_confirms_or_removes_what_is_listed(server_host: Small) -> None:
    keep = "  - {package: server-common, paths: [/etc/server/main.conf]}\n"
    plan(server_host, keep)
    trace = {"schema": "minbuild.trace/1", "name": "small", "used": [], "unused": [], "elsewhere": 0,
             "missed": [{"path": "/etc/server/more.conf", "times": 2}]}  # fmt: skip
    (server_host.directory / "build/small").mkdir(parents=True)
    (server_host.directory / "build/small/trace.json").write_text(json.dumps(trace))
    output = minbuild(*server_host.argv("plan", "small.yaml"), cwd=server_host.directory)
    assert output.code == 0, output.err
    assert "/etc/server/more.conf (string); a traced boot asked for it" in output.out
    assert "[1 more that texts name, and that no traced boot has asked for]" in output.out


def test_a_rule_that_no_file_matches_is_an_error(server_host: Small) -> None:
    server_host.write(KEEP + "paths: {/usr/sbin/sever: follow}\n")
    ended = minbuild(*server_host.argv("plan", "small.yaml"), cwd=server_host.directory)
    assert ended.code == 5
    assert "no file of the image matches /usr/sbin/sever" in ended.err
    assert "small.yaml:8:9" in ended.err


def test_the_last_rule_that_matches_holds(server_host: Small) -> None:
    result = plan(server_host, "paths: {'/**': follow, /usr/sbin/server: list}\n")
    assert not {by for by, _ in list_edges(result)} & {"/usr/sbin/server"}
