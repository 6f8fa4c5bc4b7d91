"""The manifests and components that ship: they load, and what they say holds."""

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from minbuild.data import data_directory
from minbuild.manifest.components import list_components
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest, RenderedFile

MANIFESTS = data_directory("manifests")
NAMES = tuple(one.name for one in list_components(()))


Alone = Callable[[str], Manifest]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """Loads a manifest that uses one component, and what it needs."""
    directory = tmp_path_factory.mktemp("alone")

    @cache
    def one(name: str) -> Manifest:
        section, _, short = name.partition("/")
        lines = ["minbuild: 1", "name: one", "summary: one", "arch: amd64"]
        lines += ["kernel:", "  package: linux-image-cloud-amd64"]
        lines += (
            [f"  use: [{short}]"] if section == "kernel" else [f"{section}:", f"  use: [{short}]"]
        )
        path = directory / "one.yaml"
        path.write_text("\n".join(lines) + "\n")
        settings = {"address": "192.0.2.10/24"} if name == "network/static" else {}
        return read_manifest(path, settings=settings, components=())

    return one


@cache
def host() -> Manifest:
    return read_manifest(MANIFESTS / "host.yaml", settings={}, components=())


def rendered(manifest: Manifest) -> dict[str, RenderedFile]:
    return {file.path: file for component in manifest.components for file in component.files}


@pytest.mark.parametrize("name", NAMES)
def test_every_component_loads_with_what_it_needs(name: str, alone: Alone) -> None:
    assert name in {component.name for component in alone(name).components}


@pytest.mark.parametrize("name", NAMES)
def test_a_summary_is_one_line(name: str, alone: Alone) -> None:
    (one,) = [part for part in alone(name).components if part.name == name]
    assert 0 < len(one.summary) <= 100
    assert "\n" not in one.summary


@pytest.mark.parametrize("name", NAMES)
def test_every_script_is_read_by_a_posix_shell(name: str, alone: Alone) -> None:
    for path, file in rendered(alone(name)).items():
        if file.content.startswith((b"#!/bin/sh", b"# shellcheck shell=sh")):
            checked = subprocess.run(["sh", "-n"], input=file.content, capture_output=True)
            assert checked.returncode == 0, (path, checked.stderr.decode())


def test_every_script_with_an_interpreter_may_be_run(alone: Alone) -> None:
    for name in NAMES:
        for file in rendered(alone(name)).values():
            assert file.content.startswith(b"#!") == (
                file.mode == 0o755 and not file.directory and not file.link
            )


def test_the_host_has_no_way_in() -> None:
    manifest = host()
    names = {component.name for component in manifest.components}
    applets = {applet.text for component in manifest.components for applet in component.applets}
    assert "boot/console-shell" not in names
    assert not applets & {"getty", "login", "su", "telnetd", "httpd", "tcpsvd", "ftpd", "sulogin"}
    inittab = rendered(manifest)["/etc/inittab"].content.decode()
    assert not re.search(r"askfirst|respawn", inittab)


def test_no_user_has_a_password() -> None:
    accounts = rendered(host())["/etc/passwd"].content.decode().splitlines()
    assert accounts
    assert {line.split(":")[1] for line in accounts} == {"*"}


def test_the_data_partition_is_never_a_place_to_run_programs_from() -> None:
    step = rendered(host())["/usr/lib/minbuild/steps/20-data"].content.decode()
    assert "nodev,nosuid,noexec" in step


@pytest.mark.parametrize("allowed", [False, True])
def test_keys_on_the_data_partition_make_nobody_root_unless_the_image_says_so(
    *, allowed: bool
) -> None:
    settings = {"ssh_data_keys": str(allowed).lower()}
    loaded = read_manifest(MANIFESTS / "edge.yaml", settings=settings, components=())
    step = rendered(loaded)["/usr/lib/minbuild/steps/60-ssh"].content.decode()
    assert 'cat "$keys" ${DATA_KEYS:+/data/ssh/authorized_keys} 2>/dev/null' in step
    assert step.count("authorized_keys} ") == 1
    assert re.findall(r"(?m)^DATA_KEYS=(.*)$", step) == ["yes" if allowed else ""]


def test_a_panic_reboots_the_host() -> None:
    words = [word for component in host().components for word in component.cmdline]
    assert "panic=10" in words


def test_memory_that_runs_out_takes_guests_and_not_the_host() -> None:
    files = {path: file.content.decode() for path, file in rendered(host()).items()}
    spared, taken = "echo -1000 >/proc/self/oom_score_adj", "echo 500 >/proc/self/oom_score_adj"
    boot = files["/usr/lib/minbuild/init"].partition("\nboot() {")[2]
    assert boot.index(spared) < boot.index("load_modules &")
    vm = files["/usr/bin/vm"]
    assert vm.index("\nrun_once() {") < vm.index(taken) < vm.index("exec unshare")
    assert spared in vm.partition("\nsupervise() {")[2]


def test_variables_reach_the_scripts() -> None:
    manifest = read_manifest(
        MANIFESTS / "host.yaml",
        settings={"hostname": "rack7", "log_kib": "64", "bridge": "lan"},
        components=(),
    )
    files = rendered(manifest)
    assert b"HOST_NAME=rack7\n" in files["/usr/lib/minbuild/init"].content
    assert b"LOG_KIB=64\n" in files["/usr/lib/minbuild/init"].content
    assert b"BRIDGE=lan\n" in files["/usr/lib/minbuild/steps/30-network"].content


BUILTINS = frozenset(
    """
    [ : . break case cd continue do done echo elif else esac eval exec exit export false fi for if in
    kill local printf read return set shift test then trap true type ulimit unset until wait while { }
    """.split()  # noqa: SIM905
)
"""Words that BusyBox's shell itself knows. Source: ash(1)."""

COMMAND = re.compile(
    r"(?:^|[;&|({!]|\$\(|\b(?:if|then|else|elif|do|while|until|keep \w+|timeout \d+|setsid)\b)\s*(?:! )?"
    r"(?P<name>[A-Za-z_.\[:][\w.-]*)(?=[\s;)]|$)",
    re.MULTILINE,
)


def commands(script: str) -> set[str]:
    """Words in a place where the shell looks for a command; quoted text and comments left out."""
    script = re.sub(r"<<'END'.*?^END$", "", script, flags=re.DOTALL | re.MULTILINE)
    script = re.sub(r"(?m)(^|\s)#.*$", "", script)
    script = re.sub(r"\\\n", " ", script)
    script = re.sub(r"'[^']*'", "''", script)
    script = re.sub(r"\$\(\(.*?\)\)", "0", script)
    script = re.sub(r"(?m)^\s*[^\s()]+(?: \| [^\s()]+)*\)", "", script)
    return {found["name"] for found in COMMAND.finditer(script)}


@pytest.mark.parametrize("name", NAMES)
def test_every_applet_a_script_calls_is_a_link_in_the_image(name: str, alone: Alone) -> None:
    manifest = alone(name)
    applets = {applet.text for component in manifest.components for applet in component.applets}
    own = {
        path.rpartition("/")[2]
        for part in manifest.components
        for pack in part.packages
        for path in (COREUTILS if "/usr/bin/*" in pack.paths else pack.paths)
    }
    scripts = {
        path: file.content.decode()
        for path, file in rendered(manifest).items()
        if b"shell=sh" in file.content or file.content.startswith(b"#!")
    }
    functions = {
        match for text in scripts.values() for match in re.findall(r"(?m)^(\w+)\(\) \{", text)
    }
    for path, text in scripts.items():
        guarded = set(re.findall(r"\[ -x /usr/bin/(\w+) \]", text))
        unknown = commands(text) - BUILTINS - functions - applets - own - guarded
        assert {
            word for word in unknown if not re.match(r"^\w+$", word) or word in ALL_APPLETS
        } == set(), path


COREUTILS = ("chmod", "chroot", "df", "ln", "mkdir", "sleep", "sync", "tail")
"""Some of what Debian's coreutils has."""

ALL_APPLETS = frozenset(
    """
    adjtimex arp arping awk base64 basename blkid blockdev brctl cat chgrp chmod chown chroot clear
    cmp cp cpio cut date dc dd depmod devmem df diff dirname dmesg du env expr factor fallocate
    fdisk find findfs fold free fsfreeze fstrim getopt getty grep groups gunzip gzip halt head
    hexdump hostid hostname hwclock id ifconfig init insmod ionice ip killall klogd less ln logger
    login logname logread losetup ls lsmod lsscsi md5sum mdev microcom mkdir mkfifo mknod mkswap
    mktemp modinfo modprobe more mount mv nc netstat nice nl nohup nproc nsenter nslookup od openvt
    partprobe paste patch pidof ping ping6 pivot_root poweroff ps pwd rdate readlink realpath reboot
    renice reset rev rm rmdir rmmod route sed seq setpriv setsid sh sha256sum shuf sleep sort
    start-stop-daemon stat strings stty switch_root sync sysctl syslogd tac tail tar taskset tee
    telnet tftp time timeout top touch tr traceroute truncate tty tunctl udhcpc umount uname uniq
    unlink unshare uptime usleep vconfig vi watch watchdog wc wget which who whoami xargs xxd
    """.split()  # noqa: SIM905
)
"""Debian's BusyBox 1.37 as far as a script of ours could want it. Source: busybox --list."""


def load_modules(tmp_path: Path) -> list[str]:
    """What the host's init asks a modprobe for, and what it says is reached; line by line."""
    text = rendered(host())["/usr/lib/minbuild/init"].content.decode()
    functions = "".join(
        re.search(rf"(?ms)^{name}\(\) {{\n.*?^}}\n", text)[0]  # type: ignore[index]
        for name in ("modules", "list_by_device", "load_devices", "load_modules")
    )
    functions = functions.replace("/lib/modules/$release", str(tmp_path))
    functions = functions.replace("/proc/sys/kernel/modprobe", str(tmp_path / "modprobe"))
    functions = functions.replace("/sys/bus/pci/devices", str(tmp_path / "pci"))
    functions = functions.replace("/proc/modules", str(tmp_path / "loaded"))
    stubs = "reached() { echo reached $1; }\nmodprobe() { shift 2; for m; do echo $m; done; }\n"
    done = subprocess.run(
        ["sh"], input=f"{stubs}{functions}load_modules", capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout.splitlines()


def test_every_module_of_the_image_is_loaded_drivers_outside_of_the_kernels_own_first(
    tmp_path: Path,
) -> None:
    (tmp_path / "modprobe").write_text("/sbin/modprobe\n")
    (tmp_path / "loaded").write_text("")
    index = tmp_path / "modules.dep"
    index.write_text(
        "kernel/drivers/net/virtio_net.ko.xz: kernel/net/core/failover.ko.xz\n"
        "kernel/net/core/failover.ko.xz:\nkernel/net/802/stp.ko.xz:\n"
        "kernel/drivers/block/virtio_blk.ko:\nkernel/fs/fat/vfat.ko.xz: kernel/fs/fat/fat.ko.xz\n"
        "updates/dkms/r8125.ko.zst:\nextra/zfs.ko:\nweak-updates/x.ko:\nkernel/lib/crc8.ko:\n"
    )
    said = load_modules(tmp_path)
    before = said[: said.index("reached drivers")]
    assert {"virtio_net", "stp", "r8125", "zfs", "x"} <= set(before)
    names = {"virtio_net", "failover", "stp", "virtio_blk", "vfat", "r8125", "zfs", "x", "crc8"}
    assert names <= set(said[: said.index("reached modules")])
    assert (tmp_path / "modprobe").read_text() == "modprobe\n"
    index.unlink()
    assert load_modules(tmp_path) == ["reached drivers", "reached modules"]


def test_a_kernel_without_modules_is_asked_for_none(tmp_path: Path) -> None:
    (tmp_path / "modprobe").write_text("/sbin/modprobe\n")
    assert load_modules(tmp_path) == ["reached drivers", "reached modules"]
    assert (tmp_path / "modprobe").read_text() == "/sbin/modprobe\n"


@pytest.mark.parametrize(
    ("has_modules", "said"),
    [
        (False, "modules loading and removing one was refused: this kernel has none"),
        (True, "modules loading and removing one was refused"),
    ],
)
def test_what_came_of_closing_modules_is_said(tmp_path: Path, has_modules: bool, said: str) -> None:
    text = rendered(host())["/usr/lib/minbuild/protection"].content.decode()
    functions = "".join(
        re.search(rf"(?ms)^{name}\(\) {{\n.*?^}}\n", text)[0]  # type: ignore[index]
        for name in ("close_modules", "count_modules", "try_modules")
    )
    functions = functions.replace("/proc/modules", str(tmp_path / "loaded"))
    functions = functions.replace("/proc/sys/kernel/modules_disabled", str(tmp_path / "closed"))
    if has_modules:
        (tmp_path / "loaded").write_text("virtio_net 1 0 - Live 0x0\n")
    stubs = "LOCK_MODULES=yes\nawait() { :; }\nsay() { echo $*; }\nmodules() { :; }\nmodprobe() { :; }\n"
    # the kernel's switch stays as it was: here nobody may write it a second time
    script = f"{stubs}{functions}close_modules\nset -C\ntry_modules"
    done = subprocess.run(["sh"], input=script, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
    assert (tmp_path / "closed").exists() == has_modules


@pytest.mark.parametrize(("flags", "vendor"), [("fpu vmx", "intel"), ("fpu svm", "amd")])
def test_the_vendor_of_kvm_is_the_processors(tmp_path: Path, flags: str, vendor: str) -> None:
    """A kernel that has KVM built in has /sys/module/kvm_intel on an AMD processor, too."""
    text = rendered(host())["/usr/bin/vm"].content.decode()
    found = re.search(r"(?ms)^report_kvm\(\) {\n.*?^}\n", text)
    assert found is not None
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    function = (
        found[0].replace("/proc/cpuinfo", str(cpuinfo)).replace("-c /dev/kvm", "-c /dev/null")
    )
    stubs = "say() { echo $*; }\nchown() { :; }\nchmod() { :; }\n"
    done = subprocess.run(
        ["sh"], input=f"{stubs}{function}report_kvm", capture_output=True, text=True, check=True
    )
    assert done.stdout == f"kvm /dev/kvm ready ({vendor})\n"


def test_of_drivers_of_pci_devices_those_of_the_machine_are_loaded(tmp_path: Path) -> None:
    """By an alias index; what only other drivers need comes with these."""
    (tmp_path / "loaded").write_text("")
    (tmp_path / "modules.dep").write_text(
        "kernel/drivers/ata/ahci.ko.xz: kernel/drivers/ata/libata.ko.xz kernel/drivers/scsi/scsi-mod.ko.xz\n"
        "kernel/drivers/ata/libata.ko.xz: kernel/drivers/scsi/scsi-mod.ko.xz\n"
        "kernel/drivers/scsi/scsi-mod.ko.xz:\n"
        "kernel/drivers/scsi/sd_mod.ko.xz: kernel/drivers/scsi/scsi-mod.ko.xz\n"
        "kernel/drivers/char/ipmi/ipmi_si.ko.xz:\n"
        "kernel/drivers/net/e1000e.ko.xz:\nkernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz\n"
        "kernel/fs/jbd2/jbd2.ko.xz:\nkernel/net/bridge/bridge.ko.xz:\n"
    )
    (tmp_path / "modules.alias").write_text(
        "# Aliases extracted from modules themselves.\nalias pci:v*d*sv*sd*bc01sc06i01* ahci\n"
        "alias pci:v00008086d0000105Esv*sd*bc*sc*i* e1000e\nalias scsi:t-0x00* sd_mod\n"
        "alias pci:v*d*sv*sd*bc0Csc07i* ipmi_si\nalias acpi*:IPI0001:* ipmi_si\nalias fs-ext4 ext4\n"
    )
    (tmp_path / "pci" / "0000:00:1f.2").mkdir(parents=True)
    device = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"
    (tmp_path / "pci" / "0000:00:1f.2" / "modalias").write_text(device + "\n")
    said = [line for line in load_modules(tmp_path) if not line.startswith("reached ")]
    assert sorted(set(said)) == sorted((device, "bridge", "ext4", "ipmi_si", "jbd2", "sd_mod"))
