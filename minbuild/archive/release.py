"""What a Release file says of its suite: which indices it has, from when it is, until when it holds."""

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
"""Seconds UTC that no date may be beyond: the year 6325, which `time` can still write."""


@dataclass(frozen=True, slots=True)
class Release:
    """One suite's Release file."""

    suite: str
    codename: str
    origin: str
    label: str
    date: int
    """Seconds UTC."""
    valid_until: int
    """Seconds UTC; 0: for ever."""
    by_hash: bool
    architectures: tuple[str, ...]
    all_apart: bool
    """True: packages for every architecture stand in an index of their own, binary-all."""
    indices: Mapping[str, tuple[str, int]]
    """Path below dists/SUITE/ → SHA-256 and size: the Packages and Sources files only."""


def parse_release(content: bytes, *, where: str) -> Release:
    """Read a Release file whose signature was verified.

    Source: https://wiki.debian.org/DebianRepository/Format, "Release" files.

    Raises: ArchiveError when it lacks what it must say.
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
            f"the Release file cannot be understood: {error!r}",
            where=where,
            fix="use another mirror; minbuild needs Date and SHA256 in it",
        ) from error


class ReleaseExpired(ArchiveError):
    """A Release that is past its Valid-Until."""


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
    """Hold a Release against the suite that was asked for and against the time.

    A Release without names is taken as apt takes it, and told. `now` is seconds UTC; None for this
    machine's clock. Source: apt's Acquire::Max-FutureTime, Acquire::Check-Valid-Until.
    Raises: ArchiveError when it is another suite's or from the future, Expired when it is past its
    Valid-Until.
    """
    names = {release.suite, release.codename} - {""}
    if not names:
        progress.note(f"{suite}: its Release names no suite, so it could be another one's")
    elif suite.rstrip("/") not in names:
        raise ArchiveError(
            f"this is the Release of {release.codename or release.suite}, not of {suite}",
            where=where,
            fix="use another mirror, or name the suite as its Release does",
        )
    now = int(time.time()) if now is None else now
    if check_date and release.date > now + MAX_CLOCK_SKEW:
        date = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(release.date))
        raise ArchiveError(
            f"the Release of {suite} is from {date}, which is in the future",
            where=where,
            fix="check this machine's clock, or use another mirror",
        )
    if not release.valid_until or now <= release.valid_until:
        return release
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(release.valid_until))
    if check_valid_until:
        raise ReleaseExpired(
            f"the Release of {suite} held until {until}, and that is over",
            where=where,
            fix="check this machine's clock, use another mirror, or accept old packages: "
            "`check-valid-until: false` below `archive:`",
        )
    progress.note(
        f"{suite}: its Release held until {until}; used all the same, as the manifest says"
    )
    return release


def dump_release(release: Release) -> bytes:
    """A Release as bytes to be kept."""
    return json.dumps(asdict(release), sort_keys=True).encode()


def load_release(data: bytes) -> Release:
    """A Release from what `dump` made."""
    fields = json.loads(data)
    indices = {name: (digest, size) for name, (digest, size) in fields.pop("indices").items()}
    architectures = tuple(fields.pop("architectures"))
    return Release(indices=indices, architectures=architectures, **fields)


def _parse_date(text: str) -> int:
    date = parsedate_to_datetime(text.replace(" UTC", " +0000"))
    date = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    seconds = int(date.timestamp())
    if not 0 <= seconds < MAX_DATE:
        raise ValueError(f"a date that is none: {text}")
    return seconds


def _parse_index_row(row: Mapping[str, str]) -> tuple[str, int]:
    digest, size = row["sha256"], int(row["size"])
    if len(digest) != DIGEST_LENGTH or size < 0:
        raise ValueError(f"a SHA-256 or size that is none: {digest} {size}")
    return digest, size
