"""Parts of the Manifest, built from rendered documents: components, kernel, archives, pins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from minbuild.manifest import files
from minbuild.manifest.components import OWN_COMPONENT, FoundComponent, qualify_name
from minbuild.manifest.document.nodes import MappingNode, Problems
from minbuild.manifest.image_settings import ImageSettings
from minbuild.manifest.input_files import InputFiles
from minbuild.manifest.model import (
    ALL_FILES,
    ANY_PACKAGE,
    TOOL_ARCHIVE_NAME,
    Archive,
    ArchiveKeyword,
    Component,
    DlopenPolicy,
    KernelPatch,
    KernelSettings,
    LocatedName,
    Location,
    PackagePaths,
    Pin,
    Priority,
    ProbeSettings,
    Section,
    VariableValue,
    Waiver,
)
from minbuild.manifest.raw import Arch, RawComponent, RawKernel, RawManifest, RawProbe

_RESERVED_ARCHIVE_NAMES = ("debian", "debian-security", TOOL_ARCHIVE_NAME)
"""Names of Debian's own repositories in the lock."""


@dataclass(frozen=True, slots=True)
class RenderedComponent:
    """A component and its rendered document."""

    component: FoundComponent
    document: RawComponent


def build_components(
    host: RawManifest, rendered: Sequence[RenderedComponent], renderer: files.Renderer
) -> tuple[Component, ...]:
    """Build the components in order, then the manifest's own; each path is in one of them only."""
    problems = renderer.inputs.problems
    (own_component,) = files.deduplicate_files(
        [
            replace(
                _create_own_component(Section.SERVICES, host),
                files=renderer.render_files(host.files),
            )
        ],
        (),
        problems,
    )
    components = [_build_component(component, renderer) for component in rendered]
    result = list(files.deduplicate_files(components, own_component.files, problems))
    kernel = host.kernel
    if kernel is not None and (kernel.modules or kernel.hardware or kernel.options):
        result.append(
            replace(
                _create_own_component(Section.KERNEL, host),
                modules=kernel.modules,
                hardware=read_modaliases(kernel.hardware, renderer.inputs),
                kernel_options=kernel.options,
            )
        )
    if host.keep or own_component.files or host.data:
        result.append(
            replace(own_component, packages=_build_keep_paths(host, problems), data=host.data)
        )
    return tuple(result)


def _build_keep_paths(host: RawManifest, problems: Problems) -> tuple[PackagePaths, ...]:
    for entry in host.keep:
        if entry.package == ANY_PACKAGE and not _is_from_root(host):
            fix = f"write {{package: …, paths: [{next(iter(entry.paths), '/usr/bin/NAME')}]}}"
            problems.add("the package of these paths is missing", entry.where, fix)
    return tuple(PackagePaths(entry.package, entry.paths, entry.where) for entry in host.keep)


def _is_from_root(host: RawManifest) -> bool:
    """Whether files come from an installed root, so that paths need no package."""
    return isinstance(host.archive, ArchiveKeyword) or bool(host.archive.root)


def read_modaliases(name: LocatedName | None, inputs: InputFiles) -> tuple[LocatedName, ...]:
    """Read the modaliases of a list that `minbuild hardware` wrote, each with its line."""
    path = None if name is None else files.resolve_relative(name.where, name.text)
    data = None if name is None or path is None else inputs.require(path, name.where)
    if name is None or data is None:
        return ()
    modaliases = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if ":" not in text or not text.isprintable() or " " in text:
            message = f"{text[:40]!r} is not a modalias"
            fix = "write one per line, or create the list again: minbuild hardware -o FILE"
            inputs.problems.add(message, Location(str(path), number, 1), fix)
        modaliases.append(LocatedName(text, Location(str(path), number, 1)))
    if not modaliases:
        inputs.problems.add(
            f"{name.text} lists no device", name.where, "create it: minbuild hardware -o FILE"
        )
    return tuple(modaliases)


def build_dlopen_policy(host: RawManifest) -> tuple[DlopenPolicy, ...]:
    """Build the dlopen policies in order; a single keyword applies to all files."""
    if isinstance(host.dlopen, LocatedName):
        return (DlopenPolicy(ALL_FILES, Priority(host.dlopen.text), host.dlopen.where),)
    return host.dlopen


def build_kernel(host: RawManifest, inputs: InputFiles) -> KernelSettings:
    """Build the kernel settings; a missing package is a problem."""
    part, problems = host.kernel, inputs.problems
    patches = _read_patches(part, inputs) if part is not None else ()
    if part is not None and (part.build or part.package):
        return KernelSettings(
            part.build or part.package,
            part.cmdline,
            part.where,
            part.xen_cmdline,
            part.firmware,
            is_built=bool(part.build),
            patches=patches,
        )
    where = host.where if part is None else part.where
    if _is_from_root(host):
        return KernelSettings(ANY_PACKAGE, part.cmdline if part is not None else (), where)
    fix = "add kernel: {package: linux-image-cloud-amd64}, or extend a manifest that has it"
    problems.add("no kernel package is configured", where, fix)
    return KernelSettings("", (), where)


def _read_patches(kernel: RawKernel, inputs: InputFiles) -> tuple[KernelPatch, ...]:
    """Read the patches: what they change is compiled, and its Makefiles run on this machine."""
    patches = []
    for name in kernel.patches:
        if not kernel.build:
            fix = "write kernel: {build: linux-source-VERSION}, or remove the patches"
            inputs.problems.add("a kernel that is not built cannot be patched", name.where, fix)
        inputs.require_code_permission(
            f"the patch {name.text} changes what is compiled on this machine", name.where
        )
        content = inputs.require(files.resolve_relative(name.where, name.text), name.where)
        if content is not None:
            patches.append(KernelPatch(name.text, content, name.where))
    return tuple(patches)


def build_archive(host: RawManifest, node: MappingNode, inputs: InputFiles) -> Archive:
    """Build the archive; its paths are relative to the document that has them."""
    entry = node.entries.get("archive")
    if isinstance(host.archive, ArchiveKeyword):
        return Archive(requires_root_option=True, suites=("installed root",))
    if host.archive.root and entry is not None and isinstance(entry.node, MappingNode):
        where = entry.node.entries["root"].node.where
        root = files.resolve_relative(where, host.archive.root)
        inputs.can_read(root, where)
        return replace(host.archive, root=str(root), suites=("installed root",))
    if entry is None or not isinstance(entry.node, MappingNode):
        return host.archive
    certified = _resolve_certificate(host.archive, entry.node, inputs)
    tool_archive: object = certified.tools  # suites, or an archive
    if not isinstance(tool_archive, Archive):
        return certified
    tools = entry.node.entries["tools"].node
    assert isinstance(tools, MappingNode)
    own_archive = replace(
        _resolve_certificate(tool_archive, tools, inputs),
        name=TOOL_ARCHIVE_NAME,
        mirror=tool_archive.mirror or (TOOL_ARCHIVE_NAME,),
    )
    return replace(certified, tools=own_archive.suites, tools_archive=own_archive)


def _resolve_certificate(archive: Archive, node: MappingNode, inputs: InputFiles) -> Archive:
    """Resolve the certificate file of an archive, relative to its document."""
    if not archive.signed_by:
        return archive
    where = node.entries["signed-by"].node.where
    path = files.resolve_relative(where, archive.signed_by)
    inputs.record_certificate(path, where)
    return replace(archive, signed_by=str(path))


def build_extra_archives(host: RawManifest, inputs: InputFiles) -> tuple[Archive, ...]:
    """Build the additional archives; files are relative to their document."""
    built: list[Archive] = []
    for raw in host.archives:
        if raw.name in {*_RESERVED_ARCHIVE_NAMES, *(archive.name for archive in built)}:
            message = f"the name {raw.name} is taken"
            inputs.problems.add(message, raw.where, "give the archive another name")
        signed_by = directory = ""
        if raw.signed_by is not None:
            path = files.resolve_relative(raw.signed_by.where, raw.signed_by.text)
            inputs.record_certificate(path, raw.signed_by.where)
            signed_by = str(path)
        if raw.directory is not None:
            directory_path = files.resolve_relative(raw.directory.where, raw.directory.text)
            directory = str(directory_path)
            inputs.can_read(directory_path, raw.directory.where)
            if not directory_path.is_dir():
                message = f"there is no directory {directory}"
                inputs.problems.add(message, raw.directory.where, "name a directory of .debs")
        built.append(
            Archive(
                suites=raw.suites,
                components=raw.components,
                mirror=raw.mirror,
                trusted=raw.trusted,
                check_valid_until=raw.check_valid_until,
                signed_by=signed_by,
                name=raw.name,
                priority=raw.priority,
                directory=directory,
            )
        )
    return tuple(built)


def build_pins(host: RawManifest, problems: Problems) -> tuple[Pin, ...]:
    """Build the pins, sorted by package; an empty one is a problem."""
    for entry in host.pins:
        if not (entry.pin.version or entry.pin.suite):
            message = f"the pin of {entry.package} has neither version nor suite"
            problems.add(message, entry.where, "add version or suite, or remove the pin")
    built = (
        Pin(entry.package, entry.pin.version, entry.pin.suite, entry.where) for entry in host.pins
    )
    return tuple(sorted(built, key=lambda pin: pin.package))


def add_bios_boot(
    image: ImageSettings,
    host: RawManifest,
    rendered: Sequence[RenderedComponent],
    problems: Problems,
) -> ImageSettings:
    """Make the disk bootable by BIOS if a component requires it."""
    requests = [component for component in rendered if component.document.bios]
    if not requests:
        return image
    if host.arch is not Arch.AMD64:
        message = f"{requests[0].component.name} requires amd64: no other architecture has a BIOS"
        problems.add(message, requests[0].document.where, "remove it: UEFI boots the disk")
    return replace(image, disk=replace(image.disk, bios=True))


def add_loader(
    image: ImageSettings,
    variables: Mapping[str, VariableValue],
    rendered: Sequence[RenderedComponent],
    problems: Problems,
) -> ImageSettings:
    """Have the disk start systemd-boot if a component requires it."""
    requests = [component for component in rendered if component.document.loader]
    if not requests:
        return image
    name, where = requests[0].component.name, requests[0].document.where
    if image.disk.bios:
        problems.add(
            f"{name} has UEFI choose a version, and boot/bios names one file's sectors",
            where,
            "remove one of the two",
        )
    version = variables.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        problems.add(f"{name} requires a number in the variable version", where, "version: 1")
        return image
    return replace(image, disk=replace(image.disk, version=version))


def build_waivers(host: RawManifest, rendered: Sequence[RenderedComponent]) -> tuple[Waiver, ...]:
    """Return the allow-missing waivers of the components, then the manifest's."""
    component_waivers = [
        waiver for component in rendered for waiver in component.document.allow_missing
    ]
    return (*component_waivers, *host.allow_missing)


def _create_own_component(section: Section, host: RawManifest) -> Component:
    """Create the empty component for what the manifest itself adds to a section."""
    return Component(
        f"{section}/{OWN_COMPONENT}", section, "what the manifest itself adds", host.where
    )


def _build_component(rendered: RenderedComponent, renderer: files.Renderer) -> Component:
    component, document = rendered.component, rendered.document
    return Component(
        name=component.name,
        section=component.section,
        summary=document.summary,
        where=document.where,
        needs=tuple(qualify_name(need.text, component.section) for need in document.needs),
        packages=document.packages,
        applets=document.applets,
        files=(
            *renderer.render_files(document.files),
            *files.create_applet_links(document.applets),
        ),
        modules=document.modules,
        firmware=document.firmware,
        kconfig=document.kconfig,
        kernel_options=document.kernel_options,
        cmdline=document.cmdline,
        xen_cmdline=document.xen_cmdline,
        module_index=document.module_index,
        data=document.data,
        probe=_build_probe(document.probe, component.name, renderer.inputs.problems),
        probes=_build_probes(document.probes, component.name, renderer.inputs.problems),
        microcode=document.microcode,
    )


def _build_probe(
    probe: RawProbe | LocatedName | None, component: str, problems: Problems
) -> ProbeSettings | None:
    match probe:
        case None:
            return None
        case LocatedName():
            return ProbeSettings(probe.text, probe.where)
        case RawProbe():
            _check_probe(probe, problems)
            return ProbeSettings(
                name=probe.name or component.partition("/")[2],
                where=probe.where,
                console=probe.console,
                limit=probe.limit,
                means=probe.means,
                lease=probe.lease,
                lookup=probe.lookup,
                tcp=probe.tcp,
                to=probe.to,
                says=probe.says,
            )


def _build_probes(
    probes: Sequence[RawProbe], component: str, problems: Problems
) -> tuple[ProbeSettings, ...]:
    for raw in probes:
        if not raw.name:
            problems.add("a probe of a list has no name", raw.where, "add name: to it")
    built = (_build_probe(raw, component, problems) for raw in probes)
    return tuple(probe for probe in built if probe is not None)


def _check_probe(probe: RawProbe, problems: Problems) -> None:
    for pattern in (probe.console, probe.says):
        if not files.is_regular_expression(pattern):
            message = f"{pattern!r} is not a regular expression"
            fix = "correct it; see the documentation of Python's module re"
            problems.add(message, probe.where, fix)
    if not probe.tcp and (probe.says or probe.to != "host"):
        problems.add("a probe with says: or to: has no port", probe.where, "add tcp: PORT")
