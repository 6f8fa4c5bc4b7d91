"""The attack surface: each kind of finding from the least that shows it."""

from dataclasses import replace

import pytest

from minbuild.facts.file_hardening import UNREADABLE, Hardening
from minbuild.footprint.attack_surface import SurfaceInputs, find_surface
from minbuild.footprint.model import FileRow, FindingKind
from minbuild.paths import RootPath


def a_file(path: str, mode: int = 0o755, kind: str = "file", target: str = "") -> FileRow:
    return FileRow(RootPath(path), kind, mode, 0, 0, 1, "", target, "", "", "", 0)


NOTHING = SurfaceInputs(traits={}, texts={}, cmdline="", kconfig={}, capabilities={})
ELF = Hardening("elf", ("canary", "pie"), 7)


@pytest.mark.parametrize(
    ("row", "traits", "kinds"),
    [
        (a_file("/usr/bin/su", 0o4755), ELF, {"setuid", "executable", "no-pie", "no-canary", "exports"}),
        (a_file("/usr/bin/wall", 0o2755), None, {"setgid", "executable"}),
        (a_file("/usr/bin/x", 0o4644), None, set()),
        (a_file("/etc/x", 0o666), None, {"world-writable"}),
        (a_file("/tmp", 0o1777, "directory"), None, set()),
        (a_file("/srv", 0o777, "directory"), None, {"world-writable"}),
        (a_file("/usr/bin/sh", 0o777, "link", "dash"), None, {"interpreter"}),
        (a_file("/usr/bin/python3.13"), ELF, {"interpreter", "executable", "no-pie", "no-canary", "exports"}),
        (a_file("/usr/bin/shred"), None, {"executable"}),
        (a_file("/usr/bin/text", 0o644), None, set()),
        (a_file("/usr/lib/modules/6.1/kernel/net/tun.ko.xz", 0o644), None, {"module"}),
        (a_file("/usr/lib/modules/6.1/tun.ko", 0o644), None, {"module"}),
        (replace(a_file("/usr/lib/modules/6.1/weak-updates/tun.ko", 0o777), type="link"), None, {"module"}),
    ],
)  # fmt: skip
def test_what_a_file_itself_shows(row: FileRow, traits: Hardening | None, kinds: set[str]) -> None:
    evidence = replace(NOTHING, traits={row.path: traits} if traits else {})
    found = find_surface([row], evidence)
    lacks = {"kernel-lacks", "hardening"}
    assert {str(one.kind) for one in found.findings} - lacks == kinds


SERVER = Hardening("elf", listens="listen")
LISTENS = {
    "a server": (a_file("/usr/bin/vm"), SERVER, ["calls listen"]),
    "a library": (a_file("/usr/lib/libsrv.so.1", 0o644), SERVER, ["calls listen"]),
    "a static program": (a_file("/usr/bin/x"), Hardening("elf", listens="static"), ["linked statically: what it calls is not known"]),
    "a damaged program": (a_file("/usr/bin/x"), UNREADABLE, ["a damaged ELF object: what it calls is not known"]),
    "a client": (a_file("/usr/bin/x"), Hardening("elf"), []),
    "an applet": (a_file("/usr/bin/nc", 0o777, "link", "busybox"), None, ["an applet of BusyBox"]),
    "an applet that cannot": (a_file("/usr/bin/ls", 0o777, "link", "busybox"), None, []),
    "a link to another program": (a_file("/usr/bin/nc", 0o777, "link", "nc.traditional"), None, []),
}  # fmt: skip


@pytest.mark.parametrize(("row", "traits", "said"), LISTENS.values(), ids=LISTENS.keys())
def test_programs_that_can_listen(row: FileRow, traits: Hardening | None, said: list[str]) -> None:
    evidence = replace(NOTHING, traits={row.path: traits} if traits else {})
    found = [
        one for one in find_surface([row], evidence).findings if one.kind is FindingKind.MAY_LISTEN
    ]
    assert [(one.subject, one.detail) for one in found] == [(row.path, text) for text in said]


def test_what_starts_a_program_that_can_listen_is_named() -> None:
    row = a_file("/usr/bin/vm")
    starts = {"vm": ("/etc/rc:3",), "/usr/bin/vm": ("/init:9",), "ls": ("/init:1",)}
    found = find_surface([row], replace(NOTHING, traits={row.path: SERVER}, started_by=starts))
    (one,) = [one for one in found.findings if one.kind is FindingKind.MAY_LISTEN]
    assert one.detail == "calls listen; started by /etc/rc:3, /init:9"


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
    found = find_surface([], replace(NOTHING, texts=texts))
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
    found = find_surface([], replace(NOTHING, texts={path: text}))
    assert [one.subject for one in found.findings if one.kind is FindingKind.LISTENER] == ports


def test_sshd_listens_where_its_own_file_says() -> None:
    unit = a_file("/etc/systemd/system/multi-user.target.wants/ssh.service", 0o777, "link", "x")
    texts = {"/etc/ssh/sshd_config": "#Port 22\nPort 2222\n"}
    found = find_surface([unit], replace(NOTHING, texts=texts))
    assert [one.subject for one in found.findings if one.kind is FindingKind.LISTENER] == [
        "2222/tcp"
    ]


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    found = find_surface([], SurfaceInputs(traits={}, texts={}))
    assert found.unknown == (
        FindingKind.CAPABILITY, FindingKind.CMDLINE, FindingKind.HARDENING, FindingKind.KERNEL_LACKS,
    )  # fmt: skip


def test_the_kernel_s_options_and_words_count() -> None:
    found = find_surface([], replace(NOTHING, cmdline="quiet nokaslr", kconfig={"SECCOMP": "y"}))
    lacks = {one.subject for one in found.findings if one.kind is FindingKind.KERNEL_LACKS}
    assert "SECCOMP" not in lacks
    assert "VMAP_STACK" in lacks
    assert ("nokaslr", "switches a protection off") in {
        (one.subject, one.detail) for one in found.findings if one.kind is FindingKind.CMDLINE
    }
