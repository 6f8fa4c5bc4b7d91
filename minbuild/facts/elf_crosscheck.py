"""Second reading of ELF files, by pyelftools, for the closed-world check of a finished tree.

Facts of whole packages come from a reader of our own, which is fast and reads what a loader
reads. The files that end up in an image are few, so each is read again by a library that shares no
code with it.
"""

import io
import struct
from dataclasses import dataclass, replace

from elftools.common.exceptions import DWARFError, ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from minbuild.facts.model import Elf

_TAGS = {"DT_NEEDED": "needed", "DT_SONAME": "soname", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}


@dataclass(frozen=True, slots=True)
class LoaderView:
    """Fields of an ELF file that decide which files a process loads."""

    bits: int
    little: bool
    machine: str
    kind: str
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


def view_facts(elf: Elf) -> LoaderView:
    """The part of the facts that the second reader reads too."""
    return LoaderView(
        bits=elf.bits,
        little=elf.little,
        machine=elf.machine,
        kind=elf.kind,
        interpreter=elf.interpreter,
        soname=elf.soname,
        needed=elf.needed,
        rpath=elf.rpath,
        runpath=elf.runpath,
    )


def read_with_pyelftools(data: bytes) -> LoaderView | None:
    """Read an ELF object by pyelftools; None where the library stops and a loader would not."""
    try:
        return _read_elf(data)
    except (ELFError, DWARFError, ValueError, KeyError, struct.error, OverflowError, TypeError):
        return None


def _read_elf(data: bytes) -> LoaderView:
    file = ELFFile(io.BytesIO(data))
    view = LoaderView(
        bits=file.elfclass,
        little=file.little_endian,
        machine=str(file["e_machine"]),
        kind=str(file["e_type"]),
    )
    for segment in file.iter_segments():
        if isinstance(segment, InterpSegment):
            view = replace(view, interpreter=str(segment.get_interp_name()))
        elif isinstance(segment, DynamicSegment):
            view = _add_dynamic(segment, view)
    return view


def _add_dynamic(segment: "object", view: LoaderView) -> LoaderView:
    texts: dict[str, list[str]] = {name: [] for name in _TAGS.values()}
    for tag in segment.iter_tags():  # type: ignore[attr-defined]
        name = _TAGS.get(str(tag.entry.d_tag))
        if name is not None:
            texts[name].append(str(getattr(tag, name)))
    return replace(
        view,
        soname="".join(texts["soname"][:1]),
        needed=tuple(texts["needed"]),
        rpath=_split_paths(texts["rpath"]),
        runpath=_split_paths(texts["runpath"]),
    )


def _split_paths(texts: list[str]) -> tuple[str, ...]:
    return tuple(part for text in texts for part in text.split(":"))
