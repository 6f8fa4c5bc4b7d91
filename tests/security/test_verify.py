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
from tests.e2e.small_host import serve_small_host
from tests.oracle.cpios import archive, file
from tests.security.finished_builds import FILES, IMAGE, make_outputs, rewrite_sums
from tests.security.world import packages, run
from tests.support.measured_inputs import STORE
from tests.support.uki import uki


@pytest.fixture(scope="module")
def finished_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A build with its provenance."""
    with serve_small_host(tmp_path_factory.mktemp("world"), packages()) as small:
        small.write()
        path = make_outputs(small)
        assert run(small, "attest", "small.yaml").code == 0
        yield path


@pytest.fixture
def build_copy(finished_build: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished_build, tmp_path / "handed"))


def verify(path: Path, key: Path | None = None) -> tuple[int, dict[str, str]]:
    """The exit code, and each part's verdict with what is said."""
    argv = ["verify", str(path), "--store", str(STORE), *(["--key", str(key)] if key else [])]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main.run_command_line(argv)
    rows = [line.split(None, 2) for line in out.getvalue().splitlines()]
    return code, {part: f"{verdict}: {output}" for verdict, part, output in rows}


def test_a_whole_build_is_one(build_copy: Path) -> None:
    code, output = verify(build_copy)
    assert code == 0
    assert {part: text.partition(":")[0] for part, text in output.items()} == {
        "sums": "ok", "signature": "open", "provenance": "ok", "lock": "ok", "footprint": "ok",
        "image": "ok",
    }  # fmt: skip
    (build_copy / "footprint.json").rename(build_copy / "f")
    code, output = verify(build_copy)
    assert code == 1
    assert output["sums"].startswith("FAIL: footprint.json is not there")
    assert output["image"].startswith("FAIL")


def test_one_image_needs_no_other(build_copy: Path) -> None:
    (build_copy / "other.raw").write_bytes(b"another output")
    rewrite_sums(build_copy, "small.efi", "small.lock", "footprint.json", "other.raw")
    (build_copy / "provenance.json").unlink()
    (build_copy / "other.raw").unlink()
    assert verify(build_copy / "small.efi")[0] == 0
    assert verify(build_copy)[0] == 1
    (build_copy / "stray.efi").write_bytes(IMAGE)
    assert verify(build_copy / "stray.efi") == (2, {})
    (build_copy / "other.raw").write_bytes(b"another output")
    assert verify(build_copy)[1]["sums"].endswith("in no sum: stray.efi")


def test_the_signature_is_that_of_the_key(build_copy: Path, tmp_path: Path) -> None:
    keys = [pysequoia.Tsk.generate(f"{name} <{name}@example.org>") for name in ("one", "two")]
    for number, key in enumerate(keys):
        (tmp_path / f"{number}.key").write_text(str(key))
        (tmp_path / f"{number}.asc").write_text(str(key.extract_certificate()))
    sign_sums(build_copy, tmp_path / "0.key")
    code, output = verify(build_copy, tmp_path / "0.asc")
    assert code == 0
    assert keys[0].extract_certificate().fingerprint.upper() in output["signature"]
    code, output = verify(build_copy, tmp_path / "1.asc")
    assert (code, output["signature"][:4]) == (1, "FAIL")
    (build_copy / "SHA256SUMS.asc").unlink()
    code, output = verify(build_copy, tmp_path / "0.asc")
    assert (code, output["signature"]) == (1, "FAIL: there is no SHA256SUMS.asc")


def break_image(path: Path) -> None:
    evil = archive([*FILES[:1], file(b"usr/hello", b"hollo", 0o4755)])
    data = uki({".linux": b"K" * 600, ".uname": b"6.1", ".cmdline": b"quiet", ".initrd": evil})
    (path / "small.efi").write_bytes(data)


def break_lock(path: Path) -> None:
    text = (path / "small.lock").read_text()
    assert "hello" in text
    (path / "small.lock").write_text(text.replace("hello", "hallo"))


def break_footprint(path: Path) -> None:
    change_document(path / "footprint.json", lambda told: told["totals"].update(files=1))


def break_version(path: Path) -> None:
    def older(document: Any) -> None:
        for row in document["packages"]:
            row["version"] = "0.9" if row["name"] == "hello" else row["version"]

    change_document(path / "footprint.json", older)


def change_document(path: Path, edit: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("alter", "part"),
    [
        (break_image, "image"),
        (break_lock, "lock"),
        (break_footprint, "footprint"),
        (break_version, "lock"),
    ],
)
def test_a_part_of_another_build_is_named_though_the_sums_are_right(
    build_copy: Path, alter: Callable[[Path], None], part: str
) -> None:
    alter(build_copy)
    code, output = verify(build_copy)
    assert code == 1
    assert output["sums"].startswith("FAIL")
    rewrite_sums(build_copy)
    (build_copy / "provenance.json").unlink()
    code, output = verify(build_copy)
    assert code == 1
    assert output["sums"].startswith("ok")
    assert output[part].startswith("FAIL"), output


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
def test_a_statement_of_another_build_is_told(build_copy: Path, what: str) -> None:
    change_document(build_copy / "provenance.json", STATEMENTS[what])
    rewrite_sums(build_copy, "small.efi", "small.lock", "footprint.json", "provenance.json")
    code, output = verify(build_copy)
    assert (code, output["sums"][:2]) == (1, "ok")
    assert output["provenance"].startswith("FAIL")
    assert what in output["provenance"]


def test_a_statement_in_no_sum_is_none(build_copy: Path) -> None:
    rewrite_sums(build_copy)
    code, output = verify(build_copy)
    assert code == 1
    assert "is in no sum, so no signature covers it" in output["provenance"]


def test_sums_of_files_elsewhere_are_refused(build_copy: Path) -> None:
    with (build_copy / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  ../../../etc/passwd\n")
    assert verify(build_copy) == (2, {})


@pytest.mark.parametrize("name", ["SHA256SUMS", "SHA256SUMS.asc", "provenance.json", "small.lock"])
def test_a_pipe_is_not_waited_for(build_copy: Path, tmp_path: Path, name: str) -> None:
    key = pysequoia.Tsk.generate("one <one@example.org>")
    (tmp_path / "one.asc").write_text(str(key.extract_certificate()))
    (build_copy / name).unlink(missing_ok=True)
    os.mkfifo(build_copy / name)
    assert verify(build_copy, tmp_path / "one.asc")[0] == (2 if name == "SHA256SUMS" else 1)
