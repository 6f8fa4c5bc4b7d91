"""Faults of a template: message, place in its text, and fix."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A fault of a template: message, line and column in its text, and fix."""

    message: str
    line: int
    column: int
    fix: str
    undefined_name: str = ""
    """The undefined variable, if there is one."""


class InvalidTemplate(Exception):
    """A template that cannot be rendered, with its faults in order."""

    def __init__(self, *problems: TemplateProblem) -> None:
        super().__init__(*(fault.message for fault in problems))
        self.problems = problems


def describe_unquoted(line: int, names: str) -> TemplateProblem:
    """Describe a value in a shell script without the filter `quote`; `names` are its variables."""
    first = names.partition(",")[0] or "…"
    return TemplateProblem(
        f"the value of {names or 'an expression'} is used in shell commands without the filter quote",
        line,
        1,
        f"write it as {{{{ {first} | quote }}}}, outside of the script's own quotes; inside of "
        "them, use a shell variable that is set that way",
    )
