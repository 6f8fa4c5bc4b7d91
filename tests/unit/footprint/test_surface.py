"""The attack surface: each kind of finding from the least that shows it."""

from dataclasses import replace

import pytest

from minbuild.facts.traits import Traits
from minbuild.footprint.surface import Evidence, surface
from minbuild.footprint.types import FileRow, FindingKind
from minbuild.paths import RootPath


def a_file(path: str, mode: int = 0o755, kind: str = "file", target: str = "") -> FileRow:
    return FileRow(RootPath(path), kind, mode, 0, 0, 1, "", target, "", "", "", 0)


NOTHING = Evidence({}, {}, "", {}, {})
ELF = Traits("elf", ("canary", "pie"), 7)


@pytest.mark.parametrize(
    ("row", "traits", "kinds"),
    [
        (a_file("/usr/bin/su", 0o4755), ELF, {"setuid", "executable", "no-pie", "no-canary", "exports"}),
        (a_file("/usr/bin/wall", 0o2755), None, {"setgid"}),
        (a_file("/usr/bin/x", 0o4644), None, set()),
        (a_file("/etc/x", 0o666), None, {"world-writable"}),
        (a_file("/tmp", 0o1777, "directory"), None, set()),
        (a_file("/srv", 0o777, "directory"), None, {"world-writable"}),
        (a_file("/usr/bin/sh", 0o777, "link", "dash"), None, {"interpreter"}),
        (a_file("/usr/bin/python3.13"), ELF, {"interpreter", "executable", "no-pie", "no-canary", "exports"}),
        (a_file("/usr/bin/shred"), None, set()),
        (a_file("/usr/lib/modules/6.1/kernel/net/tun.ko.xz", 0o644), None, {"module"}),
    ],
)  # fmt: skip
def test_what_a_file_itself_shows(row: FileRow, traits: Traits | None, kinds: set[str]) -> None:
    evidence = replace(NOTHING, traits={row.path: traits} if traits else {})
    found = surface([row], evidence)
    lacks = {"kernel-lacks"}
    assert {str(one.kind) for one in found.findings} - lacks == kinds


PASSWD = "root:{}:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"


@pytest.mark.parametrize(
    ("word", "shadow", "logins"),
    [
        ("*", None, 0),
        ("", None, 1),
        ("x", None, 0),
        ("x", "root:!:1:::::\n", 0),
        ("x", "root:$y$abc:1:::::\nnobody:*:::::\n", 1),
    ],
)
def test_users_who_can_log_in(word: str, shadow: str | None, logins: int) -> None:
    texts = {"/etc/passwd": PASSWD.format(word)} | ({"/etc/shadow": shadow} if shadow else {})
    found = surface([], replace(NOTHING, texts=texts))
    assert found.count(FindingKind.LOGIN) == logins


@pytest.mark.parametrize(
    ("path", "text", "ports"),
    [
        ("/etc/inittab", "::respawn:/usr/sbin/telnetd -F\n", ["23/tcp"]),
        ("/etc/inittab", "::once:/bin/udhcpc -f\n", []),
        ("/etc/rc.local", "true; dropbear -R\n", ["22/tcp"]),
        ("/etc/rc.local", "echo sshd is not here\n", []),
        ("/usr/lib/systemd/system/x.socket", "[Socket]\nListenStream=0.0.0.0:8080\nListenDatagram=53\n", ["53/udp", "8080/tcp"]),
        ("/usr/lib/systemd/system/y.socket", "[Socket]\nListenStream=/run/y.sock\n", []),
        ("/etc/inetd.conf", "#ftp stream tcp nowait root f f\ntime stream tcp nowait root internal\n", ["time/tcp"]),
    ],
)  # fmt: skip
def test_ports_that_the_configuration_opens(path: str, text: str, ports: list[str]) -> None:
    found = surface([], replace(NOTHING, texts={path: text}))
    assert [one.subject for one in found.findings if one.kind is FindingKind.LISTENER] == ports


def test_sshd_listens_where_its_own_file_says() -> None:
    unit = a_file("/etc/systemd/system/multi-user.target.wants/ssh.service", 0o777, "link", "x")
    texts = {"/etc/ssh/sshd_config": "#Port 22\nPort 2222\n"}
    found = surface([unit], replace(NOTHING, texts=texts))
    assert [one.subject for one in found.findings if one.kind is FindingKind.LISTENER] == [
        "2222/tcp"
    ]


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    found = surface([], Evidence({}, {}))
    assert found.unknown == (
        FindingKind.CAPABILITY, FindingKind.CMDLINE, FindingKind.KERNEL_LACKS,
    )  # fmt: skip


def test_the_kernel_s_options_and_words_count() -> None:
    found = surface([], replace(NOTHING, cmdline="quiet nokaslr", kconfig={"SECCOMP": "y"}))
    lacks = {one.subject for one in found.findings if one.kind is FindingKind.KERNEL_LACKS}
    assert "SECCOMP" not in lacks
    assert "VMAP_STACK" in lacks
    assert ("nokaslr", "switches a protection off") in {
        (one.subject, one.detail) for one in found.findings if one.kind is FindingKind.CMDLINE
    }
