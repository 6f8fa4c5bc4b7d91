"""A waiver of each kind: it lets one need stay unmet, and is an error where nothing needs it."""

import pytest

from minbuild.facts.model import KernelConfig, Malformed, Module, Script
from minbuild.resolve.error_messages import make_unresolved_error
from minbuild.resolve.model import Closure, NeedKind
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from tests.unit.resolve.builders import Content, libc, missing, named, note, package, program, root
from tests.unit.resolve.builders import waiver as waived

TOP = "/usr/lib/modules/6/kernel"
LACKS: dict[str, tuple[Content, str]] = {
    "needed libgone.so": (program("libgone.so"), "libgone.so"),
    "needed /opt/libgone.so": (program("/opt/libgone.so"), "/opt/libgone.so"),
    "dlopen libgone.so": (program(dlopen=note("libgone.so")), "libgone.*"),
    "interp /lib/gone.so": (program(interpreter="/lib/gone.so"), "/lib/gone.so"),
    "shebang /usr/bin/gone": (Script("/usr/bin/gone"), "/usr/bin/gone"),
    "exec gone": (Script("/usr/bin/env", "gone"), "gone"),
    "link /usr/bin/gone": ("-> gone", "/usr/bin/gone"),
    "data /usr/bin/app": (Malformed("its ELF header is truncated"), "/usr/bin/app"),
}
OF_KERNEL = {
    "module gone": (Module("a", ("gone",)), "gone"),
    "firmware gone.bin": (Module("a", firmware=("gone.bin",)), "gone.*"),
}


def made(app: Content, *paths: str, drop: tuple[str, ...] = ()) -> Closure:
    files = {"/usr/bin/app": app, "/usr/bin/env": program("libc.so.6")}
    return resolve(
        (root("/usr/bin/app"),), (libc(), package("app", files)), arch="amd64",
        policy=ResolvePolicy(tuple(map(waived, drop)), tuple(map(waived, paths))),
    )  # fmt: skip


@pytest.mark.parametrize("lack", LACKS)
def test_a_need_of_a_file_can_be_waived(lack: str) -> None:
    app, path = LACKS[lack]
    assert missing(made(app)) == [lack]
    closure = made(app, path)
    assert (missing(closure), closure.unused_waivers, closure.used_waivers) == ([], (), (path,))


@pytest.mark.parametrize("lack", OF_KERNEL)
def test_a_need_of_a_module_can_be_waived(lack: str) -> None:
    module, path = OF_KERNEL[lack]
    linux = package("linux", {"/boot/vmlinuz-6": None, f"{TOP}/a.ko": module})
    roots = (root("/boot/vmlinuz-6", "linux"), named(NeedKind.MODULE, "a"))
    assert missing(resolve(roots, [linux], arch="amd64")) == [lack]
    closure = resolve(
        roots, [linux], arch="amd64", policy=ResolvePolicy(allow_missing=(waived(path),))
    )
    assert (missing(closure), closure.unused_waivers) == ([], ())


def test_a_kernels_option_can_be_waived() -> None:
    linux = package("linux", {"/boot/vmlinuz-6": None, "/boot/config-6": KernelConfig({})})
    roots = (root("/boot/vmlinuz-6", "linux"), named(NeedKind.KCONFIG, "XEN"))
    assert missing(resolve(roots, [linux], arch="amd64")) == ["kconfig XEN"]
    policy = ResolvePolicy(allow_missing=(waived("XEN"),))
    assert missing(resolve(roots, [linux], arch="amd64", policy=policy)) == []


@pytest.mark.parametrize("path", [path for _, path in (*LACKS.values(), *OF_KERNEL.values())])
def test_a_waiver_that_nothing_needs_is_an_error(path: str) -> None:
    closure = made(program("libc.so.6"), path)
    assert [each.path for each in closure.unused_waivers] == [path]
    assert make_unresolved_error(closure).what == f"nothing needs the waiver for {path} any more"


def test_a_drop_that_no_need_would_bring_in_is_an_error() -> None:
    closure = made(program("libc.so.6"), drop=("/usr/bin/env", "/usr/lib/*/libc.so.6"))
    assert [each.path for each in closure.unused_waivers] == ["/usr/bin/env"]
