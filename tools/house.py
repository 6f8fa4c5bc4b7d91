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
from tools.frames import run_watched
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
    options = parser.parse_args()
    modules = survey.read_modules(TOP, ["minbuild"])
    lists: Lists = {}
    rows = [*_count_modules(modules, lists), *_count_imports(modules, lists), *_count_names(modules, lists),
            *_count_lengths(modules, lists), *_count_docstrings(modules)]  # fmt: skip
    if not options.no_runs:
        rows += _count_runs()
    if options.json:
        print(json.dumps(dict(rows), indent=1))
        return
    print("| what | value |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")
    if options.verbose:
        for name, lines in lists.items():
            print(f"\n## {name}\n", *lines, sep="\n")


def _count_modules(modules: Mapping[str, Module], lists: Lists) -> Rows:
    own = {name: one for name, one in modules.items() if not one.is_package}
    lines = [one.lines for one in own.values()]
    short = sorted(f"{one.lines:4} {name}" for name, one in own.items() if one.lines < SHORT)
    by = survey.find_importers(modules)
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


def _count_imports(modules: Mapping[str, Module], lists: Lists) -> Rows:
    circles = survey.find_circles({**modules, **survey.read_modules(TOP, ["benchmarks", "tools"])})
    lists["import circles"] = [" ↔ ".join(one) for one in circles]
    inside = {name: survey.count_function_imports(one) for name, one in modules.items()}
    inside = {name: count for name, count in inside.items() if count}
    most = sorted(inside.items(), key=lambda row: (-row[1], row[0]))
    lists["imports inside functions"] = [f"{count:4} {name}" for name, count in most]
    return [
        ("import circles (strongly connected parts, benchmarks and tools too)",
         f"{len(circles)}, of {sum(map(len, circles))} modules"),
        ("imports inside functions / in modules", f"{sum(inside.values())} / {len(inside)}"),
        ("`Any` in cli", str(survey.count_uses(modules, "Any", "minbuild.cli"))),
    ]  # fmt: skip


def _count_names(modules: Mapping[str, Module], lists: Lists) -> Rows:
    classes = survey.find_repeated_names(modules, ast.ClassDef)
    functions = survey.find_repeated_names(modules, survey.Function)
    files = survey.find_repeated_files(modules)
    for name, result in (("class", classes), ("function", functions), ("file", files)):
        often = sorted(result.items(), key=lambda row: (-len(row[1]), row[0]))
        lists[f"{name} names in several modules"] = [f"{one}: {', '.join(at)}" for one, at in often]
    total = sum(len(one.functions) for one in modules.values())
    participles = survey.list_participles(modules)
    lists["functions named by a participle"] = participles
    pronouns = survey.count_pronouns(modules)
    return [
        ("public class names in several modules", str(len(classes))),
        ("public function names in several modules", str(len(functions))),
        ("file names in several packages", str(len(files))),
        ("functions named by a participle / functions", f"{len(participles)} / {total:,}"),
        (" / ".join(f"`{name}`" for name in survey.PRONOUNS) + " as a name outside of comprehensions",
         " / ".join(f"{pronouns[name]:,}" for name in survey.PRONOUNS)),
    ]  # fmt: skip


def _count_lengths(modules: Mapping[str, Module], lists: Lists) -> Rows:
    functions = survey.list_function_lengths(modules)
    files = sorted(((one.lines, name) for name, one in modules.items()), reverse=True)
    lists["longest modules"] = [f"{lines:4} {name}" for lines, name in files[:20]]
    lists["longest functions"] = [f"{lines:4} {name}" for lines, name in functions[:20]]
    return [
        ("longest modules", ", ".join(f"{name} {lines}" for lines, name in files[:3])),
        ("longest functions", ", ".join(f"{name} {lines}" for lines, name in functions[:3])),
        (f"functions above {LONG_FUNCTION} lines",
         str(sum(lines > LONG_FUNCTION for lines, _ in functions))),
    ]  # fmt: skip


def _count_docstrings(modules: Mapping[str, Module]) -> Rows:
    functions, documented, classes, told_classes = survey.count_documented(modules)
    return [
        ("public functions with a docstring / of", f"{documented:,} / {functions:,}"),
        ("classes with a docstring / of", f"{told_classes} / {classes}"),
        (
            "module docstrings that open with What, How, Which …",
            str(survey.count_relative_openings(modules)),
        ),
    ]


def _count_runs() -> Rows:
    """The shipped host: without a lock, with another packing, and without a change."""
    with tempfile.TemporaryDirectory() as work:
        argv = ("make", str(TOP / "manifests" / "host.yaml"), "--lock", f"{work}/host.lock",
                 "-o", f"{work}/out")  # fmt: skip
        first = run_watched("frames", *argv, "--compression", "none")
        changed = run_watched("frames", *argv, "--compression", "zstd")
        packed = run_watched("codes", *argv, "--compression", "none")
        same = run_watched("codes", *argv, "--compression", "none")
    started = run_watched("modules", "--help")["modules"]
    return [
        ("frames from cli.main.run to the process that writes the UKI", _format_distinct(changed["uki"])),
        ("frames to renameat2, which publishes", _format_distinct(changed["publish"])),
        ("frames to a Need without a lock: least / median / most", _format_spread(first["needs"])),
        ("frames to a Need with a lock: least / median / most", _format_spread(changed["needs"])),
        ("modules of minbuild imported by --help / a make without a change / one that packs",
         f"{started} / {same['modules']} / {packed['modules']}"),
        ("distinct code objects entered by a make without a change / one that packs",
         f"{same['codes']:,} / {packed['codes']:,}"),
    ]  # fmt: skip


def _format_spread(needs: Mapping[str, int]) -> str:
    deep = sorted(int(at) for at, count in needs.items() for _ in range(count))
    return f"{deep[0]} / {statistics.median(deep):.0f} / {deep[-1]}" if deep else "not seen"


def _format_distinct(depths: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(depths)))) or "not seen"


if __name__ == "__main__":
    main()
