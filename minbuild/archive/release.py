"""Release file of a suite: its indices with digests, its date, and the date it expires."""

import datetime as dt
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime

from minbuild.errors import ArchiveError
from minbuild.progress import Progress

DIGEST_LENGTH = 64
MAX_CLOCK_SKEW = 10
"""Seconds that a Release may be ahead of this machine's clock."""
MAX_DATE = 1 << 37
"""Seconds UTC of the latest date, in the year 6325, which `time` can still format."""


@dataclass(frozen=True, slots=True)
class Release:
    """The Release file of one suite."""

    suite: str
    codename: str
    origin: str
    label: str
    date: int
    """Seconds UTC."""
    valid_until: int
    """Seconds UTC; 0: never expires."""
    by_hash: bool
    architectures: tuple[str, ...]
    all_apart: bool
    """True: packages of architecture `all` have an index of their own, binary-all."""
    indices: Mapping[str, tuple[str, int]]
    """Path below dists/SUITE/ → SHA-256 and size: the Packages and Sources files only."""


def parse_release(content: bytes, *, where: str) -> Release:
    """Parse a Release file after its signature is verified.

    Source: https://wiki.debian.org/DebianRepository/Format, "Release" files.

    Raises: ArchiveError if a required field is missing or malformed.
    """
    from debian.deb822 import Release as Deb822  # 26 ms, and a Release is parsed once

    try:
        fields = Deb822(content.decode())
        rows = fields["SHA256"]
        architectures = tuple(fields.get("Architectures", "").split())
        separates_all = "Packages" not in fields.get("No-Support-for-Architecture-all", "").split()
        return Release(
            suite=fields.get("Suite", ""),
            codename=fields.get("Codename", ""),
            origin=fields.get("Origin", ""),
            label=fields.get("Label", ""),
            date=_parse_date(fields["Date"]),
            valid_until=_parse_date(fields["Valid-Until"]) if "Valid-Until" in fields else 0,
            by_hash=fields.get("Acquire-By-Hash", "").lower() == "yes",
            architectures=architectures,
            all_apart="all" in architectures and separates_all,
            indices={
                row["name"]: _parse_index_row(row)
                for row in rows
                if "/Packages" in row["name"] or "/source/Sources" in row["name"]
            },
        )
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise ArchiveError(
            f"malformed Release file: {error!r}",
            where=where,
            fix="use another mirror; minbuild needs Date and SHA256 in it",
        ) from error


class ReleaseExpired(ArchiveError):
    """A Release file past its Valid-Until."""


def validate_release(
    release: Release,
    suite: str,
    *,
    where: str,
    check_date: bool,
    check_valid_until: bool,
    progress: Progress,
    now: int | None = None,
) -> Release:
    """Check that a Release file is of the requested suite and neither from the future nor expired.

    One without a suite name is accepted, as apt does, with a note. `now` is seconds UTC; None for
    the clock of this machine. Source: apt's Acquire::Max-FutureTime, Acquire::Check-Valid-Until.
    Raises: ArchiveError for another suite or a future date, ReleaseExpired past Valid-Until.
    """
    _check_suite_name(release, suite, where, progress)
    now = int(time.time()) if now is None else now
    if check_date and release.date > now + MAX_CLOCK_SKEW:
        date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(release.date))
        raise ArchiveError(
            f"the Release file of {suite} has a date in the future: {date}",
            where=where,
            fix="check this machine's clock, or use another mirror",
        )
    if not release.valid_until or now <= release.valid_until:
        return release
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(release.valid_until))
    if check_valid_until:
        raise ReleaseExpired(
            f"the Release file of {suite} expired on {until}",
            where=where,
            fix="check this machine's clock, use another mirror, or accept old packages: "
            "`check-valid-until: false` below `archive:`",
        )
    progress.note(
        f"the Release file of {suite} expired on {until}; accepted (check-valid-until: false)"
    )
    return release


def _check_suite_name(release: Release, suite: str, where: str, progress: Progress) -> None:
    names = {release.suite, release.codename} - {""}
    if not names:
        progress.note(
            f"the Release file of {suite} names no suite; accepted, though it may belong to another suite"
        )
    elif suite.rstrip("/") not in names:
        raise ArchiveError(
            f"the mirror has the Release file of {release.codename or release.suite} in place of {suite}",
            where=where,
            fix="use another mirror, or name the suite as its Release does",
        )


def dump_release(release: Release) -> bytes:
    """Serialise a Release for the store."""
    return json.dumps(asdict(release), sort_keys=True).encode()


def load_release(data: bytes) -> Release:
    """Load a Release that `dump_release` wrote."""
    fields = json.loads(data)
    indices = {name: (digest, size) for name, (digest, size) in fields.pop("indices").items()}
    architectures = tuple(fields.pop("architectures"))
    return Release(indices=indices, architectures=architectures, **fields)


def _parse_date(text: str) -> int:
    date = parsedate_to_datetime(text.replace(" UTC", " +0000"))
    date = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    seconds = int(date.timestamp())
    if not 0 <= seconds < MAX_DATE:
        raise ValueError(f"invalid date: {text}")
    return seconds


def _parse_index_row(row: Mapping[str, str]) -> tuple[str, int]:
    digest, size = row["sha256"], int(row["size"])
    if len(digest) != DIGEST_LENGTH or size < 0:
        raise ValueError(f"invalid SHA-256 or size: {digest} {size}")
    return digest, size
