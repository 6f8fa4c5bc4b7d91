"""Every failure that a user can cause or fix, and the exit code that each kind has.

MinbuildError
├── Verdict        1  over budget, differs, a probe failed
├── UsageError     2  the command line asks for something that cannot be
├── ManifestError  3
├── ArchiveError   4
├── ResolveError   5
└── ToolError      6  a tool or this machine

70 is a bug in minbuild; 130 is an interrupt.
"""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

Failure = TypeVar("Failure", bound="MinbuildError")


class MinbuildError(Exception):
    """A failure with one sentence of what, where it happened, and how to fix it."""

    exit_code: ClassVar[int]

    def __init__(self, what: str, *, fix: str, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.also: tuple[MinbuildError, ...] = ()
        """Problems of the same run that are reported together with this one."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix, self.also)


class CheckFailed(MinbuildError):
    exit_code = 1


class UsageError(MinbuildError):
    exit_code = 2


class ManifestError(MinbuildError):
    exit_code = 3


class ArchiveError(MinbuildError):
    exit_code = 4


class ResolveError(MinbuildError):
    exit_code = 5


class ToolError(MinbuildError):
    exit_code = 6


def combine(problems: Sequence[Failure]) -> Failure:
    """Make one error of several found at once: the first one carries the others."""
    first, *others = problems
    first.also = tuple(others)
    return first


def _rebuild(
    kind: type[MinbuildError], what: str, where: str, fix: str, also: tuple[MinbuildError, ...]
) -> MinbuildError:
    """An error that comes from another process."""
    error = kind(what, where=where, fix=fix)
    error.also = also
    return error


class MalformedFile(Exception):
    """Bytes are not what their format promises; `reason` is a sentence for people.

    It never leaves this package of modules: deb makes an ArchiveError of it, sniff a
    `types.Damaged`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
