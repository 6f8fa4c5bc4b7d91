"""An installed root as the place where files come from."""

import json
import lzma
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest

from minbuild.errors import ToolError
from minbuild.formats.root_entry import FileType
from minbuild.paths import RootPath
from minbuild.pipeline.installed_root import make_external_readers
from minbuild.pipeline.session import Session
from minbuild.roots.directory import Directory
from minbuild.roots.model import UNOWNED
from minbuild.roots.open import open_root_source
from minbuild.roots.root_packages import RootPackages
from tests.dib import rpms
from tests.dib.installed import as_disk, as_layout, as_tar, install, paths
from tests.e2e.small_host import PACKAGES, Small, minbuild
from tests.support.cache import cache_directory
from tests.support.deb import Member, tar

STORE = cache_directory("lab")


DATABASES = [
    ("sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"),
    ("ndb", "usr/lib/sysimage/rpm/Packages.db"),
    ("bdb", "var/lib/rpm/Packages"),
]


def list_files(small: Small, *argv: str) -> dict[str, dict[str, object]]:
    """The files of a plan, by path, without those of /usr/lib itself, which every package has."""
    ended = minbuild(*small.argv("plan", "small.yaml", "--json", *argv), cwd=small.directory)
    assert ended.code == 0, ended.err
    return {
        row["path"]: {key: row[key] for key in ("type", "mode", "sha256", "target", "package")}
        for row in json.loads(ended.out)["files"]
        if row["type"] != "directory"
    }


@pytest.mark.parametrize("form", ["directory", "tar", "tar.xz", "layout"])
def test_a_root_gives_the_files_that_its_packages_give(small: Small, form: str) -> None:
    small.write()
    path = small.directory / f"root.{form}"
    match form:
        case "directory":
            install(PACKAGES, path)
        case "tar":
            path.write_bytes(as_tar(PACKAGES))
        case "tar.xz":
            path.write_bytes(lzma.compress(as_tar(PACKAGES)))
        case _:
            as_layout(path, as_tar(PACKAGES))
    assert list_files(small, "--root", str(path)) == list_files(small)


@pytest.mark.mirror
@pytest.mark.parametrize("form", ["whole", "partition"])
def test_a_disk_is_read_as_its_tree(tmp_path: Path, form: str) -> None:
    tree = install(PACKAGES, tmp_path / "tree")
    disk = as_disk(tree, tmp_path / "disk", table=form == "partition")
    session = Session(STORE)
    (tmp_path / "work").mkdir()
    result = RootPackages(
        open_root_source(disk, tmp_path / "work", lambda: make_external_readers(session))
    )
    expected = RootPackages(Directory(tree))
    assert list_owners(result) == list_owners(expected)
    hello = RootPath("/usr/bin/hello")
    assert result.read_entry(hello).sha256 == expected.read_entry(hello).sha256
    assert not session.toolboxes, "no program reads it"


def list_owners(offer: RootPackages) -> dict[str, tuple[RootPath, ...]]:
    """Whose each path is, without what mke2fs makes."""
    return {
        one.owner: tuple(path for path in one.entries if path != "/lost+found")
        for one in offer.files
    }


def test_a_disk_without_a_file_system_is_refused(small: Small) -> None:
    small.write()
    path = small.directory / "empty.raw"
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(1 << 16))
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(path)), cwd=small.directory)
    assert ended.code == 6
    assert "no file system that holds a root" in ended.err


def test_a_qcow2_disk_over_another_file_says_how_to_convert_it(small: Small) -> None:
    small.write()
    path = small.directory / "disk.qcow2"
    path.write_bytes(struct.pack(">4sIQI", b"QFI\xfb", 3, 112, 8) + bytes(4096))
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(path)), cwd=small.directory)
    assert ended.code == 2
    assert "names another file" in ended.err
    assert "qemu-img convert" in ended.err


def test_a_manifest_names_its_root_beside_itself(small: Small) -> None:
    install(PACKAGES, small.directory / "root")
    text = (
        "minbuild: 1\nname: small\narchive: {root: root}\n"
        "kernel: {package: linux-image-cloud-amd64}\n"
        "keep: [{package: hello, paths: [/usr/bin/hello]}]\n"
    )
    (small.directory / "other.yaml").write_text(text, encoding="utf-8")
    small.write()
    ended = minbuild(*small.argv("plan", "other.yaml", "--json"), cwd=small.directory)
    assert ended.code == 0, ended.err
    assert {row["path"] for row in json.loads(ended.out)["files"]} >= set(list_files(small))


def test_a_manifest_for_any_root_needs_no_packages(small: Small) -> None:
    root = install(PACKAGES, small.directory / "root")
    text = "minbuild: 1\nname: any\narchive: root\nkeep: [{paths: [/usr/bin/hello]}]\n"
    (small.directory / "any.yaml").write_text(text, encoding="utf-8")
    small.write()
    argv = small.argv("plan", "any.yaml", "--json")
    ended = minbuild(*argv, "--root", str(root), cwd=small.directory)
    assert ended.code == 0, ended.err
    result = {row["path"] for row in json.loads(ended.out)["files"] if row["type"] != "directory"}
    assert result == set(list_files(small))
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 2
    assert "none is given" in ended.err
    assert "--root PATH" in ended.err
    ended = minbuild(*small.argv("trim", str(root), "any.yaml"), cwd=small.directory)
    assert ended.code == 0, ended.err
    assert (root / "usr/bin/hello").exists()


def test_without_a_root_paths_need_their_package(small: Small) -> None:
    small.write("  - {paths: [/usr/bin/broken]}\n")
    ended = minbuild(*small.argv("plan", "small.yaml"), cwd=small.directory)
    assert ended.code == 3
    assert "the package of these paths is missing" in ended.err


def test_what_a_root_lacks_is_said_with_the_package_to_install(small: Small) -> None:
    small.write("  - {package: nano, paths: [/usr/bin/nano]}\n")
    root = install(PACKAGES, small.directory / "root")
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(root)), cwd=small.directory)
    assert ended.code == 5
    assert "the root holds no /usr/bin/nano" in ended.err
    assert "install nano" in ended.err


def test_a_library_that_the_root_lacks_is_named_with_its_chain(small: Small) -> None:
    small.write("  - {package: broken, paths: [/usr/bin/broken]}\n")
    root = install(PACKAGES, small.directory / "root")
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(root)), cwd=small.directory)
    assert ended.code == 5
    assert "libnowhere.so.7" in ended.err
    assert "/usr/bin/broken" in ended.err


def test_a_diverted_file_belongs_to_whom_it_was_diverted_for(tmp_path: Path) -> None:
    text = "Package: one\n/usr/bin/x file one\n\nPackage: two\n/usr/bin/x file two\n"
    top = install(text, tmp_path / "root")
    (top / "usr/bin/x.one").write_text("one", encoding="utf-8")
    (top / "usr/bin/made").write_text("made", encoding="utf-8")
    (top / "var/lib/dpkg/diversions").write_text(
        "/usr/bin/x\n/usr/bin/x.one\ntwo\n", encoding="utf-8"
    )
    owned = {
        path: files.owner for files in RootPackages(Directory(top)).files for path in files.entries
    }
    assert owned[RootPath("/usr/bin/x")] == "two"
    assert owned[RootPath("/usr/bin/x.one")] == "one"
    assert owned[RootPath("/usr/bin/made")] == UNOWNED


def test_a_module_that_no_package_lists_is_found(small: Small) -> None:
    """As DKMS leaves it."""
    more = "\nPackage: dkms\n/usr/lib/modules/6.1-cloud-amd64/updates/zfs.ko module name=zfs\n"
    root = install(PACKAGES + more, small.directory / "root")
    (root / "var/lib/dpkg/info/dkms.list").unlink()
    small.write()
    text = (small.directory / "small.yaml").read_text(encoding="utf-8")
    text = text.replace("kernel: {", "kernel: {modules: [zfs], ")
    (small.directory / "small.yaml").write_text(text, encoding="utf-8")
    result = list_files(small, "--root", str(root))
    assert result["/usr/lib/modules/6.1-cloud-amd64/updates/zfs.ko"]["package"] == UNOWNED


def test_hard_links_keep_their_first_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("same", encoding="utf-8")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    offer = RootPackages(Directory(tmp_path))
    assert offer.read_entry(RootPath("/a")).kind is FileType.FILE
    assert offer.read_entry(RootPath("/b")).target == "/a"
    assert offer.read_entry(RootPath("/b")).sha256 == offer.read_entry(RootPath("/a")).sha256


def test_a_root_before_merged_usr_is_seen_merged(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "bin/sh").write_text("shell", encoding="utf-8")
    (tmp_path / "usr/bin/sh").symlink_to("/bin/sh")
    offer = RootPackages(Directory(tmp_path))
    assert offer.read_entry(RootPath("/usr/bin/sh")).kind is FileType.FILE
    assert offer.read_content(RootPath("/usr/bin/sh")) == b"shell"


def test_a_layer_hides_what_its_whiteouts_name(small: Small) -> None:
    small.write()
    over = tar([Member("./usr/bin/.wh.hello")])
    path = as_layout(small.directory / "layout", as_tar(PACKAGES), over)
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(path)), cwd=small.directory)
    assert ended.code == 5
    assert "the root holds no /usr/bin/hello" in ended.err


def test_a_layout_for_another_machine_is_refused(small: Small) -> None:
    small.write()
    path = as_layout(small.directory / "layout", as_tar(PACKAGES), arch="arm64")
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(path)), cwd=small.directory)
    assert ended.code == 6
    assert "no image for amd64" in ended.err


@pytest.mark.parametrize("name", ["../outside", "./usr/../../outside"])
def test_a_tar_that_leads_out_of_its_root_is_refused(small: Small, name: str) -> None:
    small.write()
    path = small.directory / "bad.tar"
    path.write_bytes(tar([Member(name, data=b"x")]))
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(path)), cwd=small.directory)
    assert ended.code == 6
    assert "leads out of the root" in ended.err


@pytest.mark.parametrize("part", [0.01, 0.3, 0.95])
def test_a_damaged_root_is_an_error_and_no_traceback(small: Small, part: float) -> None:
    small.write()
    path = small.directory / "cut.tar.xz"
    packed = lzma.compress(as_tar(PACKAGES))
    path.write_bytes(packed[: int(part * len(packed))])
    ended = minbuild(*small.argv("plan", "small.yaml", "--root", str(path)), cwd=small.directory)
    assert ended.code == 6
    assert "Traceback" not in ended.err


def header(name: str, *files: str) -> bytes:
    """One package as an rpm database holds it."""
    directories = sorted({file.rpartition("/")[0] + "/" for file in files})
    indices = [directories.index(file.rpartition("/")[0] + "/") for file in files]
    texts = {1000: name, 1001: "1.0", 1002: "3", 1022: "x86_64"}
    data, index = b"", []
    for tag, text in texts.items():
        index.append(struct.pack(">IIII", tag, 6, len(data), 1))
        data += text.encode() + b"\0"
    data += bytes(-len(data) % 4)
    index.append(struct.pack(">IIII", 1116, 4, len(data), len(indices)))
    data += struct.pack(f">{len(indices)}I", *indices)
    bases = [file.rpartition("/")[2] for file in files]
    for tag, values in ((1117, bases), (1118, directories)):
        index.append(struct.pack(">IIII", tag, 8, len(data), len(values)))
        data += b"".join(value.encode() + b"\0" for value in values)
    return struct.pack(">II", len(index), len(data)) + b"".join(index) + data


def rpm_root(top: Path, blob: bytes) -> Path:
    (top / "usr/bin").mkdir(parents=True)
    (top / "usr/bin/hello").write_text("hello", encoding="utf-8")
    path = top / "usr/lib/sysimage/rpm"
    path.mkdir(parents=True)
    database = sqlite3.connect(path / "rpmdb.sqlite")
    with database:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        database.execute("INSERT INTO Packages (blob) VALUES (?)", (blob,))
    database.close()
    return top


def test_an_rpm_root_says_whose_its_files_are(tmp_path: Path) -> None:
    root = rpm_root(tmp_path, header("hello", "/usr/bin/hello", "/usr/share/hello/x"))
    offer = RootPackages(Directory(root))
    assert offer.installed_packages["hello"].version == "1.0-3"
    owned = {path: files.owner for files in offer.files for path in files.entries}
    assert owned[RootPath("/usr/bin/hello")] == "hello"


@pytest.mark.parametrize("cut", [3, 9, 40, 120])
def test_a_damaged_rpm_database_is_an_error(tmp_path: Path, cut: int) -> None:
    root = rpm_root(tmp_path, header("hello", "/usr/bin/hello")[:cut])
    with pytest.raises(ToolError) as caught:
        _ = RootPackages(Directory(root)).files
    assert "owners: false" in caught.value.fix


@pytest.mark.parametrize(("name", "kind"), [("Packages.db", "ndb"), ("Packages", "Berkeley DB")])
def test_a_database_that_only_rpm_reads_needs_rpm(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm" / name).write_bytes(b"some")
    with pytest.raises(ToolError) as caught:
        _ = RootPackages(Directory(tmp_path)).files
    assert f"is {kind}, which only rpm reads, and there is no rpm here" in caught.value.what
    assert "owners: false" in caught.value.fix
    assert RootPackages(Directory(tmp_path), use_database=False).installed_packages == {}


@pytest.mark.mirror
def test_rpm_that_cannot_be_had_is_an_error_with_a_way_out(small: Small) -> None:
    root = install(PACKAGES, small.directory / "root")
    shutil.rmtree(root / "var/lib/dpkg")
    (root / "var/lib/rpm").mkdir()
    (root / "var/lib/rpm/Packages.db").write_bytes(b"RpmP")
    text = "minbuild: 1\nname: any\narchive: %s\nkeep: [{paths: [/usr/bin/hello]}]\n"
    (small.directory / "any.yaml").write_text(text % "{root: root}", encoding="utf-8")
    ended = minbuild(*small.argv("plan", "any.yaml", "--offline"), cwd=small.directory)
    assert ended.code == 4
    assert "owners: false" in ended.err
    (small.directory / "any.yaml").write_text(text % "{root: root, owners: false}", "utf-8")
    ended = minbuild(*small.argv("plan", "any.yaml", "--offline"), cwd=small.directory)
    assert ended.code == 0, ended.err


@pytest.mark.mirror
@pytest.mark.oracle
@pytest.mark.parametrize(("backend", "file"), DATABASES)
def test_a_root_that_rpm_itself_installed(tmp_path: Path, backend: str, file: str) -> None:
    hello = {"/usr/bin/hello": "#!/usr/bin/sh\n", "/usr/share/hello/text": "hi"}
    result = "sqlite" if backend == "bdb" else backend
    top = rpms.install(tmp_path / "root", result, hello=hello, dash={"/usr/bin/sh": "shell"})
    (top / "etc").mkdir()
    (top / "etc/made").write_text("by a script", encoding="utf-8")
    if backend == "bdb":
        rpms.convert_to_berkeley(top)
    assert (top / file).exists()
    offer = RootPackages(Directory(top), rpm=make_external_readers(Session(STORE)).rpm)
    owned = {path: one.owner for one in offer.files for path in one.entries}
    assert owned[RootPath("/usr/bin/hello")] == owned[RootPath("/usr/share/hello/text")] == "hello"
    assert owned[RootPath("/usr/bin/sh")] == "dash"
    assert owned[RootPath("/etc/made")] == UNOWNED
    package = offer.installed_packages["hello"]
    assert (package.version, package.arch) == ("1.5-2", "noarch")
    report = minbuild("report", str(top), "--by", "package", "--json", cwd=tmp_path,
                      env={"MINBUILD_STORE": str(STORE)})  # fmt: skip
    assert report.code == 0, report.err
    rows = {row["path"]: row["package"] for row in json.loads(report.out)["files"]}
    assert (rows["/usr/bin/hello"], rows["/usr/bin/sh"]) == ("hello", "dash")


@pytest.mark.mirror
@pytest.mark.oracle
@pytest.mark.parametrize("left", [100, 4096, 16000])
def test_a_berkeley_database_that_is_cut_off_is_an_error(tmp_path: Path, left: int) -> None:
    top = rpms.install(tmp_path / "root", "sqlite", hello={"/usr/bin/hello": "hi"})
    path = rpms.convert_to_berkeley(top) / "var/lib/rpm/Packages"
    whole = path.read_bytes()
    assert len(whole) > left
    path.write_bytes(whole[:left])
    with pytest.raises(ToolError) as caught:
        _ = RootPackages(Directory(top), rpm=make_external_readers(Session(STORE)).rpm).files
    assert "shorter than it says" in caught.value.what
    path.write_bytes(whole[:512] + bytes(len(whole) - 512))
    with pytest.raises(ToolError) as caught:
        _ = RootPackages(Directory(top), rpm=make_external_readers(Session(STORE)).rpm).files
    assert "owners: false" in caught.value.fix


@pytest.mark.mirror
def test_a_report_without_owners_says_so(tmp_path: Path) -> None:
    top = tmp_path / "root"
    (top / "var/lib/rpm").mkdir(parents=True)
    (top / "var/lib/rpm/Packages.db").write_bytes(b"RpmP")
    ended = minbuild("report", str(top), cwd=tmp_path, env={"MINBUILD_STORE": str(STORE)})
    assert ended.code == 0, ended.err
    assert "note: whose files these are is not known" in ended.err


def test_a_root_without_a_database_is_resolved_all_the_same(small: Small) -> None:
    """As Gentoo's, whose database nobody reads."""
    root = install(PACKAGES, small.directory / "root")
    small.write()
    expected = list_files(small)
    shutil.rmtree(root / "var/lib/dpkg")
    (root / "var/db/pkg/app-misc/hello-1.0").mkdir(parents=True)
    (root / "var/db/pkg/app-misc/hello-1.0/CONTENTS").write_text(
        "obj /usr/bin/hello 0 0\n", "utf-8"
    )
    result = list_files(small, "--root", str(root))
    assert {path: {**row, "package": ""} for path, row in result.items()} == {
        path: {**row, "package": ""} for path, row in expected.items()
    }
    assert {row["package"] for row in result.values()} <= {UNOWNED, ""}


def test_trimming_leaves_the_tree_and_what_is_kept(small: Small) -> None:
    small.write("files: {/etc/motd: {content: hi}}\n")
    root = install(PACKAGES, small.directory / "root")
    (root / "var/log").mkdir()
    (root / "var/log/keep.me").touch()
    ended = minbuild(
        *small.argv("trim", str(root), "small.yaml", "-o", "out", "--keep", "var/log"),
        cwd=small.directory,
    )
    assert ended.code == 0, ended.err
    left = paths(root)
    expected = json.loads((small.directory / "out/footprint.json").read_text("utf-8"))["files"]
    tree = {row["path"] for row in expected if row["type"] != "directory"}
    assert tree <= left
    assert left - tree <= {"/var/log/keep.me", "/bin", "/lib", "/lib64"}
    assert (root / "etc/motd").read_text("utf-8") == "hi"
    assert "/usr/bin/hello" in (small.directory / "out/why.txt").read_text("utf-8")


def test_trimming_warns_of_commands_that_scripts_will_miss(small: Small) -> None:
    small.write(
        "files:\n  /usr/bin/sh: {link: hello}\n"
        '  /usr/bin/work: {mode: "0755", content: "#!/bin/sh\\nlsblk\\n"}\n'
    )
    root = install(PACKAGES, small.directory / "root")
    argv = small.argv("trim", str(root), "small.yaml", "--dry-run", "-o", "out")
    ended = minbuild(*argv, cwd=small.directory)
    assert ended.code == 0, ended.err
    assert '  /usr/bin/work:2: command "lsblk" is not in the image\n' in ended.out
    document = json.loads((small.directory / "out/footprint.json").read_text("utf-8"))
    assert [row["line"] for row in document["warnings"]] == [2]


def test_trimming_dry_changes_nothing(small: Small) -> None:
    small.write()
    root = install(PACKAGES, small.directory / "root")
    before = paths(root)
    ended = minbuild(*small.argv("trim", str(root), "small.yaml", "--dry-run"), cwd=small.directory)
    assert ended.code == 0, ended.err
    assert "would trim" in ended.out
    assert paths(root) == before


def test_this_machine_is_not_trimmed(small: Small) -> None:
    small.write()
    ended = minbuild(*small.argv("trim", "/", "small.yaml", "--dry-run"), cwd=small.directory)
    assert ended.code == 2
    assert "no root that may be trimmed" in ended.err
