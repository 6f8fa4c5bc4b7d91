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
    assert up_to_date.is_current(store, out, "k")


def test_another_key_another_directory_or_another_file_is_a_change(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    out = built(tmp_path, store)
    assert not up_to_date.is_current(store, out, "other")
    assert not up_to_date.is_current(store, tmp_path, "k")
    (out / "tiny.efi").write_bytes(b"damaged")
    assert not up_to_date.is_current(store, out, "k")
    (out / "tiny.efi").unlink()
    assert not up_to_date.is_current(store, out, "k")


def test_a_page_is_kept_for_one_state_of_a_directory_and_one_width(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    out = built(tmp_path, store)
    build = up_to_date.BuildResult(MANIFEST, out, rebuilt=False)
    assert up_to_date.find_page(store, build, top=10, columns=80) is None
    up_to_date.record_page(store, build, "a page\n\nof lines\n", top=10, columns=80)
    assert up_to_date.find_page(store, build, top=10, columns=80) == "a page\n\nof lines\n"
    assert up_to_date.find_page(store, build, top=11, columns=80) is None
    assert up_to_date.find_page(store, build, top=10, columns=0) is None
    (out / "tiny.efi").write_bytes(b"another")
    up_to_date.record_outputs(store, out, "k", [out / "footprint.json", out / "tiny.efi"])
    assert up_to_date.find_page(store, build, top=10, columns=80) is None


def test_a_build_reads_its_footprint_when_it_is_asked_for(tmp_path: Path) -> None:
    out = built(tmp_path, Store(tmp_path / "store"))
    assert up_to_date.BuildResult(MANIFEST, out, rebuilt=False).footprint == tiny()


def test_the_key_follows_manifest_and_lock(tmp_path: Path) -> None:
    lock, store = tmp_path / "tiny.lock", Store(tmp_path / "store")
    first = up_to_date.digest_build(up_to_date.digest_inputs(MANIFEST, store), lock)
    assert up_to_date.digest_build(up_to_date.digest_inputs(MANIFEST, store), lock) == first
    assert (
        up_to_date.digest_build(
            up_to_date.digest_inputs(replace(MANIFEST, name="other"), store), lock
        )
        != first
    )
    lock.write_text("{}")
    assert up_to_date.digest_build(up_to_date.digest_inputs(MANIFEST, store), lock) != first
