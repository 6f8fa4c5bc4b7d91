"""The shipped host, from the machine's own mirror: built, explained, built again, and booted."""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store
from minbuild.facts.model import Module
from minbuild.facts.serialize import decode_facts
from tests.e2e.small_host import CommandResult, minbuild
from tests.support.footprints import find_reached_paths
from tests.support.private_mounts import run_with_mounts
from tests.support.sample import sampled_feature
from tests.support.usage_counter import count_usage

pytestmark = [pytest.mark.mirror, pytest.mark.xdist_group("host")]


@dataclass(frozen=True, slots=True)
class Host:
    """A directory in which host.yaml was built."""

    directory: Path
    store: str
    built: CommandResult
    fetched: dict[str, int]
    """Packages that the first build fetched: digest to size."""

    def run(self, *argv: str) -> CommandResult:
        """Run a command there, with that store."""
        return minbuild(*argv, cwd=self.directory, env={"MINBUILD_STORE": self.store})

    @property
    def images(self) -> Path:
        return self.directory / "build" / "host"

    def footprint(self) -> dict[str, object]:
        """The footprint document of the build."""
        document = json.loads((self.images / "footprint.json").read_text())
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The host, built once from an empty store: what a test writes, it writes into `own`."""
    directory = tmp_path_factory.mktemp("host")
    store = str(directory / "store")
    built = minbuild("make", "host.yaml", cwd=directory, env={"MINBUILD_STORE": store})
    kept = (path for path in Path(store).glob("files/*/*") if is_package(path))
    return Host(directory, store, built, {path.name: path.stat().st_size for path in kept})


@pytest.fixture
def own(host: Host, tmp_path: Path) -> Host:
    """A copy of the lock and the outputs, to write into, with the same store."""
    shutil.copytree(host.directory / "build", tmp_path / "build")
    shutil.copy2(host.directory / "host.lock", tmp_path)
    return replace(host, directory=tmp_path)


def is_package(path: Path) -> bool:
    """Whether it begins as a .deb does."""
    with path.open("rb") as stream:
        return stream.read(8) == b"!<arch>\n"


def hash_outputs(directory: Path) -> dict[str, str]:
    """The SHA-256 of every output."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
    }


def test_the_shipped_host_keeps_to_its_budget(host: Host) -> None:
    assert host.built.code == 0, host.built.err
    totals = host.footprint()["totals"]
    assert isinstance(totals, dict)
    assert 0 < totals["files"] <= 52
    assert totals["packed"] == (host.images / "host.efi").stat().st_size <= 17_600_000
    assert "of MinWin" in host.built.out


def test_the_outputs_agree_with_their_sums(host: Host) -> None:
    assert hash_outputs(host.images).keys() == {
        "host.efi",
        "host.raw",
        "footprint.json",
        "host.lock",
        "SHA256SUMS",
    }
    lines = (host.images / "SHA256SUMS").read_text().splitlines()
    assert {line.split()[1]: line.split()[0] for line in lines} == {
        name: digest for name, digest in hash_outputs(host.images).items() if name != "SHA256SUMS"
    }


def test_building_again_changes_nothing_and_asks_no_network(host: Host) -> None:
    before = hash_outputs(host.images)
    stamps = {path: path.stat().st_mtime_ns for path in host.images.iterdir()}
    again = host.run("make", "host.yaml", "--offline", "--mirror", "http://127.0.0.1:9/debian")
    assert again.code == 0, again.err
    assert "nothing changed" in again.out
    assert hash_outputs(host.images) == before
    assert {path: path.stat().st_mtime_ns for path in host.images.iterdir()} == stamps


def test_a_build_without_a_change_opens_no_package_and_starts_nothing(host: Host) -> None:
    env = dict(os.environ) | {"MINBUILD_STORE": host.store}
    counted = count_usage("make", "host.yaml", cwd=host.directory, env=env)
    assert counted.code == 0
    assert not [name for name in counted.opened if name.startswith(f"{host.store}/files/")]
    assert (counted.processes, counted.connections) == (0, 0)
    assert counted.read < 2 << 20


def test_a_store_that_was_restored_builds_without_a_package(host: Host, tmp_path: Path) -> None:
    """As on a CI machine, which has the store from its cache and nothing else."""
    store = tmp_path / "store"
    shutil.copytree(host.store, store, symlinks=True)
    shutil.copy(host.directory / "host.lock", tmp_path)
    env = dict(os.environ) | {"MINBUILD_STORE": str(store)}
    counted = count_usage("make", "host.yaml", cwd=tmp_path, env=env)
    assert counted.code == 0
    contents = [Path(name) for name in counted.opened if name.startswith(f"{store}/files/")]
    assert not [path for path in contents if path.read_bytes()[:8] == b"!<arch>\n"]
    assert counted.connections == 0
    assert counted.processes <= 8, "tools that write images"
    assert counted.read < 256 << 20
    assert hash_outputs(tmp_path / "build" / "host") == hash_outputs(host.images)


def test_of_a_kernels_modules_those_of_the_host_are_read(host: Host) -> None:
    lock = json.loads((host.directory / "host.lock").read_text())
    kernel = next(row for row in lock["packages"] if row["name"].startswith("linux-image-6"))
    facts = Store(Path(host.store)).get_all(RecordKind.FACTS, f"{kernel['sha256']}/")
    read = [value for value in facts.values() if isinstance(decode_facts(value), Module)]
    rows = host.footprint()["files"]
    assert isinstance(rows, list)
    assert 0 < len(read) <= len([row for row in rows if ".ko" in row["path"]]) + 4


def test_the_same_lock_gives_the_same_bytes_from_an_empty_store(host: Host, tmp_path: Path) -> None:
    (tmp_path / "host.lock").write_bytes((host.directory / "host.lock").read_bytes())
    env = {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    old = os.umask(0o077)
    try:
        built = minbuild("make", "host.yaml", "--store", "elsewhere", cwd=tmp_path, env=env)
    finally:
        os.umask(old)
    assert built.code == 0, built.err
    assert hash_outputs(tmp_path / "build" / "host") == hash_outputs(host.images)


def test_a_first_build_opens_what_the_host_and_its_tools_take(host: Host) -> None:
    lock = json.loads((host.directory / "host.lock").read_text())
    assert host.fetched.keys() >= {row["sha256"] for row in lock["packages"]}
    assert len(host.fetched) <= 44, "packages that are fetched, hashed and opened"
    assert sum(host.fetched.values()) <= 66_000_000


def test_packages_that_only_the_lab_needs_are_locked_and_not_fetched(host: Host) -> None:
    lock = json.loads((host.directory / "host.lock").read_text())
    rows = {row["name"]: row["sha256"] for row in lock["toolbox"]}
    of_the_lab = {"ovmf", "dnsmasq-base", "iproute2", "libcapstone5"}
    assert of_the_lab <= rows.keys()
    assert not host.fetched.keys() & {rows[name] for name in of_the_lab}


def test_every_file_has_a_chain_of_needs(host: Host) -> None:
    document = host.footprint()
    rows, edges = document["files"], document["edges"]
    assert isinstance(rows, list)
    assert isinstance(edges, list)
    assert {row["path"] for row in rows} == find_reached_paths(edges)


def test_licences_and_open_issues_of_the_host_are_listed(own: Host) -> None:
    licences = own.run("licences", "build/host")
    assert licences.code == 0, licences.err
    sources = json.loads((own.images / "licences/sources.json").read_text())
    assert "busybox" in json.dumps(sources)
    issue = {"description": "a flaw", "releases": {"trixie": {"status": "open"}}}
    (own.directory / "issues.json").write_text(json.dumps({"busybox": {"CVE-2026-1": issue}}))
    words = ("cve", "build/host", "--data", "issues.json")
    listed = own.run(*words)
    assert listed.code == 0, listed.err
    assert "CVE-2026-1  busybox (busybox): no fix yet" in listed.out
    assert own.run(*words, "--exit-code").code == 1
    first, second = own.run(*words, "--vex", "-").out, own.run(*words, "--vex", "-").out
    assert json.loads(first)["vulnerabilities"][0]["id"] == "CVE-2026-1"
    assert first == second


def test_the_starter_manifest_builds_within_its_own_budget(own: Host) -> None:
    assert own.run("init", "rack.yaml").code == 0
    built = own.run("make", "rack.yaml", "--lock", "host.lock", "-o", "rack")
    assert built.code == 0, built.err
    assert (own.directory / "rack" / "rack.efi").exists()
    assert own.run("init", "rack.yaml").code == 2


def test_a_host_with_users_that_a_package_declares_is_not_built_twice(own: Host) -> None:
    component = own.directory / "own" / "services" / "uuids.yaml"
    component.parent.mkdir(parents=True)
    component.write_text("summary: UUIDs\npackages:\n  uuid-runtime: [/usr/sbin/uuidd]\n")
    (own.directory / "uuids.yaml").write_text(
        "minbuild: 1\nname: uuids\nextends: [host]\nservices: {use: [uuids]}\n"
        "budget: {files: 90, bytes: 60000000, packed: 60000000}\n"
    )
    argv = ("make", "uuids.yaml", "--components", "own", "--compression", "zstd", "-o", "users")
    built = own.run(*argv)
    assert built.code == 0, built.err
    text = (own.directory / "users" / "footprint.json").read_text()
    assert "services/declared" in text
    assert "nothing changed" in own.run(*argv).out


def test_a_matrix_and_another_manifest_are_built_at_once(own: Host) -> None:
    (own.directory / "racks.yaml").write_text(
        "minbuild: 1\nname: racks\nextends: [host]\nbudget: {files: 60}\n"
        "matrix: {components: {plain: [network/tcp], shell: [boot/console-shell]}}\n"
    )
    (own.directory / "broken.yaml").write_text("minbuild: 1\nextends: [host]\nkernal: {}\n")
    tight = "minbuild: 1\nname: tight\nextends: [host]\nbudget: {files: 10}\n"
    (own.directory / "tight.yaml").write_text(tight)
    argv = ("host.yaml", "broken.yaml", "racks.yaml", "tight.yaml", "-o", "many", "--json")
    output = own.run("make", *argv)
    rows = {row["name"]: row for row in json.loads(output.out)}
    assert [*rows] == ["host", "broken", "racks-plain", "racks-shell", "tight"]
    assert output.code == rows["broken"]["exit_code"] == 3
    assert rows["tight"]["exit_code"] == 1
    assert rows["tight"]["error"].startswith("over budget: files 52")
    for name in ("host", "racks-plain", "racks-shell", "tight"):
        assert rows[name]["files"] > 0, output.err
        assert (own.directory / "many" / name / f"{name}.efi").exists()
    assert hash_outputs(own.directory / "many" / "host") == hash_outputs(own.images)
    stopped = own.run("make", "--fail-fast", *argv)
    assert [row["name"] for row in json.loads(stopped.out)] == ["host", "broken"]


def test_why_names_the_chain_and_its_evidence(host: Host) -> None:
    output = host.run("why", "/usr/lib/x86_64-linux-gnu/libglib-2.0.so.0")
    assert output.code == 0
    assert "hypervisor/qemu-microvm" in output.out
    assert "DT_NEEDED libglib-2.0.so.0" in output.out
    gone = host.run("why", "/usr/bin/bash")
    assert gone.code == 1
    assert "/usr/bin/bash is not in host: no need leads to it\n" in gone.out
    assert "the component boot/builder asks bash for /usr/bin/bash" in gone.out
    full = host.run("why", "qemu-system-x86_64").out
    assert ", in the lock, holds /usr/bin/qemu-system-x86_64\n" in full
    assert "similar: /usr/bin/qemu-system-x86_64-microvm" in full
    assert host.run("why", "qemu-system-x86_64-microvm").code == 0


def test_no_file_of_this_machine_is_in_the_image(host: Host) -> None:
    text = (host.images / "footprint.json").read_text() + (host.images / "host.lock").read_text()
    assert str(Path.home()) not in text
    assert str(host.directory) not in text
    assert "http" not in (host.images / "host.lock").read_text()


def test_a_tool_of_the_toolbox_runs_with_libraries_of_its_own(host: Host) -> None:
    output = host.run("tool", "xz", "--", "--version")
    assert output.code == 0, output.err
    lock = json.loads((host.directory / "host.lock").read_text())
    (version,) = [row["version"] for row in lock["toolbox"] if row["name"] == "xz-utils"]
    assert f"liblzma {version.split('-')[0]}" in output.out


@pytest.mark.oracle
def test_disk_tools_find_nothing_wrong(host: Host) -> None:
    output = host.run("tool", "sfdisk", "--", "--verify", str(host.images / "host.raw"))
    assert output.code == 0, output.err
    assert "No errors detected" in output.out


@pytest.mark.boot
def test_the_host_boots_by_uefi_and_runs_a_guest(own: Host) -> None:
    output = own.run("boot", "host.yaml", "--json", "--timeout", "400")
    assert output.code == 0, output.err
    result = json.loads(output.out)
    assert {row["name"]: row["state"] for row in result["probes"]} == dict.fromkeys(
        (
            *("init", "dhcp", "dns", "tcp", "kvm", "guest", "confined", "protection", "readonly"),
            *("mounts", "cores", "kernel", "users", "modules", "lockdown"),
        ),
        "passed",
    )
    assert json.loads((own.images / "ports.json").read_text())["ports"] == []
    assert "none configured, none seen in the lab" in own.run("report", "build/host").out


@pytest.mark.boot
@sampled_feature("boot loader")
def test_a_disk_with_a_boot_loader_starts_on_a_bios_without_the_lab_s_network(own: Host) -> None:
    text = "minbuild: 1\nextends: [host]\nname: old\nboot: {use: [bios]}\n"
    (own.directory / "old.yaml").write_text(text)
    result = own.run("make", "old.yaml", "-o", "old")  # not below build/, which other tests read
    assert result.code == 0, result.err
    argv = ("boot", "old", "--bios", "--network", "user", "--timeout", "300", "--json")
    output = own.run(*argv, "--probe", "init", "--probe", "kvm")
    assert output.code == 0, output.err
    assert json.loads(output.out)["firmware"] == "bios"
    assert (
        own.footprint()["totals"]
        == json.loads((own.directory / "old/footprint.json").read_text())["totals"]
    ), "the host itself stays as it is"


def test_an_output_directory_below_a_file_is_an_error_and_nothing_is_lost(own: Host) -> None:
    (own.directory / "plain").write_text("a file")
    ended = own.run("make", "host.yaml", "-o", "plain/out")
    assert ended.code == 6
    assert "error: " in ended.err
    assert (own.directory / "plain").read_text() == "a file"


def test_an_output_directory_that_is_read_only_is_an_error(own: Host) -> None:
    (own.directory / "closed").mkdir(exist_ok=True)
    result = run_with_mounts(
        "mount -t tmpfs -o ro none closed",
        *(sys.executable, "-m", "minbuild", "make", "host.yaml", "-o", "closed/out"),
        cwd=own.directory,
        env={"MINBUILD_STORE": own.store},
    )
    assert result.returncode == 6, result.stderr
    assert "closed" in result.stderr
    assert "Traceback" not in result.stderr
