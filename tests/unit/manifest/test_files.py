"""Files that a manifest makes."""

import pytest

from minbuild.manifest.model import RenderedFile
from tests.unit.manifest.conftest import Desk


def own(desk: Desk, text: str) -> list[tuple[str, object, int]]:
    """Path, content (or link, or "dir") and mode of the manifest's own files."""
    return [_row(file) for file in desk.load(text).components[-1].files]


def _row(file: RenderedFile) -> tuple[str, object, int]:
    return (file.path, "dir" if file.directory else file.link or file.content, file.mode)


def test_each_kind_of_file_is_made(desk: Desk) -> None:
    desk.write({"t.j2": "{{ name }}{% if true %}!{% endif %}\n\n", "s": "{{ as it is }}"})
    rows = own(
        desk,
        """\
files:
  /e: {content: "{{ name }}"}
  /d/: {directory: true}
  /c: {link: "../{{ name }}"}
  /b: {source: s, mode: "4755"}
  /a: {template: t.j2}
""",
    )
    assert rows == [
        ("/a", b"host!\n\n", 0o644),
        ("/b", b"{{ as it is }}", 0o4755),
        ("/c", "../host", 0o777),
        ("/d", "dir", 0o755),
        ("/e", b"host", 0o644),
    ]


def test_owners_are_numbers(desk: Desk) -> None:
    (file,) = desk.load("files: {/a: {content: '', uid: 7, gid: 8}}\n").components[-1].files
    assert (file.uid, file.gid) == (7, 8)


def test_paths_are_rendered_and_merged_into_usr(desk: Desk) -> None:
    text = "files: {'/bin/{{ name }}': {content: x}}\n"
    assert own(desk, text) == [("/usr/bin/host", b"x", 0o644)]


def test_applets_become_links_to_busybox_once(desk: Desk) -> None:
    desk.component("network/a", "applets: [ip, nc]\n")
    desk.component("network/b", "applets: [nc, '[']\n")
    manifest = desk.load("network: {use: [a, b]}\n")
    assert [[_row(file)[:2] for file in one.files] for one in manifest.components] == [
        [("/usr/bin/ip", "busybox"), ("/usr/bin/nc", "busybox")],
        [("/usr/bin/[", "busybox")],
    ]
    assert [name.text for name in manifest.components[1].applets] == ["nc", "["]


def test_the_manifests_file_replaces_that_of_a_component(desk: Desk) -> None:
    desk.component("network/a", "applets: [ip]\nfiles: {/lib/x: {content: a}, /y: {content: y}}\n")
    manifest = desk.load(
        "network: {use: [a]}\nfiles: {/usr/lib/x: {content: mine}, /bin/ip: {link: ip2}}\n"
    )
    assert [[_row(file)[:2] for file in one.files] for one in manifest.components] == [
        [("/y", b"y")],
        [("/usr/bin/ip", "ip2"), ("/usr/lib/x", b"mine")],
    ]


def test_equal_files_of_two_components_are_kept_once(desk: Desk) -> None:
    desk.component("network/a", "files: {/dev: {directory: true}}\n")
    desk.component("network/b", "files: {/dev: {directory: true}}\n")
    manifest = desk.load("network: {use: [a, b]}\n")
    assert [len(one.files) for one in manifest.components] == [1, 0]


def test_different_files_of_one_path_are_refused(desk: Desk) -> None:
    desk.component("network/a", "files: {/bin/x: {content: a}}\n")
    desk.component("network/b", "files: {/usr/bin/x: {content: b}}\n")
    assert desk.problems("network: {use: [a, b]}\n") == [
        (
            "components/network/b.yaml:2:9 (files[/usr/bin/x])",
            "/usr/bin/x is defined twice with different content; also at components/network/a.yaml:2:9 (files[/bin/x])",
            "remove one of them, or define the path in the manifest's own files:",
        )
    ]


def test_one_document_that_makes_a_path_twice_is_refused(desk: Desk) -> None:
    ((where, what, _),) = desk.problems("files: {/x: {content: a}, /x/: {content: b}}\n")
    assert where == "host.yaml:3:27 (files[/x/])"
    assert what.startswith("/x is defined twice")


_BAD = {
    "nothing": ("{}", ":3:13 (files[/x])", "a required key is missing", "give one of: content, template, source, link, directory"),
    "two kinds": ("{content: a, link: b}", ":3:13 (files[/x])", "content and link exclude each other", "give one of: content, template, source, link, directory"),
    "a link's mode": ('{link: b, mode: "0644"}', ":3:23 (files[/x].mode)", "link and mode exclude each other", "remove mode"),
    "no directory": ("{directory: false}", ":3:25 (files[/x].directory)", "directory is false", "remove it"),
    "a number as mode": ("{content: a, mode: 0o755}", ":3:32 (files[/x].mode)", "mode is the number 0o755, which YAML readers take for octal or decimal", 'write octal digits in quotes: mode: "0755"'),
    "a decimal mode": ("{content: a, mode: 493}", ":3:32 (files[/x].mode)", "mode is the number 493, which YAML readers take for octal or decimal", 'write octal digits in quotes: mode: "0644"'),
    "no mode": ("{content: a, mode: rwx}", ":3:32 (files[/x].mode)", "'rwx' is not a mode", 'write octal digits in quotes: "0644"'),
    "no template": ("{template: a.j2}", ":3:24 (files[/x].template)", "there is no file a.j2", "did you mean aa.j2?"),
    "no source": ("{source: gone/away}", ":3:22 (files[/x].source)", "there is no file gone/away", "write gone/away"),
    "a directory as source": ("{source: .}", ":3:22 (files[/x].source)", ". cannot be read: Is a directory", "name a file that you can read"),
    "an unknown key": ("{contents: a}", ":3:14 (files[/x].contents)", "unknown key 'contents'", "did you mean content?"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "where", "what", "fix"), _BAD.values(), ids=_BAD.keys())
def test_bad_files_are_told(desk: Desk, text: str, where: str, what: str, fix: str) -> None:
    desk.write({"aa.j2": ""})
    assert ("host.yaml" + where, what, fix) in desk.problems(f"files: {{/x: {text}}}\n")


@pytest.mark.parametrize("path", ["/a/../b", "/", "/bin", "/lib64/"])
def test_paths_that_no_file_can_have_are_refused(desk: Desk, path: str) -> None:
    ((where, what, _),) = desk.problems(f"files: {{{path}: {{content: x}}}}\n")
    assert where == f"host.yaml:3:9 (files[{path}])"
    assert what == f"{path} is not a valid path for a file"


def test_a_relative_path_is_refused(desk: Desk) -> None:
    ((_, what, fix),) = desk.problems("files: {etc/motd: {content: x}}\n")
    assert (what, fix) == ("'etc/motd' is not an absolute path", "begin it with /")


def test_a_template_that_is_no_text_is_refused(desk: Desk) -> None:
    (desk.directory / "t.j2").write_bytes(b"\xff")
    ((where, what, _),) = desk.problems("files: {/x: {template: t.j2}}\n")
    assert (where, what) == ("host.yaml:3:24 (files[/x].template)", "t.j2 is not UTF-8 text")


def test_a_template_in_parts_is_one_file(desk: Desk) -> None:
    desk.write({"a.j2": "{% set x = 'one' %}\n{{ x }}", "b": "{{ x }} {{ name }}\n", "c": ""})
    assert own(desk, "files: {/f: {template: [a.j2, c, b, c]}}\n") == [
        ("/f", b"\none\none host\n", 0o644)
    ]
    assert own(desk, "files: {/f: {template: [a.j2]}}\n") == [("/f", b"\none", 0o644)]


def test_a_mistake_in_a_part_is_told_with_its_own_file_and_line(desk: Desk) -> None:
    parts = {"a.sh": "#!/bin/sh\n", "b.sh": "echo\necho {{ name }}", "c.sh": "\necho {{ nmae }}\n"}
    desk.write(parts)
    places = {
        part: desk.problems(f"files: {{/f: {{template: {part}}}}}\n")[0][0]
        for part in ("[a.sh, b.sh]", "[a.sh, b.sh, c.sh]", "[a.sh, none.sh, c.sh]", "[]")
    }
    assert places == {
        "[a.sh, b.sh]": "b.sh:2:1",
        "[a.sh, b.sh, c.sh]": "c.sh:2:9",
        "[a.sh, none.sh, c.sh]": "host.yaml:3:31 (files[/f].template[1])",
        "[]": "host.yaml:3:24 (files[/f].template)",
    }
