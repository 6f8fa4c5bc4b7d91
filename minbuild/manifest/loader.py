"""Loader: from the file of a manifest to a Manifest, or one for each variant of its matrix, with
all problems in one error."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from minbuild.manifest import files, variables
from minbuild.manifest.budget_document import build_manifest_budget
from minbuild.manifest.build_model import (
    RenderedComponent,
    add_bios_boot,
    build_archive,
    build_components,
    build_dlopen_policy,
    build_extra_archives,
    build_kernel,
    build_pins,
    build_waivers,
)
from minbuild.manifest.components import ComponentPath, ComponentResolver
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
from minbuild.manifest.extends import Alterations, ExtendsChain, merge_documents
from minbuild.manifest.grammar import COMPONENT, MANIFEST, MATRIX
from minbuild.manifest.image_checks import add_signing_key, validate_disk
from minbuild.manifest.input_files import NO_TRUST, InputFiles, Trust, display_path
from minbuild.manifest.model import Location, Manifest, Section, VariableValue
from minbuild.manifest.raw import ComponentSet, RawManifest, RawMatrix
from minbuild.manifest.rule_files import find_rule_files
from minbuild.manifest.runtime_variables import TABLE, list_runtime_variables

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


def read_manifest(
    path: Path,
    *,
    settings: Mapping[str, str],
    components: Sequence[Path],
    variant: str = "",
    trust: Trust = NO_TRUST,
    drafts: Mapping[Path, bytes] | None = None,
) -> Manifest:
    """Read a manifest with all it extends and uses; `components` are searched first.

    `variant` is a combination of its matrix; "" for the manifest without it. Documents are read
    twice: with unrendered templates, to find components and variables, then rendered. `trust`
    grants access beyond its own files; `drafts` are read in place of files.
    Raises: ManifestError with every problem, each with its place.
    """
    problems = Problems()
    inputs = InputFiles(problems, trust.grant(path, tuple(components)), drafts)
    chain = ExtendsChain(inputs)
    if not chain.read(path):
        problems.raise_if_any()
    raw_context = ReadContext(problems)
    for document in chain.documents[:-1]:
        MANIFEST.read(document.node, raw_context)
    alterations = Alterations(problems)
    node = merge_documents(chain.documents, alterations)
    outline = _read_host(node, raw_context)
    if variant:
        node = _apply_matrix(node, outline, variant, path, problems, settings)
        outline = _read_host(node, raw_context)
    component_directories = [
        document.path.parent / "components" for document in reversed(chain.documents)
    ]
    resolver = ComponentResolver(ComponentPath([*components, *component_directories]), inputs)
    resolver.add_used(outline, _list_sections(node))
    alterations.check_removed(resolver.list_needs())
    found_components = tuple(resolver.components.values())
    if not (chain.is_complete and resolver.is_complete):
        for component in found_components:
            COMPONENT.read(component.node, raw_context)
        problems.raise_if_any()
    defaults = [
        replace(variable, component=document.name)
        for document in found_components
        for variable in document.outline.vars
    ]
    builtin: dict[str, VariableValue] = {
        "name": outline.name or path.stem,
        "arch": str(outline.arch),
        TABLE: tuple(one.format_row() for one in list_runtime_variables(defaults)),
    }
    values = variables.resolve_variables(builtin, defaults, outline.vars, settings, problems)
    declared = variables.DeclaredVariables(
        defaults,
        variables.find_places(defaults, outline.vars, settings),
        resolver.components.keys(),
    )
    notes = declared.check(values, display_path(path), problems)
    renderer = files.Renderer(values, inputs)
    rendered_context = ReadContext(problems, renderer.render_text)
    host = _read_host(node, rendered_context)
    rendered_components = [
        RenderedComponent(
            document, COMPONENT.read(document.node, rendered_context) or document.outline
        )
        for document in found_components
    ]
    manifest = _build_manifest(path, node, host, rendered_components, values, renderer)
    manifest = replace(manifest, notes=notes)
    manifest = _add_rules(manifest, [*components, *component_directories], inputs)
    if not len(problems):
        variables.report_unused(outline.vars, defaults, renderer.template_words, problems)
    problems.raise_if_any()
    return manifest


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


def _add_rules(manifest: Manifest, directories: Sequence[Path], inputs: InputFiles) -> Manifest:
    """Add the rule files, which the resolver reads."""
    rules = find_rule_files(directories)
    for path in rules:
        inputs.read(path)
    return replace(manifest, rules=rules, inputs=inputs.digests)


def _apply_matrix(
    node: MappingNode,
    outline: RawManifest,
    name: str,
    path: Path,
    problems: Problems,
    settings: Mapping[str, str],
) -> MappingNode:
    variant = find_variant(name, list_variants(outline.matrix), node.where.file, problems)
    if variant is None:
        return node
    check_settings(settings, variant, problems)
    return apply_variant(node, variant, outline.name or path.stem)


def _read_host(node: MappingNode, context: ReadContext) -> RawManifest:
    host = MANIFEST.read(node, context)
    assert host is not None
    return host


def _list_sections(node: MappingNode) -> tuple[Section, ...]:
    """Return the sections of a manifest, in its order."""
    by_name = {section.value: section for section in Section}
    return tuple(by_name[key] for key in node.entries if key in by_name)


def _build_manifest(
    path: Path,
    node: MappingNode,
    host: RawManifest,
    rendered: Sequence[RenderedComponent],
    values: Mapping[str, VariableValue],
    renderer: files.Renderer,
) -> Manifest:
    components = build_components(host, rendered, renderer)
    problems = renderer.inputs.problems
    _check_code(host, renderer.inputs)
    image = add_bios_boot(
        validate_disk(host.image.to_settings(), problems), host, rendered, problems
    )
    return Manifest(
        name=str(values["name"]),
        summary=host.summary,
        arch=str(host.arch),
        file=str(path),
        archive=build_archive(host, node, renderer.inputs),
        variables=values,
        kernel=build_kernel(host, problems),
        components=components,
        drop=host.drop,
        allow_missing=build_waivers(host, rendered),
        archives=build_extra_archives(host, renderer.inputs),
        pins=build_pins(host, problems),
        dlopen=build_dlopen_policy(host),
        paths=host.paths,
        image=add_signing_key(image, host, renderer.inputs),
        budget=build_manifest_budget(host.budget, problems),
        elements=host.elements,
        trusted=renderer.inputs.permissions.allows_code,
        inputs=renderer.inputs.digests,
    )


def _check_code(host: RawManifest, inputs: InputFiles) -> None:
    """Add a problem for each part of an untrusted manifest that would run code."""
    for name in host.elements:
        inputs.require_code_permission(f"the element {name.text} runs on this machine", name.where)
    for dib in host.image.to_settings().dib:
        for element in dib.elements:
            inputs.require_code_permission(
                f"the element {element} runs while the image is made", dib.where
            )
