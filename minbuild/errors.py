"""Errors that a user can fix, each with its exit code.

MinbuildError
├── CheckFailed    1  over budget, differs, a probe failed
├── UsageError     2  the command line is not valid
├── ManifestError  3
├── ArchiveError   4
├── ResolveError   5
└── ToolError      6  a tool or this machine

70 is a bug in minbuild; 130 is an interrupt.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, TypeVar

Failure = TypeVar("Failure", bound="MinbuildError")


class MinbuildError(Exception):
    """An error for the user: what is wrong, where, and how to fix it.

    `what` is a fact ("no kernel package is configured"), `where` a place (file:line:column, an
    address, "" for none), `fix` an imperative or the command to run.
    """

    exit_code: ClassVar[int]

    def __init__(self, what: str, *, fix: str, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.also: tuple[MinbuildError, ...] = ()
        """Errors of the same run that are reported with this one."""

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.fix, self.also)


class CheckFailed(MinbuildError):
    """A check that ran and failed: a budget, a comparison, a probe."""

    exit_code = 1


class UsageError(MinbuildError):
    """A command line that is not valid."""

    exit_code = 2


class ManifestError(MinbuildError):
    """A manifest, or a file that it reads, that is not valid."""

    exit_code = 3


class ArchiveError(MinbuildError):
    """A mirror, a signature, a download or a lock."""

    exit_code = 4


class ResolveError(MinbuildError):
    """A need that no package meets."""

    exit_code = 5


class ToolError(MinbuildError):
    """A tool that failed, or a resource of this machine that is missing."""

    exit_code = 6


def combine(problems: Sequence[Failure]) -> Failure:
    """Combine errors that were found together: the first one carries the others."""
    first, *others = problems
    first.also = tuple(others)
    return first


def _rebuild(
    kind: type[MinbuildError], what: str, where: str, fix: str, also: tuple[MinbuildError, ...]
) -> MinbuildError:
    """Unpickle an error from another process."""
    error = kind(what, where=where, fix=fix)
    error.also = also
    return error


class MalformedFile(Exception):
    """Bytes that violate their format; `reason` is a sentence for people.

    Readers of packages convert it to an ArchiveError, readers of facts to a `Malformed` fact.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def find_close_name(name: str, names: Iterable[str]) -> str:
    """The name that a mistyped one may have meant; "" when none is like it."""
    import difflib  # only for errors

    return next(iter(difflib.get_close_matches(name, [*names], n=1)), "")
