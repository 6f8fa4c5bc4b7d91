"""Why a path is in an image: for people, with its evidence, and as a graph."""

import json
from dataclasses import replace

from minbuild.footprint.document import read, render
from minbuild.paths import RootPath
from minbuild.report.why import as_dot, as_json, as_text, explain, quoted
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
    assert quoted('a"b\\c') == '"a\\"b\\\\c"'
