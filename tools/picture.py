"""The picture of a terminal in README.md and on the site, drawn from the README's own blocks.

The suite runs those blocks and holds what they print; this file draws them: `make docs`.
Source: SVG 1.1, 10 (Text).
"""

import re
from pathlib import Path
from xml.sax.saxutils import escape

from tools.doc_blocks import TOP, Block, read_blocks

PICTURE = TOP / "docs" / "assets" / "terminal.svg"
COMMANDS = ("make host", "minbuild why failover.ko.xz")
TITLE = "minbuild builds a host of 52 files and says why one of them is there"
WIDEST = 104
"""Characters of a line; a longer one ends with `…`."""
_CHARACTER, _LINE, _MARGIN, _HEAD = 8.4, 19, 20, 44
_BAR = "█▉▊▋▌▍▎▏"
_WORD = re.compile(rf"[{_BAR}]+|[^\s{_BAR}]+(?: [^\s{_BAR}]+)*")
"""A bar, or words with one space between."""
_STYLE = (
    "text{font:14px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#d6deeb}"
    ".p{fill:#7fdbca}.c{fill:#fff;font-weight:600}.b{fill:#26a69a}.h{fill:#9fb3c8}"
)


def draw() -> str:
    """The picture as SVG, the same for the same README."""
    lines = [line for block in _find_blocks() for line in _list_lines(block)]
    height = _HEAD + _LINE * len(lines) + _MARGIN
    width = round(WIDEST * _CHARACTER) + 2 * _MARGIN
    dots = "".join(
        f'<circle cx="{x}" cy="20" r="6" fill="{colour}"/>'
        for x, colour in ((24, "#ff5f56"), (44, "#ffbd2e"), (64, "#27c93f"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'role="img" aria-labelledby="t"><title id="t">{TITLE}</title><style>{_STYLE}</style>'
        f'<rect width="{width}" height="{height}" rx="10" fill="#0b1e2d"/>{dots}\n'
        + "".join(_draw_line(line, number) for number, line in enumerate(lines))
        + "</svg>\n"
    )


def write(path: Path = PICTURE) -> None:
    """Draw the picture into a file."""
    path.write_text(draw(), encoding="utf-8")


def _find_blocks() -> list[Block]:
    """The blocks of the README whose first command is one of COMMANDS, in their order."""
    shown = {block.list_commands()[0].text: block for block in read_blocks(TOP / "README.md")
             if block.language == "console"}  # fmt: skip
    return [shown[command] for command in COMMANDS]


def _list_lines(block: Block) -> list[str]:
    lines = [line.rstrip() for line in block.text.splitlines()]
    return [line if len(line) <= WIDEST else line[: WIDEST - 1] + "…" for line in (*lines, "")]


def _draw_line(line: str, number: int) -> str:
    """One line; each word begins where a terminal has it, whatever the reader's font."""
    y = _HEAD + _LINE * (number + 0.75)
    is_command = line.startswith("$ ")
    drawn = []
    for word in re.finditer(r"^\$|(?<=^\$ ).+", line) if is_command else _WORD.finditer(line):
        x = _MARGIN + word.start() * _CHARACTER
        if word[0][0] in _BAR:
            drawn.append(_draw_bar(word[0], x, y))
            continue
        style = ("c" if word.start() else "p") if is_command else "h" if _is_head(line) else ""
        drawn.append(
            f'<text x="{x:g}" y="{y:g}"{_name_class(style)}{_name_length(word[0])}>{escape(word[0])}</text>'
        )
    return "".join(drawn) + "\n" * bool(drawn)


def _is_head(line: str) -> bool:
    return line.startswith("section ")


def _name_length(word: str) -> str:
    """As wide as a terminal has it; a lone `…` may be as wide as it is."""
    length = len(word) * _CHARACTER
    return f' textLength="{length:g}" lengthAdjust="spacingAndGlyphs"' if len(word) > 1 else ""


def _draw_bar(bar: str, x: float, y: float) -> str:
    """A bar of whole and eighth blocks as what it shows. Source: Unicode, Block Elements."""
    eighths = sum(8 - _BAR.index(one) for one in bar)
    return f'<rect x="{x:g}" y="{y - 12:g}" width="{eighths * _CHARACTER / 8:g}" height="15" class="b"/>'


def _name_class(style: str) -> str:
    return f' class="{style}"' if style else ""
