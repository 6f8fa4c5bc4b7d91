"""Figures of the house, `make house`: how many modules, how long, how tangled, how named.

`--no-runs` leaves out what has to run the program, `-v` lists what is counted, `--json` is for a
comparison of two trees.
"""

import argparse
import ast
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools import survey
from tools.frames import watched
from tools.survey import Module

TOP = Path(__file__).parents[1]
SHORT, LONG, LONG_FUNCTION = 40, 350, 40
Rows = list[tuple[str, str]]
Lists = dict[str, Sequence[str]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="house", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="list what is counted")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--no-runs", action="store_true", help="read the source only")
    wish = parser.parse_args()
    modules = survey.read(TOP, ["minbuild"])
    lists: Lists = {}
    rows = [*_modules(modules, lists), *_imports(modules, lists), *_names(modules, lists),
            *_lengths(modules, lists), *_words(modules)]  # fmt: skip
    if not wish.no_runs:
        rows += _runs()
    if wish.json:
        print(json.dumps(dict(rows), indent=1))
        return
    print("| what | value |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    if wish.verbose:
        for name, lines in lists.items():
            print(f"\n## {name}\n", *lines, sep="\n")


def _modules(modules: Mapping[str, Module], lists: Lists) -> Rows:
    own = {name: one for name, one in modules.items() if not one.is_package}
    lines = [one.lines for one in own.values()]
    short = sorted(f"{one.lines:4} {name}" for name, one in own.items() if one.lines < SHORT)
    by = survey.importers(modules)
    single = sorted(f"{name}, by {min(by[name])}" for name in own if len(by[name]) == 1)
    lists["modules below 40 lines"], lists["modules with one importer"] = short, single
    packages = sum(one.is_package for one in modules.values())
    return [
        ("modules / packages / lines", f"{len(own)} / {packages} / {sum(lines):,}"),
        ("median length of a module, lines", f"{statistics.median(lines):.0f}"),
        (
            f"modules below {SHORT} lines / above {LONG}",
            f"{len(short)} / {sum(one > LONG for one in lines)}",
        ),
        ("modules with exactly one importer", str(len(single))),
    ]


def _imports(modules: Mapping[str, Module], lists: Lists) -> Rows:
    circles = survey.circles({**modules, **survey.read(TOP, ["benchmarks", "tools"])})
    lists["import circles"] = [" ↔ ".join(one) for one in circles]
    inside = {name: survey.imports_in_functions(one) for name, one in modules.items()}
    inside = {name: count for name, count in inside.items() if count}
    most = sorted(inside.items(), key=lambda row: (-row[1], row[0]))
    lists["imports inside functions"] = [f"{count:4} {name}" for name, count in most]
    return [
        ("import circles (strongly connected parts, benchmarks and tools too)",
         f"{len(circles)}, of {sum(map(len, circles))} modules"),
        ("imports inside functions / in modules", f"{sum(inside.values())} / {len(inside)}"),
        ("`Any` in cli", str(survey.uses_of(modules, "Any", "minbuild.cli"))),
    ]  # fmt: skip


def _names(modules: Mapping[str, Module], lists: Lists) -> Rows:
    classes = survey.public(modules, ast.ClassDef)
    functions = survey.public(modules, survey.Function)
    files = survey.file_names(modules)
    for name, found in (("class", classes), ("function", functions), ("file", files)):
        often = sorted(found.items(), key=lambda row: (-len(row[1]), row[0]))
        lists[f"{name} names in several modules"] = [f"{one}: {', '.join(at)}" for one, at in often]
    total = sum(len(one.functions) for one in modules.values())
    participles = survey.participles(modules)
    lists["functions named by a participle"] = participles
    pronouns = survey.pronouns(modules)
    return [
        ("public class names in several modules", str(len(classes))),
        ("public function names in several modules", str(len(functions))),
        ("file names in several packages", str(len(files))),
        ("functions named by a participle / functions", f"{len(participles)} / {total:,}"),
        (" / ".join(f"`{name}`" for name in survey.PRONOUNS) + " as a name",
         " / ".join(f"{pronouns[name]:,}" for name in survey.PRONOUNS)),
    ]  # fmt: skip


def _lengths(modules: Mapping[str, Module], lists: Lists) -> Rows:
    functions = survey.lengths(modules)
    files = sorted(((one.lines, name) for name, one in modules.items()), reverse=True)
    lists["longest modules"] = [f"{lines:4} {name}" for lines, name in files[:20]]
    lists["longest functions"] = [f"{lines:4} {name}" for lines, name in functions[:20]]
    return [
        ("longest modules", ", ".join(f"{name} {lines}" for lines, name in files[:3])),
        ("longest functions", ", ".join(f"{name} {lines}" for lines, name in functions[:3])),
        (f"functions above {LONG_FUNCTION} lines",
         str(sum(lines > LONG_FUNCTION for lines, _ in functions))),
    ]  # fmt: skip


def _words(modules: Mapping[str, Module]) -> Rows:
    functions, told, classes, told_classes = survey.undocumented(modules)
    return [
        ("public functions with a docstring / of", f"{told:,} / {functions:,}"),
        ("classes with a docstring / of", f"{told_classes} / {classes}"),
        (
            "module docstrings that open with What, How, Which …",
            str(survey.relative_openings(modules)),
        ),
    ]


def _runs() -> Rows:
    """The shipped host: without a lock, with another packing, and without a change."""
    with tempfile.TemporaryDirectory() as work:
        words = ("make", str(TOP / "manifests" / "host.yaml"), "--lock", f"{work}/host.lock",
                 "-o", f"{work}/out")  # fmt: skip
        first = watched("frames", *words, "--compression", "none")
        changed = watched("frames", *words, "--compression", "zstd")
        packed = watched("codes", *words, "--compression", "none")
        same = watched("codes", *words, "--compression", "none")
    started = watched("modules", "--help")["modules"]
    return [
        ("frames from cli.main.run to the process that writes the UKI", _distinct(changed["uki"])),
        ("frames to renameat2, which publishes", _distinct(changed["publish"])),
        ("frames to a Need without a lock: least / median / most", _spread(first["needs"])),
        ("frames to a Need with a lock: least / median / most", _spread(changed["needs"])),
        ("modules of minbuild imported by --help / a make without a change / one that packs",
         f"{started} / {same['modules']} / {packed['modules']}"),
        ("distinct code objects entered by a make without a change / one that packs",
         f"{same['codes']:,} / {packed['codes']:,}"),
    ]  # fmt: skip


def _spread(needs: Mapping[str, int]) -> str:
    deep = sorted(int(at) for at, count in needs.items() for _ in range(count))
    return f"{deep[0]} / {statistics.median(deep):.0f} / {deep[-1]}" if deep else "not seen"


def _distinct(depths: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(depths)))) or "not seen"


if __name__ == "__main__":
    main()
