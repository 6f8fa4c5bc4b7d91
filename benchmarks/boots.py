"""How soon the shipped host is there: `python -m benchmarks.boots [--rounds N] [-o FILE]`.

Boots host.yaml under emulation, by UEFI with its guest, and without firmware and data, and writes
what the project promises beside what was measured. Worth something on an idle machine only.
"""

import argparse
import json
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from minbuild.cli.options import BuildOptions
from minbuild.cli.requests import build_request
from minbuild.lab.accel import ACCEL_VARIABLE, resolve_accel
from minbuild.lab.boot_results import boot_repeatedly
from minbuild.lab.model import (
    MEMORY_LINE,
    Accel,
    BootProbe,
    BootRequest,
    BootResult,
    FaultInjection,
    Firmware,
    LineSource,
    ProbePattern,
)
from minbuild.lab.probes import DEFAULT_LIMIT
from minbuild.pipeline.boot_setup import BootSetup, prepare_boot
from minbuild.pipeline.session import Session, find_store_directory
from minbuild.progress import SilentProgress

SCHEMA = "minbuild.bench-boots/1"
INIT = re.compile(r"^\[ *([\d.]+)\] Run /init as init process")
LEAST = {"lease": 12.0, "guest": 30.0, "init to lease": 1.0, "memory": 64}
"""Seconds since power-on by UEFI, twice; seconds of the host's own clock; MiB beside files."""


def main() -> None:
    """Boot, print the figures, and write them as JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.boots", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="boots of each kind (default: 5)")
    parser.add_argument("--store", type=Path, default=find_store_directory())
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/boots.json"))
    options = parser.parse_args()
    output = options.output.absolute()
    with tempfile.TemporaryDirectory(prefix="minbuild-boots-") as path:
        os.chdir(path)
        found = measure_boots(options.rounds, options.store)
    rows = [
        {"name": name, "limit": limit, "median": median(found[name]), "all": found[name]}
        for name, limit in LEAST.items()
    ]
    document = {"schema": SCHEMA, "machine": machine(), "rows": rows}
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['name']:<14} {row['median']:>7.2f}  of {row['limit']}")


def measure_boots(rounds: int, store: Path) -> dict[str, Sequence[float]]:
    """Build the host in the current directory and boot it: each figure of each boot."""
    session = Session(store, SilentProgress())
    request = build_request("host.yaml", BuildOptions())
    uefi = prepare_boot("host.yaml", request, session, firmware=Firmware.UEFI)
    by_uefi = boot_once(uefi, uefi.image, Firmware.UEFI, rounds)
    efi = uefi.image.with_suffix(".efi")
    alone = boot_once(uefi, efi, Firmware.DIRECT, rounds, FaultInjection(no_disk=True))
    return {
        "lease": format_seconds(by_uefi, "dhcp"),
        "guest": format_seconds(by_uefi, "guest"),
        "init to lease": [after_init(result) for result in alone],
        "memory": [result.memory_used or 0 for result in alone],
    }


def boot_once(
    stage: BootSetup,
    image: Path,
    firmware: Firmware,
    count: int,
    trouble: FaultInjection | None = None,
) -> tuple[BootResult, ...]:
    """Boot an image so often; without data only until its lease and the end of its steps."""
    probes = stage.probes
    if trouble is not None:
        probe = BootProbe(
            "memory",
            (ProbePattern(LineSource.CONSOLE, MEMORY_LINE),),
            DEFAULT_LIMIT,
            "the host did not say it",
        )
        probes = (*(one for one in probes if one.name == "dhcp"), probe)
    request = BootRequest(
        image,
        probes,
        firmware=firmware,
        accel=resolve_accel(None)
        if os.environ.get(ACCEL_VARIABLE)
        else Accel.TCG,  # figures are those of emulation
        faults=trouble or FaultInjection(),
        cmdline="loglevel=7" if trouble else "",
        ports=False,
    )
    results = boot_repeatedly(request, stage.toolbox, SilentProgress(), count)
    assert all(result.passed for result in results), [result.outcomes for result in results]
    return results


def format_seconds(results: Sequence[BootResult], name: str) -> list[float]:
    """Wall time since power-on of one probe in each boot."""
    rows = [one for result in results for one in result.outcomes if one.name == name]
    return [one.seconds for one in rows if one.seconds is not None]


def after_init(result: BootResult) -> float:
    """Seconds of the host's own clock from its first process to its lease."""
    began = next(float(hit[1]) for line in result.lines if (hit := INIT.match(line.text)))
    (lease,) = (one.uptime for one in result.outcomes if one.name == "dhcp")
    assert lease is not None
    return round(lease - began, 3)


def machine() -> dict[str, object]:
    """What it was measured on, and how busy that was."""
    return {
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    main()
