"""What scripts, kernel modules and roots need."""

import pytest

from minbuild.facts.model import (
    BuiltinModules,
    FileFacts,
    KernelConfig,
    Malformed,
    Module,
    PackageFiles,
    Script,
)
from minbuild.paths import RootPath
from minbuild.resolve.error_messages import make_unresolved_error
from minbuild.resolve.file_rules import find_env_program
from minbuild.resolve.model import Closure, NeedKind, Root
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from tests.unit.resolve.builders import (
    Content,
    closed,
    edge,
    lack,
    missing,
    named,
    package,
    regular,
    root,
    waiver,
)

TOP = "/usr/lib/modules/6.1-x"


def test_a_script_needs_its_interpreter_through_links() -> None:
    files: dict[str, Content] = {
        "/usr/bin/app": Script("/bin/sh", "-e"),
        "/usr/bin/sh": "-> busybox",
        "/usr/bin/busybox": None,
    }
    closure = closed(package("app", files))
    assert regular(closure) == ["/bin", "/usr/bin/app", "/usr/bin/busybox", "/usr/bin/sh"]
    assert edge(closure, "/usr/bin/sh", "/usr/bin/app").evidence == "#! /bin/sh -e"


def test_a_script_that_cannot_be_started_needs_no_interpreter() -> None:
    files = package("app", {"/usr/bin/app": Script("/bin/gone")}, modes={"/usr/bin/app": 0o644})
    assert not closed(files).unmet_needs


def test_a_missing_interpreter_is_said() -> None:
    found = lack(closed(package("app", {"/usr/bin/app": Script("/usr/bin/perl", "-w")})))
    assert (found.kind, found.wanted) == ("shebang", "/usr/bin/perl")
    assert found.evidence == "#! /usr/bin/perl -w"


def test_a_script_may_be_the_interpreter_of_a_script() -> None:
    files: dict[str, FileFacts | str | None] = {
        "/usr/bin/app": Script("/usr/bin/run", "-x"),
        "/usr/bin/run": Script("/usr/bin/sh"),
        "/usr/bin/sh": None,
    }
    closure = closed(package("app", files))
    assert regular(closure) == ["/usr/bin/app", "/usr/bin/run", "/usr/bin/sh"]
    assert edge(closure, "/usr/bin/sh", "/usr/bin/run").kind is NeedKind.SHEBANG


@pytest.mark.parametrize(("scripts", "fails"), [(5, False), (6, True)])
def test_the_kernel_gives_up_on_more_than_five_scripts_in_a_row(scripts: int, fails: bool) -> None:
    files: dict[str, FileFacts | str | None] = {
        f"/usr/bin/app{n or ''}": Script(f"/usr/bin/app{n + 1}") for n in range(scripts)
    }
    found = closed(package("app", {**files, f"/usr/bin/app{scripts}": None})).unmet_needs
    assert [one.wanted for one in found] == (["/usr/bin/app1"] if fails else [])


def test_scripts_that_interpret_each_other_are_said() -> None:
    files = {"/usr/bin/app": Script("/usr/bin/other"), "/usr/bin/other": Script("/usr/bin/app")}
    assert "interpreters are scripts themselves" in lack(closed(package("app", files))).evidence


def test_env_is_looked_through() -> None:
    files = {
        "/usr/bin/app": Script("/usr/bin/env", "python3"),
        "/usr/bin/env": None,
        "/usr/bin/python3": "-> python3.13",
        "/usr/bin/python3.13": None,
    }
    closure = closed(package("app", files))
    assert edge(closure, "/usr/bin/python3", "/usr/bin/app").kind is NeedKind.EXEC
    assert edge(closure, "/usr/bin/env", "/usr/bin/app").kind is NeedKind.SHEBANG


@pytest.mark.parametrize(
    ("argument", "program"),
    [
        ("python3", "python3"),
        # without -S the kernel's one argument is one name, blank and all
        ("python3 -u", "python3 -u"),
        ("-S python3 -u", "python3"),
        ("-S -i PATH=/bin python3 -u", "python3"),
        ("-S -u HOME awk -f", "awk"),
        ("-Sawk -f", "awk"),
        ("--split-string=awk -f", "awk"),
        ("-i", ""),
        ("", ""),
    ],
)
def test_what_env_starts(argument: str, program: str) -> None:
    assert find_env_program(argument) == program


PACKED = {"FW_LOADER_COMPRESS_XZ": "y", "FW_LOADER_COMPRESS_ZSTD": "y"}


def kernel(modules: dict[str, Module], **more: Content) -> PackageFiles:
    content: dict[str, Content] = {
        "/boot/vmlinuz-6.1-x": None,
        "/boot/config-6.1-x": KernelConfig({"KVM": "m", "PACKET": "y", "HZ": "250", **PACKED}),
        f"{TOP}/modules.builtin": BuiltinModules(
            {
                "ext4": Module("ext4", aliases=("fs-ext4",)),
                "radio": Module("radio", firmware=("radio.bin",)),
            }
        ),
    }
    content |= {f"{TOP}/kernel/{name}.ko.xz": facts for name, facts in modules.items()}
    return package("linux", content | more)


def host(*roots: Root, files: tuple[PackageFiles, ...]) -> Closure:
    image = Root(NeedKind.ROOT, "/boot/vmlinuz-*", "kernel/manifest", "host.yaml:1:1", "linux")
    return resolve((image, *roots), files, arch="amd64")


NET = {
    "virtio_net": Module("virtio_net", depends=("net_failover",), aliases=("virtio:d00000001v*",)),
    "net_failover": Module("net_failover", depends=("failover",)),
    "failover": Module("failover"),
}


@pytest.mark.parametrize(
    "text",
    [
        "virtio_net",
        "virtio-net",
        "virtio_n*",
        "kernel/virtio_net.ko",
        "kernel/virtio*",
        f"{TOP}/kernel/virtio_net.ko.xz",
        "/lib/modules/*/kernel/virtio_net.ko",
        "virtio:d00000001v00001AF4",
        "virtio:d00000001v*",
    ],
)
def test_a_module_brings_those_it_depends_on(text: str) -> None:
    closure = host(named(NeedKind.MODULE, text), files=(kernel(NET),))
    assert not closure.unmet_needs
    found = [path.rpartition("/")[2] for path in regular(closure) if ".ko" in path]
    assert found == ["failover.ko.xz", "net_failover.ko.xz", "virtio_net.ko.xz"]
    assert closure.kernel_release == "6.1-x"
    assert "/lib" in closure.files


@pytest.mark.parametrize("text", ["ext4", "fs-ext4"])
def test_a_built_in_module_counts_as_there(text: str) -> None:
    closure = host(named(NeedKind.MODULE, text), files=(kernel({}),))
    assert not closure.unmet_needs
    assert closure.builtin_modules == {"ext4": "kernel/k"}


def test_a_built_in_module_brings_its_firmware() -> None:
    closure = host(named(NeedKind.MODULE, "radio"), files=(kernel({}),))
    assert missing(closure) == ["firmware radio.bin"]
    blob = package("firmware-radio", {"/usr/lib/firmware/radio.bin.zst": None})
    closure = host(named(NeedKind.MODULE, "radio"), files=(kernel({}), blob))
    assert "/usr/lib/firmware/radio.bin.zst" in closure.files


def test_firmware_within_the_kernel_needs_no_file() -> None:
    modules = {"a": Module("a", firmware=("own.bin", "gone.bin"))}
    own = {"/boot/config-6.1-x": KernelConfig({"EXTRA_FIRMWARE": "x.bin own.bin"})}
    closure = host(named(NeedKind.MODULE, "a"), files=(kernel(modules, **own),))
    assert missing(closure) == ["firmware gone.bin"]
    assert "firmware own.bin" in closure.builtin_modules


def test_softdeps_are_followed_by_alias_and_may_be_absent() -> None:
    modules = {
        "btrfs": Module("btrfs", soft_pre=("crc32c", "xxhash64"), soft_post=("ext4",)),
        "crc32c_generic": Module("crc32c_generic", aliases=("crc32c", "crypto-crc32c")),
    }
    closure = host(named(NeedKind.MODULE, "btrfs"), files=(kernel(modules),))
    assert not closure.unmet_needs
    need = edge(closure, f"{TOP}/kernel/crc32c_generic.ko.xz", f"{TOP}/kernel/btrfs.ko.xz")
    assert (need.kind, need.evidence) == (NeedKind.SOFTDEP, "softdep pre: crc32c")
    assert list(closure.skipped_softdeps) == ["xxhash64"]
    assert list(closure.builtin_modules) == ["ext4"]


def test_what_the_kernel_itself_may_ask_for_is_there() -> None:
    modules = {"a": Module("a", weak=("b", "gone")), "b": Module("b")}
    closure = host(named(NeedKind.MODULE, "a"), files=(kernel(modules),))
    need = edge(closure, f"{TOP}/kernel/b.ko.xz", f"{TOP}/kernel/a.ko.xz")
    assert (need.kind, need.evidence) == (NeedKind.SOFTDEP, "weakdep b")
    assert list(closure.skipped_softdeps) == ["gone"]


def test_firmware_comes_in_any_form_and_through_links() -> None:
    modules = {"a": Module("a", firmware=("plain.bin", "packed.bin", "dir/*.bin"))}
    blobs = {
        "/usr/lib/firmware/plain.bin": "-> real.bin",
        "/usr/lib/firmware/real.bin": None,
        "/usr/lib/firmware/packed.bin.xz": None,
        "/usr/lib/firmware/dir/1.bin": None,
        "/usr/lib/firmware/dir/2.bin.zst": None,
    }
    closure = host(named(NeedKind.MODULE, "a"), files=(kernel(modules), package("firmware", blobs)))
    assert not closure.unmet_needs
    assert set(blobs) <= set(closure.files)


def test_missing_firmware_names_its_module_and_can_be_waived() -> None:
    modules = {"a": Module("a", firmware=("gone.bin",))}
    found = lack(host(named(NeedKind.MODULE, "a"), files=(kernel(modules),)))
    assert (found.kind, found.wanted, found.package) == ("firmware", "gone.bin", "linux")
    assert found.chain == ("kernel/k", f"{TOP}/kernel/a.ko.xz")
    closure = resolve(
        (root("/boot/vmlinuz-*", "linux"), named(NeedKind.MODULE, "a")),
        (kernel(modules),),
        arch="amd64",
        policy=ResolvePolicy(allow_missing=(waiver("gone.*"), waiver("other.bin"))),
    )
    assert (closure.unmet_needs, closure.used_waivers) == ((), ("gone.*",))
    assert [each.path for each in closure.unused_waivers] == ["other.bin"]


@pytest.mark.parametrize("option", ["PACKET", "CONFIG_PACKET"])
def test_an_option_may_be_built_in(option: str) -> None:
    closure = host(named(NeedKind.KCONFIG, option), files=(kernel({"kvm": Module("kvm")}),))
    assert not closure.unmet_needs
    assert f"{TOP}/kernel/kvm.ko.xz" not in closure.files


def test_an_option_that_is_a_module_brings_it() -> None:
    closure = host(named(NeedKind.KCONFIG, "KVM"), files=(kernel({"kvm": Module("kvm")}),))
    (need,) = (one for one in closure.needs if one.kind is NeedKind.KCONFIG)
    assert (need.path, need.evidence) == (f"{TOP}/kernel/kvm.ko.xz", "k.yaml:1:1: KVM=m")


def test_an_option_that_is_a_module_of_no_known_name_is_missing() -> None:
    closure = host(named(NeedKind.KCONFIG, "KVM"), files=(kernel({}),))
    assert missing(closure) == ["kconfig KVM"]
    assert "as a module, whose name is not known" in str(make_unresolved_error(closure).what)


HASHES = {
    "crc_generic": Module("crc_generic", aliases=("crypto-crc",)),
    "crc_fast": Module("crc_fast", aliases=("crypto-crc", "cpu:type:x86,ven*")),
}


def test_what_code_asks_for_is_in_the_image_and_runs_on_every_processor() -> None:
    modules = {**HASHES, "fs": Module("fs", requests=("crypto-crc", "crypto-gone"))}
    closure = host(named(NeedKind.MODULE, "fs"), files=(kernel(modules),))
    (need,) = (one for one in closure.needs if one.kind is NeedKind.REQUEST)
    assert (need.path, need.evidence) == (
        f"{TOP}/kernel/crc_generic.ko.xz",
        "requests=crypto-crc",
    )
    assert list(closure.skipped_softdeps) == ["crypto-gone"]


def test_what_the_kernel_has_built_in_needs_no_module() -> None:
    modules = {
        "other": Module("other", aliases=("fs-ext4",)),
        "a": Module("a", requests=("fs-ext4",)),
    }
    closure = host(named(NeedKind.MODULE, "a"), files=(kernel(modules),))
    assert f"{TOP}/kernel/other.ko.xz" not in closure.files
    assert "fs-ext4" in closure.builtin_modules


def test_a_character_set_is_the_one_that_the_kernel_was_configured_with() -> None:
    modules = {name: Module(name) for name in ("fat", "nls_cp437", "nls_cp850")}
    option = KernelConfig({"FAT_DEFAULT_CODEPAGE": "850"})
    files = (kernel(modules, **{"/boot/config-6.1-x": option}),)
    closure = host(named(NeedKind.MODULE, "fat"), files=files)
    (need,) = (one for one in closure.needs if one.kind is NeedKind.REQUEST)
    assert need.path == f"{TOP}/kernel/nls_cp850.ko.xz"


@pytest.mark.parametrize("option", ["XEN", "HZ"])
def test_an_option_that_the_kernel_lacks_is_missing(option: str) -> None:
    closure = host(named(NeedKind.KCONFIG, option), files=(kernel({}),))
    assert missing(closure) == [f"kconfig {option}"]


def test_a_module_that_the_kernel_does_not_have_is_missing() -> None:
    closure = host(named(NeedKind.MODULE, "virtio_nte"), files=(kernel(NET),))
    assert missing(closure) == ["module virtio_nte"]


def test_without_its_kernel_only_the_kernel_is_missing() -> None:
    meta = package("linux", {"/usr/share/doc/linux/copyright": None}, depends=("linux-6.1",))
    names = (named(NeedKind.MODULE, "kvm"), named(NeedKind.KCONFIG, "KVM"))
    image = Root(NeedKind.ROOT, "/boot/vmlinu[xz]-*", "kernel/manifest", "host.yaml:1:1", "linux")
    found = lack(resolve((image, *names), (meta,), arch="amd64"))
    assert (found.kind, found.package) == ("root", "linux-6.1")


def test_a_package_without_files_of_its_own_is_followed() -> None:
    meta = package("linux-meta", {"/usr/share/doc/x": None}, depends=("linux",))
    image = Root(NeedKind.ROOT, "/boot/vmlinuz-*", "kernel/k", "host.yaml:1:1", "linux-meta")
    closure = resolve((image,), (meta, kernel({})), arch="amd64")
    assert closure.files[RootPath("/boot/vmlinuz-6.1-x")].package == "linux"


def test_a_package_with_files_of_its_own_is_not() -> None:
    app = package("app", {"/usr/bin/app": None}, depends=("other",))
    other = package("other", {"/usr/bin/other": None})
    found = lack(closed(app, other, roots=(root("/usr/bin/other"),)))
    assert (found.kind, found.package, found.looked) == ("root", "app", ("app",))


def test_a_package_that_is_not_at_hand_is_asked_for() -> None:
    found = lack(closed(roots=(root("/usr/bin/app"),)))
    assert (found.kind, found.wanted, found.package) == ("root", "/usr/bin/app", "app")
    assert found.looked == ()


def test_a_glob_matches_files_and_links_of_one_directory() -> None:
    files = {"/opt/a": None, "/opt/b": "-> a", "/opt/c/d": None}
    assert regular(closed(package("app", files), roots=(root("/opt/*"),))) == ["/opt/a", "/opt/b"]
    assert regular(closed(package("app", files), roots=(root("/opt/**"),))) == sorted(files)


def test_a_path_wanted_from_two_packages_that_differ_is_said() -> None:
    one, two = (
        package(name, {"/opt/x": fact}) for name, fact in (("one", None), ("two", Malformed("x")))
    )
    found = lack(closed(one, two, roots=(root("/opt/x", "one"), root("/opt/x", "two"))))
    assert "already taken from package one" in found.evidence


def test_a_dropped_file_is_left_out_with_all_it_needs() -> None:
    files = {"/usr/bin/app": "-> mid", "/usr/bin/mid": "-> end", "/usr/bin/end": None}
    closure = resolve(
        (root("/usr/bin/app"),),
        (package("app", files),),
        arch="amd64",
        policy=ResolvePolicy(drop=(waiver("/bin/m*"),)),
    )
    assert regular(closure) == ["/usr/bin/app"]
    assert closure.used_waivers == ("/bin/m*",)
    assert not closure.unmet_needs


def test_damaged_data_harms_only_those_who_need_it_whole() -> None:
    bad = Malformed("its ELF header is truncated")
    assert not closed(
        package("app", {"/usr/bin/app": bad}, modes={"/usr/bin/app": 0o644})
    ).unmet_needs
    found = lack(closed(package("app", {"/usr/bin/app": bad})))
    assert (found.wanted, found.evidence) == ("/usr/bin/app", "its ELF header is truncated")
