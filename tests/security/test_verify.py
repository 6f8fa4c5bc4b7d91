"""A build that somebody handed over: every part is held against the others, and named."""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from minbuild.cli import main
from minbuild.pipeline.attestation import sign_sums
from tests.e2e.small_host import offered
from tests.oracle.cpios import archive, file
from tests.security.handed_builds import FILES, IMAGE, again, hand_over
from tests.security.world import packages, run
from tests.support.subjects import STORE
from tests.support.uki import uki


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A build with its provenance."""
    with offered(tmp_path_factory.mktemp("world"), packages()) as small:
        small.write()
        place = hand_over(small)
        assert run(small, "attest", "small.yaml").code == 0
        yield place


@pytest.fixture
def built(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "handed"))


def verify(place: Path, key: Path | None = None) -> tuple[int, dict[str, str]]:
    """The exit code, and each part's verdict with what is said."""
    words = ["verify", str(place), "--store", str(STORE), *(["--key", str(key)] if key else [])]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main.run_command_line(words)
    rows = [line.split(None, 2) for line in out.getvalue().splitlines()]
    return code, {part: f"{verdict}: {said}" for verdict, part, said in rows}


def test_a_whole_build_is_one(built: Path) -> None:
    code, said = verify(built)
    assert code == 0
    assert {part: text.partition(":")[0] for part, text in said.items()} == {
        "sums": "ok", "signature": "open", "provenance": "ok", "lock": "ok", "footprint": "ok",
        "image": "ok",
    }  # fmt: skip
    (built / "footprint.json").rename(built / "f")
    code, said = verify(built)
    assert code == 1
    assert said["sums"].startswith("FAIL: footprint.json is not there")
    assert said["image"].startswith("FAIL")


def test_one_image_needs_no_other(built: Path) -> None:
    (built / "other.raw").write_bytes(b"another output")
    again(built, "small.efi", "small.lock", "footprint.json", "other.raw")
    (built / "provenance.json").unlink()
    (built / "other.raw").unlink()
    assert verify(built / "small.efi")[0] == 0
    assert verify(built)[0] == 1
    (built / "stray.efi").write_bytes(IMAGE)
    assert verify(built / "stray.efi") == (2, {})
    (built / "other.raw").write_bytes(b"another output")
    assert verify(built)[1]["sums"].endswith("in no sum: stray.efi")


def test_the_signature_is_that_of_the_key(built: Path, tmp_path: Path) -> None:
    keys = [pysequoia.Tsk.generate(f"{name} <{name}@example.org>") for name in ("one", "two")]
    for number, key in enumerate(keys):
        (tmp_path / f"{number}.key").write_text(str(key))
        (tmp_path / f"{number}.asc").write_text(str(key.extract_certificate()))
    sign_sums(built, tmp_path / "0.key")
    code, said = verify(built, tmp_path / "0.asc")
    assert code == 0
    assert keys[0].extract_certificate().fingerprint.upper() in said["signature"]
    code, said = verify(built, tmp_path / "1.asc")
    assert (code, said["signature"][:4]) == (1, "FAIL")
    (built / "SHA256SUMS.asc").unlink()
    code, said = verify(built, tmp_path / "0.asc")
    assert (code, said["signature"]) == (1, "FAIL: there is no SHA256SUMS.asc")


def image(place: Path) -> None:
    evil = archive([*FILES[:1], file(b"usr/hello", b"hollo", 0o4755)])
    data = uki({".linux": b"K" * 600, ".uname": b"6.1", ".cmdline": b"quiet", ".initrd": evil})
    (place / "small.efi").write_bytes(data)


def lock(place: Path) -> None:
    text = (place / "small.lock").read_text()
    assert "hello" in text
    (place / "small.lock").write_text(text.replace("hello", "hallo"))


def footprint(place: Path) -> None:
    change(place / "footprint.json", lambda told: told["totals"].update(files=1))


def version(place: Path) -> None:
    def older(told: Any) -> None:
        for row in told["packages"]:
            row["version"] = "0.9" if row["name"] == "hello" else row["version"]

    change(place / "footprint.json", older)


def change(place: Path, what: Callable[[Any], object]) -> None:
    told = json.loads(place.read_text())
    what(told)
    place.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("alter", "part"),
    [(image, "image"), (lock, "lock"), (footprint, "footprint"), (version, "lock")],
)
def test_a_part_of_another_build_is_named_though_the_sums_are_right(
    built: Path, alter: Callable[[Path], None], part: str
) -> None:
    alter(built)
    code, said = verify(built)
    assert code == 1
    assert said["sums"].startswith("FAIL")
    again(built)
    (built / "provenance.json").unlink()
    code, said = verify(built)
    assert code == 1
    assert said["sums"].startswith("ok")
    assert said[part].startswith("FAIL"), said


STATEMENTS: dict[str, Callable[[Any], object]] = {
    "other outputs": lambda told: told["subject"].pop(),
    "other inputs": lambda told: told["predicate"]["buildDefinition"]["resolvedDependencies"].pop(),
    "other parameters": lambda told: told["predicate"]["buildDefinition"][
        "externalParameters"
    ].update(settings={"a": "b"}),
    "another time": lambda told: told["predicate"]["buildDefinition"]["internalParameters"].update(
        sourceDateEpoch=1
    ),
    "another kind": lambda told: told.update(predicateType="x"),
    "no statement": lambda told: told.pop("predicate"),
}


@pytest.mark.parametrize("what", list(STATEMENTS))
def test_a_statement_of_another_build_is_told(built: Path, what: str) -> None:
    change(built / "provenance.json", STATEMENTS[what])
    again(built, "small.efi", "small.lock", "footprint.json", "provenance.json")
    code, said = verify(built)
    assert (code, said["sums"][:2]) == (1, "ok")
    assert said["provenance"].startswith("FAIL")
    assert what in said["provenance"]


def test_a_statement_in_no_sum_is_none(built: Path) -> None:
    again(built)
    code, said = verify(built)
    assert code == 1
    assert "is in no sum, so no signature covers it" in said["provenance"]


def test_sums_of_files_elsewhere_are_refused(built: Path) -> None:
    with (built / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../../../etc/passwd\n")
    assert verify(built) == (2, {})


@pytest.mark.parametrize("name", ["SHA256SUMS", "SHA256SUMS.asc", "provenance.json", "small.lock"])
def test_a_pipe_is_not_waited_for(built: Path, tmp_path: Path, name: str) -> None:
    key = pysequoia.Tsk.generate("one <one@example.org>")
    (tmp_path / "one.asc").write_text(str(key.extract_certificate()))
    (built / name).unlink(missing_ok=True)
    os.mkfifo(built / name)
    assert verify(built, tmp_path / "one.asc")[0] == (2 if name == "SHA256SUMS" else 1)
