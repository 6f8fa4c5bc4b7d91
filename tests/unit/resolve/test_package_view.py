"""Walking paths as the kernel does, and whose file wins."""

from minbuild.paths import RootPath
from minbuild.resolve.package_view import PackageView
from tests.unit.resolve.builders import closed, edge, lack, missing, package, regular, root


def reach(catalog: PackageView, raw: str) -> tuple[str, list[str]] | None:
    found = catalog.look_up(raw)
    return (found.path, list(found.traversed)) if found else None


def test_merged_links_are_walked_through() -> None:
    catalog = PackageView([package("a", {"/usr/bin/sh": None})])
    assert reach(catalog, "/bin/sh") == ("/usr/bin/sh", ["/bin"])
    assert reach(catalog, "/usr/bin/sh") == ("/usr/bin/sh", [])


def test_relative_and_absolute_links_are_followed_one_component_at_a_time() -> None:
    files = {
        "/opt/one": "-> two",
        "/opt/two": "-> /srv/three",
        "/srv/three/file": None,
    }
    assert reach(PackageView([package("a", files)]), "/opt/one/file") == (
        "/srv/three/file",
        ["/opt/one", "/opt/two"],
    )


def test_dot_dot_leaves_the_directory_that_a_link_led_to() -> None:
    files = {"/opt/link": "-> /srv/deep/er", "/srv/deep/er/x": None, "/srv/deep/file": None}
    catalog = PackageView([package("a", files)])
    assert reach(catalog, "/opt/link/../file") == ("/srv/deep/file", ["/opt/link", "/srv/deep/er"])
    assert reach(catalog, "/opt/../srv/./deep//file") == ("/srv/deep/file", ["/opt"])


def test_dot_dot_out_of_a_directory_that_is_not_there_leads_nowhere() -> None:
    catalog = PackageView([package("a", {"/opt/file": None})])
    assert reach(catalog, "/opt/gone/../file") is None


def test_dot_dot_stops_at_the_root() -> None:
    assert reach(PackageView([package("a", {"/x": None})]), "/../../x") == ("/x", [])


def test_a_file_is_no_directory() -> None:
    files = {"/opt/file": None, "/opt/link": "-> file"}
    assert reach(PackageView([package("a", files)]), "/opt/link/x") is None


def test_links_in_a_circle_lead_nowhere_and_say_so() -> None:
    files = {"/opt/a": "-> b", "/opt/b": "-> a", "/opt/self": "-> self/x"}
    catalog = PackageView([package("a", files)])
    assert catalog.resolve_links(RootPath("/opt/a")) is None
    assert reach(catalog, "/opt/self/x") is None
    closure = closed(package("app", files), roots=(root("/opt/a"),))
    assert {each.kind for each in closure.unmet_needs} == {"link"}
    assert "the links turn in a circle" in closure.unmet_needs[0].evidence


def test_a_chain_of_links_is_kept_link_by_link() -> None:
    files = {
        "/usr/bin/app": "-> app.real",
        "/usr/bin/app.real": "-> /bin/app.bin",
        "/usr/bin/app.bin": None,
    }
    closure = closed(package("app", files))
    assert regular(closure) == ["/bin", *sorted(files)]
    assert edge(closure, "/usr/bin/app.bin", "/usr/bin/app.real").evidence == "-> /bin/app.bin"
    assert edge(closure, "/bin", "/usr/bin/app.real").evidence == "/bin/app.bin"


def test_a_dangling_link_is_missing_its_target() -> None:
    found = lack(closed(package("app", {"/usr/bin/app": "-> gone"})))
    assert (found.kind, found.wanted, found.by) == ("link", "/usr/bin/gone", "/usr/bin/app")


def test_a_link_into_what_is_made_at_run_time_needs_only_the_place() -> None:
    closure = closed(
        package("app", {"/etc/mtab": "-> ../proc/self/mounts"}), roots=(root("/etc/mtab"),)
    )
    assert not closure.unmet_needs
    assert edge(closure, "/proc", "/etc/mtab").evidence == "-> ../proc/self/mounts"


def test_a_link_to_a_directory_needs_the_directory() -> None:
    files = {"/opt/link": "-> dir", "/opt/dir/file": None}
    closure = closed(package("app", files), roots=(root("/opt/link"),))
    assert "/opt/dir" in closure.files
    assert "/opt/dir/file" not in closure.files


def test_parents_come_from_packages_else_are_made() -> None:
    closure = closed(package("app", {"/usr/bin/app": None}))
    assert closure.files[RootPath("/usr")].package == "app"
    assert closure.files[RootPath("/usr/bin")].entry.mode == 0o755


def test_of_one_path_in_two_packages_the_nearer_by_depends_wins() -> None:
    app = package("app", {"/usr/bin/app": "-> /opt/tool"}, depends=("zebra",))
    near = package("zebra", {"/opt/tool": None})
    far = package("aardvark", {"/opt/tool": None})
    for order in ((app, near, far), (far, near, app)):
        assert closed(*order).files[RootPath("/opt/tool")].package == "zebra"


def test_of_two_packages_that_nobody_depends_on_the_first_by_name_wins() -> None:
    app = package("app", {"/usr/bin/app": "-> /opt/tool"})
    others = [package(name, {"/opt/tool": None}) for name in ("b", "a", "c")]
    assert closed(app, *others).files[RootPath("/opt/tool")].package == "a"


def test_depends_may_name_what_a_package_provides() -> None:
    app = package("app", {"/usr/bin/app": "-> /opt/tool"}, depends=("absent|virtual",))
    near = package("zebra", {"/opt/tool": None}, provides=("virtual",))
    far = package("aardvark", {"/opt/tool": None})
    assert closed(app, near, far).files[RootPath("/opt/tool")].package == "zebra"


def test_rendered_files_win_over_packages() -> None:
    own = package("", {"/etc/passwd": None})
    other = package("base-passwd", {"/etc/passwd": None})
    closure = closed(own, other, roots=(root("/etc/passwd", ""),))
    assert closure.files[RootPath("/etc/passwd")].package == ""


def test_a_hard_link_without_its_first_name_becomes_the_file() -> None:
    files = {
        "/usr/bin/one": None,
        "/usr/bin/three": "= /usr/bin/one",
        "/usr/bin/two": "= /usr/bin/one",
    }
    closure = closed(package("app", files), roots=(root("/usr/bin/t*"),))
    three, two = (closure.files[RootPath(f"/usr/bin/{name}")].entry for name in ("three", "two"))
    assert (three.kind, three.target) == ("file", "")
    assert (two.kind, two.target) == ("hardlink", "/usr/bin/three")
    assert not missing(closure)
