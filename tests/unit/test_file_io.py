import ast
import hashlib
import io
import os
from pathlib import Path

import pytest

from minbuild import file_io
from minbuild.errors import ToolError

PACKAGE = Path(file_io.__file__).parent
RENAMING_MODULES = {
    "cache/store.py",  # contents named by their digest: no fsync, a damaged one is dropped
    "file_io.py",
    "image/publish.py",  # a whole directory of outputs at once
}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "host.lock"
    path.write_bytes(b"former")
    assert file_io.write_atomic(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["host.lock"]


def test_a_failed_write_leaves_the_former_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "host.lock"
    path.write_bytes(b"former")
    with pytest.raises(ValueError, match="halfway"), file_io.open_atomic(path) as file:  # noqa: PT012
        file.write(b"half")
        raise ValueError("halfway")
    assert path.read_bytes() == b"former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["host.lock"]


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot write") as caught:
        file_io.write_atomic(tmp_path / "missing/file", b"")
    assert str(tmp_path / "missing") in str(caught.value.where)


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        file_io.write_atomic(tmp_path / "file", b"")
    finally:
        os.umask(former)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_digest_is_that_of_the_whole_content(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()
    assert file_io.hash_file(tmp_path / "file") == expected
    with (tmp_path / "file").open("rb") as file:
        file.seek(100)
        assert file_io.hash_open_file(file) == expected
    out = io.BytesIO()
    assert file_io.hash_pieces((data[:7], memoryview(data)[7:]), out) == expected
    assert out.getvalue() == data


def test_no_link_is_followed_below_a_directory(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "top/link").symlink_to("../secret")
    with pytest.raises(OSError, match="symbolic links"):
        file_io.read_beneath(tmp_path / "top", "link", 10)


def _find_uses(attribute: str) -> set[str]:
    """Modules that use `MODULE.attribute`."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and f"{node.value.id}.{node.attr}" == attribute
    }


def test_files_are_replaced_and_hashed_by_one_module() -> None:
    assert _find_uses("os.replace") == RENAMING_MODULES
    assert _find_uses("hashlib.file_digest") == {"file_io.py"}
