"""A container image is its root for every command, whatever its form; never its blobs."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minbuild.cli.main import run_command_line
from minbuild.errors import MinbuildError, ToolError, UsageError
from minbuild.footprint import document
from minbuild.formats.root_entry import FileType
from minbuild.pipeline.installed_root import check_root
from minbuild.pipeline.session import Session
from minbuild.roots.oci import ANY_IMAGE, Container, ImageChoice
from minbuild.roots.oci_blobs import BlobDirectory
from tests.support import images
from tests.support.elf import LOADER, Elf, elf
from tests.support.footprints import tiny
from tests.support.images import ContainerImage
from tests.support.measured_inputs import measure_input
from tests.support.tars import Row, tar

APP = elf(Elf(interp=LOADER, needed=("liba.so.1",)))
BASE = tar(
    Row(b"usr/bin/", "5"), Row(b"usr/bin/app", body=APP, mode=0o4755), Row(b"etc/old", body=b"x")
)
TOP = tar(Row(b"etc/.wh.old", form="pax"), Row(b"etc/new", body=b"new"))
IMAGE = ContainerImage([BASE, TOP])
PATHS = ["/etc", "/etc/new", "/usr", "/usr/bin", "/usr/bin/app"]
FORMS: dict[str, Callable[[Path], Path]] = {
    "oci": lambda top: images.write_blobs(images.oci(IMAGE), top / "image"),
    "oci without oci-layout": lambda top: images.write_blobs(without(images.oci(IMAGE), "oci-layout"), top / "image"),
    "oci tar": lambda top: images.pack_blobs(images.oci(IMAGE), top / "image.tar"),
    "docker save": lambda top: images.pack_blobs(images.docker_archive(IMAGE), top / "image.tar"),
    "docker save, laid": lambda top: images.write_blobs(images.docker_archive(IMAGE), top / "image"),
    "docker save of today": lambda top: images.pack_blobs({**images.docker_archive(IMAGE), **images.oci(IMAGE)}, top / "image.tar"),
    "skopeo's dir:": lambda top: images.write_blobs(images.skopeo_directory(IMAGE), top / "image"),
}  # fmt: skip


def without(blobs: images.Blobs, name: str) -> images.Blobs:
    return {key: data for key, data in blobs.items() if key != name}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_is_reported_as_its_root(tmp_path: Path, form: str) -> None:
    found = measure_input(str(FORMS[form](tmp_path)))
    assert [row.path for row in found.files] == PATHS
    assert found.surface is not None
    assert ("setuid", "/usr/bin/app") in {
        (str(one.kind), one.subject) for one in found.surface.findings
    }
    assert sum(row.packed for row in found.sections) == found.totals.packed


@pytest.mark.parametrize("form", FORMS)
def test_an_image_is_checked_as_its_root(tmp_path: Path, form: str) -> None:
    found = check_root(FORMS[form](tmp_path), Session(tmp_path / "store"))
    assert {one.wanted for one in found.dangling} == {LOADER, "liba.so.1"}


@pytest.mark.parametrize("words", [["report"], ["check-tree"], ["why"], ["diff"]])
def test_several_images_are_said_and_one_is_chosen(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    two = (
        ContainerImage([BASE]),
        ContainerImage([tar(Row(b"other", body=APP))], arch="arm", variant="v7"),
    )
    place = str(images.write_blobs(images.oci(*two), tmp_path / "image"))
    more = {"why": ["/other"], "diff": [place]}.get(words[0], [])
    assert run_command_line([*words, place, *more]) == 2
    said = capsys.readouterr().err
    assert "it holds 2 images: linux/amd64 latest; linux/arm/v7 latest" in said
    assert "--platform linux/amd64" in said
    assert run_command_line([*words, place, *more, "--platform", "linux/arm"]) in (0, 1)
    assert "error" not in capsys.readouterr().err
    assert run_command_line([*words, place, *more, "--platform", "linux/s390x"]) == 6


@pytest.mark.parametrize("tell", [True, False])
@pytest.mark.parametrize("form", ["oci", "saved"])
def test_tags_and_platforms_are_known_where_the_index_is_silent(
    tmp_path: Path, form: str, tell: bool
) -> None:
    two = (ContainerImage([BASE], tag="a"), ContainerImage([TOP], tag="b", arch="arm64"))
    blobs = images.oci(*two, tell=tell) if form == "oci" else images.docker_archive(*two)
    place = images.write_blobs(blobs, tmp_path / "image")
    start = "" if form == "oci" else "t:"

    def paths(choice: ImageChoice) -> set[str]:
        found = Container("image", BlobDirectory(place), tmp_path, choice).walk()
        return {one.native_path for one in found if one.kind is not FileType.DIRECTORY}

    with pytest.raises(UsageError, match="2 images"):
        paths(ANY_IMAGE)
    assert paths(ImageChoice(arch="arm64")) == paths(ImageChoice(tag=f"{start}b")) == {"etc/new"}
    assert "usr/bin/app" in paths(ImageChoice(platform="linux/amd64"))


def test_an_attestation_beside_an_image_is_none(tmp_path: Path) -> None:
    blobs = images.oci(IMAGE)
    index = json.loads(blobs["index.json"])
    extra = {**index["manifests"][0], "platform": {"architecture": "unknown", "os": "unknown"}}
    index["manifests"].append(extra)
    blobs["index.json"] = json.dumps(index).encode()
    found = measure_input(str(images.write_blobs(blobs, tmp_path / "image")))
    assert [row.path for row in found.files] == PATHS


@pytest.mark.parametrize("how", ["annotations", "config"])
def test_what_looks_like_an_attestation_and_could_be_started_is_an_image(
    tmp_path: Path, how: str
) -> None:
    blobs = images.oci(ContainerImage([TOP]), ContainerImage([BASE]))
    index = json.loads(blobs["index.json"])
    if how == "annotations":
        index["manifests"][0]["annotations"] = {"vnd.docker.reference.type": "attestation-manifest"}
    else:
        digest = index["manifests"][0]["digest"].partition(":")[2]
        changed = blobs.pop(f"blobs/sha256/{digest}").replace(b"image.config.v1", b"other.v1")
        digest = hashlib.sha256(changed).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = changed
        index["manifests"][0]["digest"] = f"sha256:{digest}"
    blobs["index.json"] = json.dumps(index).encode()
    with pytest.raises(UsageError, match="it holds 2 images"):
        measure_input(str(images.write_blobs(blobs, tmp_path / "image")))


def nested(depth: int) -> images.Blobs:
    """Indices in indices."""
    blobs = images.oci(IMAGE)
    for _ in range(depth):
        data = blobs["index.json"]
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        blobs["index.json"] = json.dumps({"manifests": [{"digest": f"sha256:{digest}"}]}).encode()
    return blobs


def test_an_index_in_an_index_is_followed(tmp_path: Path) -> None:
    found = measure_input(str(images.write_blobs(nested(2), tmp_path / "image")))
    assert [row.path for row in found.files] == PATHS


def changed(name: str, data: bytes) -> images.Blobs:
    return {**images.oci(IMAGE), name: data}


def spoilt(start: str) -> images.Blobs:
    """A blob with another byte at its end."""
    blobs = images.oci(IMAGE)
    name = max(
        key for key in blobs if key.startswith("blobs") and blobs[key].startswith(start.encode())
    )
    return {**blobs, name: blobs[name] + b" "}


SAVED = images.docker_archive(IMAGE)
BAD: dict[str, images.Blobs] = {
    "brackets": changed("index.json", b"[" * 200_000),
    "nested brackets": changed("index.json", b'{"manifests":' * 100_000),
    "no JSON": changed("index.json", b"{"),
    "another value": changed("index.json", b'{"manifests": 5}'),
    "rows that are none": changed("index.json", b'{"manifests": [5]}'),
    "too large": changed("index.json", b" " * (5 << 20)),
    "no manifest": changed("index.json", b'{"manifests": []}'),
    "a digest of another kind": changed("index.json", b'{"manifests": [{"digest": "md5:1"}]}'),
    "a blob that is not there": changed("index.json", json.dumps({"manifests": [{"digest": "sha256:" + "a" * 64}]}).encode()),
    "indices without end": nested(6),
    "a spoilt manifest": spoilt("{"),
    "a spoilt layer": spoilt("\x1f"),
    "no index": without(images.oci(IMAGE), "index.json"),
    "layers that are no list": {"manifest.json": b'[{"Layers": 3}]'},
    "a layer outside": {"manifest.json": b'[{"Layers": ["../../etc/passwd"]}]'},
    "a layer that is not there": without(SAVED, next(name for name in SAVED if name.endswith(".tar"))),
    "another layer than told": {**SAVED, next(name for name in SAVED if name.endswith(".tar")): TOP},
    "two lists that differ": {**images.docker_archive(ContainerImage([TOP])), **images.oci(ContainerImage([BASE]))},
    "a layer that is no tar": images.oci(ContainerImage([b"x" * 600])),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("form", ["laid", "packed"])
def test_a_damaged_image_is_an_error_and_no_root(tmp_path: Path, name: str, form: str) -> None:
    make = images.write_blobs if form == "laid" else images.pack_blobs
    place = make(BAD[name], tmp_path / "image.tar")
    with pytest.raises(ToolError, match="root cannot be used"):
        measure_input(str(place))
    with pytest.raises(MinbuildError):
        check_root(place, Session(tmp_path / "store"))


def test_a_build_is_checked_by_its_image(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    (build / "footprint.json").write_text(document.render_footprint(tiny()))
    with pytest.raises(UsageError, match="no image beside it"):
        check_root(build, Session(tmp_path / "store"))
    (build / "host.tar").write_bytes(BASE)
    found = check_root(build, Session(tmp_path / "store"))
    assert {one.wanted for one in found.dangling} == {LOADER, "liba.so.1"}
    (build / "other.tar").write_bytes(BASE)
    with pytest.raises(UsageError, match=r"several images: host\.tar, other\.tar"):
        check_root(build, Session(tmp_path / "store"))


def test_a_file_that_is_a_tar_and_a_disk_is_neither(tmp_path: Path) -> None:
    block = bytearray(BASE)
    block[510:512] = b"\x55\xaa"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    (tmp_path / "a").write_bytes(block)
    with pytest.raises(UsageError, match="and as something else"):
        measure_input(str(tmp_path / "a"))


def test_a_tar_is_reported_as_it_unpacks_for_root(tmp_path: Path) -> None:
    """Two names of one directory where /bin is no link, devices, set-group-ID, a top for all."""
    (tmp_path / "a.tar").write_bytes(tar(
        Row(b"./", "5", mode=0o777), Row(b"bin/", "5"), Row(b"bin/su", body=b"#!/x\n", mode=0o4755),
        Row(b"usr/bin/", "5", mode=0o2775), Row(b"usr/bin/su", body=b"#!/y\n", mode=0o2755),
        Row(b"dev/mem", "3", mode=0o666, device=(1, 1)), Row(b"dev/null", "3", mode=0o666, device=(1, 3)),
        Row(b"p", "6", mode=0o622), Row(b"ping", body=b"x", mode=0o755, form="pax", pax=[
            (b"LIBARCHIVE.xattr.security.capability", b"AQAAAgAgAAAAAAAAAAAAAAAAAAA")]),
    ))  # fmt: skip
    found = measure_input(str(tmp_path / "a.tar"))
    assert found.surface is not None
    said = {(str(one.kind), one.subject) for one in found.surface.findings}
    assert said >= {
        ("setuid", "/bin/su"), ("setgid", "/usr/bin/su"), ("world-writable", "/dev/mem"),
        ("world-writable", "/p"), ("world-writable", "/"), ("capability", "/ping"),
    }  # fmt: skip
    assert ("world-writable", "/dev/null") not in said
    assert next(row.mode for row in found.files if row.path == "/usr/bin") == 0o2775
    assert found.totals.files == 3


def test_a_table_of_an_image_of_others_says_what_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tar").write_bytes(BASE)
    assert run_command_line(["report", str(tmp_path / "a.tar"), "--by", "package"]) == 0
    assert "[in no package]" in (said := capsys.readouterr().out)
    assert "[made by minbuild]" not in said
    assert run_command_line(["report", str(tmp_path / "a.tar")]) == 0
    said = capsys.readouterr().out
    assert "unowned " in said
    assert "hypervisor " not in said


def test_digests_of_sha512_are_held_too(tmp_path: Path) -> None:
    blobs = images.oci(IMAGE)
    index = json.loads(blobs["index.json"])
    name = f"blobs/sha256/{index['manifests'][0]['digest'].partition(':')[2]}"
    digest = hashlib.sha512(blobs[name]).hexdigest()
    index["manifests"][0]["digest"] = f"sha512:{digest}"
    blobs[f"blobs/sha512/{digest}"] = blobs.pop(name)
    blobs["index.json"] = json.dumps(index).encode()
    place = images.write_blobs(blobs, tmp_path / "image")
    assert [row.path for row in measure_input(str(place)).files] == PATHS
    with (place / f"blobs/sha512/{digest}").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ToolError, match="another digest"):
        measure_input(str(place))


@pytest.mark.parametrize("paper", ["config.json", "metadata.yaml"])
@pytest.mark.parametrize("form", ["laid", "packed"])
def test_a_bundle_around_a_root_is_no_root(tmp_path: Path, paper: str, form: str) -> None:
    make = images.write_blobs if form == "laid" else images.pack_blobs
    place = make({"rootfs/usr/bin/app": APP, paper: b"{}"}, tmp_path / "bundle")
    with pytest.raises(UsageError, match="bundle around a root"):
        measure_input(str(place))


def test_what_holds_nothing_that_runs_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar(Row(b"index.html", body=b"x")))
    with pytest.raises(UsageError, match="nothing to prove: it holds no program"):
        check_root(tmp_path / "a.tar", Session(tmp_path / "store"))


@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_a_root_may_hold_a_document_of_that_name(tmp_path: Path, name: str) -> None:
    place = images.write_blobs({"usr/bin/app": APP, name: b'{"pages": []}'}, tmp_path / "root")
    assert "/usr/bin/app" in {row.path for row in measure_input(str(place)).files}


def test_a_gate_is_not_passed_by_a_root_that_is_not_merged(tmp_path: Path) -> None:
    socket = b"[Socket]\nListenStream=4444\n"
    (tmp_path / "a.tar").write_bytes(tar(
        Row(b"bin/perl", body=APP, mode=0o755), Row(b"usr/bin/x", body=APP), Row(b"usr/lib/x", body=b"x"),
        Row(b"lib/systemd/system/a.socket", body=socket), Row(b"lib/modules/6.1/kernel/a.ko", body=b"x"),
    ))  # fmt: skip
    (tmp_path / "budget.yaml").write_text("minbuild-budget: 1\ndeny: {paths: [/usr/bin/perl*]}\n")
    found = measure_input(str(tmp_path / "a.tar"))
    assert found.surface is not None
    said = {(str(one.kind), one.subject) for one in found.surface.findings}
    assert {("listener", "4444/tcp"), ("module", "a")} <= said
    words = ["check", str(tmp_path / "a.tar"), "--budget", str(tmp_path / "budget.yaml")]
    assert run_command_line(words) == 1


@pytest.mark.parametrize("name", ["{}", "blobs/{}", "\0", "\ud800", "x" * 300, "loop/a"])
def test_no_name_of_an_image_leads_out_of_its_directory(tmp_path: Path, name: str) -> None:
    """An absolute one, one through a link, and those that the file system cannot have."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("{}")
    top = tmp_path / "image"
    top.mkdir()
    (top / "blobs").symlink_to(outside)
    (top / "loop").symlink_to("loop")
    row = {"Config": name.format(outside / "secret" if name == "{}" else "secret"), "Layers": []}
    (top / "manifest.json").write_text(json.dumps([row]))
    with pytest.raises(ToolError, match=r"it lacks|cannot be read"):
        Container("image", BlobDirectory(top), tmp_path, ANY_IMAGE)
