"""The results as JSON and as a page of Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from benchmarks.growth import Curve
from benchmarks.packing import Sizes
from benchmarks.peers import Result
from benchmarks.resolver import Line
from benchmarks.timing import Run, compute_median

NONE = "-"
BEGIN, END = "<!-- the run begins -->", "<!-- the run ends -->"
"""Where the documentation shows a run."""


@dataclass(slots=True)
class Measured:
    """One row: every run of one command or builder."""

    name: str
    runs: list[Run]
    limit: float = 0.0
    """Seconds; 0: none is set."""
    result: Result | None = None
    absent: str = ""
    """Why there are no runs."""


@dataclass(slots=True)
class Results:
    """All that one run of the benchmarks found."""

    machine: dict[str, str]
    ours: list[Measured] = field(default_factory=list)
    builders: list[Measured] = field(default_factory=list)
    ratios: dict[str, list[float]] = field(default_factory=dict)
    """Ours over the pipeline's time, round by round."""
    several: dict[str, float] = field(default_factory=dict)
    resolver: Sequence[Line] = ()
    packing: Sizes | None = None
    curves: Sequence[Curve] = ()


def as_json(results: Results) -> Mapping[str, object]:
    """Everything, for programs."""
    return asdict(results)


def as_markdown(results: Results) -> str:
    """Everything, for people."""
    parts = [
        _table(("machine", ""), results.machine.items()),
        "## Commands\n",
        _table(
            ("host.yaml, whole process", "median s", "CPU s", "limit s", "peak MiB", "runs"),
            (_command(row) for row in results.ours),
        ),
        "## Builders, the same packages from the same mirror\n",
        _table(
            ("builder", "median s", "CPU s", "peak MiB", "files", "bytes", "packed", "runs"),
            (_builder(row) for row in results.builders),
        ),
        _ratios(results.ratios),
    ]
    if results.resolver:
        rows = (
            (one.name, _known(one.seconds, ".3f"), _known(one.limit, "g"), one.note)
            for one in results.resolver
        )
        parts += ["## Resolver\n", _table(("what", "median s", "limit s", ""), rows)]
    if results.packing:
        parts += ["## Packed size\n", _packing(results.packing)]
    if results.curves:
        parts += ["## Growth\n", *(_curve(curve) for curve in results.curves)]
    return "\n".join(part for part in parts if part)


def replace_between(document: str, page: str, curves: Sequence[Curve]) -> str:
    """The documentation with this run in the place of the one before.

    Raises: ValueError when the documentation has no such place.
    """
    before, began, rest = document.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (began and ended):
        raise ValueError(f"nothing stands between {BEGIN} and {END}")
    below = page.replace("\n## ", "\n### ").strip()
    drawings = "".join(f"\n![{one.name}](benchmarks/{one.name}.svg)\n" for one in curves)
    return f"{before}{BEGIN}\n{below}\n{drawings}{END}{after}"


def _command(row: Measured) -> tuple[str, ...]:
    if row.absent:
        return (row.name, row.absent, "", "", "", "")
    run = compute_median(row.runs)
    limit = _known(row.limit, "g")
    return (row.name, f"{run.seconds:.2f}", f"{run.cpu:.2f}", limit, _mib(run.peak), str(len(row.runs)))  # fmt: skip


def _builder(row: Measured) -> tuple[str, ...]:
    if row.absent or row.result is None:
        return (row.name, row.absent, "", "", "", "", "", "")
    run, result = compute_median(row.runs), row.result
    packed = f"{result.packed:,}" if result.packed else "tree only"
    return (
        row.name, f"{run.seconds:.1f}", f"{run.cpu:.1f}", _mib(run.peak),
        f"{result.files:,}", f"{result.bytes:,}", packed, str(len(row.runs)),
    )  # fmt: skip


def _ratios(ratios: Mapping[str, Sequence[float]]) -> str:
    lines = [
        f"- {name}: {median(values):.2f} (pair by pair: {', '.join(f'{one:.2f}' for one in values)})"
        for name, values in ratios.items()
        if values
    ]
    return "\n".join([*lines, ""]) if lines else ""


def _packing(sizes: Sizes) -> str:
    return (
        f"{sizes.segments:,} bytes in {sizes.parts} segments; the best solid xz "
        f"(`{sizes.best}`) {sizes.solid:,} bytes: {sizes.more:+.2%} (limit +1 %).\n"
    )


def _curve(curve: Curve) -> str:
    rows = (
        (f"{size:,}", *(f"{series[n]:.4f}" for series in curve.series.values()))
        for n, size in enumerate(curve.sizes)
    )
    return _table((curve.unit, *(f"{name}, s" for name in curve.series)), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _known(value: float, form: str) -> str:
    return format(value, form) if value else NONE


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.0f}"
