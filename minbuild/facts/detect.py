"""Detection of file types: the reader of a file, by its path or its first bytes."""

import re

from minbuild.errors import MalformedFile
from minbuild.facts import config_files
from minbuild.facts.elf_facts import read_elf, read_elf_symbols
from minbuild.facts.kernel_modules import (
    read_builtin_names,
    read_builtins,
    read_module,
    read_module_symbols,
)
from minbuild.facts.kernel_symbols import read_kernel_symbols
from minbuild.facts.model import FileFacts, KernelConfig, Malformed, Script, Symbols, TextLines
from minbuild.formats import magic
from minbuild.formats.elf_file import decode_printable
from minbuild.paths import escape_name

MAX_TEXT_SIZE = 64 << 10
"""Bytes of the largest file that is kept as text; the lists in /etc that are larger name nothing."""


def read_text_lines(data: bytes) -> TextLines | None:
    """Read lines; None for what is too large or no text."""
    if len(data) > MAX_TEXT_SIZE or b"\0" in data:
        return None
    try:
        decoded = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines: list[str] = []
    open_line = -1
    for line in decoded.split("\n"):
        if open_line >= 0:
            lines[open_line] += line.lstrip()
            lines.append("")
        else:
            lines.append(line)
            open_line = len(lines) - 1
        if lines[open_line].endswith("\\"):
            lines[open_line] = lines[open_line][:-1]
        else:
            open_line = -1
    while lines and not lines[-1]:
        lines.pop()
    return TextLines(tuple(lines))


def read_kernel_config(data: bytes) -> KernelConfig:
    """Read /boot/config-VERSION: `CONFIG_X=y`; an option that is not set is not there."""
    options: dict[str, str] = {}
    for line in data.decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.startswith("CONFIG_"):
            options[name.removeprefix("CONFIG_")] = value.strip().strip('"')
    return KernelConfig(dict(sorted(options.items())))


MAX_LINE_LENGTH = 255
"""Bytes of the line, `#!` among them, that the kernel looks at (BINPRM_BUF_SIZE less one)."""
_LINE = re.compile(rb"#![ \t]*([^ \t\0]+)(?:[ \t]+([^\0]*))?", re.DOTALL)


def read_script(data: bytes) -> Script | Malformed:
    """Read a file that starts with `#!`: interpreter, and all that follows as one string."""
    line, newline, _ = data[: MAX_LINE_LENGTH + 1].partition(b"\n")
    match = _LINE.match(
        line[:MAX_LINE_LENGTH].rstrip(b" \t") if newline else line[:MAX_LINE_LENGTH]
    )
    if match is None:
        return Malformed("its #! line names no interpreter")
    if not newline and len(data) >= MAX_LINE_LENGTH and match.end(1) == MAX_LINE_LENGTH:
        return Malformed(f"the interpreter of its #! line is cut off after {MAX_LINE_LENGTH} bytes")
    try:
        interpreter = decode_printable(match[1])
    except MalformedFile as damage:
        return Malformed(damage.reason)
    argument = (match[2] or b"").rstrip(b" \t")
    return Script(interpreter, escape_name(argument))


HEAD_SIZE = 256
"""Bytes at a file's start that tell `needs_whole_file` its type."""
_MODULE = re.compile(r"/usr/lib/modules/[^/]+/.+\.ko(\.xz|\.zst|\.gz)?")
_KERNEL = re.compile(
    r"/boot/config-[^/]+|/usr/lib/modules/[^/]+/(?:config|modules\.builtin(?:\.modinfo)?)"
)

_LOADER = re.compile(r"/etc/ld\.so\.(?:conf|conf\.d/[^/]+|preload|cache)")
_MUSL = re.compile(r"(?:/.+)?/etc/ld-musl-[^/]+\.path")
_IMAGE = re.compile(r"/boot/vmlinu[xz]-[^/]+|/usr/lib/modules/[^/]+/vmlinu[xz]")
_CONFIG = re.compile(
    r"/etc/.+|/usr/lib/(?:depmod|pam|sysusers|tmpfiles)\.d/.+|/usr/share/(?:base-files|libc-bin)/nsswitch\.conf"
)
"""What programs and maintainer scripts read as text, and rules with them."""


def read_facts(path: str, data: bytes) -> FileFacts | None:
    """What is known of the content at a RootPath; None for plain data."""
    if _MODULE.fullmatch(path):
        return read_module(path, data)
    if _KERNEL.fullmatch(path):
        return _read_kernel_file(path, data)
    if _LOADER.fullmatch(path) or _MUSL.fullmatch(path):
        return _read_loader_file(path, data)
    if data.startswith(magic.ELF):
        return read_elf(data)
    if data.startswith(magic.SCRIPT):
        return read_script(data)
    if _CONFIG.fullmatch(path):
        return read_text_lines(data)
    return None


def _read_kernel_file(path: str, data: bytes) -> FileFacts:
    if path.endswith("/modules.builtin.modinfo"):
        return read_builtins(data)
    if path.endswith("/modules.builtin"):
        return read_builtin_names(data)

    return read_kernel_config(data)


def _read_loader_file(path: str, data: bytes) -> FileFacts:
    if path.endswith(".path"):
        return config_files.parse_musl_path(data)
    if path.endswith(".cache"):
        return config_files.parse_ld_cache(data)
    return (
        config_files.parse_ld_preload if path.endswith(".preload") else config_files.parse_ld_conf
    )(data)


def read_symbols(path: str, data: bytes) -> Symbols | None:
    """The symbols of an ELF object, a kernel module or a kernel image; None for all else."""
    if _IMAGE.fullmatch(path):
        return read_kernel_symbols(data)
    if _MODULE.fullmatch(path):
        return read_module_symbols(path, data)
    if not data.startswith(magic.ELF):
        return None
    return read_elf_symbols(data)


def is_elf(head: bytes) -> bool:
    """True for the start of an ELF object."""
    return head.startswith(magic.ELF)


def may_have_facts(path: str, head: bytes) -> bool:
    """True when something is known of a file that starts with `head`."""
    return head.startswith(magic.SCRIPT) or needs_whole_file(path, head)


def may_have_symbols(path: str, head: bytes) -> bool:
    """True when `read_symbols` may find some in a file that starts with `head`."""
    return is_elf(head) or is_module(path) or _IMAGE.fullmatch(path) is not None


def needs_whole_file(path: str, head: bytes) -> bool:
    """True when `read_facts` needs all of a file that starts with `head`, not just `head`."""
    if head.startswith(magic.ELF) or is_module(path):
        return True
    if any(one.fullmatch(path) for one in (_KERNEL, _LOADER, _MUSL)):
        return True
    return not head.startswith(magic.SCRIPT) and _CONFIG.fullmatch(path) is not None


def is_module(path: str) -> bool:
    """True for the path of a kernel module, compressed or not."""
    return _MODULE.fullmatch(path) is not None
