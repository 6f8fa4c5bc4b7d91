"""What the roots choose: an applet's link and a package's file of the same path."""

from dataclasses import replace

from minbuild.facts.model import PackageFiles
from minbuild.resolve.error_messages import make_unresolved_error
from minbuild.resolve.model import Closure
from minbuild.resolve.resolution import resolve
from minbuild.resolve.root_selection import list_roots
from tests.unit.manifest.conftest import Desk, desk
from tests.unit.resolve.builders import Content, edge, package

__all__ = ["desk"]

APPLETS = """\
packages: {busybox: [/usr/bin/busybox]}
applets: [mount, sh]
"""
FILES = (
    package("linux", {"/boot/vmlinuz-6.1": None}),
    package("busybox", {"/usr/bin/busybox": None}),
    package("mount", {"/usr/bin/mount": None, "/usr/bin/umount": None}),
    package("busybox-links", {"/usr/bin/mount": "-> busybox"}),
)


def resolved(desk: Desk, text: str, **components: str) -> tuple[Closure, tuple[PackageFiles, ...]]:
    """A manifest with the component services/tools, and others, of FILES."""
    desk.component("services/tools", APPLETS)
    for name, said in components.items():
        desk.component(f"services/{name}", said)
    names = ", ".join(["tools", *components])
    manifest = desk.load(f"services: {{use: [{names}]}}\n{text}")
    manifest = replace(manifest, kernel=replace(manifest.kernel, package="linux"))
    links: dict[str, Content] = {
        file.path: f"-> {file.link}" for one in manifest.components for file in one.files
    }  # fmt: skip
    files = (package("", links), *FILES)
    return resolve(list_roots(manifest), files, arch="amd64"), files


def test_an_applet_where_another_component_names_a_packages_file_is_refused(desk: Desk) -> None:
    closure, files = resolved(desk, "", disks="packages: {mount: [/usr/bin/mount]}\n")
    (found,) = [make_unresolved_error(closure, files)]
    assert not found.also
    assert found.what == (
        "/usr/bin/mount is both a file of the package mount and a link to BusyBox's applet"
    )
    assert found.where == (
        "components/services/disks.yaml:2:12, component services/disks; "
        "the applet: components/services/tools.yaml:3:11, component services/tools"
    )
    assert found.fix == (
        "take it out of one of them, or say in the manifest which one it is: "
        "keep: [{package: mount, paths: [/usr/bin/mount]}], or "
        "files: {/usr/bin/mount: {link: busybox}}"
    )


def test_a_glob_that_covers_an_applets_link_is_refused_too(desk: Desk) -> None:
    closure, files = resolved(desk, "", disks="packages: {mount: [/usr/bin/*mount]}\n")
    assert make_unresolved_error(closure, files).what.startswith(
        "/usr/bin/mount is both a file of the package mount and"
    )


def test_one_component_cannot_want_both(desk: Desk) -> None:
    own = "packages: {mount: [/usr/bin/umount]}\napplets: [umount]\n"
    closure, files = resolved(desk, "", disks=own)
    assert make_unresolved_error(closure, files).what.startswith(
        "/usr/bin/umount is both a file of the package mount and"
    )


def test_what_the_manifest_keeps_stands_in_place_of_an_applets_link(desk: Desk) -> None:
    closure, _ = resolved(desk, "keep: [{package: mount, paths: [/usr/bin/mount]}]\n")
    assert not closure.unmet_needs
    one = closure.files["/usr/bin/mount"]  # type: ignore[index]
    assert (one.package, one.component, one.entry.target) == ("mount", "services/manifest", "")
    assert edge(closure, "/usr/bin/mount", "services/manifest").evidence == (
        "host.yaml:4:8, in place of the applet mount of services/tools "
        "(components/services/tools.yaml:3:11)"
    )
    assert closure.files["/usr/bin/sh"].entry.target == "busybox"  # type: ignore[index]


def test_what_the_manifest_keeps_settles_it_between_two_components(desk: Desk) -> None:
    keep = "keep: [{package: mount, paths: [/usr/bin/mount]}]\n"
    closure, _ = resolved(desk, keep, disks="packages: {mount: [/usr/bin/mount]}\n")
    assert not closure.unmet_needs
    assert closure.files["/usr/bin/mount"].package == "mount"  # type: ignore[index]


def test_the_manifests_own_link_settles_it_the_other_way(desk: Desk) -> None:
    link = "files: {/usr/bin/mount: {link: busybox}}\n"
    closure, _ = resolved(desk, link, disks="packages: {mount: [/usr/bin/mount]}\n")
    assert not closure.unmet_needs
    assert closure.files["/usr/bin/mount"].entry.target == "busybox"  # type: ignore[index]


def test_a_packages_own_link_to_busybox_is_no_other_file(desk: Desk) -> None:
    closure, _ = resolved(desk, "", links="packages: {busybox-links: [/usr/bin/mount]}\n")
    assert not closure.unmet_needs
