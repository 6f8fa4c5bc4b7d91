"""How sizes, counts and shares are printed."""

from minbuild.escape import printable as printable  # noqa: PLC0414 - the tables' own word


def size(count: int) -> str:
    """Bytes as people read them, in decimal units: 17.4 MB, 820 kB, 12 B."""
    if abs(count) >= 999_500:
        return f"{count / 1e6:,.1f} MB"
    if abs(count) >= 1000:
        return f"{count / 1e3:,.0f} kB"
    return f"{count} B"


def share(part: int, whole: int) -> str:
    """A part of a whole in percent; "" of nothing."""
    return f"{100 * part / whole:.0f} %" if whole else ""


def bar(part: int, whole: int, width: int = 20) -> str:
    """A bar of `width` characters for part of whole, in eighths of a character."""
    if whole <= 0 or part <= 0:
        return ""
    eighths = max(1, round(8 * width * min(part, whole) / whole))
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")
