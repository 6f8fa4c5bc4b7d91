"""Which archive the tools of a build come from: the host's, one of their own, or Debian's."""

from collections.abc import Sequence
from dataclasses import replace

from minbuild.archive.index import Index
from minbuild.archive.suite import NoSuite
from minbuild.build.archives import open_all
from minbuild.build.request import Doors, Request, machine_arch
from minbuild.manifest.types import TOOLS, Archive, Manifest


def for_tools(manifest: Manifest) -> Manifest:
    """The manifest as the toolbox sees it: with the archives that tools come from.

    One that may not choose what runs on this machine gives it no further archives, and no pins.
    """
    main, others = manifest.archive, manifest.archives
    archives = tool_archives(main, others, trusted=manifest.trusted)
    pins = manifest.pins if archives[1:] == others and main.tools_archive is None else ()
    return replace(manifest, archive=archives[0], archives=archives[1:], pins=pins)


def tool_archives(
    main: Archive, others: Sequence[Archive], *, trusted: bool
) -> tuple[Archive, ...]:
    """The archives that tools come from, where `main` and `others` are the host's.

    What is waived for the host's suites is not waived for others.
    """
    if main.tools_archive is not None:
        return (main.tools_archive,)
    more = tuple(others) if trusted else ()
    if not main.tools_apart:
        return (main, *more)
    check = main.check_valid_until or not same_waiver(main)
    return (replace(main, suites=main.tools, check_valid_until=check), *more)


def same_waiver(archive: Archive) -> bool:
    """Whether the toolbox comes from suites that the host comes from, too."""
    return set(archive.tools) <= set(archive.suites)


def open_tools(request: Request, main: Archive, archives: Sequence[Archive], doors: Doors) -> Index:
    """Open the archives that tools come from; `main` is the host's.

    Suites that the host's archive has not are Debian's, from this machine's own mirror and by
    Debian's keys: the host may be of another distribution, or of an archive of one's own.
    Raises: ArchiveError.
    """
    try:
        return open_all(request, archives, machine_arch(), doors)
    except NoSuite:
        if main.tools_archive is not None or not main.tools_apart:
            raise
        debian = Archive(suites=main.tools, name=TOOLS, mirror=(TOOLS,))
        return open_all(request, (debian,), machine_arch(), doors)
