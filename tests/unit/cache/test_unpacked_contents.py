"""What a run has unpacked: taken once more without the package, gone with the run."""

import os
from pathlib import Path

import pytest

from minbuild.cache import unpacked_contents
from minbuild.cache.unpacked_contents import ContentSpool, UnpackedContents
from tests.support.deb import sha256


def fill(contents: UnpackedContents, *data: bytes) -> None:
    path = contents.directory / "package"
    spool = ContentSpool(path)
    for content in data:
        for start in range(0, len(content), 3):
            spool.write(content[start : start + 3])
        spool.finish_file(sha256(content))
    contents.add(path, spool.close())


def test_each_content_is_found_by_its_digest(tmp_path: Path) -> None:
    contents = UnpackedContents(tmp_path)
    fill(contents, b"first file", b"", b"second")
    for data in (b"first file", b"", b"second"):
        assert contents.copy(sha256(data), tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == data
    assert not contents.copy(sha256(b"another"), tmp_path / "out")


def test_a_content_that_is_not_what_it_was_is_not_given(tmp_path: Path) -> None:
    contents = UnpackedContents(tmp_path)
    fill(contents, b"first file", b"second")
    (contents.directory / "package").write_bytes(b"first")
    assert not contents.copy(sha256(b"first file"), tmp_path / "out")
    (contents.directory / "package").unlink()
    assert not contents.copy(sha256(b"second"), tmp_path / "out")


def test_a_full_disk_keeps_nothing_and_harms_nothing(tmp_path: Path) -> None:
    contents = UnpackedContents(tmp_path)
    (contents.directory / "package").symlink_to("/dev/full")
    fill(contents, b"x" * (3 << 20), b"second")
    assert not contents.copy(sha256(b"second"), tmp_path / "out")
    assert not (contents.directory / "package").is_symlink()


def test_what_is_over_the_limit_is_left_to_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked_contents, "MAX_SPOOL_SIZE", 8)
    contents = UnpackedContents(tmp_path)
    fill(contents, b"123456", b"789", b"")
    found = [contents.copy(sha256(data), tmp_path / "out") for data in (b"123456", b"789")]
    assert found == [True, False]


def test_a_fork_leaves_it_to_the_process_that_made_it(tmp_path: Path) -> None:
    contents = UnpackedContents(tmp_path)
    fill(contents, b"first")
    child = os.fork()
    if not child:
        contents.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert contents.copy(sha256(b"first"), tmp_path / "out")
    contents.remove()
    assert not contents.directory.exists()
