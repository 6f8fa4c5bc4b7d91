"""What a manifest or a tool asks for, as roots of a closure."""

from collections.abc import Iterable, Iterator

from minbuild.manifest.types import Component, Manifest, Name, PackagePaths, Tool
from minbuild.resolve.kernel import IMAGE
from minbuild.resolve.place import place
from minbuild.resolve.types import NeedKind, Root

KERNEL, OWN = "kernel/manifest", "services/manifest"
"""The component that owns the kernel, and that of the other roots that the manifest itself asks for."""


def roots(manifest: Manifest) -> tuple[Root, ...]:
    """List the roots of a host: its kernel, then each component's, in manifest order."""
    kernel = manifest.kernel
    first = Root(NeedKind.ROOT, IMAGE, KERNEL, place(kernel.where), kernel.package)
    rest = (root for component in manifest.components for root in _component(component))
    return tuple(dict.fromkeys((first, *rest)))


def tool_roots(tool: Tool) -> tuple[Root, ...]:
    """List the roots of one program of the toolbox."""
    return tuple(dict.fromkeys(_packages(tool.packages, f"toolbox/{tool.name}")))


def _component(component: Component) -> Iterator[Root]:
    name = component.name
    yield from _packages(component.packages, name)
    applets = {applet.where for applet in component.applets}
    for file in component.files:
        applet = bool(file.link) and file.where in applets
        yield Root(NeedKind.ROOT, file.path, name, place(file.where), applet=applet)
    for data in component.data:
        for value in data.values:
            text = f"{data.topic}/{value.text}"
            yield Root(NeedKind.DATA, text, name, place(value.where))
    yield from _names(NeedKind.MODULE, component.modules, name)
    for alias in component.hardware:
        yield Root(NeedKind.MODULE, alias.text, name, place(alias.where), optional=True)
    yield from _names(NeedKind.FIRMWARE, component.firmware, name)
    yield from _names(NeedKind.KCONFIG, component.kconfig, name)


def _packages(packages: Iterable[PackagePaths], component: str) -> Iterator[Root]:
    for each in packages:
        for text in each.paths:
            yield Root(NeedKind.ROOT, text, component, place(each.where), each.package)


def _names(kind: NeedKind, names: Iterable[Name], component: str) -> Iterator[Root]:
    for name in names:
        yield Root(kind, name.text, component, place(name.where))
