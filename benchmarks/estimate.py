"""How well packed sizes are estimated: against what the initramfs loses without a component.

    python -m benchmarks.estimate BUILD

The truth is a solid xz of all files less a solid xz of all but one component's.
"""

import argparse
import lzma
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minbuild.footprint import document
from minbuild.formats.initramfs import unpack_members
from minbuild.formats.uki import read_uki_sections
from minbuild.report.layout import align_columns, format_size

FILTERS = [
    {"id": lzma.FILTER_X86},
    {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 << 20},
]


def main() -> None:
    """Print the error of each component's estimate, and the median."""
    parser = argparse.ArgumentParser(prog="benchmarks.estimate", description=main.__doc__)
    parser.add_argument("build", type=Path)
    options = parser.parse_args()
    (image,) = options.build.glob("*.efi")
    path = options.build / "footprint.json"
    footprint = document.read_footprint(path.read_text(encoding="utf-8"), str(path))
    packed = read_uki_sections(image.read_bytes(), str(image))[".initrd"]
    result = {one.path: one for one in unpack_members(packed).values()}
    rows = [row for row in footprint.files if row.type == "file" and row.path in result]
    contents: dict[str, dict[str, bytes]] = {}
    guess: dict[str, int] = {}
    for row in rows:
        contents.setdefault(row.component, {})[row.path] = result[row.path].content
        guess[row.component] = guess.get(row.component, 0) + row.packed
    print(table(measure_truths(contents), guess))


def measure_truths(contents: Mapping[str, Mapping[str, bytes]]) -> dict[str, int]:
    """Component → bytes that a solid archive loses without it."""
    every = {path: data for files in contents.values() for path, data in files.items()}

    def packed(without: str) -> int:
        gone = contents.get(without, {})
        return _xz(b"".join(every[path] for path in sorted(every) if path not in gone))

    names = ["", *sorted(contents)]
    with ThreadPoolExecutor(2) as pool:
        sizes = dict(zip(names, pool.map(packed, names), strict=True))
    return {name: sizes[""] - sizes[name] for name in names if name}


def _xz(data: bytes) -> int:
    return len(lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=FILTERS))


def table(truth: Mapping[str, int], guess: Mapping[str, int]) -> str:
    """A line for each component, and the median error of the component and of the whole."""
    whole = sum(guess.values())
    rows = [["component", "truth", "estimate", "error", "of the whole"]]
    errors, shares = [], []
    for name in sorted(truth, key=lambda one: -truth[one]):
        error = abs(guess[name] - truth[name])
        errors.append(error / max(1, truth[name]))
        shares.append(error / whole)
        rows.append(
            [name, format_size(truth[name]), format_size(guess[name]), f"{100 * errors[-1]:.1f} %",
             f"{100 * shares[-1]:.2f} %"]
        )  # fmt: skip
    rows.append(
        ["median", "", "", f"{100 * statistics.median(errors):.1f} %",
         f"{100 * statistics.median(shares):.2f} %"]
    )  # fmt: skip
    return "\n".join(align_columns(rows))


if __name__ == "__main__":
    main()
