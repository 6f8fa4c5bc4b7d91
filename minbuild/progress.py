"""Protocol for progress of long work; the command line decides how to show it.

Every function that downloads, builds or boots takes a `Progress` and reports steps, notes and bars.
Doors to programs and to the network report details, which only `-vv` and log files have.
"""

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Receiver of progress; safe to call from several threads."""

    def step(self, text: str) -> None:
        """Report the start of a step ("resolving host.yaml")."""
        ...

    def note(self, text: str) -> None:
        """Report something that the user should read though it is not an error."""
        ...

    def bar(self, label: str, done: int, total: int) -> None:
        """Show `done` of `total` (bytes or items) of the step named `label`; total 0: unknown."""
        ...

    def show_line(self, text: str) -> None:
        """Show what a program of this step said last: a line of a console."""
        ...


class SilentProgress:
    """Progress that shows nothing."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def bar(self, label: str, done: int, total: int) -> None:
        """Show nothing."""

    def show_line(self, text: str) -> None:
        """Show nothing."""


_detail_sinks: list[Callable[[str], None]] = []


def set_detail_sink(sink: Callable[[str], None] | None) -> None:
    """Send details to `sink` from now on; None: nobody wants them."""
    _detail_sinks[:] = [] if sink is None else [sink]


def report_detail(compose: Callable[[], str]) -> None:
    """Report a program that is started or an address that is read, if somebody wants to know."""
    for sink in _detail_sinks:
        sink(compose())
