"""Whether a footprint keeps the rules of a budget: one result for each rule."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from minbuild.footprint.types import UNOWNED, FindingKind, Footprint, Row, Surface, Totals
from minbuild.manifest.limits import Allowed, Budget, Exemption, Limit, Limits, Owned
from minbuild.manifest.places import Where
from minbuild.paths import rootpath

LONGEST_WAIVER = timedelta(days=366)


class State(StrEnum):
    PASSED = "ok"
    FAILED = "FAIL"
    WAIVED = "waived"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one rule."""

    rule: str
    """totals.files, components.network/dhcp.bytes, deny.paths /usr/bin/perl*."""
    state: State
    said: str
    """What is and what may be."""
    fix: str
    where: Where | None = None
    """Where the rule stands; None where that is not known."""
    limit: Limit | None = None
    actual: int = 0


def judge(
    footprint: Footprint, budget: Budget, *, baseline: Footprint | None, today: date
) -> tuple[Result, ...]:
    """Judge every rule of a budget, in the file's order; growth only against a baseline."""
    results = [*_absolute(footprint, budget), *_relative(footprint, budget, baseline)]
    return tuple(_waive(results, budget.waivers, today))


def judge_embedded(footprint: Footprint) -> tuple[Result, ...]:
    """Judge the limits that the manifest set, which the footprint holds."""
    totals = footprint.totals
    actual = {"files": totals.files, "bytes": totals.bytes, "packed": totals.packed}
    return tuple(
        _at_most(
            f"budget.{name}",
            actual[name],
            limit,
            None,
            "use less, or raise the limit",
            where=_place(footprint.places.get(name, ""), name),
        )
        for name, limit in footprint.budget.items()
        if name in actual
    )


def _place(text: str, name: str) -> Where | None:
    """A place as a footprint keeps it: host.yaml:30:10."""
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    return Where(parts[0], int(parts[1]), int(parts[2]), f"budget.{name}")


def passed(results: Sequence[Result]) -> bool:
    """Whether nothing failed."""
    return all(one.state is not State.FAILED for one in results)


def _absolute(footprint: Footprint, budget: Budget) -> Iterator[Result]:
    yield from _limits("totals", _totals(footprint.totals), budget.totals)
    yield from _shrink(footprint.totals, budget)
    tables = {
        "sections": (budget.sections, footprint.sections),
        "components": (budget.components, footprint.components),
        "packages": (
            budget.packages,
            tuple(Row(r.name, r.files, r.bytes, r.packed) for r in footprint.packages),
        ),
    }
    for title, (owned, rows) in tables.items():
        yield from _owned(title, owned, rows)
    yield from _partitions(footprint, budget)
    yield from _surface(footprint, budget)
    yield from _denied(footprint, budget)
    if budget.unowned is not None:
        count = sum(r.component == UNOWNED and r.type == "file" for r in footprint.files)
        fix = "name in a manifest what needs these files, or build the image with minbuild"
        yield _at_most("unowned", count, budget.unowned.value, budget.unowned, fix)


def _totals(totals: Totals) -> Row:
    return Row("totals", totals.files, totals.bytes, totals.packed)


def _limits(title: str, row: Row, limits: Limits) -> Iterator[Result]:
    fix = f"minbuild report --by file shows what weighs most in {title}; use less, or raise it"
    for name in ("files", "bytes", "packed"):
        limit: Limit | None = getattr(limits, name)
        if limit is not None:
            yield _at_most(f"{title}.{name}", getattr(row, name), limit.value, limit, fix)


def _shrink(totals: Totals, budget: Budget) -> Iterator[Result]:
    """A limit far above what is needed holds nobody back."""
    percent = budget.shrink.value if budget.shrink else 0
    if not percent:
        return
    for name in ("files", "bytes", "packed"):
        limit: Limit | None = getattr(budget.totals, name)
        actual: int = getattr(totals, name)
        if limit is not None:
            low = limit.value * (100 - percent) // 100
            state = State.PASSED if actual >= low else State.FAILED
            said = f"{actual:,}, {percent} % below the limit is {low:,}"
            fix = "write the new limits: minbuild check IMAGE --budget FILE --update"
            yield Result(f"shrink.{name}", state, said, fix, limit.where, limit, actual)


def _owned(title: str, owned: Sequence[Owned], rows: Sequence[Row]) -> Iterator[Result]:
    own = {one.name: one.limits for one in owned}
    known = {row.name for row in rows}
    for row in rows:
        limits = own.get(row.name, own.get("*"))
        if limits is not None and row.name:
            yield from _limits(f"{title}.{row.name}", row, limits)
    for one in owned:
        if one.name not in known and one.name != "*":
            said = "it is not in the image"
            yield Result(f"{title}.{one.name}", State.PASSED, said, "remove the rule", one.where)


def _partitions(footprint: Footprint, budget: Budget) -> Iterator[Result]:
    for one in budget.partitions:
        room = one.partition
        free = room.size.value * (100 - room.reserve) // 100
        needed = footprint.totals.packed * room.slots
        fix = "make the partition larger, keep fewer copies, or make the image smaller"
        yield _at_most(f"partitions.{one.name}", needed, free, None, fix, where=one.where)


def _surface(footprint: Footprint, budget: Budget) -> Iterator[Result]:
    for one in budget.surface:
        rule, kind = f"surface.{one.kind}", FindingKind(one.kind)
        surface = footprint.surface
        if surface is None or kind in surface.unknown:
            said = "not evaluated: this source does not say it"
            yield Result(rule, State.FAILED, said, "check the build directory", one.where)
        elif kind is FindingKind.LISTENER and not surface.in_lab:
            said = "not evaluated: no boot was watched for ports"
            yield Result(rule, State.FAILED, said, "boot it first: minbuild boot", one.where)
        elif isinstance(one.allowed, Allowed):
            yield from _allowed(rule, surface, kind, one.allowed)
        else:
            fix = f"minbuild report names each {one.kind}; remove it, or allow one more"
            yield _at_most(rule, surface.count(kind), one.allowed.value, one.allowed, fix)


def _allowed(rule: str, surface: Surface, kind: FindingKind, allowed: Allowed) -> Iterator[Result]:
    """One result for each finding that the list does not name, or one for all."""
    subjects = sorted({one.subject for one in surface.findings if one.kind is kind})
    globs = [name.text for name in allowed.subjects]
    left = [one for one in subjects if not any(fnmatchcase(one, glob) for glob in globs)]
    for subject in left:
        fix = f"take it out of the image, or name it: surface: {{{kind}: [{subject}, …]}}"
        yield Result(f"{rule} {subject}", State.FAILED, "it is not in the list", fix, allowed.where)
    if not left:
        said = f"{len(subjects)} found, each in the list"
        yield Result(rule, State.PASSED, said, "", allowed.where)


def _denied(footprint: Footprint, budget: Budget) -> Iterator[Result]:
    names: Mapping[str, Sequence[str]] = {
        "paths": [row.path for row in footprint.files],
        "packages": [row.name for row in footprint.packages if row.name and row.files],
        "components": [row.name for row in footprint.components if row.files],
    }
    for title, known in names.items():
        for glob in getattr(budget.deny, title):
            found = [name for name in known if _is_named(name, glob.text, title)]
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            said = f"found {', '.join(found[:3])}{more}" if found else "none"
            state = State.FAILED if found else State.PASSED
            fix = f"see why it is there: minbuild why {found[0]}" if found else ""
            yield Result(f"deny.{title} {glob.text}", state, said, fix, glob.where)


def _is_named(name: str, glob: str, title: str) -> bool:
    """Tell whether a name is denied; of a root whose /bin is a directory also as /usr/bin has it."""
    if fnmatchcase(name, glob):
        return True
    return title == "paths" and fnmatchcase(rootpath(name), rootpath(glob))


def _relative(footprint: Footprint, budget: Budget, baseline: Footprint | None) -> Iterator[Result]:
    for one in budget.growth:
        rule, step = f"growth.{one.measure}", one.step
        if baseline is None:
            yield Result(rule, State.SKIPPED, "no baseline", "give one: --baseline X", one.where)
            continue
        before: int = getattr(baseline.totals, one.measure)
        grown: int = getattr(footprint.totals, one.measure) - before
        too_much = grown > step.bytes.value and grown * 100 > step.percent * before
        said = f"{grown:+,} against {before:,}; fails above +{step.bytes.value:,} and +{step.percent} %"
        fix = "minbuild diff BASELINE IMAGE says what grew and why"
        state = State.FAILED if too_much else State.PASSED
        yield Result(rule, state, said, fix, one.where, actual=grown)
    allowed = budget.new_components
    if allowed is None or allowed.value:
        return
    if baseline is None:
        fix = "give one: --baseline X"
        yield Result("new-components", State.SKIPPED, "no baseline", fix, allowed.where)
        return
    new = sorted(
        {row.name for row in footprint.components} - {row.name for row in baseline.components}
    )
    for name in new:
        yield Result(f"new-components {name}", State.FAILED, "the baseline has it not",
                     "take it out of the manifest, or commit the new baseline", allowed.where)  # fmt: skip
    if not new:
        yield Result("new-components", State.PASSED, "none", "", allowed.where)


def _at_most(
    rule: str, actual: int, most: int, limit: Limit | None, fix: str, *, where: Where | None = None
) -> Result:
    state = State.PASSED if actual <= most else State.FAILED
    over = f", {actual - most:,} too many" if actual > most else ""
    place = where or (limit.where if limit else None)
    return Result(rule, state, f"{actual:,} of {most:,}{over}", fix, place, limit, actual)


def _waive(
    results: Sequence[Result], waivers: Sequence[Exemption], today: date
) -> Iterator[Result]:
    used: set[int] = set()
    for result in results:
        if result.state is State.FAILED:
            for number, one in enumerate(waivers):
                if fnmatchcase(result.rule, one.rule.text):
                    used.add(number)
                    result = _waived(result, one, today)  # noqa: PLW2901
                    break
        yield result
    for number, one in enumerate(waivers):
        if number not in used:
            yield Result(
                f"waivers {one.rule.text}", State.FAILED, "nothing needs this waiver any more",
                "remove it", one.where,
            )  # fmt: skip


def _waived(result: Result, waiver: Exemption, today: date) -> Result:
    assert waiver.expires is not None
    if waiver.expires > today + LONGEST_WAIVER:
        said = f"{result.said}; its waiver ends on {waiver.expires}, more than a year from now"
        return replace(result, said=said, where=waiver.where)
    if waiver.expires < today:
        said = f"{result.said}; its waiver expired on {waiver.expires}"
        return replace(result, said=said, where=waiver.where)
    said = f"{result.said}; {waiver.because} ({waiver.owner}, until {waiver.expires})"
    return replace(result, state=State.WAIVED, said=said)


def verdict(results: Sequence[Result]) -> str:
    """One line: how many rules, and what came of them."""
    count = {state: sum(one.state is state for one in results) for state in State}
    more = "".join(
        f", {count[state]} {state}" for state in (State.WAIVED, State.SKIPPED) if count[state]
    )
    if count[State.FAILED]:
        return f"FAIL: {count[State.FAILED]} of {len(results)} rules{more}"
    return f"PASS: {count[State.PASSED]} rules{more}"
