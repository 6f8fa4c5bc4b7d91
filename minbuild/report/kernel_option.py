"""The explanation of a kernel option as text and JSON."""

from minbuild.escape import dump_json
from minbuild.explain.kernel_option import PREFIX, OptionExplanation
from minbuild.kconfig.model import OptionNeed

OPTION_SCHEMA = "minbuild.why-option/1"


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
