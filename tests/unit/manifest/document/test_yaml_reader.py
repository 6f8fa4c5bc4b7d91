"""Documents: positions, kinds of scalars, and what is refused before it costs anything."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from minbuild.errors import ManifestError
from minbuild.manifest.document.nodes import (
    MappingNode,
    Node,
    Problems,
    ScalarNode,
    SequenceNode,
    to_plain,
)
from minbuild.manifest.document.yaml_reader import MAX_DEPTH, MAX_DOCUMENT_SIZE, parse_document


def read(text: str | bytes) -> Node:
    problems = Problems()
    node = parse_document(text.encode() if isinstance(text, str) else text, "x.yaml", problems)
    problems.raise_if_any()
    assert node is not None
    return node


def refusals(text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(ManifestError) as raised:
        read(text)
    return [(one.where, one.what) for one in (raised.value, *raised.value.also)]


def test_every_node_knows_its_line_column_and_document_path() -> None:
    node = read("network:\n  use: [virtio, dhcp]\nfiles:\n  /etc/motd: {mode: x}\n")
    assert isinstance(node, MappingNode)
    use = node.entries["network"].node.entries["use"].node  # type: ignore[union-attr]
    assert isinstance(use, SequenceNode)
    assert str(use.nodes[1].where) == "x.yaml:2:17 (network.use[1])"
    motd = node.entries["files"].node.entries["/etc/motd"]  # type: ignore[union-attr]
    assert str(motd.where) == "x.yaml:4:3 (files[/etc/motd])"
    assert isinstance(motd.node, MappingNode)
    assert str(motd.node.entries["mode"].node.where) == "x.yaml:4:21 (files[/etc/motd].mode)"


def test_positions_count_characters_not_bytes() -> None:
    node = read("{ä: [ö, é]}")
    assert isinstance(node, MappingNode)
    items = node.entries["ä"].node
    assert isinstance(items, SequenceNode)
    assert items.nodes[1].where.column == 9


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("on", "on"), ("no", "no"), ("true", True), ("False", False),
        ("12:30:45", "12:30:45"), ("0755", 755), ("0o755", 493), ("0x1F", 31), ("-7", -7),
        ("1.5", 1.5), ("1e3", 1000.0), ("~", None), ("null", None), ("'null'", "null"),
        ('"1"', "1"), ("!!str 1", "1"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    node = read(f"key: {text}")
    assert to_plain(node) == {"key": value}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\na: 2\n", "x.yaml:2:1 (a)", "the key 'a' is given twice"),
        ("a: {b: 1, c: 2, b: 3}", "x.yaml:1:17 (a.b)", "the key 'b' is given twice"),
        ("a: [1, 2", "x.yaml:1:4", "not YAML: did not find expected ',' or ']'"),
        ("a: b: c", "x.yaml:1:5", "not YAML: mapping values are not allowed in this context"),
        ("a: *b", "x.yaml:1:4 (a)", "*b has no &b before it"),
        ("a: &b [*b]", "x.yaml:1:8 (a[0])", "*b contains itself"),
        ("a: &b {c: *b}", "x.yaml:1:11 (a.c)", "*b contains itself"),
        ("[a]: b", "x.yaml:1:1", "a key is a list or a mapping"),
        ("a: &x b\n*x : c", "x.yaml:2:1", "an alias as a key"),
        ("a: !!python/name:os.system x", "x.yaml:1:4 (a)", "the tag tag:yaml.org,2002:python/name:os.system is not supported"),
        ("a: !Ref [x]", "x.yaml:1:4 (a)", "the tag !Ref is not supported"),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1", "the file has a second document"),
        ("", "x.yaml:1:1", "the file is empty"),
        ("# nothing\n", "x.yaml:1:1", "the file is empty"),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "x.yaml:2:5 (c[<<])", "merge keys (<<) are not supported"),
        (b"a: 1\nb: \xff", "x.yaml:2:4", "not UTF-8 text"),
        ("a: 1\nb: \x07", "x.yaml:2:4", "the character U+0007 is not allowed in YAML"),
    ],
)  # fmt: skip
def test_what_is_no_document_is_refused_with_its_place(
    text: str | bytes, where: str, what: str
) -> None:
    assert refusals(text) == [(where, what)]


def test_every_repeated_key_is_told() -> None:
    assert [where for where, _ in refusals("a: 1\na: 2\nb: {c: 1, c: 2}\n")] == [
        "x.yaml:2:1 (a)",
        "x.yaml:3:11 (b.c)",
    ]


def test_an_alias_stands_for_its_anchor() -> None:
    assert to_plain(read("a: &x [1, {b: 2}]\nc: *x\n")) == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    ((_, what),) = refusals("\n".join(lines))
    assert what == "more than 50000 values, aliases counted"


def test_a_deep_document_is_refused() -> None:
    ((_, what),) = refusals("[" * 900 + "]" * 900)
    assert what == f"nested deeper than {MAX_DEPTH} levels"


def test_depth_is_counted_through_aliases() -> None:
    half = MAX_DEPTH - 4
    text = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}\n"
    ((_, what),) = refusals(text)
    assert what == f"nested deeper than {MAX_DEPTH} levels"


def test_a_large_file_is_refused_unread() -> None:
    ((where, what),) = refusals(b"\0" * (MAX_DOCUMENT_SIZE + 1))
    assert (where, what) == ("x.yaml:1:1", "the file has 1048577 bytes: too large for a manifest")


def test_a_byte_order_mark_is_no_part_of_the_document() -> None:
    assert to_plain(read(b"\xef\xbb\xbfa: 1")) == {"a": 1}


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "ignore"))
)
def test_any_bytes_are_a_document_or_a_problem(data: bytes) -> None:
    problems = Problems()
    node = parse_document(data, "x.yaml", problems)
    assert (node is None) <= (len(problems) > 0)


_SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(
    st.recursive(
        _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
    ).filter(lambda value: value is not None)
)
def test_what_was_dumped_reads_the_same(value: object) -> None:
    text = yaml.safe_dump(
        value, allow_unicode=False, default_style='"' if isinstance(value, str) else None
    )
    problems = Problems()
    node = parse_document(text.encode("utf-8", "surrogatepass"), "x.yaml", problems)
    if node is not None and not len(problems):
        assert _as_text(to_plain(node)) == _as_text(value)


def _as_text(value: object) -> object:
    """Values with every scalar as text: YAML 1.1 writes some texts plain that 1.2 also reads so."""
    match value:
        case dict():
            return {str(key): _as_text(item) for key, item in value.items()}
        case list():
            return [_as_text(item) for item in value]
        case _:
            return str(value)


def test_a_scalar_keeps_what_was_written() -> None:
    node = read("a: 0755")
    assert isinstance(node, MappingNode)
    scalar = node.entries["a"].node
    assert isinstance(scalar, ScalarNode)
    assert scalar.text == "0755"
