"""Loader: from the file of a manifest to a Manifest, with all problems in one error."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from minbuild.manifest import files, variables
from minbuild.manifest.budget_document import build_manifest_budget
from minbuild.manifest.build_model import (
    RenderedComponent,
    add_bios_boot,
    add_loader,
    build_archive,
    build_components,
    build_dlopen_policy,
    build_extra_archives,
    build_kernel,
    build_pins,
    build_waivers,
)
from minbuild.manifest.document.nodes import MappingNode, Problems
from minbuild.manifest.document.scalars import ReadContext
from minbuild.manifest.grammar import COMPONENT
from minbuild.manifest.image_checks import add_signing_key, validate_disk
from minbuild.manifest.input_files import NO_TRUST, InputFiles, Trust, display_path
from minbuild.manifest.model import Manifest, VariableValue
from minbuild.manifest.raw import RawManifest
from minbuild.manifest.rule_files import find_rule_files, report_misnamed
from minbuild.manifest.unrendered import (
    ManifestQuery,
    UnrenderedManifest,
    find_documents,
    read_host,
)


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
    query = ManifestQuery(path, settings, tuple(components), variant)
    inputs = InputFiles(problems, trust.grant(path, query.components), drafts)
    documents = find_documents(query, inputs)
    if not documents.is_complete:
        _report_component_problems(documents, problems)
    values, notes = _resolve_values(query, documents, problems)
    renderer = files.Renderer(values, inputs)
    manifest = replace(_render(path, documents, values, renderer), notes=notes)
    manifest = _add_rules(manifest, documents.component_directories, inputs)
    if not len(problems):
        variables.report_unused(
            documents.outline.vars, documents.defaults, renderer.template_words, problems
        )
    problems.raise_if_any()
    return manifest


def _report_component_problems(documents: UnrenderedManifest, problems: Problems) -> None:
    """Raises: ManifestError with what is wrong in the components, too, while some are missing."""
    for component in documents.components:
        COMPONENT.read(component.node, ReadContext(problems))
    problems.raise_if_any()


def _resolve_values(
    query: ManifestQuery, documents: UnrenderedManifest, problems: Problems
) -> tuple[dict[str, VariableValue], tuple[str, ...]]:
    """The value of each variable, held against its declaration, and notes of empty ones."""
    defaults, definitions = documents.defaults, documents.outline.vars
    values = variables.resolve_variables(
        documents.builtin, defaults, definitions, query.settings, problems
    )
    declared = variables.DeclaredVariables(
        defaults,
        variables.find_places(defaults, definitions, query.settings),
        documents.resolver.components.keys(),
    )
    return values, declared.check(values, display_path(query.path), problems)


def _render(
    path: Path,
    documents: UnrenderedManifest,
    values: Mapping[str, VariableValue],
    renderer: files.Renderer,
) -> Manifest:
    """The manifest with its components, all templates rendered."""
    context = ReadContext(renderer.inputs.problems, renderer.render_text)
    host = read_host(documents.node, context)
    components = [
        RenderedComponent(document, COMPONENT.read(document.node, context) or document.outline)
        for document in documents.components
    ]
    return _build_manifest(path, documents.node, host, components, values, renderer)


def _add_rules(manifest: Manifest, directories: Sequence[Path], inputs: InputFiles) -> Manifest:
    """Add the rule files, which the resolver reads."""
    rules = find_rule_files(directories)
    report_misnamed(directories, inputs.problems)
    for path in rules:
        inputs.read(path)
    return replace(manifest, rules=rules, inputs=inputs.digests)


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
    image = add_loader(image, values, rendered, problems)
    return Manifest(
        name=str(values["name"]),
        summary=host.summary,
        arch=str(host.arch),
        file=str(path),
        archive=build_archive(host, node, renderer.inputs),
        variables=values,
        kernel=build_kernel(host, renderer.inputs),
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
