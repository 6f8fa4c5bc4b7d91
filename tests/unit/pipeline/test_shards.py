"""Shares of a list of builds."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minbuild.cli.main import run_command_line
from minbuild.errors import UsageError
from minbuild.pipeline import shards
from minbuild.pipeline.session import BuildRequest
from minbuild.pipeline.shards import Shard, parse_shard, take_shard


def write_fleet(top: Path, groups: dict[str, int]) -> list[BuildRequest]:
    """Manifests with locks: those of one group have one lock's text."""
    top.mkdir()
    requests = []
    for group, number in groups.items():
        for index in range(number):
            place = top / f"{group}{index:04}.yaml"
            place.with_suffix(".lock").write_text(group * 1000)
            requests.append(BuildRequest(place))
    return requests


def cut_all(requests: list[BuildRequest], count: int) -> list[list[str]]:
    return [
        [one.provisional_name for one in take_shard(requests, Shard(index, count))]
        for index in range(1, count + 1)
    ]


def test_every_build_is_in_one_share_wherever_and_in_whichever_order_it_is_listed(
    tmp_path: Path,
) -> None:
    groups = {"a": 30, "b": 7, "c": 1}
    requests = write_fleet(tmp_path / "here", groups)
    shares = cut_all(requests, 4)
    assert sorted(name for share in shares for name in share) == sorted(
        one.provisional_name for one in requests
    )
    there = write_fleet(tmp_path / "there", groups)
    random.Random(5).shuffle(there)
    assert [sorted(share) for share in cut_all(there, 4)] == [sorted(share) for share in shares]


def test_the_order_given_stays(tmp_path: Path) -> None:
    requests = write_fleet(tmp_path / "fleet", {"a": 9})[::-1]
    taken = take_shard(requests, Shard(1, 1))
    assert list(taken) == requests


def test_groups_stay_together_and_large_ones_are_shared(tmp_path: Path) -> None:
    together = cut_all(write_fleet(tmp_path / "five", dict.fromkeys("abcde", 20)), 5)
    assert sorted("".join(sorted({name[0] for name in share})) for share in together) == list(
        "abcde"
    )
    halves = cut_all(write_fleet(tmp_path / "one", {"a": 1000}), 2)
    assert [len(share) for share in halves] == [500, 500]


def test_there_may_be_more_shares_than_builds(tmp_path: Path) -> None:
    shares = cut_all(write_fleet(tmp_path / "fleet", {"a": 1, "b": 1}), 5)
    assert sorted(len(share) for share in shares) == [0, 0, 0, 1, 1]


def test_a_manifest_without_a_lock_counts(tmp_path: Path) -> None:
    requests = [BuildRequest(tmp_path / f"{name}.yaml") for name in "abcd"]
    assert [len(share) for share in cut_all(requests, 2)] == [2, 2]


@given(st.text("abc", max_size=12), st.tuples(*[st.integers(1, 50)] * 3), st.integers(1, 5))
def test_no_cut_in_this_order_has_a_smaller_largest_share(
    groups: str, costs: tuple[int, int, int], count: int
) -> None:
    units = sorted(
        shards._Unit(group, f"{place:02}", place, costs["abc".index(group)])
        for place, group in enumerate(groups)
    )
    limit = shards._find_smallest_limit(units, count)
    shares = shards._cut(units, limit)
    assert len(shares) <= count
    assert [unit for share in shares for unit in share] == units
    assert max(map(_sum_share, shares), default=0) == _find_optimum(units, count)


def _sum_share(share: list[shards._Unit]) -> int:
    started: set[str] = set()
    total = 0
    for unit in share:
        total += unit.cost * (1 if unit.group in started else shards.START_COST + 1)
        started.add(unit.group)
    return total


def _find_optimum(units: list[shards._Unit], count: int) -> int:
    """By trying every cut: best[n][k] is the cost of the first n units in k shares."""
    if not units:
        return 0
    best = [0] + [1 << 60] * len(units)
    for _ in range(count):
        best = [0] + [
            min(max(best[start], _sum_share(units[start:end])) for start in range(end))
            for end in range(1, len(units) + 1)
        ]
    return best[-1]


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/", "/2", "-1/2", "1/2/3", "²/3", "a/b"])
def test_what_is_no_share_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is not a share of several") as raised:
        parse_shard(text)
    assert "--shard 2/8" in raised.value.fix


def test_a_share_is_read() -> None:
    assert parse_shard("2/8") == Shard(2, 8)


def test_make_builds_its_share_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abcde":
        (tmp_path / f"{name}.yaml").write_text("minbuild: 1\nkernel: {package: 7}\n")
    names = []
    for share in ("1/2", "2/2"):
        files = [f"{name}.yaml" for name in "abcde"]
        words = ["make", *files, "--shard", share, "--store", str(tmp_path / "store"), "--json"]
        assert run_command_line(words) == 3
        rows = json.loads(capsys.readouterr().out)
        assert {row["error"] for row in rows} == {rows[0]["error"]}
        names.append([row["name"] for row in rows])
    assert sorted(names[0] + names[1]) == list("abcde")
    assert {len(share) for share in names} == {2, 3}
    words = ["make", "a.yaml", "--shard", "2/2", "--store", str(tmp_path / "store")]
    assert run_command_line(words) == 0
    assert "share 2/2 has no build" in capsys.readouterr().err
