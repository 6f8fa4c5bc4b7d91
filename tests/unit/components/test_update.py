"""The host's command `update` on a directory as its ESP: what others met in the field, and attacks.

mount, umount, findfs, df, modprobe, reboot and signify-openbsd are programs of the test, called by their
paths, since BusyBox would take its own; the shell and all else are BusyBox alone, as on a host; the web
server, keys and signify are real ones.
"""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from minbuild.distribution.reference import parse_reference
from minbuild.distribution.signify import generate_keys, read_secret_key
from minbuild.manifest.loader import read_manifest
from minbuild.pipeline.push_pull import PushRequest, push_builds
from minbuild.progress import SilentProgress
from tests.support.published import make_image, write_build
from tests.support.registry import registry_toolbox, serve_registry
from tests.support.server import Fault, Server, serve

pytestmark = pytest.mark.mirror
MANIFEST = """\
minbuild: 1
name: rack
extends: [host.yaml]
vars:
  version: {version}
  update_from: "{url}"
  update_keys: [{keys}]
  update_tag: stable
  health_seconds: 5
  health_test: "{test}"
boot: {{use: [update]}}
"""
PROGRAM = re.compile(
    r"(?m)(?<![\w./-])(mount|umount|findfs|df|modprobe|reboot|signify-openbsd)(?= |$)"
)
"""Where a script calls one of the test's programs."""
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
NEVER = 1 << 40
APPLETS = (
    "awk",
    "cat",
    "cut",
    "date",
    "dd",
    "grep",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "sha256sum",
    "sync",
    "timeout",
    "tr",
    "wc",
    "wget",
)
"""Those that components/boot/update.yaml asks for, but those in whose place the test has programs."""


URL, KEY = "http://server.example.net", "PUBLISHERS-KEY"
"""What stands for them in what is rendered, once for all tests."""


@functools.cache
def render(version: int, test: str) -> dict[str, str]:
    """The files of a host of this version."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "rack.yaml")
        path.write_text(MANIFEST.format(version=version, url=f"{URL}/hosts", keys=KEY, test=test))
        manifest = read_manifest(path, settings={}, components=())
    return {
        str(one.path): one.content.decode() for each in manifest.components for one in each.files
    }


@dataclass
class Field:
    """A host in the field, and its publisher's web server."""

    directory: Path
    server: Server
    version: int = 7
    keys: tuple[str, ...] = ("k",)
    test: str = "true"
    capacity: int = 1 << 30
    """Bytes of the ESP."""
    programs: dict[str, str] = field(default_factory=dict)

    @property
    def linux(self) -> Path:
        return self.directory / "run/esp/EFI/Linux"

    @property
    def log(self) -> str:
        """What the host said on its console."""
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    @property
    def has_restarted(self) -> bool:
        return (self.directory / "restarted").exists()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.linux.iterdir())

    def put(self, name: str, text: bytes) -> None:
        (self.linux / name).write_bytes(make_image(text))

    def set_loader(self, selected: str, counted: str = "") -> None:
        """What systemd-boot told the host that it started."""
        for name, value in (("LoaderEntrySelected", selected), ("LoaderBootCountPath", counted)):
            path = self.directory / "vars" / f"{name}-{LOADER}"
            path.unlink(missing_ok=True)
            if value:
                path.write_bytes(b"\6\0\0\0" + f"{value}\0".encode("utf-16-le"))

    def publish(
        self, version: int, text: bytes, *, keys: tuple[str, ...] = ("k",), name: str = "rack",
        expires: int = NEVER, arch: str = "amd64",
    ) -> None:  # fmt: skip
        shutil.rmtree(self.server.directory / "hosts", ignore_errors=True)
        build = write_build(self.directory / f"build-{text.hex()}", make_image(text), arch=arch)
        shutil.rmtree(self.directory / "store", ignore_errors=True)
        request = PushRequest(
            parse_reference(f"oci:{self.server.directory}/hosts:stable"), (build,), name=name,
            version=version, expires=expires,
            keys=tuple(read_secret_key(self.directory / f"{key}.sec") for key in keys),
        )  # fmt: skip
        push_builds(request, {}, SilentProgress())

    def write_host(self) -> None:
        """Write the scripts of a host of this version, moved below the directory."""
        lines = "".join(
            (self.directory / f"{key}.pub").read_text().splitlines(keepends=True)[1]
            for key in self.keys
        )
        files = {
            path: text.replace(URL, self.server.url).replace(KEY, lines.rstrip())
            for path, text in render(self.version, self.test).items()
        }
        moved = {
            "/usr/lib/minbuild/init": "init", "/usr/lib/minbuild/steps/90-update": "update",
            "/etc/minbuild/update.keys": "update.keys",
        }  # fmt: skip
        places = {
            "/usr/lib/minbuild/": "", "/etc/minbuild/": "", "/sys/firmware/efi/efivars": "vars",
            "/run/": "run/", "/data/": "data/", "/proc/sys/vm/drop_caches": "caches",
        }  # fmt: skip
        for source, target in moved.items():
            script = files[source]
            for place, there in places.items():
                script = script.replace(place, f"{self.directory}/{there}")
            script = script.replace(">/dev/kmsg", f">>{self.directory}/log")
            script = PROGRAM.sub(rf"{self.directory}/first/\1", script)
            path = self.directory / target
            path.write_text(script.replace("PATH=/usr/bin:/usr/sbin:/bin:/sbin", "PATH=$PATH"))
            path.chmod(0o755)

    def run(self, *argv: str, code: int = 0) -> str:
        """What the command says."""
        self.write_host()
        self.programs["df"] = (
            f"echo x; echo esp 100 1 $((({self.capacity} - $(cat {self.linux}/* | wc -c)) / 1024)) 1% /esp"
        )
        for name, text in self.programs.items():
            program = self.directory / "first" / name
            program.unlink(missing_ok=True)
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        words = [str(self.directory / "bin/sh"), str(self.directory / "update"), *argv]
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            cwd=self.directory,
            env={"PATH": f"{self.directory}/first:{self.directory}/bin"},
            timeout=120,
        )
        assert done.returncode == code, (done.stdout, done.stderr, self.log)
        return done.stdout + done.stderr

    def update(self) -> None:
        self.run("fetch")
        self.run("apply")

    def judge(self) -> str:
        """What a start of the host says in the end."""
        self.run("start")
        return self.log


@pytest.fixture
def host(tmp_path: Path, busybox: Path) -> Iterator[Field]:
    """A host of version 7, found good, with version 6 beside it; version 8 is published."""
    for name in ("web", "vars", "first", "run/minbuild", "run/esp/EFI/Linux", "run/esp/minbuild"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("k", "next", "stranger"):
        generate_keys(tmp_path / f"{name}.pub", tmp_path / f"{name}.sec")
    shutil.copytree(busybox, tmp_path / "bin", symlinks=True)
    for applet in APPLETS:
        if not (tmp_path / "bin" / applet).is_symlink():
            (tmp_path / "bin" / applet).symlink_to("busybox")
    for state in ("modules", "lease"):
        (tmp_path / "run/minbuild" / state).touch()
    os.mkfifo(tmp_path / "run/minbuild/never")
    box = registry_toolbox()
    words = " ".join(f"'{word}'" for word in box.build_argv("signify-openbsd"))
    with serve(tmp_path / "web") as server:
        host = Field(tmp_path, server)
        host.programs = {
            "signify-openbsd": f'exec {words} "$@"', "findfs": "echo /dev/esp", "mount": "exit 0",
            "umount": "exit 0", "modprobe": "exit 0", "reboot": f": >{tmp_path}/restarted",
        }  # fmt: skip
        host.put("rack_6.efi", b"six")
        host.put("rack_7.efi", b"seven")
        host.set_loader("rack_7.efi")
        host.publish(8, b"eight")
        yield host


def test_what_is_published_is_fetched_and_gets_its_tries(host: Field) -> None:
    assert "version 8 is offered" in host.run("check")
    assert "version 8 is here" in host.run("fetch")
    assert host.names() == ["rack_6.efi", "rack_7.efi", "rack_8.part"]
    assert (host.linux / "rack_8.part").read_bytes() == make_image(b"eight")
    assert not host.has_restarted
    assert "rack_8.part: fetched, not tried" in host.run("status")
    host.run("apply")
    assert host.names() == ["rack_6.efi", "rack_7.efi", "rack_8+3.efi"]
    assert host.has_restarted


def test_of_the_next_version_only_what_changed_is_fetched(host: Field) -> None:
    host.update()
    (host.linux / "rack_8+3.efi").rename(host.linux / "rack_8.efi")
    host.version = 8
    host.publish(9, b"nine")
    before = len(host.server.requests)
    host.run("fetch")
    assert (host.linux / "rack_9.part").read_bytes() == make_image(b"nine")
    blobs = [path for path in host.server.requests[before:] if "/blobs/" in path]
    # index, manifest, recipe, signature's manifest and itself, headers, first segment, padding
    assert len(blobs) <= 8, blobs


def test_a_broken_line_is_taken_up_where_it_broke(host: Field) -> None:
    kernel = make_image(b"eight").find(b"K" * 6000)
    assert kernel > 0
    largest = max((host.server.directory / "hosts/blobs/sha256").iterdir(), key=lambda one: one.stat().st_size)  # fmt: skip
    host.server.fail(largest.name, Fault.TRUNCATE)
    host.run("fetch")
    assert any(largest.name in one and "bytes=" in one for one in host.server.requests)
    assert (host.linux / "rack_8.part").read_bytes() == make_image(b"eight")


def test_a_part_that_was_whole_when_the_line_broke_is_not_asked_for_again(host: Field) -> None:
    blob = blob_with(host, b"K" * 6000)
    (host.directory / "run/update").mkdir()
    shutil.copyfile(blob, host.directory / "run/update/part")
    (host.directory / "run/update/part.of").write_text(f"{blob.name}\n")
    (host.linux / "rack_8.part").write_bytes(make_image(b"eight").partition(b"K" * 6000)[0])
    host.run("fetch")
    assert (host.linux / "rack_8.part").read_bytes() == make_image(b"eight")
    assert not [one for one in host.server.requests if blob.name in one]


def test_a_part_of_a_former_attempt_is_kept_and_what_is_wrong_in_it_found(host: Field) -> None:
    (host.linux / "rack_8.part").write_bytes(make_image(b"eight")[:700])
    host.run("fetch")
    assert (host.linux / "rack_8.part").read_bytes() == make_image(b"eight")
    host.put("rack_8.part", b"other")
    assert "not what was signed" in host.run("fetch", code=1)
    assert "rack_8.part" not in host.names()


def test_a_registry_serves_as_well_as_a_web_server(host: Field, tmp_path: Path) -> None:
    with serve_registry(tmp_path / "registry") as registry:
        build = write_build(tmp_path / "build", make_image(b"eight"))
        request = PushRequest(
            parse_reference(f"{registry.address}/hosts:stable"), (build,), name="rack", version=8,
            keys=(read_secret_key(tmp_path / "k.sec"),), plain_http=True,
        )  # fmt: skip
        push_builds(request, {"HOME": str(tmp_path)}, SilentProgress())
        host.server.url = f"http://{registry.address}/v2"
        host.run("fetch")
    assert (host.linux / "rack_8.part").read_bytes() == make_image(b"eight")


# what a registry or mirror does


def refuse(host: Field, said: str) -> None:
    """A fetch that fails with these words and leaves every version as it is."""
    before = {path.name: path.read_bytes() for path in host.linux.iterdir()}
    assert said in host.run("fetch", code=1)
    assert {path.name: path.read_bytes() for path in host.linux.iterdir()} == before
    assert not host.has_restarted
    assert "FAILED" in host.log


def blob_with(host: Field, text: bytes) -> Path:
    blobs = (host.server.directory / "hosts/blobs/sha256").iterdir()
    return next(one for one in blobs if text in one.read_bytes())


@pytest.mark.parametrize("text", [b"K" * 6000, b"minbuild-recipe 1", b"signature of key"])
def test_lies_are_refused(host: Field, text: bytes) -> None:
    blob = blob_with(host, text)
    data = blob.read_bytes()
    blob.write_bytes(data[:-3] + b"!!!")
    assert "lies: it gives other bytes" in host.run("fetch", code=1)
    assert host.names()[:2] == ["rack_6.efi", "rack_7.efi"]


def test_endless_answers_are_cut_off(host: Field) -> None:
    blob = blob_with(host, b"signature of key")
    blob.write_bytes(blob.read_bytes() + bytes(1 << 20))
    assert host.run("fetch", code=1)
    assert host.names() == ["rack_6.efi", "rack_7.efi"]


def test_a_strange_key_is_refused_and_either_of_two_is_taken(host: Field) -> None:
    host.publish(8, b"eight", keys=("stranger",))
    refuse(host, "not signed by a key of this host")
    host.keys = ("k", "next")
    host.publish(8, b"eight", keys=("stranger", "next"))
    assert "version 8 is here" in host.run("fetch")


def test_an_unsigned_host_is_refused(host: Field) -> None:
    host.publish(8, b"eight", keys=())
    refuse(host, "gives no signature")


def test_another_host_or_architecture_is_refused(host: Field) -> None:
    host.publish(8, b"eight", name="edge")
    refuse(host, "this is the host edge, not rack")
    host.publish(8, b"eight", arch="arm64")
    refuse(host, "no host for amd64")


def test_what_has_expired_is_refused(host: Field) -> None:
    host.publish(8, b"eight", expires=1)
    refuse(host, "was to be believed until")


def test_what_is_withheld_is_told(host: Field) -> None:
    blob_with(host, b"K" * 6000).unlink()
    assert "withholds" in host.run("fetch", code=1)
    blob_with(host, b"signature of key").unlink()
    assert "withholds" in host.run("fetch", code=1)


def test_an_older_version_is_refused_than_runs_or_was_ever_fetched(host: Field) -> None:
    host.publish(5, b"five")
    refuse(host, "goes back: version 5")
    (host.directory / "run/esp/minbuild/newest").write_text("9\n")
    host.publish(8, b"eight")
    refuse(host, "goes back: version 8, and 9 was there")


# what others met in the field


def test_the_version_that_runs_is_never_written_over(host: Field) -> None:
    host.publish(7, b"another seven")
    assert "is the newest" in host.run("fetch", code=1)
    assert (host.linux / "rack_7.efi").read_bytes() == make_image(b"seven")


def test_a_full_esp_is_told_before_anything_goes(host: Field) -> None:
    host.capacity = 60_000
    assert "the ESP is full" in host.run("fetch", code=1)
    assert host.names() == ["rack_6.efi", "rack_7.efi"]


def test_the_version_before_goes_only_when_the_new_one_needs_its_place(host: Field) -> None:
    host.capacity = 2 * len(make_image()) + 65536 + 5000
    host.run("fetch")
    assert "rack_6.efi" not in host.names()
    assert "rack_7.efi" in host.names()


def test_a_second_update_between_restarts_takes_the_place_of_the_first(host: Field) -> None:
    host.run("fetch")
    host.publish(9, b"nine")
    host.run("fetch")
    assert host.names() == ["rack_6.efi", "rack_7.efi", "rack_9.part"]


def test_a_version_that_is_not_judged_yet_fetches_nothing(host: Field) -> None:
    (host.linux / "rack_7.efi").rename(host.linux / "rack_7+2-1.efi")
    assert "not found good yet" in host.run("fetch", code=1)
    assert "not found good yet" in host.run("apply", code=1)


def test_what_is_not_whole_is_not_tried(host: Field) -> None:
    host.run("fetch")
    (host.linux / "rack_8.part").write_bytes(make_image(b"eight")[:-1] + b"!")
    assert "not whole" in host.run("apply", code=1)
    assert not host.has_restarted


def start_new(host: Field, counter: str = "+2-1") -> None:
    """The host as the newer version that is tried, with so many tries left and done."""
    host.put(f"rack_8{counter}.efi", b"eight")
    host.version = 8
    host.set_loader("rack_8.efi", f"\\EFI\\Linux\\rack_8{counter}.efi")


def test_a_healthy_version_is_good_and_loses_its_counter(host: Field) -> None:
    start_new(host)
    assert "version 8 is good" in host.judge()
    assert host.names() == ["rack_6.efi", "rack_7.efi", "rack_8.efi"]
    assert not host.has_restarted


def test_an_unhealthy_version_restarts_and_keeps_its_counter(host: Field) -> None:
    start_new(host)
    (host.directory / "run/minbuild/lease").unlink()
    assert "not healthy: lease was not reached in 5 s" in host.judge()
    assert host.has_restarted
    assert "rack_8+2-1.efi" in host.names()


def test_a_test_of_one_s_own_decides_too(host: Field) -> None:
    start_new(host)
    host.test = "false"
    assert "not healthy: the test failed: false" in host.judge()
    assert host.has_restarted


def test_a_guest_that_ran_before_has_to_run_again(host: Field) -> None:
    start_new(host)
    (host.directory / "run/esp/minbuild/guests").write_text("web \n")
    assert "guest web does not run again" in host.judge()
    assert host.has_restarted


def test_a_version_that_was_good_does_not_restart_for_want_of_health(host: Field) -> None:
    """Nothing else is to be tried: it would restart for ever."""
    (host.directory / "run/minbuild/lease").unlink()
    assert "version 7 is not healthy" in host.judge()
    assert not host.has_restarted


def test_a_counter_that_is_another_entry_s_is_not_taken_for_its_own(host: Field) -> None:
    """systemd-boot leaves LoaderBootCountPath from an entry that it could not start."""
    host.put("rack_8+0-2.efi", b"eight")
    host.set_loader("rack_7.efi", "\\EFI\\Linux\\rack_8+0-2.efi")
    said = host.judge()
    assert "version 7 was good" in said
    assert "version 8 was tried and failed: it did not start" in said
    assert "rack_8+0-2.efi" in host.names()


def test_a_twin_without_counter_does_not_stay_beside_what_is_good(host: Field) -> None:
    start_new(host)
    host.put("rack_8.efi", b"cut off")
    host.judge()
    assert host.names() == ["rack_6.efi", "rack_7.efi", "rack_8.efi"]
    assert (host.linux / "rack_8.efi").read_bytes() == make_image(b"eight")


def test_what_failed_is_not_tried_again_until_a_newer_one_comes(host: Field) -> None:
    host.put("rack_8+0-3.efi", b"eight")
    assert "was tried and failed" in host.run("fetch", code=1)
    host.judge()
    (host.linux / "rack_8+0-3.efi").unlink()
    (host.directory / "run/esp/minbuild/newest").write_text("8\n")
    assert "was tried and failed" in host.run("fetch", code=1)
    host.publish(9, b"nine")
    assert "version 9 is here" in host.run("fetch")


def test_back_gives_the_version_up_that_runs(host: Field) -> None:
    host.run("back")
    assert host.names() == ["rack_6.efi", "rack_7+0.efi"]
    assert host.has_restarted


def test_back_needs_a_version_that_was_found_good(host: Field) -> None:
    (host.linux / "rack_6.efi").rename(host.linux / "rack_6+0-3.efi")
    assert "no other version" in host.run("back", code=1)
    assert "rack_7.efi" in host.names()
    assert not host.has_restarted


def test_without_systemd_boot_there_is_nothing_to_judge(host: Field) -> None:
    host.set_loader("")
    assert "runs without systemd-boot" in host.judge()
    assert not host.has_restarted


def test_status_says_why_a_version_failed(host: Field) -> None:
    host.put("rack_8+0-3.efi", b"eight")
    (host.directory / "run/esp/minbuild/why").write_text("lease was not reached in 5 s\n")
    said = host.run("status")
    assert "version 8 failed" in said
    assert "not healthy: lease was not reached in 5 s" in said
