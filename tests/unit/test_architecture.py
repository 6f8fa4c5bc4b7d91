"""docs/architecture.md and CONTRIBUTING.md name what exists."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "architecture.md"
PAGES = (
    PAGE,
    TOP / "CONTRIBUTING.md",
    TOP / "tests" / "README.md",
    TOP / "tests/cases/README.md",
    TOP / "docs/reference/standards.md",
)
MAX_TERMS = 60
PATH = re.compile(r"(?:minbuild|tests|docs|manifests|tools|benchmarks|elements)/[\w./-]*")
CODE_NAME = re.compile(r"[A-Z]\w*[a-z]\w*|[A-Z][A-Z_]{2,}|[a-z]+_[a-z_]+")


def read_table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the page, without its head."""
    text = PAGE.read_text("utf-8").partition(f"\n{heading}\n")[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None, f"{PAGE} has no table below {heading!r}"
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[0].splitlines()[2:]]


def list_code_words(text: str) -> list[str]:
    """Words in backquotes, outside of blocks."""
    return re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )


@cache
def list_identifiers(*tops: str) -> frozenset[str]:
    """Every name that the Python files below `tops` define or use, and names of modules."""
    paths = [path for top in tops for path in (TOP / top).rglob("*.py")]
    return frozenset(path.stem for path in paths) | {
        name for path in paths for name in _iterate_names(ast.parse(path.read_bytes()))
    }


def _iterate_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case _:
                pass


def test_the_packages_are_those_of_the_linter_in_their_order() -> None:
    contracts = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = [layer.split(" | ") for layer in contracts["contracts"][0]["layers"]]
    named = [cells[0].strip("`") for cells in read_table("## Packages")]
    assert named == [name for layer in layers for name in layer]


def test_every_package_and_module_at_the_top_is_named() -> None:
    there = {
        path.stem
        for path in (TOP / "minbuild").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    named = {cells[0].strip("`") for cells in read_table("## Packages")}
    assert named == there - {"__init__"}


def test_the_answers_name_files_that_define_what_they_say() -> None:
    for question, answer in read_table("## Where to find what"):
        words = list_code_words(answer)
        paths = [TOP / word for word in words if "/" in word]
        assert paths, f"{question}: no file"
        assert all(path.exists() for path in paths), f"{question}: {answer}"
        text = "\n".join(path.read_text("utf-8") for path in paths if path.is_file())
        for word in words:
            if CODE_NAME.fullmatch(word):
                assert re.search(rf"\b{word}\b", text), (
                    f"{question}: {word} is in none of its files"
                )


def test_every_step_names_its_module_and_what_it_makes() -> None:
    for step, *cells, module in read_table("## What a build does"):
        assert (TOP / module.strip("`")).is_file(), f"{step}: {module}"
        text = (TOP / module.strip("`")).read_text("utf-8")
        for word in list_code_words(cells[-1]):
            assert re.search(rf"\b{word}\b", text), f"{step}: {word} is not in {module}"


def test_the_glossary_has_few_terms_each_of_which_is_in_the_code() -> None:
    rows = read_table("## Glossary")
    terms = [term for term, _, _ in rows]
    assert len(rows) <= MAX_TERMS
    assert terms == sorted(set(terms))
    for term, _, name in rows:
        assert name.strip("`") in list_identifiers("minbuild"), (
            f"{term}: {name} is nowhere in the code"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_pages_for_developers_name_paths_and_names_that_exist(page: Path) -> None:
    for word in list_code_words(page.read_text("utf-8")):
        is_placeholder = re.search(r"[A-Z]{4}|\bX\b", word)
        if PATH.fullmatch(word) and not is_placeholder:
            assert (TOP / word).exists(), f"{page.name}: {word} does not exist"
        elif CODE_NAME.fullmatch(word) and page.name == "CONTRIBUTING.md":
            exists = word in list_identifiers("minbuild", "tests/unit")
            assert exists, f"{page.name}: {word} is nowhere in the code"


def test_each_decision_has_a_number_of_its_own() -> None:
    """Two records that were written side by side had the same one."""
    records = sorted((TOP / "docs/decisions").glob("*.md"))
    numbers = [record.name.partition("-")[0] for record in records]
    assert len(set(numbers)) == len(numbers) > 0
    for record, number in zip(records, numbers, strict=True):
        assert record.read_text("utf-8").startswith(f"# {number} "), record.name
