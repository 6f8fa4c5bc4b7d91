"""What is missing, said in words."""

from minbuild.facts.model import KernelConfig, Module
from minbuild.resolve.error_messages import make_not_closed_error, make_unresolved_error
from minbuild.resolve.model import NeedKind, Root
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from tests.unit.resolve.builders import closed, libc, library, named, package, program, root, waiver

LIB = "/usr/lib/x86_64-linux-gnu"


def said(*roots: Root, files: tuple[object, ...]) -> list[tuple[str, str, str]]:
    problem = make_unresolved_error(closed(*files, roots=roots), files)  # type: ignore[arg-type]
    return [(each.what, each.where, each.fix) for each in (problem, *problem.also)]


def test_a_soname_that_nothing_provides() -> None:
    files = (
        libc(),
        package(
            "app",
            {"/usr/bin/app": program("liba.so"), f"{LIB}/liba.so": library("liba.so", "libz.so.1")},
        ),
    )
    ((what, where, fix),) = said(root("/usr/bin/app"), files=files)
    assert what == "libz.so.1 is in none of the packages"
    assert where == (
        f"boot/app → /usr/bin/app → {LIB}/liba.so → libz.so.1 "
        f"(DT_NEEDED libz.so.1; looked in {LIB}, /usr/lib)"
    )
    assert "allow-missing: [{path: libz.so.1, because: …}]" in fix


def test_a_path_that_is_not_in_its_package() -> None:
    files = (package("app", {"/usr/bin/lspci": None, "/usr/bin/setpci": None}),)
    assert said(root("/usr/bin/lspic"), files=files) == [
        (
            "the package app does not contain /usr/bin/lspic",
            "app.yaml:1:1, component boot/app",
            "did you mean /usr/bin/lspci?",
        )
    ]


def test_a_glob_that_matches_nothing() -> None:
    files = (package("app", {"/usr/bin/x": None}),)
    assert said(root("/usr/share/app/*.rom"), files=files)[0][0] == (
        "/usr/share/app/*.rom matches nothing in the package app"
    )


def test_a_package_that_is_not_there() -> None:
    assert said(root("/usr/bin/app"), files=())[0][0] == (
        "the package app is not available; /usr/bin/app should come from it"
    )


def test_a_rendered_file_that_nobody_makes() -> None:
    assert said(root("/etc/motd", ""), files=())[0][0] == ("no component creates /etc/motd")


def test_modules_and_options_that_the_kernel_lacks_come_with_the_nearest_name() -> None:
    linux = package(
        "linux",
        {
            "/boot/vmlinuz-6": None,
            "/boot/config-6": KernelConfig({"KVM_AMD": "m", "NET": "y"}),
            "/usr/lib/modules/6/kernel/virtio_net.ko": Module("virtio_net"),
        },
    )
    roots = (
        root("/boot/vmlinuz-6", "linux"),
        named(NeedKind.MODULE, "virtio_nte"),
        named(NeedKind.KCONFIG, "KVM_AND"),
    )
    assert said(*roots, files=(linux,)) == [
        (
            "the kernel 6 lacks the option CONFIG_KVM_AND",
            "k.yaml:1:1, component kernel/k",
            "did you mean KVM_AMD?",
        ),
        (
            "the kernel 6 has no module virtio_nte",
            "k.yaml:1:1, component kernel/k",
            "did you mean virtio_net?",
        ),
    ]


def test_a_waiver_that_nothing_needs_is_said() -> None:
    closure = resolve(
        (root("/usr/bin/app"),),
        (package("app", {"/usr/bin/app": None}),),
        arch="amd64",
        policy=ResolvePolicy(drop=(waiver("/usr/lib/*/gconv/*"),)),
    )
    problem = make_unresolved_error(closure)
    assert problem.what == "nothing needs the waiver for /usr/lib/*/gconv/* any more"
    assert problem.where == "host.yaml:9:1"


def test_what_dangles_in_a_tree() -> None:
    closure = closed(package("app", {"/usr/bin/app": "-> gone"}))
    assert make_not_closed_error(closure.unmet_needs).what == "/usr/bin/gone is not in the image"
