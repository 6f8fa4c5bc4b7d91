"""JSON Schema of the documents, made from the shapes that read them."""

from enum import StrEnum

from minbuild.manifest.format import COMPONENT, MANIFEST, TOOL
from minbuild.manifest.rulebook import RULES
from minbuild.manifest.shape import Json


class DocumentKind(StrEnum):
    """What a YAML file of minbuild describes."""

    MANIFEST = "manifest"
    COMPONENT = "component"
    TOOL = "tool"
    RULES = "rules"


def schema(kind: DocumentKind = DocumentKind.MANIFEST) -> Json:
    """The JSON Schema of one kind of document. Source: JSON Schema 2020-12."""
    shapes: dict[DocumentKind, Json] = {
        DocumentKind.MANIFEST: MANIFEST.schema(),
        DocumentKind.COMPONENT: COMPONENT.schema(),
        DocumentKind.TOOL: TOOL.schema(),
        DocumentKind.RULES: RULES.schema(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"minbuild {kind}",
        **shapes[kind],
    }
