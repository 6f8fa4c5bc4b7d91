"""The first line of scripts, as the kernel reads it. Source: execve(2), Linux fs/binfmt_script.c."""

import re

from minbuild.facts.damage import Damage
from minbuild.facts.elftable import readable
from minbuild.facts.types import Damaged, Script
from minbuild.paths import spelled

LONGEST = 255
"""Bytes of the line, `#!` among them, that the kernel looks at (BINPRM_BUF_SIZE less one)."""
_LINE = re.compile(rb"#![ \t]*([^ \t\0]+)(?:[ \t]+([^\0]*))?", re.DOTALL)


def script(data: bytes) -> Script | Damaged:
    """Read a file that starts with `#!`: interpreter, and all that follows as one string."""
    line, newline, _ = data[: LONGEST + 1].partition(b"\n")
    found = _LINE.match(line[:LONGEST].rstrip(b" \t") if newline else line[:LONGEST])
    if found is None:
        return Damaged("its #! line names no interpreter")
    if not newline and len(data) >= LONGEST and found.end(1) == LONGEST:
        return Damaged(f"the interpreter of its #! line is cut off after {LONGEST} bytes")
    try:
        interpreter = readable(found[1])
    except Damage as damage:
        return Damaged(damage.reason)
    argument = (found[2] or b"").rstrip(b" \t")
    return Script(interpreter, spelled(argument))
