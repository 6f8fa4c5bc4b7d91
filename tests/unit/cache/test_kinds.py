import ast
import re
from pathlib import Path

import minbuild
from minbuild.cache.records import RecordKind

KIND = re.compile(r"[a-z0-9.-]+[/-][0-9]+")
METHODS = {"get", "get_all", "put", "remove"}
STORES = re.compile(r"(?:.*\.)?_?(?:store|records)")


def test_a_kind_has_a_version() -> None:
    assert [kind for kind in RecordKind if not KIND.fullmatch(kind)] == []


def test_no_other_module_invents_a_kind() -> None:
    """Every record is read and written under a `RecordKind`, or a variable that holds one."""
    top = Path(minbuild.__file__).parent
    for path in top.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in METHODS and STORES.fullmatch(ast.unparse(node.func.value)):
                kind = ast.unparse(node.args[0])
                assert kind.startswith("RecordKind.") or kind in {"kind", "self.kind"}, (
                    f"{path.relative_to(top)}:{node.lineno}: add the kind {kind} to cache/records.py"
                )


def test_kinds_are_used() -> None:
    top = Path(minbuild.__file__).parent
    text = "".join(path.read_text() for path in top.rglob("*.py") if path.name != "records.py")
    assert [kind.name for kind in RecordKind if f"RecordKind.{kind.name}" not in text] == []
