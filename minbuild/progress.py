"""What long work says of itself while it runs; only the command line knows how to show it."""

from typing import Protocol


class Progress(Protocol):
    """Told by every long step; safe to call from several threads."""

    def step(self, text: str) -> None:
        """Say that a named step of the build begins ("resolving host.yaml")."""
        ...

    def note(self, text: str) -> None:
        """Say something that the user should read even when it is no error."""
        ...

    def bar(self, label: str, done: int, total: int) -> None:
        """Show `done` of `total` (bytes or items) of the step named `label`; total 0: unknown."""
        ...


class SilentProgress:
    """Progress for callers that show none."""

    def step(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def bar(self, label: str, done: int, total: int) -> None:
        """Show nothing."""
