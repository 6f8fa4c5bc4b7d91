"""The closure as a tree with own, closure and added sizes."""

import json

import pytest

from minbuild.errors import UsageError
from minbuild.explain.weights import weigh_closure
from minbuild.report.needs import render_tree, render_tree_json
from tests.support.footprints import tiny


def test_each_line_has_three_sizes_and_what_leads_to_more_stands_first() -> None:
    lines = render_tree(weigh_closure(tiny())).splitlines()
    assert lines[0].split() == ["own", "closure", "added"]
    tops = [line.split()[-1] for line in lines[1:] if "─" not in line]
    added = {
        node["name"]: node["added"]
        for node in json.loads(render_tree_json(weigh_closure(tiny())))["nodes"]
    }
    assert tops == sorted(tops, key=lambda name: (-added[name], name))


def test_a_depth_cuts_the_tree() -> None:
    lines = render_tree(weigh_closure(tiny()), depth=1).splitlines()[1:]
    assert lines
    assert not any("─" in line for line in lines)


def test_a_path_is_a_tree_of_its_own() -> None:
    lines = render_tree(weigh_closure(tiny(), "/usr/bin/busybox")).splitlines()
    assert lines[1].endswith("/usr/bin/busybox")


def test_what_only_one_leads_to_is_added_by_it() -> None:
    nodes = {
        node["name"]: node for node in json.loads(render_tree_json(weigh_closure(tiny())))["nodes"]
    }
    total = sum(row.size for row in tiny().files if row.type == "file")
    assert all(node["own"] <= node["added"] <= node["closure"] <= total for node in nodes.values())


def test_a_stranger_is_named() -> None:
    with pytest.raises(UsageError, match="is not in tiny"):
        weigh_closure(tiny(), "/usr/bin/nothing")
