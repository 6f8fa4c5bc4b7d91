"""Telling that nothing has changed."""

from dataclasses import replace
from pathlib import Path

from minbuild.build import state
from minbuild.footprint.document import render
from minbuild.store import Store
from tests.support.footprints import MANIFEST, tiny


def built(directory: Path, store: Store) -> Path:
    """An output directory that a build with key "k" has written."""
    out = directory / "out"
    out.mkdir()
    (out / "footprint.json").write_text(render(tiny()))
    (out / "tiny.efi").write_bytes(b"image")
    state.remember(store, out, "k", [out / "footprint.json", out / "tiny.efi"])
    return out


def test_what_was_written_and_not_touched_is_unchanged(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    out = built(tmp_path, store)
    assert state.unchanged(store, out, "k") == tiny()


def test_another_key_another_directory_or_another_file_is_a_change(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    out = built(tmp_path, store)
    assert state.unchanged(store, out, "other") is None
    assert state.unchanged(store, tmp_path, "k") is None
    (out / "tiny.efi").write_bytes(b"damaged")
    assert state.unchanged(store, out, "k") is None
    (out / "tiny.efi").unlink()
    assert state.unchanged(store, out, "k") is None


def test_the_key_follows_manifest_and_lock(tmp_path: Path) -> None:
    lock = tmp_path / "tiny.lock"
    first = state.key(state.cause(MANIFEST), lock)
    assert state.key(state.cause(MANIFEST), lock) == first
    assert state.key(state.cause(replace(MANIFEST, name="other")), lock) != first
    lock.write_text("{}")
    assert state.key(state.cause(MANIFEST), lock) != first
