"""`make check` looks at the scripts that an image gets, and names where each was written."""

from pathlib import Path

import pytest

from minbuild.manifest.model import Location, TemplateSource
from tools.shells import ROOT, Script, check, find_scripts


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Script, ...]:
    return find_scripts(tmp_path_factory.mktemp("scripts"))


def test_every_script_of_every_component_is_found(scripts: tuple[Script, ...]) -> None:
    written = {path.name for path in (ROOT / "manifests/components").rglob("*.sh*")}
    found = {Path(script.name).name for script in scripts if script.template is None}
    for script in scripts:
        if script.template is not None:
            found |= {Path(part.file).name for part in script.template.parts}
    assert written - found == set()
    assert {"run", "minbuild-ci.sh", "80-minbuild-trim"} <= found


def test_a_finding_names_the_part_that_it_is_in(tmp_path: Path) -> None:
    text = "#!/bin/sh\n. /usr/lib/minbuild/init\nsay a\necho $1\n"
    parts = (Location("a.sh.j2", 1, 1), Location("b.sh", 3, 1))
    library = tmp_path / "usr/lib/minbuild/init"
    library.parent.mkdir(parents=True)
    library.write_text('# shellcheck shell=sh\nsay() { echo "$1"; }\n')
    script = Script(text.encode(), "/usr/bin/x", TemplateSource(text, parts[0], parts=parts))
    (line,) = check((script,), tmp_path)
    assert line.startswith("b.sh:2:1: info: Double quote")
    assert line.endswith("[SC2086]")
    library.unlink()
    assert len(check((script,), tmp_path)) == 2
