"""A login on the console: whose hash it asks for, and who can read it."""

from pathlib import Path

import pytest

from minbuild.manifest.loader import read_manifest
from tests.unit.manifest.test_variable_types import HASH


def read_files(directory: Path, text: str) -> dict[str, tuple[str, int | None]]:
    """Content and mode of the files that a manifest makes."""
    path = directory / "one.yaml"
    path.write_text(f"minbuild: 1\nname: one\nextends: [host]\n{text}")
    components = read_manifest(path, settings={}, components=()).components
    return {
        str(file.path): (file.content.decode(), file.mode)
        for component in components
        for file in component.files
    }


@pytest.mark.parametrize(
    ("password", "shadow"), [(f"vars: {{console_password: {HASH!r}}}\n", HASH), ("", "*")]
)
def test_root_alone_reads_the_hash(tmp_path: Path, password: str, shadow: str) -> None:
    files = read_files(tmp_path, f"{password}boot: {{use: [console-login]}}\n")
    assert files["/etc/passwd"][0].startswith("root:x:0:0:")
    assert files["/etc/shadow"] == (f"root:{shadow}:::::::\n", 0o600)
    assert not any(HASH in text for path, (text, _) in files.items() if path != "/etc/shadow")


def test_without_it_no_account_has_a_password(tmp_path: Path) -> None:
    files = read_files(tmp_path, "services: {use: [accounts]}\n")
    lines = files["/etc/passwd"][0].splitlines()
    assert {line.split(":")[1] for line in lines} == {"*"}
    assert "/etc/shadow" not in files
