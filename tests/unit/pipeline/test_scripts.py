"""Rendered scripts: parsed, and every quoted value a word."""

import json
from pathlib import Path

import pytest

from minbuild.cache.store import Store
from minbuild.errors import ManifestError
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Manifest
from minbuild.paths import RootPath
from minbuild.pipeline.load import check_scripts
from tests.unit.components.test_shipped import MANIFESTS

HEAD = (
    'minbuild: 1\nkernel: {package: linux-image-cloud-amd64}\nvars: {word: "o\'brien $(x) `y`"}\n'
)


def manifest(tmp_path: Path, text: str, path: str = "/x", mode: str = "0755") -> Manifest:
    (tmp_path / "x.j2").write_text(text, encoding="utf-8")
    place = tmp_path / "host.yaml"
    place.write_text(
        f"{HEAD}files: {{{path}: {{template: x.j2, mode: '{mode}'}}}}\n", encoding="utf-8"
    )
    return read_manifest(place, settings={}, components=[])


@pytest.mark.parametrize(
    "body",
    [
        "echo {{ word | quote }} --name={{ word | quote }}",
        'x={{ word | quote }}; echo "$x"',
        'echo "$(echo {{ word | quote }})"',
        "case $1 in {{ word | quote }}) ;; esac",
        "for each in ${1:-{{ word | quote }}}; do :; done",
        "cat <<END\n$(echo {{ word | quote }})\nEND\n",
    ],
)
def test_a_word_may_stand_wherever_the_shell_looks_for_one(body: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = manifest(tmp_path, f"#!/bin/sh\n{body}\n")
    check_scripts(made, store)
    check_scripts(made, store)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ("echo '{{ word | quote }}'", "single quotes"),
        ('echo "a {{ word | quote }}"', "double quotes"),
        ("# of {{ word | quote }}", "a comment"),
        ("cat <<END\nname {{ word | quote }}\nEND", "a here-document"),
        ("echo $(({{ word | quote }} + 1))", "arithmetic"),
        ("echo \\{{ word | quote }}", "a place behind a backslash"),
        ("echo ${{ word | quote }}", "the name of a variable, or an expression"),
        ("echo `echo {{ word | quote }}`", "backquotes"),
        ('echo "${1:-{{ word | quote }}}"', "double quotes"),
    ],
)
def test_a_word_within_other_quotes_is_an_error(body: str, where: str, tmp_path: Path) -> None:
    made = manifest(tmp_path, f"#!/bin/sh\n{{% if 1 %}}\n{{% endif %}}\n{body}\n")
    with pytest.raises(ManifestError) as raised:
        check_scripts(made, Store(tmp_path / "store"))
    told = [raised.value, *raised.value.also]
    assert f"a quoted value stands in {where}, where its quotes are none" in [
        one.what for one in told
    ]
    assert all("x.j2:" in one.where for one in told)


def test_a_script_that_cannot_be_parsed_is_an_error_with_its_line(tmp_path: Path) -> None:
    made = manifest(tmp_path, "#!/bin/sh\nif {{ word | quote }}; then\n")
    with pytest.raises(
        ManifestError, match="/x is no shell script that can be run: `then` must be"
    ) as raised:
        check_scripts(made, Store(tmp_path / "store"))
    assert raised.value.where.endswith("x.j2:2:1, line 2 as it is rendered")


def test_what_only_scripts_read_is_looked_at_as_one(tmp_path: Path) -> None:
    made = manifest(tmp_path, "NAME='{{ word }}'\n", "/usr/lib/mine/settings", "0644")
    store = Store(tmp_path / "store")
    check_scripts(made, store)
    with pytest.raises(ManifestError, match="is used in shell commands without the filter quote"):
        check_scripts(made, store, {RootPath("/usr/lib/mine/settings")})


def test_every_shipped_script_holds_every_text(tmp_path: Path) -> None:
    # those whose type allows any text; of the others test_variable_types.py refuses such values
    text = "o'brien \" $(reboot) `x` \\ ; # é"
    settings = {"guest_files": json.dumps([f"/{text}"])}
    for name in ("host.yaml", "edge.yaml", "host-full.yaml", "builder.yaml"):
        made = read_manifest(
            MANIFESTS / name, settings=settings if name != "builder.yaml" else {}, components=()
        )
        check_scripts(made, Store(tmp_path / "store"))
