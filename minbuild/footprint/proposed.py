"""What a change proposes for the gate itself: other rules, another baseline; a person decides on both.

Rules and baseline that an image is judged by come from the branch that the change goes to. What the
change would make of them is shown, and fails until somebody with a word in it has approved.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from minbuild.footprint.gate import Result, State
from minbuild.footprint.types import Footprint
from minbuild.manifest.limits import Allowed, Budget, Limit
from minbuild.manifest.places import Name, Where

BUDGET, BASELINE = "proposed.budget", "proposed.baseline"
IDENTIFIES = ("name", "kind", "measure", "rule")
"""Keys of a row that tell it from the others of its table."""
SHOWN = 6
"""Changes that a line names."""


def judge_budget(base: Budget, proposed: Budget | None, *, approved: bool) -> Result:
    """Judge what a change makes of the budget; None: it removes it, which nobody can approve."""
    if proposed is None:
        fix = "put it back; take single rules out of it instead"
        return Result(BUDGET, State.FAILED, "the change removes the budget", fix)
    changes = list(_changes(rules_of(base), rules_of(proposed)))
    if not changes:
        return Result(BUDGET, State.PASSED, "the change leaves it as it is", "")
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    said = f"the change makes it another: {', '.join(changes[:SHOWN])}{more}"
    if approved:
        return Result(BUDGET, State.WAIVED, f"{said}; approved", "")
    fix = "have it approved by whoever answers for the budget, and check with --approved"
    return Result(BUDGET, State.FAILED, said, fix)


def judge_baseline(base: Footprint | None, proposed: Footprint, image: Footprint) -> Result:
    """Judge a footprint that a change commits: that of the base branch, or that of the image."""
    for known, said in ((base, "the base branch's"), (image, "that of the image")):
        if known is not None and _same(known, proposed):
            return Result(BASELINE, State.PASSED, f"it is {said}", "")
    said = (
        f"it is neither the base branch's nor that of the image: {proposed.totals.files:,} files, "
        f"{proposed.totals.packed:,} bytes packed; the image has {image.totals.files:,} and "
        f"{image.totals.packed:,}"
    )
    return Result(BASELINE, State.FAILED, said, "commit the footprint.json of this very build")


def _same(one: Footprint, other: Footprint) -> bool:
    """Whether two footprints are of the same files; what the lab saw does not count."""
    return one.totals == other.totals and one.files == other.files


def rules_of(budget: Budget) -> dict[str, str]:
    """Every rule of a budget as name → text; where it stands does not count."""
    return dict(_rows("", _plain(budget)))


def _plain(value: object) -> object:
    """A budget's part as dictionaries, lists, texts and numbers, without places."""
    if isinstance(value, Limit | Name):
        return value.value if isinstance(value, Limit) else value.text
    if isinstance(value, Allowed):
        return [one.text for one in value.subjects]
    if is_dataclass(value):
        parts = {one.name: getattr(value, one.name) for one in fields(value)}
        return {name: _plain(part) for name, part in parts.items() if not isinstance(part, Where)}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value


def _rows(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key not in IDENTIFIES:
                yield from _rows(f"{name}.{key}".lstrip("."), part)
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for number, part in enumerate(value):
            own = next((part[key] for key in IDENTIFIES if part.get(key)), number)
            yield f"{name}.{own}", "there"
            yield from _rows(f"{name}.{own}", part)
    elif isinstance(value, list):
        yield name, f"[{', '.join(sorted(map(str, value)))}]"
    elif value is not None:
        yield name, f"{value:,}" if isinstance(value, int) else str(value)


def _changes(before: dict[str, str], after: dict[str, str]) -> Iterator[str]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield f"{name} {old or 'none'} -> {new or 'none'}"
