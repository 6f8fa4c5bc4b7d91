"""Faults of a template: message, place in its text, and fix."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong in a template, and where in its text."""

    message: str
    line: int
    column: int
    fix: str
    undefined_name: str = ""
    """The undefined variable, if that is the fault."""


class InvalidTemplate(Exception):
    """A template that cannot be rendered: its faults, in order."""

    def __init__(self, *problems: TemplateProblem) -> None:
        super().__init__(*(fault.message for fault in problems))
        self.problems = problems


def describe_unquoted(line: int, names: str) -> TemplateProblem:
    """Describe a value in a shell script without the filter `quote`; `names` are its variables."""
    first = names.partition(",")[0] or "…"
    return TemplateProblem(
        f"the value of {names or 'an expression'} goes into shell commands without the filter quote",
        line,
        1,
        f"write it as {{{{ {first} | quote }}}}, outside of the script's own quotes; within them, "
        "name a variable of the script that was set so before",
    )
