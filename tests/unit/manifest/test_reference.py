"""The reference page: every key is on it, and its examples fit the schema."""

import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from minbuild.manifest.document.nodes import Problems, to_plain
from minbuild.manifest.document.yaml_reader import parse_document
from minbuild.manifest.grammar import DocumentKind, build_json_schema

_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "manifest.md"
_KINDS = (
    DocumentKind.MANIFEST,
    DocumentKind.COMPONENT,  # variables
    DocumentKind.COMPONENT,
    DocumentKind.TOOL,
    DocumentKind.RULES,
)
_EXAMPLES = [
    *zip(
        _KINDS,
        re.findall("```yaml\n(.*?)```", _PAGE.read_text("utf-8"), re.DOTALL),
        strict=True,
    )
]


@pytest.mark.parametrize(("kind", "text"), _EXAMPLES)
def test_every_example_fits_its_schema(kind: DocumentKind, text: str) -> None:
    node = parse_document(text.encode(), "example.yaml", Problems())
    assert node is not None
    jsonschema.Draft7Validator(build_json_schema(kind)).validate(to_plain(node))


@pytest.mark.parametrize("kind", DocumentKind)
def test_every_key_is_described(kind: DocumentKind) -> None:
    page = _PAGE.read_text("utf-8")
    assert [
        key for key in sorted(set(_keys(build_json_schema(kind)))) if f"`{key}`" not in page
    ] == []


def _keys(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        yield from part.get("properties", {})
        for value in part.values():
            yield from _keys(value)
    elif isinstance(part, list):
        for value in part:
            yield from _keys(value)
