"""docs/reference/keys.md: every key of a manifest, made from the schema, with an example each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from minbuild.manifest.grammar import DocumentKind, build_json_schema

EXAMPLES = Path(__file__).with_name("key_examples.yaml")
HEAD = (
    "Every key of a manifest, made from the schema by `make docs`, with an example each. How the "
    "parts work together stands in [manifests](manifest.md); `minbuild schema` prints the schema "
    "itself, by which [editors](../how-to/editor.md) complete."
)
ALTERED = {"remove", "add", "replace"}
"""Keys of a change to an inherited list, which most lists can be. Source: docs/reference/manifest.md."""
_KINDS = {"string": "text", "integer": "number", "array": "list", "object": "mapping", "boolean": "true, false"}  # fmt: skip


@dataclass(frozen=True)
class SchemaKey:
    """One key: its path (`[]` an item, `NAME` a name of the user's) and its part of the schema."""

    path: str
    schema: Mapping[str, Any]
    is_required: bool

    @property
    def top(self) -> str:
        """The key at the top that it belongs to."""
        return self.path.partition(".")[0]


def list_keys() -> tuple[SchemaKey, ...]:
    """Every key of a manifest in the order of the schema."""
    return tuple(_walk(build_json_schema(DocumentKind.MANIFEST), ""))


def load_examples() -> Mapping[str, Any]:
    """Path of a key, or `*.NAME` → its example."""
    loaded: Mapping[str, Any] = yaml.safe_load(EXAMPLES.read_text("utf-8"))
    return loaded


def find_example(key: SchemaKey, examples: Mapping[str, Any]) -> Any:
    """The example of a key; None where there is none."""
    general = f"*.{key.path.rpartition('.')[2]}"
    return examples.get(key.path, examples.get(general))


def render() -> str:
    """The page."""
    keys, examples = list_keys(), load_examples()
    tops = [key for key in keys if "." not in key.path]
    lines = ["# Keys of a manifest", "", HEAD, "", "| key | kind | meaning |", "|---|---|---|"]
    lines += [
        f"| [`{key.path}`](#{key.path}) | {_name_kind(key)} | {_describe(key)} |" for key in tops
    ]
    for top in tops:
        nested = [key for key in keys if key.top == top.path and key is not top]
        lines += ["", f"## {top.path}", "", _describe(top), ""]
        lines += ["```yml", dump({top.path: find_example(top, examples)}), "```"]
        if nested:
            lines += ["", "| key | kind | meaning | example |", "|---|---|---|---|"]
            lines += [_render_row(key, find_example(key, examples)) for key in nested]
    return "\n".join(lines) + "\n"


def _render_row(key: SchemaKey, example: Any) -> str:
    name = key.path.removeprefix(f"{key.top}.").replace("[].", "").replace("[]", "")
    shown = dump(example).replace("|", "\\|")
    return f"| `{name}` | {_name_kind(key)} | {_describe(key)} | `{shown}` |"


def _describe(key: SchemaKey) -> str:
    text = str(key.schema.get("description", "")).replace("|", "\\|")
    default = key.schema.get("default")
    if default is not None and default is not False:
        text += f" Default: `{dump(default)}`."
    return text


def _name_kind(key: SchemaKey) -> str:
    kinds = list(dict.fromkeys(_list_kinds(key.schema)))
    plain = [kind for kind in kinds if kind != "text" or len(kinds) == 1]
    return " or ".join(plain or kinds) + (", required" if key.is_required else "")


def _list_kinds(part: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in part or "const" in part:
        words = part.get("enum", [part.get("const")])
        yield " ".join(f"`{dump(word)}`" for word in words)
    elif set(part.get("properties", ())) == ALTERED:
        return
    elif "type" in part:
        yield _KINDS[part["type"]]
    for word in ("anyOf", "oneOf"):
        for one in part.get(word, ()):
            yield from _list_kinds(one)


def dump(value: Any) -> str:
    """One line of YAML, in flow style; a mapping of one key without its braces."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True)  # fmt: skip
    text = text.removesuffix("\n").removesuffix("\n...").strip()
    is_whole = isinstance(value, dict) and len(value) == 1 and text.startswith("{")
    return text[1:-1] if is_whole else text


def _walk(part: Mapping[str, Any], path: str) -> Iterator[SchemaKey]:
    properties = part.get("properties", {})
    if set(properties) == ALTERED:
        return
    for name, value in properties.items():
        key = f"{path}.{name}" if path else name
        yield SchemaKey(key, value, name in part.get("required", ()))
        yield from _walk(value, key)
    for word in ("anyOf", "oneOf", "allOf"):
        for one in part.get(word, ()):
            yield from _walk(one, path)
    if isinstance(part.get("items"), dict):
        yield from _walk(part["items"], f"{path}.[]")
    if isinstance(part.get("additionalProperties"), dict):
        yield from _walk(part["additionalProperties"], f"{path}.NAME")
