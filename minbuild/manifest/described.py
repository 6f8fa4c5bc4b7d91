"""One component as people read about it: what it needs, sets and brings, and what its comments say."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minbuild.errors import UsageError
from minbuild.manifest import document
from minbuild.manifest.components import Shelf, full
from minbuild.manifest.format import COMPONENT
from minbuild.manifest.inputs import Inputs, shown
from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.shape import Reading
from minbuild.manifest.types import Name, Section, Value
from minbuild.manifest.written import ComponentDocument

_COMMENT = re.compile(
    r"""(?:[^\s#'"]|'[^']*'|"(?:[^"\\]|\\.)*"|(?<=\S)#|[ \t](?!\#)|['"])*+[ \t]\#\s?(.*)"""
)
"""A line with a comment behind what it says; a # in quotes begins none. Source: YAML 1.2.2, 6.6."""


@dataclass(frozen=True, slots=True)
class Described:
    """A component with the meaning that its comments give."""

    name: str
    """section/name."""
    summary: str
    about: str
    """The comments that stand before its first list or mapping, as one text; "" when there are none."""
    needs: tuple[str, ...]
    variables: tuple[tuple[str, Value, str], ...]
    """Name, default, and the comment on its line."""
    brings: Mapping[str, tuple[str, ...]]
    """packages, applets, files, modules, firmware, kconfig, cmdline → what; none is empty."""
    probes: tuple[tuple[str, str], ...]
    """Name, and what a failure means."""
    where: str
    """Its file."""


def describe(word: str, directories: Sequence[Path]) -> Described:
    """The component that `word` (section/name, or a name that only one section has) means.

    Raises: UsageError when there is none, or several; ManifestError with every problem of it.
    """
    name, path = _found(word, Shelf(directories).files())
    problems = Problems()
    data = Inputs(problems).read(path, shown(path))
    node = None if data is None else document.parse(data, shown(path), problems)
    made = None if node is None else COMPONENT.read(node, Reading(problems))
    problems.check()
    assert data is not None
    assert made is not None
    lines = data.decode("utf-8-sig").splitlines()
    section = Section(name.partition("/")[0])
    return Described(
        name=name,
        summary=made.summary,
        about=_about(lines),
        needs=tuple(full(need.text, section) for need in made.needs),
        variables=tuple(
            (one.name, one.value, _comment(lines, one.where.line)) for one in made.vars
        ),
        brings={key: rows for key, rows in _brings(made).items() if rows},
        probes=_probes(made, name),
        where=shown(path),
    )


def _found(word: str, files: Mapping[str, Path]) -> tuple[str, Path]:
    named = [name for name in files if word in (name, name.partition("/")[2])]
    if len(named) == 1:
        return named[0], files[named[0]]
    if named:
        raise UsageError(
            f"several components are called {word}", fix=f"write one of: {', '.join(named)}"
        )
    shorts = [name.partition("/")[2] for name in files] if "/" not in word else []
    fix = suggestion(word, [*files, *shorts], otherwise="`minbuild components` lists them")
    raise UsageError(f"there is no component {word}", fix=fix)


def _about(lines: Sequence[str]) -> str:
    """The whole lines of comment at the top of the document, in paragraphs as they stand."""
    found: list[str] = []
    for line in lines:
        if line.startswith("#"):
            found.append(line.lstrip("#").strip())
        elif line.startswith(("summary:", "needs:")) or not line.strip():
            continue
        else:
            break
    return " ".join(filter(None, found))


def _comment(lines: Sequence[str], number: int) -> str:
    """The comment behind a line, from 1."""
    found = _COMMENT.fullmatch(lines[number - 1])
    return found[1].strip() if found else ""


def _brings(made: ComponentDocument) -> dict[str, tuple[str, ...]]:
    def texts(names: Sequence[Name]) -> tuple[str, ...]:
        return tuple(one.text for one in names)

    return {
        "packages": tuple(f"{one.package}: {path}" for one in made.packages for path in one.paths),
        "applets": texts(made.applets),
        "files": tuple(str(one.path) for one in made.files),
        "modules": texts(made.modules),
        "firmware": texts(made.firmware),
        "kconfig": texts(made.kconfig),
        "cmdline": made.cmdline,
    }


def _probes(made: ComponentDocument, name: str) -> tuple[tuple[str, str], ...]:
    probes = (*(() if made.probe is None else (made.probe,)), *made.probes)
    return tuple(
        (one.text, "") if isinstance(one, Name) else (one.name or name.partition("/")[2], one.means)
        for one in probes
    )
