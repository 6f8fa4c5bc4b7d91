"""The command line of the benchmarks: `python -m benchmarks [--rounds N] [-o DIR]`."""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import growth, ours, packing, resolver
from benchmarks.page import Measured, Results, as_json, as_markdown, replace_between
from benchmarks.peers import PEERS, PIPELINE, Peer, Result
from benchmarks.timing import Bench, Failed, bench
from minbuild.footprint import document as footprints

DOCS = Path("docs/benchmarks.md")
FIVE = "five manifests over the longest of them alone (limit 1.5)"


def main() -> None:
    """Measure, print the page, and write it with JSON, CSV and SVG to the output directory."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each row (default: 5)")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--mirror", default="", help="Debian mirror (default: minbuild's)")
    parser.add_argument("--work", type=Path, help="where to work (default: a temporary directory)")
    parser.add_argument("--no-peers", action="store_true", help="measure minbuild only")
    parser.add_argument("--no-growth", action="store_true", help="leave the growth curves out")
    parser.add_argument(
        "--docs", action="store_true", help=f"show this run in {DOCS}, with its curves beside it"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="minbuild-bench-") as scratch:
        where = bench(options.work or Path(scratch), options.rounds, options.mirror)
        page, results = "", Results({})
        for results in measure(where, peers=not options.no_peers, curves=not options.no_growth):
            page = write(results, options.output)
        if options.docs:
            document(results, page)
    print(page)


def measure(where: Bench, *, peers: bool, curves: bool) -> Iterator[Results]:
    """Measure all there is; yields what is known after each part."""
    where.work.mkdir(parents=True, exist_ok=True)
    results = Results(_machine())
    say("building host.yaml once")
    workspace = ours.open_workspace(where)
    _commands(where, workspace, results)
    yield results
    _builders(where, workspace, results, peers=peers)
    yield results
    say("the resolver")
    results.resolver = resolver.measure_lines(
        where, workspace, where.work / "peers" / "dracut-pipeline"
    )
    say("packed sizes")
    results.packing = packing.measure_sizes(workspace)
    yield results
    if curves:
        say("growth")
        for curve in growth.curves(where, workspace):
            results.curves = [*results.curves, curve]
            if curve.name == growth.OF_PACKAGES:
                results.resolver = [*results.resolver, resolver.format_thousands(curve)]
            yield results
    for peer in PEERS if peers else ():
        if peer.slow:
            say(peer.name)
            results.builders.append(_slow(where, peer))
            yield results
    results.machine["load at the end"] = _load()
    yield results


def write(results: Results, directory: Path) -> str:
    """Write the results in every form; returns the page."""
    directory.mkdir(parents=True, exist_ok=True)
    page = as_markdown(results)
    (directory / "results.md").write_text(page, encoding="utf-8")
    text = json.dumps(as_json(results), indent=1) + "\n"
    (directory / "results.json").write_text(text, encoding="utf-8")
    for curve in results.curves:
        growth.write(curve, directory)
    return page


def document(results: Results, page: str) -> None:
    """Show a run in the documentation, with its curves."""
    beside = DOCS.with_suffix("")
    for curve in results.curves:
        growth.write(curve, beside)
    text = replace_between(DOCS.read_text(encoding="utf-8"), page, results.curves)
    DOCS.write_text(text, encoding="utf-8")


def _commands(where: Bench, workspace: ours.Workspace, results: Results) -> None:
    for row in ours.measure_rows():
        say(row.name)
        measured = Measured(row.name, [], row.limit)
        try:
            measured.runs = [row.run(workspace) for _ in range(where.rounds)]
        except Failed as failed:
            measured.absent = str(failed).splitlines()[0]
        results.ours.append(measured)
    results.ours += _several(where, workspace, results)


def _several(where: Bench, workspace: ours.Workspace, results: Results) -> list[Measured]:
    """Five shipped manifests: each alone, then all at once, side by side in each round."""
    alone = {name: Measured(f"make {name}, images anew", []) for name in ours.SHIPPED}
    many = Measured("make, these five at once", [])
    try:
        for _ in range(where.rounds):
            say(many.name)
            for name, row in alone.items():
                row.runs.append(ours.measure_shipped(workspace, name))
            many.runs.append(ours.measure_shipped(workspace, *ours.SHIPPED))
            longest = max(row.runs[-1].seconds for row in alone.values())
            results.ratios.setdefault(FIVE, []).append(many.runs[-1].seconds / longest)
    except Failed as failed:
        many.absent = str(failed).splitlines()[0]
    return [*alone.values(), many]


def _builders(where: Bench, workspace: ours.Workspace, results: Results, *, peers: bool) -> None:
    """The pipeline, a build from nothing and one that packs anew, side by side in each round."""
    pipeline = Measured(PIPELINE.name, [], absent=PIPELINE.lacks() if peers else "left out")
    empty = Measured("minbuild, empty store", [], 15.0)
    packed = Measured("minbuild, all segments packed again", [], 6.0)
    for number in range(where.rounds):
        say(f"builders, round {number + 1}")
        run, directory = ours.measure_cold(where)
        empty.runs.append(run)
        empty.result = packed.result = _result(directory)
        packed.runs.append(ours.measure_repack(workspace))
        if pipeline.absent:
            continue
        try:
            theirs, pipeline.result = PIPELINE.run(where)
        except Failed as failed:
            pipeline.absent = str(failed).splitlines()[-1]
            continue
        pipeline.runs.append(theirs)
        for row, limit in ((empty, 0.8), (packed, 0.35)):
            name = f"{row.name}, over the dracut pipeline (limit {limit})"
            results.ratios.setdefault(name, []).append(row.runs[-1].seconds / theirs.seconds)
    for row in (empty, packed):
        results.ours.append(row)
    results.builders = [empty, packed, pipeline]


def _slow(where: Bench, peer: Peer) -> Measured:
    measured = Measured(peer.name, [], absent=peer.lacks())
    if not measured.absent:
        try:
            run, measured.result = peer.run(where)
            measured.runs.append(run)
        except Failed as failed:
            measured.absent = str(failed).splitlines()[0]
    return measured


def _result(directory: Path) -> Result:
    path = directory / "footprint.json"
    totals = footprints.read_footprint(path.read_text(encoding="utf-8"), str(path)).totals
    return Result(totals.files, totals.bytes, totals.packed)


def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    names = [line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line]
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.machine()}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "load at the start": _load(),
    }


def _load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


def say(step: str) -> None:
    """Tell what is being measured."""
    print(f"measuring: {step}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
