"""Edits of YAML at the parser's marks: what changes, and that all else stays."""

from collections.abc import Callable

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from minbuild.errors import ManifestError
from minbuild.manifest.document.nodes import (
    MappingNode,
    Problems,
    ScalarKind,
    ScalarNode,
    SequenceNode,
)
from minbuild.manifest.document.yaml_editor import YamlEditor, quote_scalar
from minbuild.manifest.document.yaml_reader import parse_document

NAMES = st.from_regex(r"[a-z]{1,6}", fullmatch=True).filter(
    lambda text: text not in {"null", "true", "y"}
)
LISTS = st.lists(NAMES, min_size=1, max_size=4, unique=True)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A document with a list at a.use in some style, and its items."""
    items = draw(LISTS)
    comment = draw(st.sampled_from(["", "  # why"]))
    style = draw(st.sampled_from(["flow", "lines", "block", "deep", "inline"]))
    match style:
        case "flow":
            body = f"a:\n  use: [{', '.join(items)}]{comment}\n"
        case "lines":
            body = f"a:\n  use: [\n    {', '.join(items)},\n  ]{comment}\n"
        case "block":
            body = "a:\n  use:\n" + "".join(f"  - {item}{comment}\n" for item in items)
        case "deep":
            body = "a:\n    use:\n" + "".join(f"        - {item}{comment}\n" for item in items)
        case _:
            body = f"a: {{use: [{', '.join(items)}]}}{comment}\n"
    before = draw(st.sampled_from(["", "# top\n", "z: {b: 1}  # z\n"]))
    after = draw(st.sampled_from(["", "\n# last\nc: |\n  text\n", "c: x"]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return (before + body + after).replace("\n", newline), items


@given(documents(), NAMES, st.data())
def test_items_come_and_go_and_the_rest_of_the_document_stays(
    document: tuple[str, list[str]], name: str, data: st.DataObject
) -> None:
    text, items = document
    editor = YamlEditor(text, "host.yaml")
    editor.add_item(("a", "use"), name)
    expected = yaml.safe_load(text)
    expected["a"]["use"].append(name)
    assert yaml.safe_load(editor.text) == expected
    assert editor.text.count("#") == text.count("#")
    assert ("\r\n" in editor.text, editor.text.count("\r")) >= ("\r\n" in text, text.count("\r"))
    place = data.draw(st.integers(0, len(items)))
    editor.remove_item(("a", "use"), place)
    del expected["a"]["use"][place]
    assert yaml.safe_load(editor.text) == expected


@given(documents(), NAMES)
def test_a_list_becomes_a_change_of_one(document: tuple[str, list[str]], name: str) -> None:
    text, items = document
    editor = YamlEditor(text, "host.yaml")
    editor.wrap_list(("a", "use"), "add")
    editor.add_item(("a", "use", "remove"), name)
    expected = yaml.safe_load(text)
    expected["a"]["use"] = {"add": items, "remove": [name]}
    assert yaml.safe_load(editor.text) == expected
    assert editor.text.count("#") == text.count("#")
    editor.remove_key(("a", "use", "add"))
    expected["a"]["use"] = {"remove": [name]}
    assert yaml.safe_load(editor.text) == expected


@given(documents(), st.sampled_from(["m", "a"]), NAMES)
def test_a_missing_key_is_made(document: tuple[str, list[str]], top: str, name: str) -> None:
    text, _ = document
    editor = YamlEditor(text, "host.yaml")
    editor.set_value((top, "new"), f"[{name}]", after=("z", "a"))
    expected = yaml.safe_load(text)
    expected.setdefault(top, {})["new"] = yaml.safe_load(f"[{name}]")
    assert yaml.safe_load(editor.text) == expected


@given(st.text(max_size=12))
@example("true").via("another type")
@example("- x").via("a list")
@example("a: b").via("a mapping")
def test_a_quoted_text_is_read_as_that_text(text: str) -> None:
    problems = Problems()
    node = parse_document(f"a: [{quote_scalar(text)}]\n".encode(errors="replace"), "x", problems)
    if not text.isprintable():  # YAML has not every character, and the result is read again
        return
    assert isinstance(node, MappingNode)
    items = node.entries["a"].node
    assert isinstance(items, SequenceNode)
    (item,) = items.nodes
    assert isinstance(item, ScalarNode)
    assert (item.text, item.kind) == (text, ScalarKind.TEXT)


CASES: dict[str, tuple[str, Callable[[YamlEditor], object], str]] = {
    "a block list, before the comment of the next key": (
        "a:\n  use:\n    - x  # one\n\n# of b\nb: 1\n",
        lambda editor: editor.add_item(("a", "use"), "y"),
        "a:\n  use:\n    - x  # one\n    - y\n\n# of b\nb: 1\n",
    ),
    "a flow list keeps its comment": (
        "a: [x]   # why\n", lambda editor: editor.add_item(("a",), "y"), "a: [x, y]   # why\n",
    ),
    "the last item leaves an empty list, and the comment of the key": (
        "a:   # why\n  - x\nb: 1\n", lambda editor: editor.remove_item(("a",), 0), "a: []   # why\nb: 1\n",
    ),
    "a key without a value": (
        "keep:  # nothing\nb: 1\n", lambda editor: editor.add_item(("keep",), "x"),
        "keep: [x]  # nothing\nb: 1\n",
    ),
    "a new key comes in the order of the reference": (
        "a: 1\nd: 1\n", lambda editor: editor.set_value(("c", "x"), "1", after=("a", "b")),
        "a: 1\nc:\n  x: 1\nd: 1\n",
    ),
    "behind a block of text": (
        "a: |\n  text\nb: 1\n", lambda editor: editor.set_value(("c",), "1", after=("a",)),
        "a: |\n  text\nc: 1\nb: 1\n",
    ),
    "a document without a line end": (
        "a: 1", lambda editor: editor.set_value(("b", "x"), "[y]"), "a: 1\nb:\n  x: [y]",
    ),
    "a list of mappings has one on each line": (
        "a: 1\n", lambda editor: editor.add_item(("keep",), "{package: x}"),
        "a: 1\nkeep:\n  - {package: x}\n",
    ),
    "a key whose value is ~": (
        "use: ~  # none\n", lambda editor: editor.add_item(("use",), "x"), "use: [x]  # none\n",
    ),
    "a key that has an anchor alone": (
        "use: &u\nb: 1\n", lambda editor: editor.add_item(("use",), "x"), "use: [x]\nb: 1\n",
    ),
    "a flow list with a tag": (
        "use: !!seq []\n", lambda editor: editor.add_item(("use",), "x"), "use: !!seq [x]\n",
    ),
    "a block list with a tag": (
        "use: !!seq\n  - x\n", lambda editor: editor.add_item(("use",), "y"),
        "use: !!seq\n  - x\n  - y\n",
    ),
    "the last item of a block list with a tag": (
        "use: !!seq &u  # why\n  - x\n", lambda editor: editor.remove_item(("use",), 0),
        "use: []  # why\n",
    ),
    "behind an alias in a flow list": (
        "a: &x y\nuse: [b, *x]\n", lambda editor: editor.add_item(("use",), "c"),
        "a: &x y\nuse: [b, *x, c]\n",
    ),
    "behind an alias in a block list": (
        "a: &x y\nuse:\n- b\n- *x  # x\n", lambda editor: editor.add_item(("use",), "c"),
        "a: &x y\nuse:\n- b\n- *x  # x\n- c\n",
    ),
    "behind a key whose value is an alias": (
        "a: &x y\nb: *x\n", lambda editor: editor.set_value(("c",), "1"),
        "a: &x y\nb: *x\nc: 1\n",
    ),
    "an alias": (
        "a: &x y\nuse: [b, *x]\n", lambda editor: editor.remove_item(("use",), 1),
        "a: &x y\nuse: [b]\n",
    ),
}  # fmt: skip

COMMENTED = "use: [ssh, # s\n  watchdog, # w\n  syslog # l\n  ]\n"
OWN_LINES = "use: [\n  ssh,  # s\n  # of the dog\n  watchdog,\n  a, b,  # both\n]\n"
FLOW_CASES = {
    "the first, beside the bracket": (COMMENTED, 0, "use: [\n  watchdog, # w\n  syslog # l\n  ]\n"),
    "one between": (COMMENTED, 1, "use: [ssh, # s\n  syslog # l\n  ]\n"),
    "the last, with the comma before it": (COMMENTED, 2, "use: [ssh, # s\n  watchdog # w\n  ]\n"),
    "the comment above the next one stays": (
        OWN_LINES, 0, "use: [\n  # of the dog\n  watchdog,\n  a, b,  # both\n]\n"),
    "one of two on a line": (
        OWN_LINES, 2, "use: [\n  ssh,  # s\n  # of the dog\n  watchdog,\n  b,  # both\n]\n"),
    "the other of them": (
        OWN_LINES, 3, "use: [\n  ssh,  # s\n  # of the dog\n  watchdog,\n  a,  # both\n]\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", FLOW_CASES)
def test_a_removed_item_of_a_flow_list_takes_its_own_comment_alone(case: str) -> None:
    text, index, expected = FLOW_CASES[case]
    editor = YamlEditor(text, "host.yaml")
    editor.remove_item(("use",), index)
    assert editor.text == expected


@given(LISTS, st.lists(st.sampled_from([" ", "\n  ", " # c\n  ", "\n  # d\n  "]), min_size=9, max_size=9),
       st.booleans(), st.data())  # fmt: skip
def test_any_item_of_any_flow_list_can_be_removed(
    items: list[str], gaps: list[str], is_closed_by_comma: bool, data: st.DataObject
) -> None:
    ends = [*[","] * (len(items) - 1), "," if is_closed_by_comma else ""]
    body = "".join(f"{gap}{item}{end}" for item, end, gap in zip(items, ends, gaps, strict=False))
    editor = YamlEditor(f"use: [{body}{gaps[8]}]  # last\n", "host.yaml")
    index = data.draw(st.integers(0, len(items) - 1))
    editor.remove_item(("use",), index)
    assert yaml.safe_load(editor.text) == {"use": items[:index] + items[index + 1 :]}
    assert editor.text.endswith("]  # last\n")


@pytest.mark.parametrize("case", CASES)
def test_the_style_of_the_document_is_kept(case: str) -> None:
    text, edit, expected = CASES[case]
    editor = YamlEditor(text, "host.yaml")
    edit(editor)
    assert editor.text == expected


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("x: &l [a]\nuse: *l\n", ("use",), "use cannot be changed: it is an alias"),
        ("use: text\n", ("use",), "use cannot be changed: it is not a list"),
        ("use: [a]\n", ("use", "remove"), "use cannot be changed: it is not a mapping"),
        ("x: &l [a]\ny: *l\n", ("x",), "x cannot be changed: another value would change with it"),
        ("x: &l\ny: *l\n", ("x",), "x cannot be changed: the result would not be YAML"),
        ("x: &l [a]\ny: {z: *l}\n", ("y", "z"), "y.z cannot be changed: it is an alias"),
    ],
)
def test_what_has_no_text_of_its_own_is_refused(
    text: str, path: tuple[str, ...], message: str
) -> None:
    editor = YamlEditor(text, "host.yaml")
    with pytest.raises(ManifestError) as caught:
        editor.add_item(path, "b")
    assert caught.value.what.startswith(message)
    assert caught.value.fix == "change it by hand"
    assert editor.text == text
