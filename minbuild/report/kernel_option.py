"""Options of a kernel as text and JSON: their explanation, their tree, their difference, their removal."""

from collections.abc import Iterator, Sequence

from minbuild.escape import dump_json
from minbuild.explain.kernel_option import OptionBranch, OptionExplanation
from minbuild.kconfig.model import OptionNeed
from minbuild.kconfig.needs import PREFIX, OptionChange, describe_chain
from minbuild.kconfig.removal import OptionRemoval
from minbuild.report.layout import escape_line

OPTION_SCHEMA = "minbuild.why-option/1"
REMOVAL_SCHEMA = "minbuild.removal-option/1"
TREE_SCHEMA = "minbuild.tree-option/1"


def render_option(explanation: OptionExplanation) -> str:
    """The option, and each step from the component down to it."""
    title = f"{PREFIX}{explanation.name}"
    if not explanation.chain:
        lines = [f"{title} is off in the kernel {explanation.version}: nothing asks for it"]
        if explanation.similar:
            lines.append(f"  similar: {PREFIX}{explanation.similar}")
        return "\n".join(lines) + "\n"
    value = explanation.chain[-1].value
    lines = [f"{title}={value}  in the kernel {explanation.version}"]
    first = explanation.chain[0]
    lines.append(f"  {first.by or 'Kconfig'}")
    for depth, need in enumerate(explanation.chain):
        lines.append(f"  {'   ' * depth}└─ {_describe_step(need)}")
    others = sorted(set(explanation.needed_by) - {one.by for one in explanation.chain})
    if others:
        lines.append(f"  also wanted by {', '.join(others)}")
    return "\n".join(lines) + "\n"


def _describe_step(need: OptionNeed) -> str:
    evidence = f"  {need.evidence}" if need.evidence else ""
    return f"{need.name}={need.value}  {need.how}{evidence}"


def render_option_json(explanation: OptionExplanation) -> str:
    """The same as a JSON object; `chain` is empty where the option is off."""
    return dump_json(
        {
            "schema": OPTION_SCHEMA,
            "option": explanation.name,
            "kernel": explanation.version,
            "value": explanation.chain[-1].value if explanation.chain else "n",
            "chain": [
                {
                    "option": need.name,
                    "value": need.value,
                    "how": need.how.value,
                    "by": need.by,
                    "evidence": need.evidence,
                }
                for need in explanation.chain
            ],
            "needed_by": list(explanation.needed_by),
            "similar": explanation.similar,
        }
    )


def render_option_tree(branch: OptionBranch, *, depth: int = 0) -> str:
    """An option, and what it leads to, one level deeper each; `depth` levels, 0 for all."""
    lines = [f"{PREFIX}{_describe_step(branch.need)}"]
    lines += _list_branches(branch.branches, 1, depth)
    count = branch.count - 1
    lines.append(f"{count} option{'' if count == 1 else 's'} come with it")
    return "\n".join(lines) + "\n"


def _list_branches(branches: Sequence[OptionBranch], level: int, depth: int) -> Iterator[str]:
    for branch in branches:
        if depth and level > depth:
            return
        yield f"{'   ' * (level - 1)}└─ {_describe_step(branch.need)}"
        yield from _list_branches(branch.branches, level + 1, depth)


def render_option_tree_json(branch: OptionBranch) -> str:
    """The same as a JSON object, whole."""
    return dump_json({"schema": TREE_SCHEMA, **_branch_to_json(branch)})


def _branch_to_json(branch: OptionBranch) -> dict[str, object]:
    need = branch.need
    return {
        "option": need.name,
        "value": need.value,
        "how": need.how.value,
        "by": need.by,
        "evidence": need.evidence,
        "leads_to": [_branch_to_json(one) for one in branch.branches],
    }


def describe_option_change(change: OptionChange) -> str:
    """`new: CONFIG_STP=y, because network/bridge asks for BRIDGE (…) → STP (select)`."""
    name = f"{PREFIX}{change.name}"
    if change.before == "n":
        return f"new: {name}={change.after}, because {describe_chain(change.chain)}"
    if change.after == "n":
        return (
            f"gone: {name}={change.before}, which was there because {describe_chain(change.chain)}"
        )
    values = f"{change.before} -> {change.after}"
    return f"changed: {name}={values}, because {describe_chain(change.chain)}"


def list_option_lines(changes: Sequence[OptionChange], *, top: int = 0) -> list[str]:
    """The lines of a diff about options; `top` of them, 0 for all."""
    if not changes:
        return []
    shown = changes[: top or None]
    lines = [
        "",
        "kernel options:",
        *(f"  {escape_line(describe_option_change(one))}" for one in shown),
    ]
    if len(changes) > len(shown):
        lines.append(f"  [{len(changes) - len(shown)} others]")
    return lines


def render_option_removal(removal: OptionRemoval) -> str:
    """What would be off, what would be on in its place, and what could not be met any more."""
    lines = [f"kernel options that would go: {len(removal.gone)}"]
    lines += [f"  {PREFIX}{need.name}={need.value}" for need in removal.gone]
    if removal.new:
        lines += ["", "would be on in their place:", *(f"  {PREFIX}{name}" for name in removal.new)]
    broken = [
        f"  {one.by} asks for {PREFIX}{one.name} ({one.evidence}): {reason}"
        for one, reason in removal.broken
    ]
    lines += ["", "would break:" if broken else "would break: nothing", *broken]
    return "".join(f"{escape_line(line)}\n" for line in lines)


def list_removal_parts(removal: OptionRemoval) -> dict[str, object]:
    """The same as the keys of a JSON object."""
    return {
        "options": [need.name for need in removal.gone],
        "new_options": list(removal.new),
        "broken_options": [
            {"option": one.name, "by": one.by, "evidence": one.evidence, "reason": reason}
            for one, reason in removal.broken
        ],
    }


def render_option_removal_json(removal: OptionRemoval) -> str:
    """The same as a JSON object."""
    return dump_json({"schema": REMOVAL_SCHEMA, **list_removal_parts(removal)})
