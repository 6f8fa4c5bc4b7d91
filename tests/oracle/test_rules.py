"""The rules that ship, on real packages: programs run in a tree that holds what rules brought."""

import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from minbuild.facts.config_files import (
    DeclaredDirectory,
    DeclaredGroup,
    DeclaredUser,
    parse_sysusers,
    parse_tmpfiles,
)
from minbuild.facts.model import TextLines
from minbuild.facts.package_facts import extract_from_packages
from minbuild.facts.rendered_files import collect_rendered_files
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.rule_files import load_rules
from minbuild.pipeline.package_selection import PackageSelection, PackageSource, select_packages
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.root_selection import list_roots
from tests.oracle.chroot import make_chroot
from tests.oracle.trees import write_closure

pytestmark = [pytest.mark.oracle, pytest.mark.mirror, pytest.mark.xdist_group("rules")]
LIB = "/usr/lib/x86_64-linux-gnu"
MANIFEST = """\
minbuild: 1
kernel: {package: linux-image-cloud-amd64}
keep:
  - {package: libc-bin, paths: [/usr/bin/getent, /usr/bin/iconv]}
  - {package: login, paths: [/usr/bin/login]}
  - {package: python3.13-minimal, paths: [/usr/bin/python3.13]}
  - {package: perl-base, paths: [/usr/bin/perl]}
  - {package: mawk, paths: [/usr/bin/awk]}
  - {package: ncurses-bin, paths: [/usr/bin/infocmp]}
  - {package: coreutils, paths: [/usr/bin/date]}
  - {package: file, paths: [/usr/bin/file]}
  - {package: git, paths: [/usr/bin/git]}
  - {package: openssl, paths: [/usr/bin/openssl]}
  - {package: qemu-system-x86, paths: [/usr/bin/qemu-system-x86_64]}
  - {package: libkrb5-3, paths: [/usr/lib/x86_64-linux-gnu/libkrb5.so.3]}
files:
  /etc/nsswitch.conf: {content: "passwd: systemd files\\nhosts: files [!UNAVAIL=return] myhostname\\n"}
  /etc/hosts: {content: "192.0.2.7 seven\\n"}
services: {use: [pam]}
data:
  terminfo: [linux]
  timezone: [Europe/Berlin]
  gconv: [ISO8859-1]
  ca-certificates: [bundle]
  openssl: [provider/legacy, configuration]
  qemu: [machine/q35, boot/linux, device/virtio-net-pci, module/hw-display-virtio-gpu-pci, module/hw-usb-host]
"""


@pytest.fixture(scope="module")
def selection(
    package_source: PackageSource, tmp_path_factory: pytest.TempPathFactory
) -> PackageSelection:
    """All of MANIFEST but its kernel."""
    path = tmp_path_factory.mktemp("manifest") / "host.yaml"
    path.write_text(MANIFEST)
    manifest = read_manifest(path, settings={}, components=())
    own = collect_rendered_files(
        (file for one in manifest.components for file in one.files), package_source.session.store
    )
    roots = [root for root in list_roots(manifest) if root.package != "linux-image-cloud-amd64"]
    return select_packages(
        roots,
        package_source,
        arch="amd64",
        manifest_files=[own],
        policy=ResolvePolicy(rules=load_rules(manifest.rules)),
    )


@pytest.fixture(scope="module")
def tree(
    selection: PackageSelection,
    package_source: PackageSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """It, written down."""
    top = tmp_path_factory.mktemp("rules") / "tree"
    by_name = {package.name: package for package in selection.packages}
    digests: dict[str, set[str]] = {}
    for one in selection.closure.files.values():
        if (
            one.package
            and one.entry.sha256
            and package_source.session.store.path(one.entry.sha256) is None
        ):
            digests.setdefault(one.package, set()).add(one.entry.sha256)
    extract_from_packages(
        {by_name[name]: of for name, of in digests.items()},
        package_source.session.store,
        package_source.session.progress,
    )
    write_closure(selection.closure, top, package_source.session.store)
    (top / "dev").mkdir(exist_ok=True)
    (top / "dev/null").touch()
    (top / "known.gz").write_bytes(b"\x1f\x8b\x08" + bytes(7))
    return top


def run(tree: Path, *argv: str, **environment: str) -> str:
    """What a program of the tree prints, with nothing but the tree around it."""
    result = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        env=environment,
        preexec_fn=make_chroot(tree),
        input="quit\n",
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_need_is_met(selection: PackageSelection) -> None:
    assert selection.closure.unmet_needs == ()


def test_libc_opens_the_services_of_nsswitch_conf(tree: Path) -> None:
    output = run(
        tree, "/usr/bin/getent", "hosts", "seven", LD_DEBUG="files", LD_DEBUG_OUTPUT="/log"
    )
    assert "192.0.2.7" in output
    run(tree, "/usr/bin/getent", "passwd", "root", LD_DEBUG="files", LD_DEBUG_OUTPUT="/log")
    log = "".join(path.read_text() for path in tree.glob("log.*"))
    assert "calling init: " + LIB + "/libnss_systemd.so.2" in log


def test_a_service_of_pam_has_every_module_that_its_files_name(selection: PackageSelection) -> None:
    brought = {
        need.path.rpartition("/")[2]
        for need in selection.closure.needs
        if need.needed_by.startswith("/etc/pam.d/") and need.path.endswith(".so")
    }
    assert {"pam_unix.so", "pam_limits.so", "pam_loginuid.so"} <= brought
    listed = {one.wanted.rpartition("/")[2] for one in selection.closure.optional_files}
    assert "pam_selinux.so" in listed - brought  # module_unknown=ignore


def test_python_starts_with_its_encodings_and_not_without(tree: Path) -> None:
    (tree / "hello.py").write_text("import os; print('ä'.encode(), os.sep)", encoding="utf-8")
    python = ("/usr/bin/python3.13", "/hello.py")
    assert run(tree, *python) == "b'\\xc3\\xa4' /\n"
    encodings = tree / "usr/lib/python3.13/encodings"
    away = encodings.rename(encodings.with_name("away"))
    with pytest.raises(AssertionError, match="encodings"):
        run(tree, *python)
    away.rename(encodings)


def test_perl_is_strict(tree: Path) -> None:
    (tree / "hello.pl").write_text("use strict; use warnings; print 6 * 7")
    assert run(tree, "/usr/bin/perl", "/hello.pl") == "42"


def test_awk_is_reached_by_its_alternative(tree: Path) -> None:
    assert run(tree, "/usr/bin/awk", "BEGIN { print 6 * 7 }") == "42\n"


def test_a_terminal_is_known(tree: Path) -> None:
    assert "linux" in run(tree, "/usr/bin/infocmp", "linux")


def test_a_time_zone_is_known(tree: Path) -> None:
    output = run(tree, "/usr/bin/date", "-d", "@1750000000", "+%z", TZ="Europe/Berlin")
    assert output == "+0200\n"


def test_file_knows_a_file_by_its_magic_numbers(tree: Path) -> None:
    assert "gzip compressed data" in run(tree, "/usr/bin/file", "/known.gz")


def test_git_makes_a_repository(tree: Path) -> None:
    run(tree, "/usr/bin/git", "init", "/repository", HOME="/")
    assert run(tree, "/usr/bin/git", "-C", "/repository", "status", HOME="/").startswith(
        "On branch"
    )


def test_openssl_has_its_configuration_and_the_provider_that_was_asked_for(tree: Path) -> None:
    openssl = ("/usr/bin/openssl", "list", "-providers", "-provider", "legacy")
    assert "OpenSSL Legacy Provider" in run(tree, *openssl)
    assert (tree / "usr/lib/ssl/openssl.cnf").resolve().name == "openssl.cnf"


def test_kerberos_itself_names_what_is_listed_for_it(
    selection: PackageSelection, tree: Path
) -> None:
    """Rules of krb5: no header of libkrb5 tells its configuration and its plug-ins."""
    library = f"{LIB}/libkrb5.so.3"
    names = (tree / library[1:]).resolve().read_bytes()
    listed = {one.wanted for one in selection.closure.optional_files if one.by.startswith(library)}
    assert listed == {"/etc/krb5.conf", f"{LIB}/krb5/plugins/*/*.so"}
    assert b"/etc/krb5.conf" in names
    assert f"{LIB}/krb5/plugins".encode() in names


def test_iconv_converts_to_the_character_set_that_was_asked_for(tree: Path) -> None:
    (tree / "text").write_bytes(b"\xe4\n")
    assert run(tree, "/usr/bin/iconv", "-f", "ISO8859-1", "-t", "UTF-8", "/text") == "ä\n"


def test_the_bundle_holds_every_certificate_of_the_package(
    selection: PackageSelection, tree: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(tree / "etc/ssl/certs/ca-certificates.crt"))
    (files,) = (one for one in selection.files if one.owner == "ca-certificates")
    certificates = [path for path in files.entries if path.endswith(".crt") and "/mozilla/" in path]
    assert len(context.get_ca_certs()) == len(certificates) > 100


def test_qemus_files_are_those_of_the_machine_the_device_and_the_plug_in(
    selection: PackageSelection,
) -> None:
    chosen = set(selection.closure.files)
    assert {
        "/usr/share/seabios/bios-256k.bin",
        "/usr/share/qemu/kvmvapic.bin",
        "/usr/share/qemu/linuxboot_dma.bin",
        "/usr/share/qemu/efi-virtio.rom",
        f"{LIB}/qemu/hw-display-virtio-gpu-pci.so",
        f"{LIB}/qemu/hw-display-virtio-gpu.so",
    } <= chosen


def test_every_alternative_is_what_the_packages_own_script_says(
    package_source: PackageSource,
) -> None:
    rows = load_rules().installs
    names = sorted({one.package for one in rows if one.alternative})
    packages = [package for name in names if (package := package_source.find_package(name))]
    assert [package.name for package in packages] == names
    package_source.fetch_and_analyse(packages)
    for package in packages:
        deb = package_source.session.store.path(package.sha256)
        assert deb is not None
        output = postinst(deb)
        for row in rows:
            if row.package == package.name and row.alternative:
                assert (row.path, row.alternative, row.to) in output, row


@pytest.mark.parametrize("device", ["virtio-gpu-pci", "usb-host"])
def test_qemu_opens_its_plug_ins(tree: Path, device: str) -> None:
    output = run(tree, "/usr/bin/qemu-system-x86_64", "-M", "none", "-device", f"{device},help")
    assert f"{device} options" in output


def test_qemu_finds_the_roms_of_its_machine_and_its_card(tree: Path) -> None:
    qemu = ("/usr/bin/qemu-system-x86_64", "-M", "q35", "-S", "-nodefaults", "-display", "none",
            "-monitor", "stdio", "-device")  # fmt: skip
    assert "QEMU" in run(tree, *qemu, "virtio-net-pci")
    with pytest.raises(AssertionError, match=r"efi-e1000\.rom"):
        run(tree, *qemu, "e1000")


def test_what_packages_declare_is_read(package_source: PackageSource) -> None:
    names = ("openssh-server", "systemd", "dbus-system-bus-common", "polkitd", "sudo", "tpm-udev")
    packages = [package for name in names if (package := package_source.find_package(name))]
    result: dict[str, DeclaredUser | DeclaredGroup | DeclaredDirectory] = {}
    for files in package_source.fetch_and_analyse(packages):
        for path in files.entries:
            facts = files.facts(path) if path.endswith(".conf") else None
            if isinstance(facts, TextLines) and path.startswith("/usr/lib/sysusers.d/"):
                result.update({row.name: row for row in parse_sysusers(facts.lines)})
            elif isinstance(facts, TextLines) and path.startswith("/usr/lib/tmpfiles.d/"):
                result.update({row.path: row for row in parse_tmpfiles(facts.lines)})
    assert isinstance(result["sshd"], DeclaredUser)
    assert (result["sshd"].group, result["sshd"].home) == ("nogroup", "/run/sshd")
    assert isinstance(result["adm"], DeclaredGroup)
    assert result["adm"].gid == 4
    assert isinstance(result["/run/sudo"], DeclaredDirectory)
    assert result["/run/sudo"].mode == 0o711


def postinst(deb: Path) -> Sequence[tuple[str, str, str]]:
    """Link, name and file of every alternative that a package's postinst installs."""
    script = subprocess.run(
        ["dpkg-deb", "-I", str(deb), "postinst"], capture_output=True, text=True, check=True
    ).stdout
    argv = script.replace("\\\n", " ").split()
    rows = []
    for at, word in enumerate(argv):
        if word in ("--install", "--slave"):
            link, name, to = argv[at + 1 : at + 4]
            rows.append((_merged(link), name, _merged(to)))
    return rows


def _merged(path: str) -> str:
    return path if path.startswith("/usr") else f"/usr{path}"
