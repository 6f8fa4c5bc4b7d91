"""Words of the command line become paths and components, and what goes is said."""

import json
from dataclasses import replace

import pytest

from minbuild.errors import UsageError
from minbuild.explain.removal import expand_selectors, rank_removals, remove_selected
from minbuild.paths import RootPath
from minbuild.report.removals import (
    render_removal,
    render_removal_json,
    render_suggestions,
    render_suggestions_json,
)
from minbuild.resolve.model import Need, NeedKind
from tests.support.footprints import tiny


@pytest.mark.parametrize(
    ("word", "stands_for"),
    [
        ("/usr/bin/b*", ("/usr/bin/busybox",)),
        ("/bin/busybox", ("/usr/bin/busybox",)),
        ("boot/init", ("boot/init",)),
        ("busybox", ("/usr/bin/busybox",)),
    ],
)
def test_a_path_a_component_and_a_package_can_be_named(
    word: str, stands_for: tuple[str, ...]
) -> None:
    assert expand_selectors(tiny(), [word]) == stands_for


def test_a_word_that_is_nothing_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="qemu is no path"):
        expand_selectors(tiny(), ["qemu"])


def test_sums_are_those_of_what_goes() -> None:
    gone = remove_selected(tiny(), ["/usr/bin/busybox"], {})
    document = json.loads(render_removal_json(tiny(), ["/usr/bin/busybox"], gone))
    rows = [row for row in tiny().files if row.path in document["gone"]]
    assert document["packed"] == sum(row.packed for row in rows)
    assert document["bytes"] == sum(row.size for row in rows)
    assert "would go: 1 files" in render_removal(tiny(), ["/usr/bin/busybox"], gone)


def test_each_suggestion_says_what_it_costs() -> None:
    found = rank_removals(tiny(), {}, 5)
    lines = render_suggestions(tiny(), found, {"boot/init": "first process"}).splitlines()
    assert len(lines) == 3 * len(found)
    assert all(line.strip().startswith("costs:") for line in lines[1::3])
    assert all(line.strip().startswith("how:") for line in lines[2::3])


def test_a_kept_path_is_taken_out_of_keep_and_the_manifest_is_no_loss() -> None:
    tree = tiny()
    need = Need(RootPath("/usr/bin/busybox"), "services/manifest", NeedKind.ROOT, "host.yaml:5:5")
    footprint = replace(tree, edges=(*(one for one in tree.edges if one.path != need.path), need))
    gone = remove_selected(footprint, [str(need.path)], {})
    losses = {"services/manifest": "what the manifest itself adds"}
    said = render_suggestions(footprint, [(str(need.path), gone)], losses)
    assert "how:   take /usr/bin/busybox out of keep (host.yaml:5:5)" in said
    whole = render_suggestions(footprint, [("services/manifest", gone)], losses)
    assert "costs: no " not in whole
    assert "how:   take out all that the manifest itself keeps" in whole


def test_what_a_traced_boot_did_not_open_is_marked() -> None:
    found = rank_removals(tiny(), {}, 5)
    (idle, gone), *_ = found
    others = frozenset(str(row.path) for row in tiny().files) - frozenset(gone.removed)
    marked = render_suggestions(tiny(), found, {}, others)
    assert marked.split(f"{idle}:")[1].split("how:")[1].splitlines()[1].strip().startswith("trace:")
    assert (
        "trace:"
        not in render_suggestions(tiny(), found, {}, frozenset(gone.removed)).split("  2  ")[0]
    )
    rows = json.loads(render_suggestions_json(tiny(), found, {}, others))["removals"]
    assert rows[0]["opened"] == []
    assert json.loads(render_suggestions_json(tiny(), found, {}))["removals"][0]["opened"] is None
