"""Matrix of a manifest: the variants of it that a build makes, and the document of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from minbuild.manifest.document.nodes import (
    MappingEntry,
    MappingNode,
    Node,
    Problems,
    ScalarKind,
    ScalarNode,
    SequenceNode,
    join_document_path,
    suggest,
    to_plain,
)
from minbuild.manifest.document.scalars import ReadContext
from minbuild.manifest.extends import ExtendsChain
from minbuild.manifest.grammar import MATRIX
from minbuild.manifest.input_files import InputFiles
from minbuild.manifest.model import Location
from minbuild.manifest.raw import ComponentSet, RawMatrix

SUITES_WITHOUT_UPDATES = ("sid", "unstable", "experimental")
"""Suites without -updates and -security."""
SUITE_VARIABLE = "suite"
"""The variable that a suite of a matrix sets, as `--set suite=…` does."""


@dataclass(frozen=True, slots=True)
class MatrixVariant:
    """One combination; its name is appended to the manifest's: host-trixie-amd64-micro."""

    name: str
    where: Location
    suite: str = ""
    arch: str = ""
    components: tuple[str, ...] = ()
    """As section/name."""


def list_variants(matrix: RawMatrix | None) -> tuple[MatrixVariant, ...]:
    """Return all combinations in the order of the manifest: suites, architectures, then sets."""
    if matrix is None:
        return ()
    suites = matrix.suite or ("",)
    arches = tuple(str(arch) for arch in matrix.arch) or ("",)
    sets: tuple[ComponentSet | None, ...] = matrix.components or (None,)
    return tuple(
        MatrixVariant(
            "-".join(word for word in (suite, arch, components.name if components else "") if word),
            matrix.where,
            suite,
            arch,
            tuple(name.text for name in components.use) if components else (),
        )
        for suite, arch, components in product(suites, arches, sets)
    )


def check_settings(settings: Mapping[str, str], variant: MatrixVariant, problems: Problems) -> None:
    """Add a problem for a setting that contradicts the suite of the variant."""
    value = settings.get(SUITE_VARIABLE, variant.suite)
    if variant.suite and value != variant.suite:
        message = f"this combination of the matrix has suite {variant.suite}, but {value} is set"
        fix = f"remove it, or build the combination with {value}"
        problems.add(message, f"--set {SUITE_VARIABLE}={value}", fix)


def find_variant(
    name: str, variants: Iterable[MatrixVariant], file: str, problems: Problems
) -> MatrixVariant | None:
    """Return the variant of this name; None, and a problem, if there is none."""
    by_name = {variant.name: variant for variant in variants}
    if name not in by_name:
        fix = suggest(name, list(by_name), otherwise="give the manifest a matrix:")
        problems.add(f"the matrix has no combination {name}", Location(file, 1, 1, "matrix"), fix)
    return by_name.get(name)


def apply_variant(node: MappingNode, variant: MatrixVariant, name: str) -> MappingNode:
    """Return the document of one variant, named after the manifest `name` and the variant."""
    entries = dict(node.entries)
    entries["name"] = _create_entry(variant, f"{name}-{variant.name}")
    if variant.arch:
        entries["arch"] = _create_entry(variant, variant.arch)
    if variant.suite:
        existing = entries.get("archive")
        archive = (
            dict(existing.node.entries)
            if existing and isinstance(existing.node, MappingNode)
            else {}
        )
        archive["suites"] = _create_items(variant, "archive.suites", expand_suite(variant.suite))
        entries["archive"] = MappingEntry(variant.where, MappingNode(variant.where, archive))
        if has_suite_variable(node):
            variables = entries["vars"].node
            assert isinstance(variables, MappingNode)
            extended = {**variables.entries, SUITE_VARIABLE: _create_entry(variant, variant.suite)}
            entries["vars"] = MappingEntry(
                entries["vars"].where, MappingNode(variables.where, extended)
            )
    for component in variant.components:
        section, _, short = component.partition("/")
        entries[section] = MappingEntry(
            variant.where, _add_component(variant, section, short, entries.get(section))
        )
    return MappingNode(node.where, entries)


def has_suite_variable(node: MappingNode) -> bool:
    """Whether a merged manifest has a variable for its suite, as `host` does."""
    variables = node.entries.get("vars")
    return (
        variables is not None
        and isinstance(variables.node, MappingNode)
        and SUITE_VARIABLE in variables.node.entries
    )


def expand_suite(suite: str) -> tuple[str, ...]:
    """Return a suite with its updates. Source: Debian's release notes, "Adding APT sources entries"."""
    return (
        (suite,)
        if suite in SUITES_WITHOUT_UPDATES
        else (suite, f"{suite}-updates", f"{suite}-security")
    )


def _add_component(
    variant: MatrixVariant, section: str, short: str, existing: MappingEntry | None
) -> MappingNode:
    parts = (
        dict(existing.node.entries) if existing and isinstance(existing.node, MappingNode) else {}
    )
    use = parts.get("use")
    present: tuple[Node, ...] = use.node.nodes if use and isinstance(use.node, SequenceNode) else ()
    names = [str(to_plain(node)) for node in present]
    added = () if short in names else (_create_scalar(variant, f"{section}.use", short),)
    parts["use"] = MappingEntry(variant.where, SequenceNode(variant.where, (*present, *added)))
    return MappingNode(variant.where, parts)


def _create_items(variant: MatrixVariant, document: str, texts: Iterable[str]) -> MappingEntry:
    nodes = tuple(_create_scalar(variant, document, text) for text in texts)
    return MappingEntry(variant.where, SequenceNode(variant.where, nodes))


def _create_entry(variant: MatrixVariant, text: str) -> MappingEntry:
    return MappingEntry(variant.where, _create_scalar(variant, "", text))


def _create_scalar(variant: MatrixVariant, document: str, text: str) -> ScalarNode:
    where = variant.where
    return ScalarNode(Location(where.file, where.line, where.column, join_document_path("matrix", document)
                        if document else where.document), text, ScalarKind.TEXT)  # fmt: skip


def list_combinations(path: Path) -> tuple[str, ...]:
    """Return the names of all combinations of a manifest's matrix; () without one.

    Raises: ManifestError if the manifest itself is not readable.
    """
    problems = Problems()
    chain = ExtendsChain(InputFiles(problems))
    if not chain.read(path):
        problems.raise_if_any()
    entry = chain.documents[-1].node.entries.get("matrix")
    if entry is None:
        return ()
    return tuple(
        cell.name for cell in list_variants(MATRIX.read(entry.node, ReadContext(problems)))
    )
