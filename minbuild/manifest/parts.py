"""A manifest's parts, from documents whose texts are rendered: components, kernel, archive."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from minbuild.manifest import files
from minbuild.manifest.components import OWN, full
from minbuild.manifest.expand import Found
from minbuild.manifest.inputs import Inputs
from minbuild.manifest.nodes import Entries
from minbuild.manifest.problems import Problems
from minbuild.manifest.types import (
    ANY,
    EVERY,
    TOOLS,
    Archive,
    ArchiveWord,
    Component,
    DlopenRule,
    ImageWish,
    Kernel,
    Name,
    PackagePaths,
    Pin,
    Priority,
    Probe,
    Section,
    Sign,
    Waiver,
    Where,
)
from minbuild.manifest.written import Arch, ComponentDocument, HostDocument, ProbeWish, SignPart

_TREES = ("debian", "debian-security", TOOLS)
"""Names of Debian's own trees in the lock."""
TOKEN = "pkcs11:"
"""How the URI of a key in a token begins. Source: RFC 7512."""


@dataclass(frozen=True, slots=True)
class Read:
    """A component that was found and its document, rendered."""

    found: Found
    document: ComponentDocument


def parts(
    host: HostDocument, read: Sequence[Read], renderer: files.Renderer
) -> tuple[Component, ...]:
    """The components in order, then the manifest's own; no path stands in two of them."""
    problems = renderer.inputs.problems
    (own,) = files.unrepeated(
        [replace(_own(Section.SERVICES, host), files=renderer.files(host.files))], (), problems
    )
    given = [_component(one, renderer) for one in read]
    result = list(files.unrepeated(given, own.files, problems))
    if host.kernel is not None and (host.kernel.modules or host.kernel.hardware):
        found = hardware(host.kernel.hardware, renderer.inputs)
        mine = _own(Section.KERNEL, host)
        result.append(replace(mine, modules=host.kernel.modules, hardware=found))
    if host.keep or own.files or host.data:
        result.append(replace(own, packages=_kept(host, problems), data=host.data))
    return tuple(result)


def _kept(host: HostDocument, problems: Problems) -> tuple[PackagePaths, ...]:
    for one in host.keep:
        if one.package == ANY and not _from_root(host):
            fix = f"write {{package: …, paths: [{next(iter(one.paths), '/usr/bin/NAME')}]}}"
            problems.add("no package is named that holds these paths", one.where, fix)
    return tuple(PackagePaths(one.package, one.paths, one.where) for one in host.keep)


def _from_root(host: HostDocument) -> bool:
    """Whether files come from an installed root, where paths alone say which."""
    return isinstance(host.archive, ArchiveWord) or bool(host.archive.root)


def hardware(name: Name | None, inputs: Inputs) -> tuple[Name, ...]:
    """The modaliases that a list of a machine's devices names, each with its line."""
    path = None if name is None else files.beside(name.where, name.text)
    data = None if name is None or path is None else inputs.wanted(path, name.where)
    if name is None or data is None:
        return ()
    found = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if ":" not in text or not text.isprintable() or " " in text:
            about = f"{text[:40]!r} is no modalias"
            fix = "write one for each line, or make the list anew: minbuild hardware -o FILE"
            inputs.problems.add(about, Where(str(path), number, 1), fix)
        found.append(Name(text, Where(str(path), number, 1)))
    if not found:
        inputs.problems.add(
            f"{name.text} lists no device", name.where, "make it: minbuild hardware -o FILE"
        )
    return tuple(found)


def dlopen(host: HostDocument) -> tuple[DlopenRule, ...]:
    """Which libraries come along, in the order written; one word stands for all files."""
    if isinstance(host.dlopen, Name):
        return (DlopenRule(EVERY, Priority(host.dlopen.text), host.dlopen.where),)
    return host.dlopen


def kernel(host: HostDocument, problems: Problems) -> Kernel:
    """The kernel that the manifest names; none is a problem."""
    part = host.kernel
    if part is not None and part.package:
        return Kernel(part.package, part.cmdline, part.where)
    where = host.where if part is None else part.where
    if _from_root(host):
        return Kernel(ANY, part.cmdline if part is not None else (), where)
    fix = "add kernel: {package: linux-image-cloud-amd64}, or extend a manifest that has it"
    problems.add("no kernel package is named", where, fix)
    return Kernel("", (), where)


def archive(host: HostDocument, node: Entries, inputs: Inputs) -> Archive:
    """The archive; paths that it names are relative to the document that names them."""
    entry = node.entries.get("archive")
    if isinstance(host.archive, ArchiveWord):
        return Archive(root_to_give=True, suites=("installed root",))
    if host.archive.root and entry is not None and isinstance(entry.node, Entries):
        where = entry.node.entries["root"].node.where
        root = files.beside(where, host.archive.root)
        inputs.may_read(root, where)
        return replace(host.archive, root=str(root), suites=("installed root",))
    if entry is None or not isinstance(entry.node, Entries):
        return host.archive
    found = _certified(host.archive, entry.node, inputs)
    told: object = found.tools  # suites, or an archive
    if not isinstance(told, Archive):
        return found
    tools = entry.node.entries["tools"].node
    assert isinstance(tools, Entries)
    own = replace(_certified(told, tools, inputs), name=TOOLS, mirror=told.mirror or (TOOLS,))
    return replace(found, tools=own.suites, tools_archive=own)


def _certified(archive: Archive, node: Entries, inputs: Inputs) -> Archive:
    """An archive whose certificate file is relative to the document that names it."""
    if not archive.signed_by:
        return archive
    where = node.entries["signed-by"].node.where
    path = files.beside(where, archive.signed_by)
    inputs.certificate(path, where)
    return replace(archive, signed_by=str(path))


def archives(host: HostDocument, inputs: Inputs) -> tuple[Archive, ...]:
    """The archives beside Debian's own; files made relative to the document that names them."""
    made: list[Archive] = []
    for wish in host.archives:
        if wish.name in {*_TREES, *(one.name for one in made)}:
            about = f"the name {wish.name} is taken"
            inputs.problems.add(about, wish.where, "give the archive another name")
        signed_by = directory = ""
        if wish.signed_by is not None:
            path = files.beside(wish.signed_by.where, wish.signed_by.text)
            inputs.certificate(path, wish.signed_by.where)
            signed_by = str(path)
        if wish.directory is not None:
            place = files.beside(wish.directory.where, wish.directory.text)
            directory = str(place)
            inputs.may_read(place, wish.directory.where)
            if not place.is_dir():
                about = f"there is no directory {directory}"
                inputs.problems.add(about, wish.directory.where, "name a directory of .debs")
        made.append(
            Archive(
                suites=wish.suites,
                components=wish.components,
                mirror=wish.mirror,
                trusted=wish.trusted,
                check_valid_until=wish.check_valid_until,
                signed_by=signed_by,
                name=wish.name,
                priority=wish.priority,
                directory=directory,
            )
        )
    return tuple(made)


def pins(host: HostDocument, problems: Problems) -> tuple[Pin, ...]:
    """The pins, sorted by package; one that pins nothing is a problem."""
    for entry in host.pins:
        if not (entry.wish.version or entry.wish.suite):
            about = f"nothing says how {entry.package} is pinned"
            problems.add(about, entry.where, "give version or suite, or remove the pin")
    made = (Pin(one.package, one.wish.version, one.wish.suite, one.where) for one in host.pins)
    return tuple(sorted(made, key=lambda pin: pin.package))


def signed(image: ImageWish, host: HostDocument, inputs: Inputs) -> ImageWish:
    """An image with what it is signed with: files that must be there, or a key in a token."""
    wish = host.image.sign
    if wish is None:
        return image
    key = wish.key.text
    if key.startswith(TOKEN):
        _check_token(wish, inputs.problems)
        inputs.may_run("the image is signed with a key of a token", wish.key.where)
    else:
        key = _place(wish.key, inputs)
        if wish.module is not None:
            about = "a PKCS#11 module is named, and the key is a file"
            inputs.problems.add(
                about, wish.module.where, "name the key's pkcs11: URI, or no module"
            )
    module = "" if wish.module is None else _place(wish.module, inputs)
    if wish.module is not None:
        inputs.may_run(f"the module {wish.module.text} runs on this machine", wish.module.where)
    return replace(image, sign=Sign(key, _place(wish.certificate, inputs), module))


def _check_token(wish: SignPart, problems: Problems) -> None:
    if wish.module is None:
        fix = "add module: to image.sign, the shared library that came with the token"
        problems.add("nothing says which PKCS#11 module has the key", wish.key.where, fix)
    if "pin-value=" in wish.key.text:
        fix = "write it to a file that only you may read, and name that: ?pin-source=file:/PATH"
        problems.add("a PIN does not belong in a manifest", wish.key.where, fix)


def _place(name: Name, inputs: Inputs) -> str:
    """Where a key, certificate or module lies; one outside of the manifest's tree is the user's own."""
    place = files.beside(name.where, name.text)
    if not inputs.reach.may_read(place):
        inputs.may_run(
            f"{name.text}, outside of the manifest's own tree, is used to sign", name.where
        )
    inputs.certificate(place, name.where)
    return str(place.absolute())


def started(
    image: ImageWish, host: HostDocument, read: Sequence[Read], problems: Problems
) -> ImageWish:
    """An image whose disk a BIOS starts, when a component asks for that."""
    wishes = [one for one in read if one.document.bios]
    if not wishes:
        return image
    if host.arch is not Arch.AMD64:
        about = f"{wishes[0].found.name} is for amd64: no other machine has a BIOS"
        problems.add(about, wishes[0].document.where, "leave it out: UEFI starts the disk")
    return replace(image, disk=replace(image.disk, bios=True))


def allowed(host: HostDocument, read: Sequence[Read]) -> tuple[Waiver, ...]:
    """Needs that may stay unmet: the components', then the manifest's."""
    given = [waiver for one in read for waiver in one.document.allow_missing]
    return (*given, *host.allow_missing)


def _own(section: Section, host: HostDocument) -> Component:
    """What the manifest itself adds to a section, still empty."""
    return Component(f"{section}/{OWN}", section, "what the manifest itself adds", host.where)


def _component(read: Read, renderer: files.Renderer) -> Component:
    found, document = read.found, read.document
    return Component(
        name=found.name,
        section=found.section,
        summary=document.summary,
        where=document.where,
        needs=tuple(full(need.text, found.section) for need in document.needs),
        packages=document.packages,
        applets=document.applets,
        files=(*renderer.files(document.files), *files.applet_links(document.applets)),
        modules=document.modules,
        firmware=document.firmware,
        kconfig=document.kconfig,
        cmdline=document.cmdline,
        module_index=document.module_index,
        data=document.data,
        probe=_probe(document.probe, found.name, renderer.inputs.problems),
        probes=_probes(document.probes, found.name, renderer.inputs.problems),
    )


def _probe(probe: ProbeWish | Name | None, component: str, problems: Problems) -> Probe | None:
    match probe:
        case None:
            return None
        case Name():
            return Probe(probe.text, probe.where)
        case ProbeWish():
            _check_probe(probe, problems)
            return Probe(
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


def _probes(wishes: Sequence[ProbeWish], component: str, problems: Problems) -> tuple[Probe, ...]:
    for wish in wishes:
        if not wish.name:
            problems.add("one of several probes has no name", wish.where, "add name: to it")
    made = (_probe(wish, component, problems) for wish in wishes)
    return tuple(probe for probe in made if probe is not None)


def _check_probe(probe: ProbeWish, problems: Problems) -> None:
    for pattern in (probe.console, probe.says):
        if not files.is_pattern(pattern):
            about = f"{pattern!r} is not a regular expression"
            fix = "correct it; the documentation of Python's re says how they are written"
            problems.add(about, probe.where, fix)
    if not probe.tcp and (probe.says or probe.to != "host"):
        problems.add("a probe says what answers, but names no port", probe.where, "add tcp: PORT")
