"""Protocol for progress of long work; the command line decides how to show it.

Every function that downloads, builds or boots takes a `Progress` and reports steps, notes and bars.
"""

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


class SilentProgress:
    """Progress that shows nothing."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def bar(self, label: str, done: int, total: int) -> None:
        """Show nothing."""
