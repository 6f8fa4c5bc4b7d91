r"""Escaping of untrusted text for terminals, CI logs, JSON, CSV, Markdown, HTML, DOT and SARIF.

Names and texts come from packages, images, mirrors and documents. In every output for people, a
character that is not printable, or special in that output, is written as in C and Python: `\n`,
`\x1b`, `\u202e`; a byte that is not UTF-8 is `\xe9` everywhere (see `paths`). A backslash that
would look like such an escape is written `\x5c`, so that escapes are unambiguous.
"""

import json
import re

_AMBIGUOUS = re.compile(
    r"\\(?=[tnr]|x(?:[01][0-9a-f]|23|3a|60|7[cf])|u[0-9a-f]{4}|U[0-9a-f]{8})", re.ASCII
)
_CI_COMMANDS = re.compile(r"#(?=#(?:\[|vso\[))|^(\s*):(?=:)")
"""Commands to a CI system in a log: `::error::` at the start of a line, `##[error]` anywhere.

Source: GitHub's runner, ActionCommand.cs; Azure Pipelines, "Logging commands".
"""
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNSAFE_JSON = re.compile(
    "[\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]|#(?=#)"
)
"""Characters that JSON allows raw, but terminals, editors or scripts interpret."""
_PLAIN_MARKDOWN = re.compile(r"[^\\`@#~$\[\]{}^!]*")
_AUTOLINK = re.compile(r"://|www\.|:[a-z]*:|mailto|\bgh-\d|\b[0-9a-f]{7,40}\b", re.IGNORECASE)
"""Text that GitHub turns into a link, a mention or an emoji. Source: GFM, 6.9."""


def escape_line(text: str) -> str:
    """Escape text for one line of a terminal or CI log."""
    if text.isascii() and text.isprintable() and not _MAY_BE_SPECIAL.search(text):
        return text
    text = _AMBIGUOUS.sub(r"\\x5c", text)
    text = _CI_COMMANDS.sub(lambda match: r"\x23" if match[1] is None else rf"{match[1]}\x3a", text)
    return "".join(
        character if character.isprintable() else _spell_character(character) for character in text
    )


_MAY_BE_SPECIAL = re.compile(r"\\|##|^\s*::")


def escape_lines(text: str) -> str:
    """Escape text of several lines; tabs are kept."""
    return "\n".join(
        "\t".join(escape_line(part) for part in line.split("\t")) for line in text.split("\n")
    )


def dump_json(document: object, *, indent: int | None = 1, sort: bool = False) -> str:
    """Render a document as JSON with a newline, with characters that are not safe escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(
        document, indent=indent, sort_keys=sort, ensure_ascii=False, separators=separators
    )
    return escape_json(text) + "\n"


def escape_json(text: str) -> str:
    r"""Escape lone surrogates and characters that are not safe in JSON.

    A surrogate that represents a byte becomes `\xe9`, as in names.
    """
    text = _UNSAFE_JSON.sub(lambda match: _spell_utf16(match[0]), text)
    return _SURROGATES.sub(lambda match: rf"\\x{ord(match[0]) & 0xFF:02x}", text)


def quote_dot(text: str) -> str:
    """Quote a string of the DOT language."""
    escaped = escape_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def escape_csv(text: str) -> str:
    """Escape a name for CSV: neither a formula of a spreadsheet nor a terminal escape."""
    escaped = escape_line(text)
    return f"'{escaped}" if escaped.startswith(("=", "+", "-", "@")) else escaped


def format_code(text: str) -> str:
    """Format a path or name as Markdown code, safe in a table cell."""
    escaped = escape_line(text).replace("`", r"\x60")
    escaped = escaped.replace("|", r"\x7c" if "\\" in escaped else r"\|")
    return f"`{escaped}`" if escaped else ""


def escape_markdown(text: str) -> str:
    """Escape text for Markdown, safe in a table cell; possible links and mentions become code."""
    escaped = escape_line(text)
    if _PLAIN_MARKDOWN.fullmatch(escaped) is None or _AUTOLINK.search(escaped):
        return format_code(text)
    for special, replacement in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("*", "\\*"),
        ("_", "\\_"),
    ):
        escaped = escaped.replace(special, replacement)
    return escaped


def escape_markup(text: str) -> str:
    """Escape text for HTML or XML."""
    import html  # 5 ms, and few outputs are HTML

    return html.escape(escape_line(text))


def quote_attribute(text: str) -> str:
    """Quote an attribute value in XML."""
    return f'"{escape_markup(text)}"'


def escape_sarif(text: str) -> str:
    """Escape a SARIF message, in which brackets are links and braces are arguments.

    Source: SARIF 2.1.0, 3.11.5 and 3.11.6.
    """
    escaped = escape_line(text).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return escaped.replace("{", "{{").replace("}", "}}")


def escape_annotation(text: str) -> str:
    """Escape the text of a workflow command. Source: GitHub, "Workflow commands"."""
    return escape_line(text).replace("%", "%25")


def escape_annotation_field(text: str) -> str:
    """Escape a property of a workflow command."""
    return escape_annotation(text).replace(":", "%3A").replace(",", "%2C")


def _spell_character(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return rf"\x{number & 0xFF:02x}"
    if 0x7F < number < 0x100:
        return rf"\u{number:04x}"
    return character.encode("unicode_escape").decode()


def _spell_utf16(character: str) -> str:
    """Escape a character as JSON does, in one or two parts."""
    data = character.encode("utf-16-be")
    return "".join(rf"\u{data[at] << 8 | data[at + 1]:04x}" for at in range(0, len(data), 2))
