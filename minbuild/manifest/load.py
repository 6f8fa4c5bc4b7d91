"""Loading: from a manifest's file to a Manifest, with every problem told at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.manifest import files, matrix, variables
from minbuild.manifest.alter import Alterations
from minbuild.manifest.budget import budget_of
from minbuild.manifest.components import Shelf
from minbuild.manifest.disk import checked
from minbuild.manifest.expand import Expansion
from minbuild.manifest.extends import Chain, merged
from minbuild.manifest.format import COMPONENT, MANIFEST, MATRIX
from minbuild.manifest.inputs import Inputs
from minbuild.manifest.nodes import Entries
from minbuild.manifest.parts import (
    Read,
    allowed,
    archive,
    archives,
    dlopen,
    kernel,
    parts,
    pins,
    signed,
    started,
)
from minbuild.manifest.problems import Problems
from minbuild.manifest.shape import Reading
from minbuild.manifest.topics import rule_files
from minbuild.manifest.trust import NOTHING, Trust
from minbuild.manifest.types import Manifest, Section, Value
from minbuild.manifest.written import HostDocument


def load(
    path: Path,
    *,
    settings: Mapping[str, str],
    components: Sequence[Path],
    cell: str = "",
    trust: Trust = NOTHING,
) -> Manifest:
    """Read a manifest with all it extends and uses; `components` are searched first.

    `cell` names one combination of its matrix; "" for the manifest as it stands. Texts are read twice: first as templates, to learn what is used and which variables there are,
    then rendered. `trust` says what it may reach besides its own files.
    Raises: ManifestError with every problem, each with its place.
    """
    problems = Problems()
    inputs = Inputs(problems, trust.of(path, tuple(components)))
    chain = Chain(inputs)
    if not chain.read(path):
        problems.check()
    raw = Reading(problems)
    for one in chain.documents[:-1]:
        MANIFEST.read(one.node, raw)
    alterations = Alterations(problems)
    node = merged(chain.documents, alterations)
    outline = _host(node, raw)
    if cell:
        node = _combined(node, outline, cell, path, problems, settings)
        outline = _host(node, raw)
    beside = [one.path.parent / "components" for one in reversed(chain.documents)]
    expansion = Expansion(Shelf([*components, *beside]), inputs)
    expansion.use(outline, _sections(node))
    alterations.check(expansion.needs())
    found = tuple(expansion.found.values())
    if not (chain.complete and expansion.complete):
        for component in found:
            COMPONENT.read(component.node, raw)
        problems.check()
    defaults = [variable for one in found for variable in one.outline.vars]
    builtin = {"name": outline.name or path.stem, "arch": str(outline.arch)}
    values = variables.table(builtin, defaults, outline.vars, settings, problems)
    renderer = files.Renderer(values, inputs)
    rendered = Reading(problems, renderer.text)
    host = _host(node, rendered)
    read = [Read(one, COMPONENT.read(one.node, rendered) or one.outline) for one in found]
    made = _manifest(path, node, host, read, values, renderer)
    made = _with_rules(made, [*components, *beside], inputs)
    if not len(problems):
        variables.unused(outline.vars, defaults, renderer.words, problems)
    problems.check()
    return made


def combinations(path: Path) -> tuple[str, ...]:
    """The names of every combination of a manifest's matrix; () without one.

    Raises: ManifestError when the manifest itself cannot be read.
    """
    problems = Problems()
    chain = Chain(Inputs(problems))
    if not chain.read(path):
        problems.check()
    entry = chain.documents[-1].node.entries.get("matrix")
    if entry is None:
        return ()
    return tuple(cell.name for cell in matrix.cells(MATRIX.read(entry.node, Reading(problems))))


def _with_rules(made: Manifest, directories: Sequence[Path], inputs: Inputs) -> Manifest:
    """The manifest with its files of rules, which are read when something is resolved."""
    rules = rule_files(directories)
    for path in rules:
        inputs.read(path)
    return replace(made, rules=rules, inputs=inputs.digests)


def _combined(
    node: Entries,
    outline: HostDocument,
    cell: str,
    path: Path,
    problems: Problems,
    settings: Mapping[str, str],
) -> Entries:
    found = matrix.chosen(cell, matrix.cells(outline.matrix), node.where.file, problems)
    if found is None:
        return node
    matrix.check_settings(settings, found, problems)
    return matrix.applied(node, found, outline.name or path.stem)


def _host(node: Entries, reading: Reading) -> HostDocument:
    host = MANIFEST.read(node, reading)
    assert host is not None
    return host


def _sections(node: Entries) -> tuple[Section, ...]:
    """The sections that a manifest names, in its order."""
    known = {section.value: section for section in Section}
    return tuple(known[key] for key in node.entries if key in known)


def _manifest(
    path: Path,
    node: Entries,
    host: HostDocument,
    read: Sequence[Read],
    values: Mapping[str, Value],
    renderer: files.Renderer,
) -> Manifest:
    components = parts(host, read, renderer)
    problems = renderer.inputs.problems
    _code(host, renderer.inputs)
    image = started(checked(host.image.wish(), problems), host, read, problems)
    return Manifest(
        name=str(values["name"]),
        summary=host.summary,
        arch=str(host.arch),
        file=str(path),
        archive=archive(host, node, renderer.inputs),
        variables=values,
        kernel=kernel(host, problems),
        components=components,
        drop=host.drop,
        allow_missing=allowed(host, read),
        archives=archives(host, renderer.inputs),
        pins=pins(host, problems),
        dlopen=dlopen(host),
        paths=host.paths,
        image=signed(image, host, renderer.inputs),
        budget=budget_of(host.budget, problems),
        elements=host.elements,
        trusted=renderer.inputs.reach.code,
        inputs=renderer.inputs.digests,
    )


def _code(host: HostDocument, inputs: Inputs) -> None:
    """Add a problem for each part of the manifest that runs code, where it may not."""
    for name in host.elements:
        inputs.may_run(f"the element {name.text} runs on this machine", name.where)
    for wish in host.image.wish().dib:
        for element in wish.elements:
            inputs.may_run(f"the element {element} runs while the image is made", wish.where)
