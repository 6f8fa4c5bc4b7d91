"""Why a path is in an image: for people, with its evidence, and as a graph."""

import json
from dataclasses import replace

from minbuild.escape import dot
from minbuild.footprint.document import read, render
from minbuild.footprint.types import Waived
from minbuild.paths import RootPath
from minbuild.report.why import answers, as_dot, as_json, as_text, explain
from tests.support.footprints import tiny

SHELL = RootPath("/usr/bin/sh")


def test_precise_says_where_the_evidence_stands() -> None:
    text = as_text(explain(tiny(), SHELL), precise=True)
    assert "seen in line 1 of /usr/bin/vm (made by minbuild)" in text
    assert "seen in qemu.yaml:4:3" in text
    assert "seen in" not in as_text(explain(tiny(), SHELL))


def test_json_says_it_too() -> None:
    (chain,) = json.loads(as_json(explain(tiny(), SHELL)))["chains"]
    assert [need["stands"] for need in chain] == [
        "qemu.yaml:4:3",
        "line 1 of /usr/bin/vm (made by minbuild)",
    ]


def test_a_graph_has_every_edge_of_the_chains() -> None:
    dot = as_dot(explain(tiny(), SHELL, every=True))
    assert '"/usr/bin/vm" -> "/usr/bin/sh" [label="shebang: #!/bin/sh"];' in dot
    assert '"hypervisor/qemu-microvm" [shape=oval];' in dot
    assert dot.startswith("digraph why {")
    assert dot.endswith("}\n")


def test_a_graph_of_what_is_not_there_is_one_node() -> None:
    assert as_dot(explain(tiny(), RootPath("/nothing"))).count('"') == 2


def test_what_a_file_may_open_is_said_and_survives_the_document() -> None:
    vm = RootPath("/usr/bin/vm")
    made = replace(tiny(), possible={vm: ("liba.so.1", "libb.so.2")})
    again = read(render(made), "footprint.json")
    assert again == made
    answer = explain(again, vm)
    assert "it may open" in as_text(answer)
    assert json.loads(as_json(answer))["possible_dlopens"] == ["liba.so.1", "libb.so.2"]
    assert "it may open" not in as_text(explain(again, SHELL))


def test_quotes_and_backslashes_do_not_end_a_string() -> None:
    assert dot('a"b\\c') == '"a\\"b\\\\c"'


def test_a_name_alone_stands_for_the_only_path_with_it() -> None:
    assert explain(tiny(), "sh") == explain(tiny(), SHELL)
    assert explain(tiny(), "gone").path == "/gone"


def test_what_a_manifest_leaves_out_is_said_with_the_reason() -> None:
    waivers = (
        Waived("drop", "/usr/share/qemu/*.rom", "no PXE here", "host.yaml:9:5"),
        Waived("allow-missing", "libx.so.*", "not asked", "host.yaml:11:5"),
    )
    made = read(render(replace(tiny(), waivers=waivers)), "footprint.json")
    text = as_text(explain(made, "/usr/share/qemu/e1000.rom"))
    assert text == (
        "/usr/share/qemu/e1000.rom is not in tiny: the manifest leaves it out\n"
        "  drop: /usr/share/qemu/*.rom (host.yaml:9:5), because: no PXE here\n"
    )
    answer = explain(made, "/usr/lib/x86_64-linux-gnu/libx.so.1")
    assert [row["kind"] for row in json.loads(as_json(answer))["waived"]] == ["allow-missing"]
    assert not explain(made, "/usr/share/qemu").waived


def test_a_glob_stands_for_every_path_that_it_matches() -> None:
    paths = [row.path for row in tiny().files if row.type != "directory"]
    wanted = [path for path in paths if path.startswith("/usr/bin/")]
    assert len(wanted) > 1
    found = answers(tiny(), "/usr/bin/*")
    assert [one.path for one in found] == wanted
    assert len(json.loads(as_json(*found))) == len(wanted)
    assert all(f'"{path}"' in as_dot(*found) for path in wanted)
    names = [path.rpartition("/")[2] for path in wanted]
    assert {one.path for one in answers(tiny(), "*")} >= set(wanted)
    assert answers(tiny(), f"{names[0][:-1]}?")[0].path == wanted[0]


def test_one_path_is_one_answer_and_so_is_none() -> None:
    assert answers(tiny(), SHELL) == (explain(tiny(), SHELL),)
    assert answers(tiny(), "sh") == (explain(tiny(), SHELL),)
    assert answers(tiny(), "/usr/bin") == (explain(tiny(), "/usr/bin"),)
    (gone,) = answers(tiny(), "libgone")
    assert as_text(gone).startswith("no file of tiny is called libgone: no need leads to it\n")
    (none,) = answers(tiny(), "*.gone")
    assert as_text(none).startswith("no file of tiny has a name like *.gone: ")
    (path,) = answers(tiny(), "/opt/gone")
    assert as_text(path).startswith("/opt/gone is not in tiny: ")
