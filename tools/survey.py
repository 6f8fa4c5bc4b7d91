"""What the source says of itself: modules, imports, names, lengths; read with `ast`, nothing is run."""

import ast
import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import UnionType

PRONOUNS = ("found", "one", "place", "what", "each")
IRREGULAR = frozenset(
    [
        "begun",
        "bound",
        "broken",
        "brought",
        "built",
        "bought",
        "caught",
        "chosen",
        "done",
        "drawn",
        "driven",
        "dug",
        "fallen",
        "fed",
        "felt",
        "found",
        "given",
        "gone",
        "grown",
        "heard",
        "held",
        "hidden",
        "hung",
        "kept",
        "known",
        "laid",
        "led",
        "left",
        "lent",
        "lost",
        "made",
        "meant",
        "met",
        "paid",
        "said",
        "seen",
        "sent",
        "shown",
        "shut",
        "sought",
        "spelled",
        "spoken",
        "spread",
        "stood",
        "struck",
        "stuck",
        "sworn",
        "taken",
        "taught",
        "told",
        "thought",
        "thrown",
        "torn",
        "understood",
        "woken",
        "won",
        "worn",
        "written",
    ]
)
VERBS = frozenset(
    [
        "bed",
        "breed",
        "embed",
        "exceed",
        "feed",
        "heed",
        "need",
        "proceed",
        "red",
        "seed",
        "shed",
        "speed",
        "succeed",
    ]
)
"""Words in -ed that are no participles."""
RELATIVE = re.compile(r"(?:What|How|Which|Where|Whether|Who|When|Why)\b")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    """minbuild.pipeline.life; a package stands for its __init__.py."""
    path: Path
    tree: ast.Module
    lines: int
    text: str

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @cached_property
    def functions(self) -> tuple[tuple[Function, bool], ...]:
        """Every function, and whether it is a property."""
        return tuple(
            (node, _is_property(node)) for node in ast.walk(self.tree) if isinstance(node, Function)
        )


def read_modules(top: Path, packages: Collection[str]) -> dict[str, Module]:
    """Every module of these packages below a directory, by name, sorted.

    Links are not followed, in any version of Python: data beside a package is none of its modules.
    """
    modules = {}
    for package in packages:
        for path in _list_sources(top / package):
            parts = path.relative_to(top).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text("utf-8")
            modules[name] = Module(name, path, ast.parse(text), text.count("\n"), text)
    return modules


def _list_sources(package: Path) -> list[Path]:
    walk = os.walk(package, followlinks=False)
    return sorted(
        Path(directory, name)
        for directory, _, names in walk
        for name in names
        if name.endswith(".py")
    )


def list_imports(module: Module, known: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Modules that a module imports, and whether it does so when it runs (not for types alone)."""
    for node, runs in _import_nodes(module.tree, runs=True):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in known else base for name in names]
        yield from ((name, runs) for name in names if name in known and name != module.name)


def _import_nodes(
    node: ast.AST, *, runs: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, runs
        else:
            for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from _import_nodes(child, runs=runs and not for_types)


def count_function_imports(module: Module) -> int:
    """Import statements that stand in functions; each once."""
    inside = {
        id(node)
        for function, _ in module.functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    return len(inside)


def find_importers(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Module → those that import it, for types too."""
    result: dict[str, set[str]] = {name: set() for name in modules}
    for module in modules.values():
        for name, _ in list_imports(module, modules):
            result[name].add(module.name)
    return result


def find_circles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Modules that import each other when they run, at their top or in a function; sorted.

    A package's own __init__ is no member: importing what lies in it imports it.
    """
    edges = {
        name: sorted(
            {
                to
                for to, runs in list_imports(module, modules)
                if runs and not modules[to].is_package
            }
        )
        for name, module in modules.items()
        if not module.is_package
    }
    return sorted(sorted(part) for part in _strong(edges) if len(part) > 1)


def _strong(edges: Mapping[str, list[str]]) -> list[list[str]]:
    """Strongly connected parts. Source: Kosaraju's algorithm."""
    back: dict[str, list[str]] = {name: [] for name in edges}
    for name, others in edges.items():
        for other in others:
            back[other].append(name)
    order: list[str] = []
    seen: set[str] = set()
    for name in edges:
        order += _reach(name, edges, seen)
    parts, seen = [], set()
    for name in reversed(order):
        part = _reach(name, back, seen)
        if part:
            parts.append(part)
    return parts


def _reach(start: str, edges: Mapping[str, list[str]], seen: set[str]) -> list[str]:
    """What is reached and not yet seen, each after all that it reaches."""
    if start in seen:
        return []
    seen.add(start)
    order: list[str] = []
    stack = [(start, iter(edges[start]))]
    while stack:
        name, others = stack[-1]
        for other in others:
            if other not in seen:
                seen.add(other)
                stack.append((other, iter(edges[other])))
                break
        else:
            order.append(name)
            stack.pop()
    return order


def find_repeated_names(
    modules: Mapping[str, Module], kind: type | UnionType
) -> dict[str, list[str]]:
    """Public names at the top of modules that are defined in more than one → the modules."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, kind) and not (name := _name(node)).startswith("_"):
                by_name[name].append(module.name)
    return {name: places for name, places in sorted(by_name.items()) if len(places) > 1}


def _name(node: ast.AST) -> str:
    return node.name if isinstance(node, ast.ClassDef | Function) else ""


def find_repeated_files(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """File names that two or more packages have → the modules."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for module in modules.values():
        if not module.is_package and "." in module.name:
            by_name[module.path.name].append(module.name)
    return {name: places for name, places in sorted(by_name.items()) if len(places) > 1}


def list_participles(modules: Mapping[str, Module]) -> list[str]:
    """Functions (no properties, no tests of a claim) whose first word is a past participle."""
    names = []
    for module in modules.values():
        for function, is_property in module.functions:
            word = function.name.strip("_").partition("_")[0]
            if not is_property and is_participle(word):
                names.append(f"{module.name}.{function.name}")
    return sorted(names)


def is_participle(word: str) -> bool:
    """Guess it by the ending and a list; `seed` and `need` are none."""
    return word in IRREGULAR or (word.endswith("ed") and len(word) > 3 and word not in VERBS)


def _is_property(node: Function) -> bool:
    names = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
    return bool(names & {"property", "cached_property", "setter"})


def count_pronouns(modules: Mapping[str, Module]) -> Counter[str]:
    """How often each of PRONOUNS names a local, a loop variable or a parameter.

    Not counted: what ends with the comprehension or the lambda that names it.
    """
    counts: Counter[str] = Counter()
    for module in modules.values():
        counts.update(_iterate_bound_names(module.tree))
    return Counter({name: counts[name] for name in PRONOUNS if counts[name]})


def _iterate_bound_names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.comprehension(target=_, iter=source, ifs=conditions):
            for part in (source, *conditions):
                yield from _iterate_bound_names(part)
            return
        case ast.Lambda(body=body):
            yield from _iterate_bound_names(body)
            return
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            yield name
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from _iterate_bound_names(child)


def list_function_lengths(modules: Mapping[str, Module]) -> list[tuple[int, str]]:
    """Lines of every function, the longest first."""
    rows = [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{module.name}.{node.name}")
        for module in modules.values()
        for node, _ in module.functions
    ]
    return sorted(rows, key=lambda row: (-row[0], row[1]))


def count_documented(modules: Mapping[str, Module]) -> tuple[int, int, int, int]:
    """Public functions and methods, those with a docstring; classes, those with a docstring."""
    functions = [
        node for one in modules.values() for node, _ in one.functions if node.name[0] != "_"
    ]
    classes = [
        node
        for one in modules.values()
        for node in ast.walk(one.tree)
        if isinstance(node, ast.ClassDef)
    ]
    documented = [
        sum(ast.get_docstring(node) is not None for node in nodes) for nodes in (functions, classes)
    ]
    return len(functions), documented[0], len(classes), documented[1]


def count_relative_openings(modules: Mapping[str, Module]) -> int:
    """Module docstrings that open with What, How, Which …"""
    return sum(bool(RELATIVE.match(ast.get_docstring(one.tree) or "")) for one in modules.values())


def count_uses(modules: Mapping[str, Module], name: str, package: str) -> int:
    """How often a name stands in the modules of a package: `Any` in annotations."""
    return sum(
        isinstance(node, ast.Name) and node.id == name
        for module in modules.values()
        if module.name.startswith(package)
        for node in ast.walk(module.tree)
    )
