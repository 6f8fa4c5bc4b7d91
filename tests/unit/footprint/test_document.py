"""footprint.json."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import UsageError
from minbuild.footprint.document import read_footprint, render_footprint
from minbuild.paths import RootPath
from minbuild.resolve.model import OptionalFile, ScriptWarning
from tests.support.footprints import tiny


def test_what_was_written_is_read_back() -> None:
    assert read_footprint(render_footprint(tiny()), "x") == tiny()


def test_warnings_and_what_rules_list_are_read_back() -> None:
    path = RootPath("/usr/bin/a")
    footprint = replace(
        tiny(),
        warnings=(ScriptWarning(path, 3, 'command "b" is not in the image'),),
        possible_data=(OptionalFile(path, "/usr/share/b", "suggested", "a.yaml:1:1", "for c"),),
    )
    text = render_footprint(footprint)
    assert read_footprint(text, "x") == footprint
    assert json.loads(text)["warnings"][0]["line"] == 3


@given(said=st.text(alphabet='a"\\{},: \0\n', max_size=30))
def test_each_row_has_a_line_of_its_own_whatever_it_says(said: str) -> None:
    caution = ScriptWarning(RootPath("/a"), 1, said)
    footprint = replace(tiny(), warnings=(caution, caution))
    text = render_footprint(footprint)
    assert read_footprint(text, "x") == footprint
    row = json.dumps({"line": 1, "path": "/a", "what": said}, sort_keys=True, ensure_ascii=False)
    assert text.endswith(f' "warnings": [\n  {row},\n  {row}\n ]\n}}\n')


def test_keys_are_sorted_and_sizes_are_numbers() -> None:
    document = json.loads(render_footprint(tiny()))
    assert document["schema"] == "minbuild.footprint/1"
    assert list(document) == sorted(document)
    assert document["totals"] == {
        "bytes": 1_703_100, "directories": 1, "files": 4, "links": 1, "packed": 1_305_007,
    }  # fmt: skip
    assert document["files"][0]["mode"] == "0755"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "minbuild.footprint/2"}', '{"schema": "minbuild.footprint/1"}'],
)
def test_another_document_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="this is no footprint") as caught:
        read_footprint(text, "there.json")
    assert caught.value.where == "there.json"


@given(data=st.data())
def test_a_damaged_document_gives_only_an_error_or_a_footprint(data: st.DataObject) -> None:
    text = render_footprint(tiny())
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 40))
    patch = data.draw(st.text(max_size=8))
    with contextlib.suppress(UsageError):
        read_footprint(text[:start] + patch + text[start + length :], "x")
