"""What a manifest may ask for beyond paths: aliases, a machine's devices, run-time libraries."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.facts.model import BuiltinModules, Module
from minbuild.facts.module_aliases import normalize_alias
from minbuild.manifest.model import DlopenPolicy, Location, Priority
from minbuild.paths import RootPath
from minbuild.resolve import path_glob
from minbuild.resolve.error_messages import make_unresolved_error
from minbuild.resolve.model import Closure, NeedKind, Root
from minbuild.resolve.policy import ResolvePolicy
from minbuild.resolve.resolution import resolve
from tests.unit.resolve.builders import (
    LIB,
    closed,
    libc,
    library,
    missing,
    named,
    note,
    package,
    program,
    regular,
    root,
    waiver,
)

KERNEL = package(
    "linux",
    {
        "/boot/vmlinuz-6": None,
        "/usr/lib/modules/6/modules.builtin.modinfo": BuiltinModules(
            {"virtio_pci": Module("virtio_pci", aliases=("pci:v00001AF4d*sv*sd*bc*sc*i*",))}
        ),
        "/usr/lib/modules/6/kernel/drivers/e1000e.ko": Module(
            "e1000e", aliases=("pci:v00008086d000010D3sv*sd*bc*sc*i*",)
        ),
        "/usr/lib/modules/6/kernel/drivers/ahci.ko": Module(
            "ahci", ("libahci",), aliases=("pci:v*d*sv*sd*bc01sc06i01*",)
        ),
        "/usr/lib/modules/6/kernel/drivers/libahci.ko": Module("libahci"),
        "/usr/lib/modules/6/kernel/usb/hub.ko": Module("hub", aliases=("usb:v1p*d0[0-4]*dc*",)),
        "/usr/lib/modules/6/kernel/tablet.ko": Module(
            "tablet", aliases=("dmi*:bd07/12/2017*:rvnDefault*:", "devname:net/tablet")
        ),
        "/usr/lib/modules/6/kernel/fs/ext4.ko": Module("ext4", aliases=("fs-ext4",)),
    },
)
SATA = "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"
NET = "pci:v00008086d000010D3sv00008086sd0000A01Fbc02sc00i00"


def device(alias: str) -> Root:
    return Root(NeedKind.MODULE, alias, "kernel/manifest", "machine.txt:1:1", optional=True)


def modules(*wanted: Root) -> tuple[list[str], Closure]:
    closure = closed(KERNEL, roots=(root("/boot/vmlinuz-6", "linux"), *wanted))
    names = [path.rpartition("/")[2] for path in regular(closure) if path.endswith(".ko")]
    return names, closure


def test_devices_bring_their_drivers_and_what_these_need() -> None:
    names, closure = modules(device(SATA), device(NET), device("acpi:PNP0C0C:"))
    assert names == ["ahci.ko", "e1000e.ko", "libahci.ko"]
    assert missing(closure) == []
    assert closure.skipped_softdeps == {"acpi:PNP0C0C:": "kernel/manifest"}


@pytest.mark.parametrize("alias", ["dmi:bd07/12/2017:svnX:rvnDefault1:", "devname:net/tablet"])
def test_an_alias_with_a_slash_is_no_path(alias: str) -> None:
    assert modules(device(alias))[0] == ["tablet.ko"]


def test_a_driver_that_is_built_in_counts_as_there() -> None:
    wanted = "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00"
    names, closure = modules(device(wanted))
    assert (names, dict(closure.builtin_modules)) == ([], {"virtio_pci": "kernel/manifest"})


@pytest.mark.parametrize("wanted", ["pci:v00001AF4d00001000*", "pci:v00001AF4*"])
def test_a_built_in_driver_counts_where_the_kernel_does_not_say_what_it_drives(wanted: str) -> None:
    """As in Debian's: their modules.builtin.modinfo has no aliases of device tables."""
    silent = package(
        "linux",
        {
            "/boot/vmlinuz-6": None,
            "/usr/lib/modules/6/modules.builtin": BuiltinModules(
                {"virtio_pci": Module("virtio_pci")}
            ),
        },
    )
    ask = Root(NeedKind.MODULE, wanted, "kernel/manifest", "host.yaml:1:1")
    closure = closed(silent, roots=(root("/boot/vmlinuz-6", "linux"), ask))
    assert (missing(closure), list(closure.builtin_modules)) == ([], ["virtio_pci"])


def test_a_device_that_nothing_drives_says_how_to_go_on() -> None:
    ask = Root(NeedKind.MODULE, "pci:v0000FFF1*", "kernel/manifest", "host.yaml:1:1")
    found = closed(KERNEL, roots=(root("/boot/vmlinuz-6", "linux"), ask))
    assert "hardware: FILE" in make_unresolved_error(found).fix


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("pci:v00001AF4d00001000*", []),
        ("pci:v00008086*", ["e1000e.ko"]),
        ("pci:v*bc01sc06*", ["ahci.ko", "e1000e.ko", "libahci.ko"]),
        ("usb:v1p7d03xdc9", ["hub.ko"]),
        ("usb:v1p7d05xdc9", []),
        ("fs-ext4", ["ext4.ko"]),
        ("fs_*", ["ext4.ko"]),
    ],
)
def test_a_glob_of_aliases_meets_every_alias_that_can_mean_one_device(
    wanted: str, found: list[str]
) -> None:
    assert modules(named(NeedKind.MODULE, wanted))[0] == found


def test_brackets_keep_their_dash() -> None:
    assert normalize_alias("a-b[0-9]c-d") == "a_b[0-9]c_d"


texts = st.text("ab", max_size=4)
globs = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]"]), max_size=4).map("".join)


@given(globs, globs)
def test_two_globs_overlap_when_a_text_matches_both(one: str, other: str) -> None:
    import itertools

    every = ["".join(letters) for n in range(9) for letters in itertools.product("ab", repeat=n)]
    both = any(
        path_glob.compile_glob(one).fullmatch(text)
        and path_glob.compile_glob(other).fullmatch(text)
        for text in every
    )
    # [!a] may also be a letter that `every` has not
    assert path_glob.globs_intersect(one, other) or not both
    if "!" not in one + other and len(one + other) <= 8:
        assert path_glob.globs_intersect(one, other) == both


WORLD = (
    libc(),
    package(
        "app",
        {
            "/usr/bin/app": program(dlopen=note("libr.so", priority="recommended")),
            "/usr/bin/other": program(dlopen=note("libs.so", priority="suggested")),
            f"{LIB}/libr.so": library("libr.so"),
            f"{LIB}/libs.so": library("libs.so"),
        },
    ),
)


def rule(path: str, priority: str) -> DlopenPolicy:
    return DlopenPolicy(path, Priority(priority), Location("host.yaml", 4, 1))


def libraries(*rules: DlopenPolicy) -> list[str]:
    closure = resolve(
        (root("/usr/bin/app"), root("/usr/bin/other")),
        WORLD,
        arch="amd64",
        policy=ResolvePolicy(dlopen=rules),
    )
    assert not closure.unmet_needs, missing(closure)
    chosen = (RootPath(f"{LIB}/lib{name}.so") for name in "rs")
    return [path[-4] for path in chosen if path in closure.files]


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        ([], []),
        ([rule("/**", "recommended")], ["r"]),
        ([rule("/**", "suggested")], ["r", "s"]),
        ([rule("/usr/bin/other", "suggested")], ["s"]),
        ([rule("/**", "suggested"), rule("/usr/bin/app", "required")], ["s"]),
    ],
)
def test_libraries_of_less_weight_come_when_they_are_asked_for(
    rules: list[DlopenPolicy], taken: list[str]
) -> None:
    assert libraries(*rules) == taken


def test_a_rule_that_matches_no_file_is_a_lack() -> None:
    closure = resolve(
        (root("/usr/bin/app"),),
        WORLD,
        arch="amd64",
        policy=ResolvePolicy(dlopen=(rule("/usr/bin/ap", "suggested"),)),
    )
    assert missing(closure) == ["dlopen /usr/bin/ap"]


WIFI = "pci:v00008086d00002723sv00008086sd00000084bc02sc80i00"
CARD = "pci:v000014E4d00001657sv0000103Csd0000169Dbc02sc00i00"


def test_a_listed_card_without_a_driver_is_an_error_that_names_a_kernel() -> None:
    names, closure = modules(device(WIFI), device(CARD))
    assert (names, missing(closure)) == ([], [f"module {CARD}"])
    said = make_unresolved_error(replace(closure, kernel_release="6.12-cloud-amd64"))
    assert said.what == f"the network card {CARD} has no driver in the kernel 6.12-cloud-amd64"
    assert said.fix.startswith("take linux-image-amd64 (kernel: {package: …})")
    assert list(closure.skipped_softdeps) == [WIFI]


def test_a_listed_card_without_a_driver_can_be_waived() -> None:
    allowed = ResolvePolicy(allow_missing=(waiver(CARD),))
    roots = (root("/boot/vmlinuz-6", "linux"), device(CARD))
    closure = resolve(roots, (KERNEL,), arch="amd64", policy=allowed)
    assert (closure.unmet_needs, closure.used_waivers) == ((), (CARD,))


PROCESSOR = "cpu:type:x86,ven0000fam0006mod009E:feature:,0000,0085,"
SERVER = package(
    "linux",
    {
        "/boot/vmlinuz-6": None,
        "/usr/lib/firmware/net.bin": None,
        **{
            f"/usr/lib/modules/6/kernel/{name}.ko": Module(name, aliases=aliases, firmware=blobs)
            for name, aliases, blobs in (
                ("net_a", ("pci:v00008086d000010D3sv*sd*bc*sc*i*",), ("net.bin",)),
                ("net_b", ("pci:v000014E4d*sv*sd*bc*sc*i*", "auxiliary:net_b.port"), ("gone.bin",)),
                ("screen", ("pci:v0000102Bd*sv*sd*bc*sc*i*",), ()),
                ("stick", ("usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*",), ()),
                ("kvm_intel", ("cpu:type:x86,ven*fam*mod*:feature:*0085*",), ()),
                ("kvm_amd", ("cpu:type:x86,ven*fam*mod*:feature:*00C2*",), ()),
                ("watchdog", ("pci:v00008086d000025ABsv*sd*bc*sc*i*",), ()),
            )
        },
    },
)
GROUPS = tuple(
    Root(NeedKind.MODULE, name, component, "x.yaml:1:1")
    for component, names in (
        ("hardware/nic", ("net_a", "net_b")),
        ("hardware/usb", ("stick",)),
        ("kernel/kvm", ("kvm_amd", "kvm_intel")),
        ("services/watchdog", ("watchdog",)),
    )
    for name in names
)


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ((), ["kvm_amd.ko", "kvm_intel.ko", "net_a.ko", "net_b.ko", "stick.ko", "watchdog.ko"]),
        ((NET,), ["kvm_amd.ko", "kvm_intel.ko", "net_a.ko", "stick.ko", "watchdog.ko"]),
        (
            (NET, "usb:v1p7d03dc9", "pci:v0000102Bd00000536sv*bc03sc00i00"),
            ["kvm_amd.ko", "kvm_intel.ko", "net_a.ko", "stick.ko", "watchdog.ko"],
        ),
        ((PROCESSOR,), ["kvm_intel.ko", "stick.ko", "watchdog.ko"]),
    ],
)
def test_a_list_of_devices_narrows_the_groups_of_hardware(
    devices: tuple[str, ...], found: list[str]
) -> None:
    roots = (root("/boot/vmlinuz-6", "linux"), *GROUPS, *map(device, devices))
    closure = resolve(
        roots, (SERVER,), arch="amd64", policy=ResolvePolicy(allow_missing=(waiver("gone.bin"),))
    )
    assert [path.rpartition("/")[2] for path in closure.files if path.endswith(".ko")] == found


def test_firmware_is_left_out_when_the_manifest_says_so() -> None:
    roots = (root("/boot/vmlinuz-6", "linux"), *GROUPS)
    closure = resolve(roots, (SERVER,), arch="amd64", policy=ResolvePolicy(firmware=False))
    assert (closure.unmet_needs, "/usr/lib/firmware/net.bin" in closure.files) == ((), False)
    assert list(closure.skipped_softdeps) == ["firmware gone.bin", "firmware net.bin"]
