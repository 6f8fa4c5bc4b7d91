"""The host's command `vm`, run by this machine's shell and by BusyBox on a directory of guests."""

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest

from tests.unit.components.conftest import FILES, PARTS, run

KEYS = re.findall(r"(?m)^KEYS='(.*)'$", FILES["/usr/bin/vm"])[0]
"""What a guest.conf may hold."""


def guest(host: Path, name: str, *lines: str) -> Path:
    directory = host / "guests" / name
    directory.mkdir()
    (directory / "guest.conf").write_text("\n".join(lines) + "\n")
    return directory


def runs(host: Path, name: str, pid: int) -> Path:
    """Make it look as if the process `pid` kept a guest running."""
    directory = host / "guests" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pid").write_text(f"{pid}\n")
    return directory


def qcow2(*, version: int = 3, backing: int = 0, features: int = 0) -> bytes:
    """The first bytes of a qcow2. Source: QEMU, docs/interop/qcow2.txt."""
    head = struct.pack(">4sIQIIQ", b"QFI\xfb", version, backing, 10, 16, 1 << 20)
    return head.ljust(72, b"\0") + struct.pack(">Q", features) + bytes(432)


def vm(host: Path, *args: str) -> subprocess.CompletedProcess[str]:
    # BusyBox has all that the script calls, so nothing else is to be found
    alone = (host / "bin/busybox").exists()
    path = f"{host}/bin" if alone else f"{host}/bin:{os.environ['PATH']}"
    words = [f"{host}/bin/sh", str(host / "vm"), *args]
    env = {**os.environ, "PATH": path}
    return subprocess.run(words, capture_output=True, text=True, cwd=host, env=env)


def test_without_a_command_the_commands_are_listed(host: Path) -> None:
    assert "vm list" in vm(host).stdout


def test_an_unknown_command_is_an_error(host: Path) -> None:
    done = vm(host, "strat", "web")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("vm: error: there is no command strat\n")


def test_two_guests_at_once_are_an_error(host: Path) -> None:
    assert "one guest at a time: start a b" in vm(host, "start", "a", "b").stderr


@pytest.mark.parametrize("command", ["status", "start", "stop", "kill", "log", "console"])
def test_a_command_without_its_guest_says_so(host: Path, command: str) -> None:
    done = vm(host, command)
    if command in {"start", "stop"}:
        assert done.returncode == 0
    else:
        assert "which guest?" in done.stderr


def test_a_guest_that_runs_already_is_not_started_again(host: Path) -> None:
    (guest(host, "web", "kernel=k") / "k").touch()
    runs(host, "web", os.getpid())
    assert vm(host, "start", "web").stderr == "vm: error: web is already running\n"


def test_more_memory_than_is_free_is_refused(host: Path) -> None:
    (guest(host, "web", "kernel=k", "memory=999999") / "k").touch()
    script = (host / "vm").read_text().replace("[ -c /dev/kvm ]", "true")
    (host / "vm").write_text(script)
    assert "vm: error: web needs 999999 MiB, of " in vm(host, "start", "web").stderr


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("machine=q35", "needs the component hypervisor/qemu-full"),
        ("machine=pc", "neither microvm nor q35"),
        ("firmware=uefi", "needs the component hypervisor/ovmf"),
        ("firmware=none.bin", "is not there"),
        ("disk=gone.raw", "is not there"),
        ("net=br9", "no bridge br9"),
    ],
)
def test_what_the_host_does_not_have_is_named(host: Path, line: str, what: str) -> None:
    (guest(host, "web", "kernel=k", line) / "k").touch()
    script = (host / "vm").read_text().replace("/usr/bin/qemu", f"{host}/qemu")
    (host / "vm").write_text(script.replace("/usr/share/OVMF", f"{host}/OVMF"))
    done = vm(host, "start", "web")
    assert done.returncode == 1
    assert "guest.conf:2: " in done.stderr
    assert what in done.stderr


def test_a_guest_whose_file_was_damaged_can_still_be_stopped(host: Path) -> None:
    guest(host, "web", "colour=red")
    with subprocess.Popen(["sleep", "600"]) as process:
        directory = runs(host, "web", process.pid)
        (directory / "qemu.pid").write_text("1000000000\n")
        assert vm(host, "kill", "web").returncode == 0
        assert process.wait(60) != 0
    assert not (directory / "pid").exists()


def test_a_host_without_guests_lists_none(host: Path) -> None:
    done = vm(host, "list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def test_a_guest_is_listed_with_what_its_file_says(host: Path) -> None:
    (guest(host, "web", "# a web server", "", "cpus=4", "memory=512", "kernel=k") / "k").touch()
    assert vm(host, "list").stdout.splitlines()[1].split() == ["web", "stopped", "4", "512", "-"]


def test_every_mistake_is_told_with_its_line(host: Path) -> None:
    guest(
        host, "bad", "cpus=65", "colour=red", "kernel=none", "hello", "memory=", "autostart=maybe"
    )
    done = vm(host, "status", "bad")
    conf = host / "guests/bad/guest.conf"
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"vm: error: {conf}:1: cpus=65 is not in 1..64",
        f"vm: error: {conf}:2: unknown key colour (known: {KEYS})",
        f"vm: error: {conf}:3: kernel: {conf.parent}/none is not there",
        f"vm: error: {conf}:4: not key=value: hello",
        f"vm: error: {conf}:5: memory= is not a number",
        f"vm: error: {conf}:6: autostart=maybe is neither yes nor no",
    ]


def test_a_guest_has_one_to_sixty_four_processors(host: Path) -> None:
    directory = guest(host, "web", "kernel=k", "cpus=64")
    (directory / "k").touch()
    assert "cpus=64" in vm(host, "status", "web").stdout
    (directory / "guest.conf").write_text("kernel=k\ncpus=0\n")
    assert "guest.conf:2: cpus=0 is not in 1..64" in vm(host, "status", "web").stderr


def test_a_guest_needs_something_to_start_from(host: Path) -> None:
    guest(host, "empty", "cpus=1")
    assert "neither a kernel nor a disk" in vm(host, "start", "empty").stderr


@pytest.mark.parametrize("value", ["a,readonly=off", "a b", "$(id)", "a;id", "`id`", "a,ro,b"])
def test_a_disk_cannot_carry_options_into_qemu(host: Path, value: str) -> None:
    (guest(host, "web", "kernel=k", f"disk={value}") / "k").touch()
    assert vm(host, "status", "web").returncode == 1


def test_disks_keep_their_order_and_their_format(host: Path) -> None:
    directory = guest(host, "web", "disk=one.raw", "disk=two.qcow2,ro")
    (directory / "one.raw").touch()
    (directory / "two.qcow2").write_bytes(qcow2())
    (line,) = [
        text for text in vm(host, "status", "web").stdout.splitlines() if text.startswith("disks=")
    ]
    assert line == (
        f"disks=file={directory}/one.raw,format=raw,readonly=off"
        f" file={directory}/two.qcow2,format=qcow2,readonly=on"
    )


@pytest.mark.parametrize("name", ["../etc", "a/b", ".", "a b", "x" * 33])
def test_a_name_is_letters_digits_dashes(host: Path, name: str) -> None:
    done = vm(host, "start", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no name for a guest" in done.stderr


@pytest.mark.parametrize("command", ["start", "status", "log", "kill", "console", "stop"])
def test_an_unknown_guest_is_an_error(host: Path, command: str) -> None:
    done = vm(host, command, "nobody")
    assert done.returncode == 1
    assert "no guest nobody" in done.stderr


@pytest.mark.parametrize("command", ["kill", "console", "stop"])
def test_a_guest_that_does_not_run_cannot_be_stopped(host: Path, command: str) -> None:
    (guest(host, "web", "kernel=k") / "k").touch()
    assert "web is not running" in vm(host, command, "web").stderr


def test_a_last_line_without_an_end_counts(host: Path) -> None:
    directory = guest(host, "web", "kernel=k")
    (directory / "k").touch()
    (directory / "guest.conf").write_text("kernel=k\ncpus=3")
    assert "cpus=3" in vm(host, "status", "web").stdout


def test_what_a_file_holds_cannot_steer_the_terminal(host: Path) -> None:
    directory = guest(host, "web")
    (directory / "guest.conf").write_bytes(b"\x1b]0;title\x07=1\n\xff\xfe\x00junk\n")
    done = vm(host, "status", "web")
    assert done.returncode == 1
    assert set(done.stderr) <= {*map(chr, range(0x20, 0x7F)), "\n"}


def test_starting_all_names_each_guest_that_cannot_start(host: Path) -> None:
    guest(host, "bad", "colour=red")
    (host / "init").write_text((host / "init").read_text().replace("/dev/kmsg", f"{host}/said"))
    assert vm(host, "start").returncode == 0
    conf = host / "guests/bad/guest.conf"
    assert (
        f"minbuild: guest bad: FAILED: {conf}:1: unknown key colour"[:120]
        in (host / "said").read_text()
    )


def refused(host: Path, line: str, what: str) -> None:
    """The guest `web` is refused for one line of its file."""
    (host / "guests/web/guest.conf").write_text(f"kernel=k\n{line}\n")
    done = vm(host, "start", "web")
    assert done.returncode == 1
    assert f"{host}/guests/web/guest.conf:2: {what}" in done.stderr, done.stderr


@pytest.fixture
def web(host: Path) -> Path:
    """A guest with a kernel, beside one that has a secret; and what the image lets guests share."""
    text = (host / "vm").read_text().replace("ALLOWED=/data/images", f"ALLOWED='{host}/images'")
    (host / "vm").write_text(text)
    (host / "images").mkdir()
    (host / "images/tools.raw").touch()
    (guest(host, "db") / "db.raw").write_text("secret")
    directory = guest(host, "web", "kernel=k")
    (directory / "k").touch()
    return directory


@pytest.mark.parametrize("key", ["disk", "kernel", "initrd", "firmware"])
@pytest.mark.parametrize("path", ["/usr/bin/env", "{0}/guests/db/db.raw", "{0}/vm", "/dev/null", "{0}/images"])  # fmt: skip
def test_a_file_outside_of_the_guest_s_directory_is_refused(
    host: Path, web: Path, key: str, path: str
) -> None:
    path = path.format(host)
    outside = f"{key}: {path} is neither below {web} nor in the image's guest_files"
    refused(host, f"{key}={path}", f"{key}: {path} is no regular file" if path.endswith("images") else outside)  # fmt: skip


@pytest.mark.parametrize("path", ["../db/db.raw", "a/../../db/db.raw", "./k", "a//k", "/dev/../dev/null", ".."])  # fmt: skip
def test_a_path_that_climbs_is_refused(host: Path, web: Path, path: str) -> None:
    refused(host, f"disk={path}", f"disk={path}: a path here has no . and no .. in it")


@pytest.mark.parametrize("target", ["/usr/bin/env", "../db/db.raw", "k", "/dev/null", "gone"])
def test_a_link_is_refused_wherever_it_leads(host: Path, web: Path, target: str) -> None:
    (web / "own.raw").symlink_to(target)
    refused(host, "disk=own.raw", f"disk: {web}/own.raw is reached by a link: name the file itself")


def test_a_directory_that_is_a_link_is_refused(host: Path, web: Path) -> None:
    (web / "disks").symlink_to("../db")
    refused(host, "disk=disks/db.raw", f"disk: {web}/disks/db.raw is reached by a link")


def test_a_second_name_of_another_guest_s_disk_is_refused(host: Path, web: Path) -> None:
    os.link(host / "guests/db/db.raw", web / "own.raw")
    refused(host, "disk=own.raw", f"disk: {web}/own.raw has a second name (a hard link)")


def test_what_is_no_file_is_refused(host: Path, web: Path) -> None:
    (web / "directory").mkdir()
    os.mkfifo(web / "pipe")
    for name in ("directory", "pipe"):
        refused(host, f"disk={name}", f"disk: {web}/{name} is no regular file")


def test_a_guest_may_not_write_what_the_host_reads_of_it(host: Path, web: Path) -> None:
    refused(host, "disk=guest.conf", "disk=guest.conf is what the host reads")


def test_what_guests_share_is_read_only_and_must_be_readable(host: Path, web: Path) -> None:
    tools = host / "images/tools.raw"
    refused(host, f"disk={tools}", f"disk={tools}: what guests share is read-only")
    tools.chmod(0o600)
    refused(host, f"kernel={tools}", f"kernel: {tools} must be readable for all")
    (web / "guest.conf").write_text(f"disk={tools},ro\n")
    assert vm(host, "status", "web").returncode == 0
    (host / "images").rename(host / "elsewhere")
    (host / "images").symlink_to("elsewhere")
    refused(host, f"disk={tools},ro", f"disk: {tools} is reached by a link")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (qcow2(backing=512), "has a backing file: qemu-img convert makes it whole"),
        (qcow2(version=2, backing=512), "has a backing file"),
        (qcow2(features=4), "has its data in another file"),
        (b"", "is no qcow2"),
        (b"QFI\xfb", "is no qcow2"),
        (bytes(512), "is no qcow2"),
    ],
)
def test_a_qcow2_that_is_not_whole_is_refused(
    host: Path, web: Path, content: bytes, what: str
) -> None:
    (web / "own.qcow2").write_bytes(content)
    refused(host, "disk=own.qcow2", f"disk: {web}/own.qcow2 {what}")


def test_a_raw_disk_may_hold_what_looks_like_a_qcow2(host: Path, web: Path) -> None:
    (web / "own.raw").write_bytes(qcow2(backing=512))
    (web / "guest.conf").write_text("disk=own.raw\n")
    assert "format=raw" in vm(host, "status", "web").stdout


@pytest.mark.parametrize("address", ["52:54:00:0:1:2", "53:54:00:00:00:01", "52:54:00:00:00:01,romfile=x"])  # fmt: skip
def test_an_address_cannot_carry_options_into_qemu(host: Path, web: Path, address: str) -> None:
    refused(host, f"net=lo,{address}", "net")
    assert "is not BRIDGE or BRIDGE,MAC" in vm(host, "status", "web").stderr


def test_guest_conf_itself_is_a_small_file_and_no_link(host: Path, web: Path) -> None:
    conf = web / "guest.conf"
    conf.unlink()
    conf.symlink_to("/etc/passwd")
    assert vm(host, "start", "web").stderr == f"vm: error: {conf} is reached by a link\n"
    conf.unlink()
    os.mkfifo(conf)
    assert vm(host, "start", "web").stderr == f"vm: error: {conf} is no regular file\n"
    guest(host, "xen", "cpus=3")
    assert [line.split()[:2] for line in vm(host, "list").stdout.splitlines()[2:]] == [
        ["web", "mistaken"],
        ["xen", "mistaken"],
    ]
    conf.unlink()
    conf.write_bytes(b"#" * 70000)
    assert vm(host, "start", "web").stderr == f"vm: error: {conf} is larger than 64 KiB\n"


def test_names_that_a_terminal_would_obey_are_counted_and_not_shown(host: Path) -> None:
    for name in ("\x1b]0;title\x07", "a\nminbuild: kvm: forged", "b c", "x" * 33):
        guest(host, name, "kernel=k")
    (host / "init").write_text((host / "init").read_text().replace(">/dev/kmsg", f">>{host}/said"))
    (host / "guests/link").symlink_to("b c")
    assert vm(host, "start").returncode == 0
    assert "FAILED: 1 links, and a guest is a directory" in (host / "said").read_text()
    assert "minbuild: guests: FAILED: 4 with a name of other characters" in (host / "said").read_text()  # fmt: skip
    done = vm(host, "start", "\x1b[2J")
    assert set(done.stderr) <= {*map(chr, range(0x20, 0x7F)), "\n"}


def test_the_log_of_a_guest_cannot_steer_the_terminal(host: Path, web: Path) -> None:
    (web / "k").touch()
    directory = runs(host, "web", os.getpid())
    (directory / "console.log").write_bytes(b"login:\x1b]0;t\x07 \x9b2J\xc2\x9b ok\x08\r\n\tx\n")
    done = vm(host, "log", "web")
    assert done.stdout.splitlines()[1] == "\tx"
    assert done.stdout.startswith("login:^[]0;t^G ")
    assert set(done.stdout) <= {*map(chr, range(0x20, 0x7F)), "\n", "\t"}


def test_a_directory_of_guests_that_is_a_link_has_none(host: Path, web: Path) -> None:
    (host / "guests").rename(host / "other")
    (host / "guests").symlink_to("other")
    assert len(vm(host, "list").stdout.splitlines()) == 1
    assert "is reached by a link" in vm(host, "start", "web").stderr


def test_users_are_numbers_that_no_two_guests_have(host: Path) -> None:
    script = (
        f"USERS=1073741824 RUN={host}/run\nmkdir -p $RUN/.users\n"
        f". {PARTS}/hypervisor/guests.supervisor.sh\n"
        'for name in a b c d e f; do (dir=$RUN/$name; mkdir "$dir"; choose_user) & done; wait\n'
        "cat $RUN/?/user; dir=$RUN/c; name=c; choose_user; cat $RUN/?/user"
    )
    users = run(host, script).split()
    first, again = users[:6], users[6:]
    assert sorted(map(int, first)) == list(range(1073741825, 1073741831))
    assert again == first


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain: 100 % ^[~", "plain: 100 % ^[~"),
        ("a\x1b]0;t\x07b\x9b2J", "a]0;tb2J"),
        ("a\n<2>minbuild: kvm: forged\r\n", "a<2>minbuild: kvm: forged"),
        ("%s \\033 `id` $(id)", "%s \\033 `id` $(id)"),
        ("x" * 2000, "x" * (900 - len("step: "))),
    ],
)
def test_a_line_of_the_console_holds_nothing_that_a_terminal_obeys(
    host: Path, text: str, line: str
) -> None:
    init = (host / "init").read_text().replace("/dev/kmsg", f"{host}/said")
    script = f'{init}\nsay step "$1"\n'
    path = os.environ["PATH"] if not (host / "bin/busybox").exists() else f"{host}/bin"
    words: list[str | bytes] = [f"{host}/bin/sh", "-c", script, "sh", text.encode("latin-1")]
    subprocess.run(words, env={"PATH": path}, cwd=host, check=True)
    assert (host / "said").read_text() == f"<13>minbuild: step: {line}\n"


def held(host: Path, path: str, target: Path, mode: str = "off") -> str:
    """What `hold` says of a file that was looked at by another name before; "" when it takes it."""
    parts = "".join(f". {PARTS}/hypervisor/guests.{name}.sh\n" for name in ("conf", "qemu"))
    script = f'die() {{ echo "$*"; exit; }}; ALLOWED=\n{parts}hold 20 {mode} {path}'
    words = [f"{host}/bin/sh", "-c", script]
    env = {"PATH": f"{host}/bin"}
    done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=host, check=False)
    return (done.stdout + done.stderr).replace(str(target), "TARGET")


@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
@pytest.mark.mirror
def test_what_was_opened_is_asked_once_more_what_it_is(host: Path, web: Path) -> None:
    disk, other = web / "disk.raw", host / "guests/db/db.raw"
    disk.touch()
    assert held(host, str(disk), other) == ""
    assert held(host, str(disk), other, "on") == ""
    os.link(disk, web / "second")
    assert "has a second name" in held(host, str(disk), other)
    disk.unlink()
    disk.symlink_to(other)
    assert "is another file now" in held(host, str(disk), other)
    disk.unlink()
    os.mkfifo(disk)
    assert "is no regular file now" in held(host, str(disk), other)
    (web / "way").symlink_to("../db")
    assert "is another file now" in held(host, f"{web}/way/db.raw", other)


@pytest.mark.parametrize("shell", ["busybox"], indirect=True)
@pytest.mark.mirror
def test_what_a_firmware_remembers_is_written_through_no_link(host: Path, web: Path) -> None:
    victim = host / "victim"
    victim.write_text("kept")
    (host / "OVMF_VARS_4M.fd").write_text("fresh")
    script = f"OVMF={host}/OVMF_ GUESTS={host}/guests name=web\n"
    script += f". {PARTS}/hypervisor/guests.qemu.sh\nhold() {{ :; }}\nkeep_uefi_variables"
    (web / "uefi-vars.fd.new").symlink_to(victim)
    run(host, script)
    assert victim.read_text() == "kept"
    assert (web / "uefi-vars.fd").read_text() == "fresh"
    assert (web / "uefi-vars.fd").stat().st_mode & 0o777 == 0o600
