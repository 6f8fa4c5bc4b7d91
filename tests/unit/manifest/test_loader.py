"""Loading a whole manifest: defaults, order, inputs, and every problem at once."""

import contextlib
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minbuild.errors import ManifestError
from minbuild.manifest.document.nodes import Problems, to_plain
from minbuild.manifest.document.yaml_reader import parse_document
from minbuild.manifest.grammar import build_json_schema
from minbuild.manifest.image_settings import Compression, ImageFormat, ImageSettings
from minbuild.manifest.input_files import Trust
from minbuild.manifest.loader import read_manifest
from minbuild.manifest.model import Archive, Budget, Section
from tests.unit.manifest.conftest import HEAD, Desk


def test_a_short_manifest_gets_every_default(desk: Desk) -> None:
    manifest = desk.load()
    assert manifest.name == "host"
    assert manifest.arch == "amd64"
    assert manifest.file == "host.yaml"
    assert manifest.archive == Archive(("trixie", "trixie-updates", "trixie-security"), ("main",))
    assert manifest.image == ImageSettings((ImageFormat.UKI, ImageFormat.RAW), Compression.XZ)
    assert manifest.budget == Budget()
    assert manifest.components == ()
    assert manifest.variables == {
        "arch": "amd64",
        "name": "host",
        "runtime_variables": (),
    }
    assert manifest.kernel.package == "linux-image-cloud-amd64"


def test_every_key_is_read(desk: Desk) -> None:
    desk.write({"keys/own.pgp": "certificate"})
    manifest = desk.load(
        """\
name: edge
summary: "{{ name }} on {{ arch }}"
arch: arm64
archive: {suites: [forky], components: [main, contrib], mirror: "http://x.invalid/debian",
  trusted: true, check-valid-until: false, signed-by: keys/own.pgp}
keep: [{package: pciutils, paths: [/usr/bin/lspci, /usr/share/*]}]
drop: [{path: /usr/lib/*/gconv/*, because: none needed}]
allow-missing: [{path: libfoo.so.1, because: unused}]
image: {formats: [raw], compression: zstd, disk: {size: 64 MiB, partitions: [
  {type: esp, name: boot, size: 32 MiB}, {type: ext4, label: minbuild-data}]}}
budget: {files: 48, bytes: 64 MiB, packed: 17.6 MB}
"""
    )
    assert (manifest.name, manifest.summary) == ("edge", "edge on arm64")
    assert manifest.archive == Archive(
        ("forky",), ("main", "contrib"), ("http://x.invalid/debian",), True, False, "keys/own.pgp"
    )
    assert manifest.image.formats == (ImageFormat.RAW,)
    assert manifest.image.compression is Compression.ZSTD
    rows = [(one.type, one.name, one.label, one.size) for one in manifest.image.disk.partitions]
    assert manifest.image.disk.size == 64 << 20
    assert rows == [("esp", "boot", "", 32 << 20), ("ext4", "", "minbuild-data", None)]
    totals = manifest.budget.totals
    limits = [one.value for one in (totals.files, totals.bytes, totals.packed) if one is not None]
    assert limits == [48, 64 * 2**20, 17_600_000]
    assert [(drop.path, drop.because) for drop in manifest.drop] == [
        ("/usr/lib/*/gconv/*", "none needed")
    ]
    assert [allowed.path for allowed in manifest.allow_missing] == ["libfoo.so.1"]
    (own,) = manifest.components
    assert (own.name, own.section) == ("services/manifest", Section.SERVICES)
    assert own.packages[0].paths == ("/usr/bin/lspci", "/usr/share/*")
    assert str(own.packages[0].where) == "host.yaml:8:8 (keep[0])"


def test_every_problem_is_told_at_once_in_order(desk: Desk) -> None:
    desk.component("network/parts", "modules: vfat\nfiles: {/a: {content: '{{ nmae }}'}}\n")
    assert desk.problems(
        """\
netwrok: {use: [dhcp]}
network: {use: [parts, prats]}
image: {compression: zx}
files: {/etc/x: {content: a, mode: 0644}}
"""
    ) == [
        ("components/network/parts.yaml:2:10 (modules)", "modules is text, not a list", "write it as a list: [a, b]"),
        ("host.yaml:3:1 (netwrok)", "unknown key 'netwrok'", "did you mean network?"),
        ("host.yaml:4:24 (network.use[1])", "there is no component network/prats", "did you mean network/parts?"),
        ("host.yaml:5:22 (image.compression)", "unknown compression 'zx'", "write one of: none, xz, zstd"),
        (
            "host.yaml:6:36 (files[/etc/x].mode)",
            "mode is the number 0644, which YAML readers take for octal or decimal",
            'write octal digits in quotes: mode: "0644"',
        ),
    ]  # fmt: skip


_BAD = {
    "an unknown key": ("sumary: x", "host.yaml:3:1 (sumary)", "unknown key 'sumary'", "did you mean summary?"),
    "a key with _ for -": ("allow_missing: []", "host.yaml:3:1 (allow_missing)", "unknown key 'allow_missing'", "did you mean allow-missing?"),
    "an unknown key of a section": ("network: {uses: []}", "host.yaml:3:11 (network.uses)", "unknown key 'uses'", "did you mean use?"),
    "an unknown format": ("image: {formats: [uki, rwa]}", "host.yaml:3:24 (image.formats[1])", "unknown image format 'rwa'", "did you mean raw?"),
    "no format": ("image: {formats: []}", "host.yaml:3:18 (image.formats)", "formats is empty", "list something, or remove the key"),
    "an unknown architecture": ("arch: x86_64", "host.yaml:3:7 (arch)", "unknown architecture 'x86_64'", "write amd64"),
    "another name of an architecture": ("arch: AArch64", "host.yaml:3:7 (arch)", "unknown architecture 'AArch64'", "write arm64"),
    "an architecture of a matrix": ("matrix: {arch: [x86_64]}", "host.yaml:3:17 (matrix.arch[0])", "unknown architecture 'x86_64'", "write amd64"),
    "a variable as a key": ("hostname: x", "host.yaml:3:1 (hostname)", "unknown key 'hostname'", "it is a variable: vars: {hostname: …}"),
    "packages whole": ("packages: [htop]", "host.yaml:3:1 (packages)", "unknown key 'packages'", "name the files: keep: [{package: …, paths: [/usr/bin/…]}]; what they need comes along"),
    "a key that stands too high": ("cmdline: [quiet]", "host.yaml:3:1 (cmdline)", "unknown key 'cmdline'", "write it below kernel: kernel: {cmdline: …}"),
    "a name that is none": ("name: My Host", "host.yaml:3:7 (name)", "'My Host' is not a manifest's name", "use lower case, digits and -"),
    "a number for text": ("archive: {suites: [13]}", "host.yaml:3:20 (archive.suites[0])", "suites[0] is a whole number (13), not one word", 'put it in quotes: "13"'),
    "nothing for a mapping": ("boot:", "host.yaml:3:6 (boot)", "boot is nothing, not a mapping", "write its keys, or remove it"),
    "a list for a mapping": ("vars: [a]", "host.yaml:3:7 (vars)", "vars is a list, not a mapping", "write it as a mapping: {key: value}"),
    "text for a flag": ("archive: {trusted: yes}", "host.yaml:3:20 (archive.trusted)", "trusted is text, not true or false", "write true or false"),
    "a size without a unit": ("budget: {packed: 17.6}", "host.yaml:3:18 (budget.packed)", "the size 17.6 has no unit", "write bytes, or a number and one of B kB KB MB GB KiB MiB GiB"),
    "a size of nothing known": ("budget: {packed: 20 megs}", "host.yaml:3:18 (budget.packed)", "'20 megs' is not a size", "write bytes, or a number and one of B kB KB MB GB KiB MiB GiB"),
    "a negative number": ("budget: {files: -1}", "host.yaml:3:17 (budget.files)", "files is -1, out of range", "write a number from 0 to 2147483647"),
    "no reason to drop": ("drop: [{path: /x}]", "host.yaml:3:8 (drop[0])", "the key 'because' is missing", "add because: The reason, for people."),
    "a relative root": ("keep: [{package: foo, paths: [usr/bin/x]}]", "host.yaml:3:31 (keep[0].paths[0])", "'usr/bin/x' is not an absolute path", "begin it with /"),
    "a float for a variable": ("vars: {v: 1.5}", "host.yaml:3:11 (vars.v)", "v is a number (1.5), not text, a whole number, true or false, or a list of texts", 'put it in quotes: "1.5"'),
    "no certificate": ("archive: {signed-by: own.pgp}", "host.yaml:3:22 (archive.signed-by)", "there is no file own.pgp", "write own.pgp"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "what", "fix"), _BAD.values(), ids=_BAD.keys())
def test_bad_input_is_told_with_place_and_fix(
    desk: Desk, text: str, where: str, what: str, fix: str
) -> None:
    assert desk.problems(text + "\n") == [(where, what, fix)]


_KEYS = {
    "a token without its module": ("key: 'pkcs11:token=x'", 21, "a key in a token requires a PKCS#11 module"),
    "a PIN in a manifest": ("key: 'pkcs11:a=b?pin-value=1', module: host.yaml", 21, "a PIN does not belong in a manifest"),
    "a module for a file": ("key: host.yaml, module: host.yaml", 40, "a PKCS#11 module requires a key in a token, but the key is a file"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "column", "what"), _KEYS.values(), ids=_KEYS.keys())
def test_a_key_to_sign_with_is_a_file_or_in_a_token(
    desk: Desk, text: str, column: int, what: str
) -> None:
    desk.trust = Trust(allows_code=True)
    (found,) = desk.problems(f"image: {{sign: {{{text}, certificate: host.yaml}}}}\n")
    assert found[0].startswith(f"host.yaml:3:{column} (image.sign.")
    assert found[1] == what


def test_another_version_of_the_format_is_refused(desk: Desk) -> None:
    desk.write({"a.yaml": "minbuild: 2\nkernel: {package: linux}\n"})
    assert desk.refused("a.yaml") == [
        ("a.yaml:1:11 (minbuild)", "minbuild is 2, out of range", "write 1")
    ]


def test_a_manifest_without_version_and_kernel_lacks_both(desk: Desk) -> None:
    desk.write({"a.yaml": "name: a\n"})
    assert [(where, what) for where, what, _ in desk.refused("a.yaml")] == [
        ("a.yaml:1:1", "no kernel package is configured"),
        ("a.yaml:1:1", "the key 'minbuild' is missing"),
    ]


def test_a_document_that_is_no_mapping_is_refused(desk: Desk) -> None:
    desk.write({"a.yaml": "- minbuild\n"})
    assert desk.refused("a.yaml") == [
        ("a.yaml:1:1", "the document is not a mapping", "begin it with minbuild: 1")
    ]


def test_a_manifest_that_is_not_there_is_refused(desk: Desk) -> None:
    desk.write({"hosts.yaml": ""})
    assert desk.refused("host.yaml") == [
        ("host.yaml:1:1", "there is no file host.yaml", "did you mean hosts.yaml?")
    ]


def test_inputs_are_every_file_that_was_read_and_those_that_were_not_there(desk: Desk) -> None:
    desk.component("network/one", "files: {/a: {template: a.j2}, /b: {source: b}}\n")
    desk.write({"components/network/a.j2": "x", "components/network/b": "y", "more/x": ""})
    desk.write({"host.yaml": HEAD + "network: {use: [one]}\n"})
    manifest = read_manifest(Path("host.yaml"), settings={}, components=[Path("more")])
    names = {
        str(Path(path).relative_to(desk.directory)): digest
        for path, digest in manifest.inputs.items()
        if Path(path) not in manifest.rules  # those that ship
    }
    digest = hashlib.sha256(b"y").hexdigest()
    assert names.pop("components/network/b") == digest
    assert names.pop("more/network/one.yaml") == ""
    assert sorted(names) == [
        "components/network/a.j2",
        "components/network/one.yaml",
        "host.yaml",
    ]
    assert list(manifest.inputs) == sorted(manifest.inputs)


def test_loading_twice_gives_the_same(desk: Desk) -> None:
    desk.component("network/one", "vars: {a: x}\nfiles: {/a: {content: '{{ a }}'}}\n")
    assert desk.load("network: {use: [one]}\n") == desk.load("network: {use: [one]}\n")


def test_paths_in_errors_are_relative_below_the_current_directory(desk: Desk) -> None:
    desk.write({"sub/host.yaml": HEAD + "x: 1\n"})
    with pytest.raises(ManifestError) as raised:
        read_manifest((desk.directory / "sub/host.yaml").absolute(), settings={}, components=[])
    assert raised.value.where == "sub/host.yaml:3:1 (x)"


_WORDS = st.sampled_from(
    [*build_json_schema()["properties"], "host.yaml", "package", "use", "dhcp", "/a", "content", "template",  # type: ignore[misc]
     "link", "mode", "directory", "path", "{{x}}", "{{ name }}", "{%", "{#", "1", "0644", "true",
     "~", "'20 MB'", "[", "]", "{", "}", ":", ",", "-", "&", "*", "a"]
)  # fmt: skip
_TEXTS = st.text(max_size=120) | st.lists(
    st.tuples(st.sampled_from(["", " ", "\n", "\n  ", ": ", ": [", "]", ": {", "}", ", "]), _WORDS)
).map(lambda pairs: "".join(space + word for space, word in pairs))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_TEXTS, st.booleans())
def test_any_text_is_a_manifest_or_a_manifest_error(desk: Desk, text: str, head: bool) -> None:
    desk.directory.joinpath("host.yaml").write_bytes(
        ((HEAD if head else "") + text).encode("utf-8", "surrogatepass")
    )
    with contextlib.suppress(ManifestError):
        read_manifest(Path("host.yaml"), settings={"x": text[:5]}, components=[])


_VALUES = st.recursive(
    st.sampled_from(["a", "dhcp", "/a", "{{ x }}", "xz", "raw", "0644", "20 MB", 1, 0, -3, True, None, 1.5]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["use", "package", "paths", "path", "because", "content", "link", "mode", "directory",
             "formats", "compression", "files", "packed", "suites", "trusted", "/etc/x", "cmdline"]
        ),
        inner,
        max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip


PROPERTIES = sorted(cast("dict[str, object]", build_json_schema()["properties"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(PROPERTIES), _VALUES, max_size=4))
def test_what_the_schema_rejects_the_loader_rejects(
    desk: Desk, document: dict[str, object]
) -> None:
    document = {"minbuild": 1, "kernel": {"package": "linux"}} | document
    text = json.dumps(document)
    desk.write({"host.yaml": text})
    assert to_plain(parse_document(text.encode(), "host.yaml", Problems())) == document  # type: ignore[arg-type]
    valid = jsonschema.Draft202012Validator(build_json_schema()).is_valid(document)
    try:
        read_manifest(Path("host.yaml"), settings={}, components=[])
    except ManifestError:
        return
    assert valid


@pytest.mark.parametrize("text", [row[0] for name, row in _BAD.items() if name != "no certificate"])
def test_the_schema_rejects_what_the_loader_rejects(text: str) -> None:
    node = parse_document((HEAD + text).encode(), "host.yaml", Problems())
    assert node is not None
    assert not jsonschema.Draft202012Validator(build_json_schema()).is_valid(to_plain(node))


FLICKER = """
import sys
from pathlib import Path
while True:
    Path(sys.argv[1]).write_text("minbuild: 1")
    Path(sys.argv[1]).unlink()
"""


def test_a_manifest_that_comes_and_goes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "host.yaml"
    flicker = subprocess.Popen([sys.executable, "-c", FLICKER, str(path)])
    try:
        while not path.exists():
            assert flicker.poll() is None
        for _ in range(400):
            with pytest.raises(ManifestError):
                read_manifest(path, settings={}, components=())
    finally:
        flicker.kill()
        flicker.wait()
