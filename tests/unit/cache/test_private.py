"""A store is its user's alone: nobody else may write there, or read what was rendered."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from minbuild.cache.records import RecordKind
from minbuild.cache.store import Store, require_private
from minbuild.errors import ToolError

TOP = Path(__file__).parents[3]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("bits", [0o777, 0o757, 0o1777])
def test_a_store_that_all_may_write_is_refused(tmp_path: Path, bits: int) -> None:
    place = tmp_path / "store"
    place.mkdir()
    place.chmod(bits)
    with pytest.raises(ToolError, match="may be written by other users") as caught:
        Store(place)
    assert f"chmod go-w {place}" in caught.value.fix
    assert list(place.iterdir()) == []


def test_a_store_below_a_directory_that_all_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open" / "store").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ToolError, match=f"lies in {tmp_path}/open, which may be written"):
        Store(tmp_path / "open" / "store")


def test_a_parent_with_the_sticky_bit_is_safe(tmp_path: Path) -> None:
    (tmp_path / "open" / "store").mkdir(parents=True)
    (tmp_path / "open").chmod(0o1777)
    require_private(tmp_path / "open" / "store")


def test_a_link_is_followed_and_its_own_directory_counts(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "store").symlink_to(tmp_path / "real")
    require_private(tmp_path / "open" / "store")
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ToolError, match="open, which may be written"):
        require_private(tmp_path / "open" / "store")
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(ToolError, match="may be written"):
        require_private(tmp_path / "open" / "store")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_store_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    os.chown(tmp_path / "store", 12345, 0)
    with pytest.raises(ToolError, match="belongs to the user 12345"):
        Store(tmp_path / "store")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another group")
def test_a_group_with_others_in_it_may_not_write(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    os.chown(tmp_path / "store", 0, 12345)
    (tmp_path / "store").chmod(0o775)
    with pytest.raises(ToolError, match="may be written by other users"):
        Store(tmp_path / "store")


def test_what_a_store_holds_is_read_by_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "store").mkdir(mode=0o755)
        for name in ("files", "trees"):
            (tmp_path / "store" / name).mkdir(mode=0o755)
        store = Store(tmp_path / "store")
        store.add(b"secret")
        store.put(RecordKind.RENDERING, {"key": b"secret"})
    finally:
        os.umask(before)
    directories = [tmp_path / "store" / name for name in ("files", "trees", "partial")]
    assert [mode(path) for path in directories] == [0o700] * 3
    records = sorted((tmp_path / "store").glob("records-*"))
    assert records
    assert {mode(path) for path in records} == {0o600}
    store.close()


PROGRAM = "import sys; from pathlib import Path; from minbuild.cache.store import require_private; require_private(Path(sys.argv[1]))"


def test_a_user_namespace_without_root_knows_the_directories_of_the_system(tmp_path: Path) -> None:
    """As in `unshare -r`: /tmp belongs to nobody there, and is root's all the same."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        own = Path(name) / "own"
        (own / "store").mkdir(parents=True)
        for path in (Path(name), own, own / "store"):
            path.chmod(0o755)
            if os.geteuid() == 0:
                os.chown(path, 12345, 12345)
        assert ask_in_namespace(own / "store") == ""
        if os.geteuid() == 0:  # only root can give a directory away
            os.chown(own, 12346, 12346)
            assert "whom this user namespace does not know" in ask_in_namespace(own / "store")


def ask_in_namespace(store: Path) -> str:
    """What an ordinary user whose namespace maps that user alone is told of a store."""
    number = 12345 if os.geteuid() == 0 else None
    result = subprocess.run(
        ["unshare", "-r", sys.executable, "-c", PROGRAM, str(store)],
        cwd=TOP, capture_output=True, text=True,
        user=number, group=number, extra_groups=() if number is not None else None,
    )  # fmt: skip
    if "unshare:" in result.stderr:
        pytest.skip(f"namespaces are not allowed here: {result.stderr}")
    return result.stderr
