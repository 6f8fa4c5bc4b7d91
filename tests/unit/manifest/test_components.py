"""Components: which come in, in which order, and from where."""

from pathlib import Path

import pytest

from minbuild.errors import ManifestError
from minbuild.manifest.components import list_components
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Section
from tests.unit.manifest.conftest import HEAD, Desk


def names(desk: Desk, text: str) -> list[str]:
    return [one.name for one in desk.load(text).components]


def test_each_comes_after_those_that_it_needs(desk: Desk) -> None:
    desk.component("network/top", "needs: [left, services/right]\n")
    desk.component("network/left", "needs: [services/base]\n")
    desk.component("services/right", "needs: [base]\n")
    desk.component("services/base")
    assert names(desk, "network: {use: [top]}\n") == [
        "services/base",
        "network/left",
        "services/right",
        "network/top",
    ]


def test_sections_stand_in_the_order_of_the_manifest(desk: Desk) -> None:
    for name in ("boot/x", "network/x", "kernel/x"):
        desk.component(name)
    desk.write({"host.yaml": "minbuild: 1\nboot: {use: [x]}\nnetwork: {use: [network/x]}\n"
                "kernel: {package: linux, use: [x]}\n"})  # fmt: skip
    manifest = read_manifest(Path("host.yaml"), settings={}, components=[])
    assert [one.name for one in manifest.components] == ["boot/x", "network/x", "kernel/x"]


def test_every_key_of_a_component_is_read(desk: Desk) -> None:
    desk.component(
        "services/all",
        """\
packages: {busybox: [/usr/bin/busybox], qemu: ["/usr/share/qemu/{{ which }}*.bin"]}
vars: {which: a}
modules: [af_packet]
firmware: [amd-ucode/*]
kconfig: [PACKET]
cmdline: ["loglevel={{ which }}"]
module-index: [modules.dep]
allow-missing: [{path: libx.so, because: unused}]
probe: {name: all, console: '^up \\d', limit: 9, means: bad}
""",
    )
    manifest = desk.load("services: {use: [all]}\nallow-missing: [{path: y, because: z}]\n")
    (part,) = manifest.components
    assert part.section is Section.SERVICES
    assert part.packages[1].paths == ("/usr/share/qemu/a*.bin",)
    assert str(part.packages[1].where) == "components/services/all.yaml:2:41 (packages.qemu)"
    assert [one.text for one in part.modules] == ["af_packet"]
    assert [one.text for one in part.firmware] == ["amd-ucode/*"]
    assert [one.text for one in part.kconfig] == ["PACKET"]
    assert [one.text for one in part.module_index] == ["modules.dep"]
    assert part.cmdline == ("loglevel=a",)
    assert part.probe is not None
    assert (part.probe.name, part.probe.console, part.probe.limit) == ("all", r"^up \d", 9)
    assert [one.path for one in manifest.allow_missing] == ["libx.so", "y"]


@pytest.mark.parametrize(("text", "name"), [("other", "other"), ("{limit: 5}", "one")])
def test_a_probe_is_named_or_has_its_components_name(desk: Desk, text: str, name: str) -> None:
    desk.component("boot/one", f"probe: {text}\n")
    (part,) = desk.load("boot: {use: [one]}\n").components
    assert part.probe is not None
    assert part.probe.name == name


def test_the_manifests_own_modules_are_a_component_of_the_kernel(desk: Desk) -> None:
    desk.write({"a.yaml": "minbuild: 1\nkernel: {package: linux, modules: [vfat]}\n"})
    (own,) = read_manifest(Path("a.yaml"), settings={}, components=[]).components
    assert (own.name, own.modules[0].text) == ("kernel/manifest", "vfat")


_BAD = {
    "misspelt": ("network: {use: [prat]}", "host.yaml:3:17 (network.use[0])", "there is no component network/prat", "did you mean network/part?"),
    "of another section": ("boot: {use: [part]}", "host.yaml:3:14 (boot.use[0])", "there is no component boot/part", "it exists in section network: write network/part, or use it there"),
    "named with another section": ("boot: {use: [network/part]}", "host.yaml:3:14 (boot.use[0])", "network/part is not in section boot", "write part under network: use:"),
    "with a name that is none": ("boot: {use: [../x]}", "host.yaml:3:14 (boot.use[0])", "'../x' is not a component's name", "write name, or section/name; names are lower case and hold no template"),
    "of no section": ("boot: {use: [nowhere/x]}", "host.yaml:3:14 (boot.use[0])", "there is no component nowhere/x", "write one that `minbuild components` lists, or write nowhere/x.yaml yourself"),
    "with the manifest's own name": ("services: {use: [manifest]}", "host.yaml:3:18 (services.use[0])", "there is no component services/manifest", "write one that `minbuild components` lists, or write services/manifest.yaml yourself"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "what", "fix"), _BAD.values(), ids=_BAD.keys())
def test_an_unknown_component_is_told(
    desk: Desk, text: str, where: str, what: str, fix: str
) -> None:
    desk.component("network/part")
    assert (where, what, fix) in desk.problems(text + "\n")


def test_a_component_with_the_other_ending_is_found_out(desk: Desk) -> None:
    desk.write({"components/network/mine.yml": "summary: a part\n"})
    ((_, what, fix),) = desk.problems("network: {use: [mine]}\n")
    assert what == "there is no component network/mine"
    assert fix == "rename components/network/mine.yml to mine.yaml"


def test_an_unknown_need_is_told_at_its_place(desk: Desk) -> None:
    desk.component("network/part", "needs: [boot/nowhere-at-all]\n")
    ((where, what, _),) = desk.problems("network: {use: [part]}\n")
    assert where == "components/network/part.yaml:2:9 (needs[0])"
    assert what == "there is no component boot/nowhere-at-all"


def test_a_circle_of_needs_names_the_chain(desk: Desk) -> None:
    desk.component("network/a", "needs: [b]\n")
    desk.component("network/b", "needs: [boot/c]\n")
    desk.component("boot/c", "needs: [network/a]\n")
    ((where, what, fix),) = desk.problems("network: {use: [a]}\n")
    assert where == "components/boot/c.yaml:2:9 (needs[0])"
    assert what == (
        "components need each other in a circle: network/a → network/b → boot/c → network/a"
    )
    assert fix == "remove network/a from this needs:"


_BAD_COMPONENT = {
    "an unknown key": ("moduels: []", ":2:1 (moduels)", "unknown key 'moduels'", "did you mean modules?"),
    "a kernel option with its prefix": ("kconfig: [CONFIG_INET]", ":2:11 (kconfig[0])", "'CONFIG_INET' is not a kernel option", "write it without CONFIG_"),
    "an unknown index": ("module-index: [modules.dpe]", ":2:16 (module-index[0])", "unknown file of the module index 'modules.dpe'", "did you mean modules.dep?"),
    "a package without paths": ("packages: {busybox: []}", ":2:21 (packages.busybox)", "busybox is empty", "list something, or remove the key"),
    "a package that is none": ("packages: {Busy Box: [/a]}", ":2:12 (packages[Busy Box])", "'Busy Box' is not a package's name", "write the name that apt knows"),
    "a bad pattern": ("probe: {name: x, console: '('}", ":2:8 (probe)", "'(' is not a regular expression", "correct it; see the documentation of Python's module re"),
    "two words in one": ("cmdline: [a b]", ":2:11 (cmdline[0])", "'a b' is not one word: it has a blank outside of double quotes", 'write one word for each list item, a value with blanks as name="a value"'),
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where", "what", "fix"), _BAD_COMPONENT.values(), ids=_BAD_COMPONENT.keys()
)
def test_bad_input_in_a_component_is_told(
    desk: Desk, text: str, where: str, what: str, fix: str
) -> None:
    desk.component("network/part", text + "\n")
    place = "components/network/part.yaml" + where
    assert desk.problems("network: {use: [part]}\n") == [(place, what, fix)]


def test_a_component_without_a_summary_is_refused(desk: Desk) -> None:
    desk.write({"components/boot/x.yaml": "needs: []\n"})
    ((where, what, _),) = desk.problems("boot: {use: [x]}\n")
    assert (where, what) == ("components/boot/x.yaml:1:1", "the key 'summary' is missing")


def test_given_directories_come_before_those_beside_the_manifest(desk: Desk) -> None:
    desk.component("network/part")
    desk.write({"mine/network/part.yaml": "summary: my own\n"})
    desk.write({"host.yaml": HEAD + "network: {use: [part]}\n"})
    (part,) = read_manifest(Path("host.yaml"), settings={}, components=[Path("mine")]).components
    assert part.summary == "my own"


def test_a_shipped_component_is_found_from_any_directory(desk: Desk) -> None:
    assert "services/busybox" in names(desk, "services: {use: [busybox]}\n")


def test_a_component_beside_the_manifest_replaces_the_shipped_one(desk: Desk) -> None:
    desk.component("services/busybox")
    (part,) = desk.load("services: {use: [busybox]}\n").components
    assert part.summary == "a part"


def test_a_list_shows_every_component_once(desk: Desk) -> None:
    desk.write({"mine/services/busybox.yaml": "summary: my own\nneeds: [aa]\n"})
    desk.write({"mine/services/aa.yaml": "summary: another\n"})
    listed = list_components([Path("mine")])
    mine = [one for one in listed if one.name in ("services/aa", "services/busybox")]
    assert [(one.name, one.summary, one.needs) for one in mine] == [
        ("services/aa", "another", ()),
        ("services/busybox", "my own", ("services/aa",)),
    ]
    sections = [one.section for one in listed]
    assert sections == sorted(sections, key=list(Section).index)


def test_a_list_tells_every_broken_component(desk: Desk) -> None:
    desk.write({"mine/boot/a.yaml": "sumary: x\n", "mine/boot/b.yaml": "["})
    with pytest.raises(ManifestError) as raised:
        list_components([Path("mine")])
    assert {one.where.partition(":")[0] for one in (raised.value, *raised.value.also)} == {
        "mine/boot/a.yaml",
        "mine/boot/b.yaml",
    }
