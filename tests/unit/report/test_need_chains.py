"""Why a path is in an image: for people, with its evidence, and as a graph."""

import json
from dataclasses import replace

from minbuild.escape import quote_dot
from minbuild.explain.why import explain, explain_all
from minbuild.footprint.document import read_footprint, render_footprint
from minbuild.footprint.model import WaiverRow
from minbuild.paths import RootPath
from minbuild.report.needs import (
    render_explanation,
    render_explanations_dot,
    render_explanations_json,
)
from tests.support.footprints import tiny

SHELL = RootPath("/usr/bin/sh")


def test_precise_says_where_the_evidence_stands() -> None:
    text = render_explanation(explain(tiny(), SHELL), precise=True)
    assert "seen in line 1 of /usr/bin/vm (made by minbuild)" in text
    assert "seen in qemu.yaml:4:3" in text
    assert "seen in" not in render_explanation(explain(tiny(), SHELL))


def test_json_says_it_too() -> None:
    (chain,) = json.loads(render_explanations_json(explain(tiny(), SHELL)))["chains"]
    assert [need["location"] for need in chain] == [
        "qemu.yaml:4:3",
        "line 1 of /usr/bin/vm (made by minbuild)",
    ]


def test_a_graph_has_every_edge_of_the_chains() -> None:
    dot = render_explanations_dot(explain(tiny(), SHELL, all_chains=True))
    assert '"/usr/bin/vm" -> "/usr/bin/sh" [label="shebang: #!/bin/sh"];' in dot
    assert '"hypervisor/qemu-microvm" [shape=oval];' in dot
    assert dot.startswith("digraph why {")
    assert dot.endswith("}\n")


def test_a_graph_of_what_is_not_there_is_one_node() -> None:
    assert render_explanations_dot(explain(tiny(), RootPath("/nothing"))).count('"') == 2


def test_what_a_file_may_open_is_said_and_survives_the_document() -> None:
    vm = RootPath("/usr/bin/vm")
    made = replace(tiny(), possible_dlopens={vm: ("liba.so.1", "libb.so.2")})
    again = read_footprint(render_footprint(made), "footprint.json")
    assert again == made
    answer = explain(again, vm)
    assert "it may open" in render_explanation(answer)
    assert json.loads(render_explanations_json(answer))["possible_dlopens"] == [
        "liba.so.1",
        "libb.so.2",
    ]
    assert "it may open" not in render_explanation(explain(again, SHELL))


def test_quotes_and_backslashes_do_not_end_a_string() -> None:
    assert quote_dot('a"b\\c') == '"a\\"b\\\\c"'


def test_a_name_alone_stands_for_the_only_path_with_it() -> None:
    assert explain(tiny(), "sh") == explain(tiny(), SHELL)
    assert explain(tiny(), "gone").path == "/gone"


def test_what_a_manifest_leaves_out_is_said_with_the_reason() -> None:
    waivers = (
        WaiverRow("drop", "/usr/share/qemu/*.rom", "no PXE here", "host.yaml:9:5"),
        WaiverRow("allow-missing", "libx.so.*", "not asked", "host.yaml:11:5"),
    )
    made = read_footprint(render_footprint(replace(tiny(), waivers=waivers)), "footprint.json")
    text = render_explanation(explain(made, "/usr/share/qemu/e1000.rom"))
    assert text == (
        "/usr/share/qemu/e1000.rom is not in tiny: the manifest leaves it out\n"
        "  drop: /usr/share/qemu/*.rom (host.yaml:9:5), because: no PXE here\n"
    )
    answer = explain(made, "/usr/lib/x86_64-linux-gnu/libx.so.1")
    assert [row["kind"] for row in json.loads(render_explanations_json(answer))["waived"]] == [
        "allow-missing"
    ]
    assert not explain(made, "/usr/share/qemu").waivers


def test_a_glob_stands_for_every_path_that_it_matches() -> None:
    paths = [row.path for row in tiny().files if row.type != "directory"]
    wanted = [path for path in paths if path.startswith("/usr/bin/")]
    assert len(wanted) > 1
    found = explain_all(tiny(), "/usr/bin/*")
    assert [one.path for one in found] == wanted
    assert len(json.loads(render_explanations_json(*found))) == len(wanted)
    assert all(f'"{path}"' in render_explanations_dot(*found) for path in wanted)
    names = [path.rpartition("/")[2] for path in wanted]
    assert {one.path for one in explain_all(tiny(), "*")} >= set(wanted)
    assert explain_all(tiny(), f"{names[0][:-1]}?")[0].path == wanted[0]


def test_one_path_is_one_answer_and_so_is_none() -> None:
    assert explain_all(tiny(), SHELL) == (explain(tiny(), SHELL),)
    assert explain_all(tiny(), "sh") == (explain(tiny(), SHELL),)
    assert explain_all(tiny(), "/usr/bin") == (explain(tiny(), "/usr/bin"),)
    (gone,) = explain_all(tiny(), "libgone")
    assert render_explanation(gone).startswith(
        "no file of tiny is called libgone: no need leads to it\n"
    )
    (none,) = explain_all(tiny(), "*.gone")
    assert render_explanation(none).startswith("no file of tiny has a name like *.gone: ")
    (path,) = explain_all(tiny(), "/opt/gone")
    assert render_explanation(path).startswith("/opt/gone is not in tiny: ")
