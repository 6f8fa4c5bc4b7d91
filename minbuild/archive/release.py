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
FUTURE = 10
"""Seconds that a Release may be ahead of this machine's clock."""
LATEST = 1 << 37
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


def parse(content: bytes, *, where: str) -> Release:
    """Read a Release file whose signature was verified.

    Source: https://wiki.debian.org/DebianRepository/Format, "Release" files.

    Raises: ArchiveError when it lacks what it must say.
    """
    from debian.deb822 import Release as Deb822

    try:
        fields = Deb822(content.decode())
        rows = fields["SHA256"]
        architectures = tuple(fields.get("Architectures", "").split())
        apart = "Packages" not in fields.get("No-Support-for-Architecture-all", "").split()
        return Release(
            suite=fields.get("Suite", ""),
            codename=fields.get("Codename", ""),
            origin=fields.get("Origin", ""),
            label=fields.get("Label", ""),
            date=_seconds(fields["Date"]),
            valid_until=_seconds(fields["Valid-Until"]) if "Valid-Until" in fields else 0,
            by_hash=fields.get("Acquire-By-Hash", "").lower() == "yes",
            architectures=architectures,
            all_apart="all" in architectures and apart,
            indices={
                row["name"]: _checked(row)
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


class Expired(ArchiveError):
    """A Release that is past its Valid-Until."""


def checked(
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
    if check_date and release.date > now + FUTURE:
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
        raise Expired(
            f"the Release of {suite} held until {until}, and that is over",
            where=where,
            fix="check this machine's clock, use another mirror, or accept old packages: "
            "`check-valid-until: false` below `archive:`",
        )
    progress.note(
        f"{suite}: its Release held until {until}; used all the same, as the manifest says"
    )
    return release


def dump(release: Release) -> bytes:
    """A Release as bytes to be kept."""
    return json.dumps(asdict(release), sort_keys=True).encode()


def load(data: bytes) -> Release:
    """A Release from what `dump` made."""
    found = json.loads(data)
    indices = {name: (digest, size) for name, (digest, size) in found.pop("indices").items()}
    architectures = tuple(found.pop("architectures"))
    return Release(indices=indices, architectures=architectures, **found)


def _seconds(text: str) -> int:
    found = parsedate_to_datetime(text.replace(" UTC", " +0000"))
    found = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    seconds = int(found.timestamp())
    if not 0 <= seconds < LATEST:
        raise ValueError(f"a date that is none: {text}")
    return seconds


def _checked(row: Mapping[str, str]) -> tuple[str, int]:
    digest, size = row["sha256"], int(row["size"])
    if len(digest) != DIGEST_LENGTH or size < 0:
        raise ValueError(f"a SHA-256 or size that is none: {digest} {size}")
    return digest, size
