"""Strangers' text in every output: nothing obeys it, and each name can be told from every other."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minbuild import escape
from minbuild.paths import escape_name, unescape_name

PIECES = st.sampled_from([
    b"\\", b"x", b"e9", b"5c", b"\xe9", b"\xc3\xa9", b"n", b"u202e", b"\n", b"\r", b"\x1b[2J", b"::", b"##[error]",
    b"##vso[", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xc2\x85", b'"', b"'", b"`", b"|", b"<b>", b"&", b"%0A", b" ",
    b"[a](http://x)", b"@all", b"#1", b"www.x.y", b"{0}", b"=cmd", b"\xef\xbb\xbf", b"\xf3\xa0\x81\x81", b"\x7f", b"\0", b"$",
])  # fmt: skip
NAMES = st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join)
TEXTS = st.text(alphabet=st.characters(), max_size=20) | NAMES.map(escape_name)
MARK = re.compile(r"\\(?:([tnr])|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def unescaped(text: str) -> bytes:
    """The bytes of a name that was printed."""

    def one(found: re.Match[str]) -> bytes:
        letter, byte, *units = found.groups()
        if letter:
            return {"t": b"\t", "n": b"\n", "r": b"\r"}[letter]
        if byte:
            return bytes([int(byte, 16)])
        return chr(int(next(unit for unit in units if unit), 16)).encode()

    out, at = b"", 0
    for found in MARK.finditer(text):
        if (
            not found[2]
            or int(found[2], 16) >= 0x80
            or found[2] in KNOWN
            or int(found[2], 16) < 0x20
        ):
            out += text[at : found.start()].encode() + one(found)
            at = found.end()
    return out + text[at:].encode()


KNOWN = {"5c", "23", "3a", "7f", "7c", "60"}
"""Bytes that only this spelling writes so: `\\x2d` is systemd's, and stands as it is."""


@given(NAMES)
@settings(max_examples=400)
@example(rb"\x2d\x5cn")
@example(b"\\\n\\n\\x0a\xe9\\xe9")
def test_a_name_in_a_table_can_be_told_from_every_other(name: bytes) -> None:
    shown = escape.escape_line(escape_name(name))
    assert shown.isprintable()
    assert unescaped(shown) == name


@given(NAMES)
def test_a_name_in_json_is_the_name(name: bytes) -> None:
    text = escape.dump_json({"path": escape_name(name)})
    assert unescape_name(json.loads(text.encode())["path"]) == name


@given(TEXTS)
@settings(max_examples=200)
def test_no_ci_system_obeys_a_line(text: str) -> None:
    shown = escape.escape_line(text)
    assert "##[" not in shown
    assert "##vso[" not in shown
    assert not shown.lstrip().startswith("::")
    for line in escape.escape_lines(text).split("\n"):
        assert not line.lstrip().startswith("::")
        assert line.replace("\t", "").isprintable()


@given(TEXTS)
@settings(max_examples=200)
def test_json_holds_nothing_that_is_obeyed(text: str) -> None:
    shown = escape.dump_json([text], indent=None)
    assert shown.rstrip("\n").isprintable() or not re.search(
        r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", shown[:-1]
    )
    assert "##[" not in shown
    shown.encode()
    if not re.search("[\ud800-\udfff]", text):
        assert json.loads(shown) == [text]


@given(TEXTS)
@settings(max_examples=200)
def test_a_string_of_dot_ends_where_it_should(text: str) -> None:
    assert re.fullmatch(r'"(?:[^"\\]|\\[\\"])*"', escape.quote_dot(text))


@given(TEXTS)
@settings(max_examples=200)
def test_xml_holds_the_text_alone(text: str) -> None:
    shown = f"<a b={escape.quote_attribute(text)}>{escape.escape_markup(text)}</a>"
    found = ET.fromstring(shown)
    assert (found.get("b"), found.text or "", len(found)) == (escape.escape_line(text),) * 2 + (0,)


@given(TEXTS)
@settings(max_examples=200)
def test_a_cell_of_markdown_is_one_cell_and_links_to_nothing(text: str) -> None:
    for shown in (escape.escape_markdown(text), escape.format_code(text)):
        assert "|" not in shown.replace("\\|", "")
        assert "\\\\|" not in shown
        if shown.startswith("`"):
            assert shown.count("`") == 2
            assert shown.endswith("`")
        else:
            assert not re.search(r"[`@#\[\]<]|://|www\.", shown.replace("&lt;", ""))


@pytest.mark.parametrize(
    "text", ["a@b.example", "@all", "#12", "http://x.example", "WWW.x.example", r"\[a](http://x)", "![a](b)", ":smile:", "0123abcdef"]
)  # fmt: skip
def test_what_a_host_would_link_is_code(text: str) -> None:
    assert escape.escape_markdown(text).startswith("`")


@given(TEXTS)
def test_a_field_of_csv_is_one_field(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([escape.escape_csv(text)])
    ((field,),) = csv.reader(io.StringIO(out.getvalue())) if out.getvalue().strip() else [[""]]
    assert not field.startswith(("=", "+", "-", "@"))


@given(TEXTS)
def test_an_annotation_is_one_line(text: str) -> None:
    assert (
        len(
            f"::error file={escape.escape_annotation_field(text)}::{escape.escape_annotation(text)}".splitlines()
        )
        == 1
    )
    assert not set(":,") & set(escape.escape_annotation_field(text))


@given(TEXTS)
def test_a_message_of_sarif_has_no_links_and_no_arguments(text: str) -> None:
    shown = escape.escape_sarif(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]]", shown)
    assert not re.search(r"(?<!\{)\{(?:\{\{)*(?!\{)", shown)
