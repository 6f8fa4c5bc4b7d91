"""Each table that a new format, rule or command must stand in names all there are.

A failure says where the entry is missing. CONTRIBUTING.md shows the steps.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path

import click
import jsonschema
import pytest

from minbuild.archive.model import ProviderGuess
from minbuild.archive.provider_guess import GUESSES
from minbuild.cli.commands import COMMAND_GROUPS, COMMANDS
from minbuild.cli.main import run_command_line
from minbuild.cli.output_options import FormatOptionsCommand
from minbuild.errors import (
    ArchiveError,
    CheckFailed,
    ManifestError,
    ResolveError,
    ToolError,
    UsageError,
)
from minbuild.footprint import document
from minbuild.formats.magic import MAGIC_NUMBERS
from minbuild.image.grub import GRUB_TOOL as BIOS_TOOL
from minbuild.image.ukify import SIGN_TOOL
from minbuild.image.write import FORMATS, PARTITION_TOOLS
from minbuild.lab.drives import DRIVE_FORMATS, detect_drive_format
from minbuild.manifest.image_settings import Compression, ImageFormat, PartitionType
from minbuild.manifest.limits import FindingKind
from minbuild.manifest.shipped_manifests import load_tools
from minbuild.report import surface
from minbuild.report.formats import FORMATS as REPORT_FORMATS
from minbuild.resolve import error_messages, root_selection
from minbuild.resolve.model import Closure, NeedKind, UnmetNeed
from minbuild.roots.image_verification import BOOTABLE_ENDINGS
from minbuild.roots.open import InputKind, detect_input
from tests.support.footprints import tiny
from tools import docs, keys, picture

TOP = Path(__file__).parents[2]
REFERENCE = TOP / "docs" / "reference"
UNBOOTED = {ImageFormat.PXE: "a folder", ImageFormat.TAR: "no disk", ImageFormat.CPIO: "no disk"}
"""Formats that no machine of the lab is given as a medium."""


def lacks(what: Collection[str], there: Collection[str], where: str) -> None:
    """Fail with a sentence when `where` does not know all of `what`, or knows more."""
    missing, spare = sorted({*what} - {*there}), sorted({*there} - {*what})
    assert not missing, f"add {', '.join(missing)} to {where}"
    assert not spare, f"{where} has {', '.join(spare)}, which nothing else knows: remove it there"


def first_cells(page: Path, heading: str) -> set[str]:
    """The words in backquotes in the first column of the table below a line of a page."""
    text = page.read_text("utf-8").partition(heading)[2]
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert table is not None, f"{page} has no table below {heading!r}"
    cells = (row.split("|")[1] for row in table[0].splitlines()[2:])
    return {word for cell in cells for word in re.findall("`([^`]+)`", cell)}


# kinds of need


def test_every_way_to_guess_a_package_is_written() -> None:
    lacks([*map(str, ProviderGuess)], [*map(str, GUESSES)], "archive/provider_guess.py, GUESSES")


def test_a_kind_of_need_stands_in_the_schema_of_the_footprint() -> None:
    page = REFERENCE / "footprint.schema.json"
    edge = json.loads(page.read_text("utf-8"))["properties"]["edges"]["items"]
    lacks([*map(str, NeedKind)], edge["properties"]["kind"]["enum"], str(page))


def test_every_kind_of_need_is_documented() -> None:
    page = TOP / "docs" / "explanation" / "resolver.md"
    lacks([*map(str, NeedKind)], first_cells(page, "## Kinds of need"), str(page))


@pytest.mark.parametrize("kind", [*root_selection.SELECTORS])
def test_a_name_that_nothing_stands_for_is_told_as_a_name(kind: NeedKind) -> None:
    """Not as a path of a package, which is what explain.py says of roots that it has no words for."""
    missing = UnmetNeed(kind, "topic/NAME", "services/x", "", "x.yaml:1:1")
    closure = Closure({}, (), (missing,), "6.1", {}, (), {})
    said = error_messages.make_unresolved_error(closure)
    assert "no component makes it" not in said.what, (
        f"add words for {kind} to resolve/error_messages.py, _root"
    )


# image formats


def test_every_image_format_is_written() -> None:
    lacks(list(ImageFormat), FORMATS, "image/write.py, FORMATS")
    endings = [one.suffix for one in FORMATS.values()]
    assert len(endings) == len(set(endings)), "two formats of image/write.py have one ending"


def test_every_image_format_is_documented() -> None:
    known = first_cells(REFERENCE / "manifest.md", "`image`: `formats`")
    lacks(
        [*map(str, ImageFormat), "dib", "{dib: {…}}"], known, "docs/reference/manifest.md, `image`"
    )
    booted = first_cells(REFERENCE / "lab.md", "## What can be booted")
    kinds = {row.suffix.rpartition(".")[2] for one, row in FORMATS.items() if one not in UNBOOTED}
    named = {word.rpartition(".")[2] for word in booted}
    lacks(kinds, named, "docs/reference/lab.md, What can be booted")


def test_every_image_format_is_known_by_its_content(tmp_path: Path) -> None:
    """By the lab, by the reader of disks, and by `report`: each by the same magic number."""
    marks = {
        DRIVE_FORMATS[kind]: (at, mark)
        for at, mark, kind in reversed(MAGIC_NUMBERS)
        if kind in DRIVE_FORMATS
    }
    for one, row in FORMATS.items():
        kind = row.suffix.rpartition(".")[2]
        if one in UNBOOTED or kind == "raw":
            continue
        assert kind in marks, (
            f"add {one} to formats/magic.py and to lab/drives.py, DRIVE_FORMATS; or say in UNBOOTED here why "
            "no machine of the lab starts from it"
        )
        at, mark = marks[kind]
        head = bytearray(0x9000)
        head[510:512] = b"\x55\xaa"
        head[at : at + len(mark)] = mark
        path = tmp_path / "image"
        path.write_bytes(head)
        assert detect_drive_format(path) == kind
        assert detect_input(path) in {InputKind.UKI, InputKind.DISK}, (
            f"add {kind} to roots/open.py, _INPUT_KINDS"
        )


def test_every_image_of_a_build_is_held_against_its_footprint() -> None:
    """A tar is read as a root; the folder for a boot server is sizes alone."""
    endings = {one.suffix.rpartition(".")[2] for one in FORMATS.values()}
    lacks(
        endings, {*BOOTABLE_ENDINGS, "tar", "pxe"}, "roots/image_verification.py, BOOTABLE_ENDINGS"
    )


# reports


def test_every_report_format_has_its_page() -> None:
    text = (REFERENCE / "reports.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| (\w+(?:, \w+)*) \| ([a-z -]+) \|", text, re.MULTILINE))
    of = {name: {*words.split()} for names, words in rows.items() for name in names.split(", ")}
    for name in REPORT_FORMATS:
        able = {command for command, formats in outputs() if name in formats}
        lacks(able, of.get(name, ()), f"docs/reference/reports.md, the row of {name}")


def outputs() -> Iterator[tuple[str, set[str]]]:
    """Commands that write several formats, and which."""
    for name, entry in COMMANDS.items():
        command = entry.load()
        if isinstance(command, FormatOptionsCommand):
            options = {one.name or "" for one in command.params}
            options -= {"out_formats"}  # --format itself
            yield name, {one.removeprefix("out_") for one in options if one.startswith("out_")}


@pytest.mark.parametrize(("command", "more"), [("report", 0), ("diff", 1), ("check", 0)])
def test_a_command_writes_every_format_that_it_offers(
    command: str, more: int, tmp_path: Path
) -> None:
    place = tmp_path / "tiny.json"
    place.write_text(document.render_footprint(tiny()), encoding="utf-8")
    budget = tmp_path / "budget.yaml"
    budget.write_text("minbuild-budget: 1\ntotals: {files: 100}\n", encoding="utf-8")
    words = [command, *[str(place)] * (1 + more)]
    words += ["--budget", str(budget)] if command == "check" else []
    formats = dict(outputs())[command]
    assert (
        run_command_line([*words, *(f"--{one}={tmp_path / one}" for one in sorted(formats))]) == 0
    )
    for one in formats:
        assert (tmp_path / one).stat().st_size, f"{command} writes an empty {one}"


def test_every_kind_of_finding_has_a_name_and_a_row() -> None:
    kinds = [*map(str, FindingKind)]
    lacks(kinds, [*map(str, surface.FINDING_NAMES)], "report/surface.py, NAMES")
    known = first_cells(REFERENCE / "reports.md", "Each kind of finding has a name")
    lacks(kinds, known, "docs/reference/reports.md")


# data


def test_every_topic_of_rules_has_a_row_and_a_test() -> None:
    topics = {path.stem for path in (TOP / "manifests/components/rules").glob("*.yaml")}
    lacks(
        topics,
        first_cells(REFERENCE / "rules.md", "What a manifest or a component asks"),
        "docs/reference/rules.md",
    )
    tests = (TOP / "tests/oracle/test_rules.py").read_text("utf-8")
    for topic in topics - {"alternatives"}:  # of which awk is one
        assert topic.partition("-")[0] in tests, f"try {topic} in tests/oracle/test_rules.py"


def test_every_tool_of_the_toolbox_is_started_by_something() -> None:
    there = {tool.name for tool in load_tools()}
    wanted = {name for one in FORMATS.values() for name in one.tools} | {BIOS_TOOL, SIGN_TOOL}
    wanted |= {name for names in PARTITION_TOOLS.values() for name in names}
    wanted |= {str(how) for how in Compression if how is not Compression.NONE}
    for name in sorted(wanted - there):
        pytest.fail(f"describe the tool {name}: manifests/toolbox/{name}.yaml")
    source = "".join(path.read_text("utf-8") for path in (TOP / "minbuild").rglob("*.py"))
    for name in sorted(there):
        assert f'"{name}"' in source, f"nothing in minbuild starts {name}: remove its file"


def test_every_partition_has_its_row() -> None:
    text = (REFERENCE / "manifest.md").read_text("utf-8")
    row = re.search(r"^\| `type` \|(.*?)\|", text, re.MULTILINE)
    assert row is not None
    lacks(
        [*map(str, PartitionType)],
        re.findall("`([^`]+)`", row[1]),
        "docs/reference/manifest.md, `type`",
    )


# commands


def test_every_command_is_on_the_first_screen_and_in_the_reference() -> None:
    shown = {name for rows in COMMAND_GROUPS.values() for name in rows}
    lacks(COMMANDS, shown, "cli/commands.py, COMMAND_GROUPS")
    text = (REFERENCE / "commands.md").read_text("utf-8")
    rows = {*re.findall(r"^\| `minbuild ([a-z-]+)", text, re.MULTILINE)}
    lacks(COMMANDS, rows, "docs/reference/commands.md")
    for name, entry in COMMANDS.items():
        command = entry.load()
        if isinstance(command, click.Group):
            row = next(line for line in text.splitlines() if line.startswith(f"| `minbuild {name}"))
            for sub in command.commands:
                assert sub in row, f"add {sub} to docs/reference/commands.md, the row of {name}"


@pytest.mark.parametrize("name", ["options.md", "components.md", "keys.md", "examples.md"])
def test_pages_that_the_program_writes_are_up_to_date(name: str) -> None:
    there = (REFERENCE / name).read_text("utf-8")
    assert there == docs.pages()[name], f"docs/reference/{name} is old: run `make docs`"


def test_the_picture_shows_what_the_readme_says() -> None:
    there = picture.PICTURE.read_text("utf-8")
    assert there == picture.draw(), f"{picture.PICTURE.name} is old: run `make docs`"


@pytest.mark.parametrize("key", keys.list_keys(), ids=lambda key: key.path)
def test_every_key_has_an_example_that_fits_it(key: keys.SchemaKey) -> None:
    example = keys.find_example(key, keys.load_examples())
    assert example is not None, f"add {key.path} to tools/key_examples.yaml"
    jsonschema.Draft7Validator(key.schema).validate(example)


def test_every_exit_code_and_variable_is_documented() -> None:
    text = (REFERENCE / "commands.md").read_text("utf-8")
    codes = {*re.findall(r"^\| (\d+) \|", text.partition("## Exit codes")[2], re.MULTILINE)}
    errors = (CheckFailed, UsageError, ManifestError, ArchiveError, ResolveError, ToolError)
    lacks(
        {"0", "70", "130", *(str(one.exit_code) for one in errors)},
        codes,
        "commands.md, Exit codes",
    )
    source = "".join(path.read_text("utf-8") for path in (TOP / "minbuild").rglob("*.py"))
    read = {*re.findall(r'"(MINBUILD_[A-Z_]+)"', source)}
    named = {*re.findall("`(MINBUILD_[A-Z_]+)`", text.partition("## Environment")[2])}
    lacks(read, named, "docs/reference/commands.md, Environment")


def test_contributing_names_files_that_are_there() -> None:
    text = (TOP / "CONTRIBUTING.md").read_text("utf-8")
    for name in sorted({*re.findall(r"`([\w.-]+(?:/[\w.-]+)+/?)`", text)}):
        assert (TOP / name).exists(), f"CONTRIBUTING.md names {name}, which is not there"


# tests


def test_the_readme_of_the_tests_names_every_tier_marker_variable_and_slow_file() -> None:
    text = (TOP / "tests" / "README.md").read_text("utf-8")
    tiers = {f"{path.parent.name}/" for path in (TOP / "tests").glob("*/__init__.py")}
    tiers |= {f"e2e/{path.parent.name}/" for path in (TOP / "tests/e2e").glob("*/__init__.py")}
    tiers |= {"unit/"}
    lacks(tiers, first_cells(TOP / "tests" / "README.md", "## Tiers"), "tests/README.md, Tiers")
    settings = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
    markers = {one.partition(":")[0] for one in settings["ini_options"]["markers"]}
    lacks(
        {*markers, "xdist_group"},
        first_cells(TOP / "tests/README.md", "## Markers"),
        "tests/README.md, Markers",
    )
    sources = {path: path.read_text("utf-8") for path in (TOP / "tests").rglob("*.py")}
    read = {
        one
        for source in sources.values()
        for one in re.findall(r'environ\S*"(MINBUILD_\w+)"', source)
    }
    for name in sorted(read):
        assert f"`{name}`" in text, f"add {name} to tests/README.md, Variables"
    for path, source in sources.items():
        if re.search(r"mark\.long\b", source) and path != Path(__file__):
            name = path.relative_to(TOP / "tests")
            assert f"`{name}`" in text, f"add {name} to tests/README.md, What is `long`"
