"""One manifest as many: every combination of architectures, suites and sets of components."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from minbuild.manifest.nodes import Entries, Entry, Items, Kind, Node, Scalar, joined, plain
from minbuild.manifest.problems import Problems, suggestion
from minbuild.manifest.types import Where
from minbuild.manifest.written import ComponentSet, MatrixPart

ALONE = ("sid", "unstable", "experimental")
"""Suites without -updates and -security."""
VARIABLE = "suite"
"""The variable that a suite of a matrix sets, as `--set suite=…` does."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination; its name follows the manifest's: host-trixie-amd64-micro."""

    name: str
    where: Where
    suite: str = ""
    arch: str = ""
    components: tuple[str, ...] = ()
    """As section/name."""


def cells(matrix: MatrixPart | None) -> tuple[Cell, ...]:
    """Every combination, in the order of the manifest: suites, then architectures, then sets."""
    if matrix is None:
        return ()
    suites = matrix.suite or ("",)
    arches = tuple(str(arch) for arch in matrix.arch) or ("",)
    sets: tuple[ComponentSet | None, ...] = matrix.components or (None,)
    return tuple(
        Cell(
            "-".join(word for word in (suite, arch, one.name if one else "") if word),
            matrix.where,
            suite,
            arch,
            tuple(name.text for name in one.use) if one else (),
        )
        for suite, arch, one in product(suites, arches, sets)
    )


def check_settings(settings: Mapping[str, str], cell: Cell, problems: Problems) -> None:
    """Add a problem for a setting that is against the cell's own suite."""
    value = settings.get(VARIABLE, cell.suite)
    if cell.suite and value != cell.suite:
        what = f"the suite is {cell.suite} in this combination of the matrix, and {value} is set"
        fix = f"leave it out, or take the combination with {value}"
        problems.add(what, f"--set {VARIABLE}={value}", fix)


def chosen(name: str, every: Iterable[Cell], file: str, problems: Problems) -> Cell | None:
    """The combination of this name; None, and a problem, when there is none."""
    known = {cell.name: cell for cell in every}
    if name not in known:
        fix = suggestion(name, list(known), otherwise="give the manifest a matrix:")
        problems.add(f"the matrix has no combination {name}", Where(file, 1, 1, "matrix"), fix)
    return known.get(name)


def applied(node: Entries, cell: Cell, name: str) -> Entries:
    """The document of one combination, named after the manifest `name` and the cell."""
    entries = dict(node.entries)
    entries["name"] = _entry(cell, f"{name}-{cell.name}")
    if cell.arch:
        entries["arch"] = _entry(cell, cell.arch)
    if cell.suite:
        known = entries.get("archive")
        archive = dict(known.node.entries) if known and isinstance(known.node, Entries) else {}
        archive["suites"] = _items(cell, "archive.suites", suites(cell.suite))
        entries["archive"] = Entry(cell.where, Entries(cell.where, archive))
        if has_variable(node):
            variables = entries["vars"].node
            assert isinstance(variables, Entries)
            more = {**variables.entries, VARIABLE: _entry(cell, cell.suite)}
            entries["vars"] = Entry(entries["vars"].where, Entries(variables.where, more))
    for component in cell.components:
        section, _, short = component.partition("/")
        entries[section] = Entry(cell.where, _using(cell, section, short, entries.get(section)))
    return Entries(node.where, entries)


def has_variable(node: Entries) -> bool:
    """Whether a manifest, with all it extends, has a variable for its suite, as `host` does."""
    variables = node.entries.get("vars")
    return (
        variables is not None
        and isinstance(variables.node, Entries)
        and VARIABLE in variables.node.entries
    )


def suites(suite: str) -> tuple[str, ...]:
    """A suite with its updates. Source: Debian's release notes, "Adding APT sources entries"."""
    return (suite,) if suite in ALONE else (suite, f"{suite}-updates", f"{suite}-security")


def _using(cell: Cell, section: str, short: str, known: Entry | None) -> Entries:
    parts = dict(known.node.entries) if known and isinstance(known.node, Entries) else {}
    use = parts.get("use")
    before: tuple[Node, ...] = use.node.nodes if use and isinstance(use.node, Items) else ()
    names = [str(plain(node)) for node in before]
    added = () if short in names else (_scalar(cell, f"{section}.use", short),)
    parts["use"] = Entry(cell.where, Items(cell.where, (*before, *added)))
    return Entries(cell.where, parts)


def _items(cell: Cell, document: str, texts: Iterable[str]) -> Entry:
    nodes = tuple(_scalar(cell, document, text) for text in texts)
    return Entry(cell.where, Items(cell.where, nodes))


def _entry(cell: Cell, text: str) -> Entry:
    return Entry(cell.where, _scalar(cell, "", text))


def _scalar(cell: Cell, document: str, text: str) -> Scalar:
    where = cell.where
    return Scalar(Where(where.file, where.line, where.column, joined("matrix", document)
                        if document else where.document), text, Kind.TEXT)  # fmt: skip
