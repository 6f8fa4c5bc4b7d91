"""Telling that nothing has changed."""

from dataclasses import replace
from pathlib import Path

from minbuild.cache.store import Store
from minbuild.footprint.document import render_footprint
from minbuild.pipeline import up_to_date
from tests.support.footprints import MANIFEST, tiny


def built(directory: Path, store: Store) -> Path:
    """An output directory that a build with key "k" has written."""
    out = directory / "out"
    out.mkdir()
    (out / "footprint.json").write_text(render_footprint(tiny()))
    (out / "tiny.efi").write_bytes(b"image")
    up_to_date.record_outputs(store, out, "k", [out / "footprint.json", out / "tiny.efi"])
    return out


def test_what_was_written_and_not_touched_is_unchanged(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    out = built(tmp_path, store)
    assert up_to_date.find_current_footprint(store, out, "k") == tiny()


def test_another_key_another_directory_or_another_file_is_a_change(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    out = built(tmp_path, store)
    assert up_to_date.find_current_footprint(store, out, "other") is None
    assert up_to_date.find_current_footprint(store, tmp_path, "k") is None
    (out / "tiny.efi").write_bytes(b"damaged")
    assert up_to_date.find_current_footprint(store, out, "k") is None
    (out / "tiny.efi").unlink()
    assert up_to_date.find_current_footprint(store, out, "k") is None


def test_the_key_follows_manifest_and_lock(tmp_path: Path) -> None:
    lock = tmp_path / "tiny.lock"
    first = up_to_date.digest_build(up_to_date.digest_inputs(MANIFEST), lock)
    assert up_to_date.digest_build(up_to_date.digest_inputs(MANIFEST), lock) == first
    assert (
        up_to_date.digest_build(up_to_date.digest_inputs(replace(MANIFEST, name="other")), lock)
        != first
    )
    lock.write_text("{}")
    assert up_to_date.digest_build(up_to_date.digest_inputs(MANIFEST), lock) != first
