"""A manifest merged with all that it extends, and its components, before templates are rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from minbuild.manifest.components import ComponentPath, ComponentResolver, FoundComponent
from minbuild.manifest.document.nodes import MappingNode, Problems
from minbuild.manifest.document.scalars import ReadContext
from minbuild.manifest.extends import Alterations, ExtendsChain, merge_documents
from minbuild.manifest.grammar import MANIFEST
from minbuild.manifest.input_files import InputFiles
from minbuild.manifest.matrix import apply_variant, check_settings, find_variant, list_variants
from minbuild.manifest.model import Section, VariableValue
from minbuild.manifest.raw import RawManifest, VariableDefinition
from minbuild.manifest.runtime_variables import TABLE, list_runtime_variables


@dataclass(frozen=True, slots=True)
class ManifestQuery:
    """Which manifest is read, and how."""

    path: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """`--set`: variable → value as it was typed."""
    components: tuple[Path, ...] = ()
    """Directories of components, searched first."""
    variant: str = ""
    """A combination of its matrix; "" for the manifest without it."""


@dataclass(frozen=True, slots=True)
class UnrenderedManifest:
    """One document of a manifest and all that it extends, and the components that it uses."""

    node: MappingNode
    outline: RawManifest
    """As read with unrendered templates."""
    resolver: ComponentResolver
    component_directories: tuple[Path, ...]
    """Those of the query, then those beside each document, the manifest's own first."""
    builtin: Mapping[str, VariableValue]
    """Variables that every manifest has: name, arch, and the table of those that a start may set."""
    defaults: tuple[VariableDefinition, ...]
    """The variables of all components."""
    is_complete: bool
    """False: a document or component could not be read, so variables may be missing, too."""

    @property
    def components(self) -> tuple[FoundComponent, ...]:
        """Each after those that it needs."""
        return tuple(self.resolver.components.values())


def find_documents(query: ManifestQuery, inputs: InputFiles) -> UnrenderedManifest:
    """Read a manifest's documents and its components'; problems are added to those of `inputs`.

    Raises: ManifestError when the manifest itself cannot be read.
    """
    problems = inputs.problems
    chain = ExtendsChain(inputs)
    if not chain.read(query.path):
        problems.raise_if_any()
    raw_context = ReadContext(problems)
    for document in chain.documents[:-1]:
        MANIFEST.read(document.node, raw_context)
    alterations = Alterations(problems)
    node = merge_documents(chain.documents, alterations)
    outline = read_host(node, raw_context)
    if query.variant:
        node = _apply_matrix(node, outline, query, problems)
        outline = read_host(node, raw_context)
    directories = (
        *query.components,
        *(document.path.parent / "components" for document in reversed(chain.documents)),
    )
    resolver = ComponentResolver(ComponentPath(directories), inputs)
    resolver.add_used(outline, _list_sections(node))
    alterations.check_removed(resolver.list_needs())
    defaults = tuple(
        replace(variable, component=document.name)
        for document in resolver.components.values()
        for variable in document.outline.vars
    )
    builtin: dict[str, VariableValue] = {
        "name": outline.name or query.path.stem,
        "arch": str(outline.arch),
        TABLE: tuple(one.format_row() for one in list_runtime_variables(defaults)),
    }
    is_complete = chain.is_complete and resolver.is_complete
    return UnrenderedManifest(node, outline, resolver, directories, builtin, defaults, is_complete)


def _apply_matrix(
    node: MappingNode, outline: RawManifest, query: ManifestQuery, problems: Problems
) -> MappingNode:
    variant = find_variant(query.variant, list_variants(outline.matrix), node.where.file, problems)
    if variant is None:
        return node
    check_settings(query.settings, variant, problems)
    return apply_variant(node, variant, outline.name or query.path.stem)


def read_host(node: MappingNode, context: ReadContext) -> RawManifest:
    """Read a merged document; the context renders its texts, or leaves them."""
    host = MANIFEST.read(node, context)
    assert host is not None
    return host


def _list_sections(node: MappingNode) -> tuple[Section, ...]:
    """Return the sections of a manifest, in its order."""
    by_name = {section.value: section for section in Section}
    return tuple(by_name[key] for key in node.entries if key in by_name)
