"""The whole of what the suite holds in a bounded form: `make torture`.

Builds the shipped host from this machine's mirror, then: eight builds at once, a hundred kills,
damage of every kind, a full disk, every Python that is here, and a million inputs for the readers
of foreign bytes. Prints a table of what was tried, what came out and what was lost.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from minbuild.archive import lockfile
from tests.security import damage
from tests.security.bombs import bomb, deb, run_limited

TOP = Path(__file__).parents[2]
DEADLY = 9
MADE_OF = {"content": "segment", "package": "content"}
"""Kind of entry → what is made of it."""


@dataclass
class AttackRow:
    """One line of the table."""

    name: str
    tried: int = 0
    came: dict[str, int] = field(default_factory=dict)
    lost: int = 0

    def count(self, outcome: str, *, missing: bool = False) -> None:
        self.tried += 1
        self.came[outcome] = self.came.get(outcome, 0) + 1
        self.lost += missing


class Bench:
    """A directory with the shipped host, locked and built, and what its outputs must be."""

    def __init__(self, directory: Path, store: Path | None) -> None:
        self.directory = directory
        self.manifest = directory / "host.yaml"
        self.store = directory / "store"
        shutil.copyfile(TOP / "manifests" / "host.yaml", self.manifest)
        if store is not None:
            shutil.copytree(store, self.store, symlinks=True)
        self.make("sound")
        self.make("lock", "lock", "host.yaml", "--fetch")
        self.sound = read_sums(directory / "sound")
        lock = lockfile.read_lock(directory / "host.lock")
        self.packages = {package.sha256 for package in lock.packages}

    def argv(self, output: str, *argv: str, store: str = "store") -> list[str]:
        more = argv or ("make", "host.yaml", "--compression", "zstd", "-o", output)
        return [sys.executable, "-m", "minbuild", *more, "--store", store]

    def make(self, output: str, *argv: str, env: dict[str, str] | None = None) -> str:
        """Run a build to its end; returns what it said. An exceeded budget is no failure here."""
        result = subprocess.run(
            self.argv(output, *argv),
            cwd=self.directory,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
        )
        if result.returncode not in (0, 1) or "Traceback" in result.stderr:
            raise SystemExit(f"{output}: exit code {result.returncode}\n{result.stderr}")
        return result.stderr

    def start(self, output: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.argv(output),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def is_same(self, output: str) -> bool:
        return read_sums(self.directory / output) == self.sound

    def clear(self, output: str) -> None:
        shutil.rmtree(self.directory / output, ignore_errors=True)


def read_sums(directory: Path) -> dict[str, str]:
    """The digest of every output."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
        if path.is_file()
    }


def is_whole(directory: Path) -> bool:
    """Every output that SHA256SUMS names is what it says."""
    lines = (directory / "SHA256SUMS").read_text(encoding="ascii").splitlines()
    digests = read_sums(directory)
    return all(
        digests.get(name) == digest for digest, _, name in (x.partition("  ") for x in lines)
    )


def build_concurrently(bench: Bench, count: int) -> AttackRow:
    """Builds at once: half of them in directories of their own, half in one."""
    row = AttackRow(f"{count} builds at once, from a store with packages only")
    for kind in ("segment", "content"):
        for path in damage.list_entries_by_kind(bench.store).get(kind, []):
            path.unlink()
    outputs = [f"own{n}" if n % 2 else "shared" for n in range(count)]
    running = [bench.start(output) for output in outputs]
    for one in running:
        one.wait()
    for output in outputs:
        good = bench.is_same(output)
        row.count("same bytes" if good else "OTHER BYTES", missing=not good)
    for output in {*outputs}:
        bench.clear(output)
    return row


def kill_builds(bench: Bench, count: int, source: random.Random) -> AttackRow:
    """Kill builds at random moments; the output that was there must stay whole."""
    row = AttackRow("kill -9 at a random moment of a build")
    bench.make("killed")
    for number in range(count):
        argv = ["--set", f"hostname=host{number}"]
        process = subprocess.Popen(
            [*bench.argv("killed"), *argv],
            cwd=bench.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(source.uniform(0.05, 3))
        ended = process.poll() is not None
        if not ended:
            os.killpg(process.pid, DEADLY)
        process.wait()
        if is_whole(bench.directory / "killed"):
            row.count("ended before" if ended else "former output whole")
        else:
            row.count("mixed outputs, told by SHA256SUMS")
            bench.make("killed")
    bench.make("killed")
    if not bench.is_same("killed"):
        row.lost += 1
    bench.clear("killed")
    return row


def damage_store(bench: Bench, count: int, source: random.Random) -> list[AttackRow]:
    """Damage one entry of the store, build, and compare."""
    rows = []
    names = ("package", "index", "content", "segment", "tool", "record")
    for kind in names:
        row = AttackRow(f"damaged entry of the store: {kind}")
        for _ in range(-(-count // len(names))):
            paths = damage.list_entries_by_kind(bench.store).get(kind)
            if kind == "package":
                paths = [path for path in paths or () if path.name in bench.packages]
            if not paths:
                continue
            path = source.choice(paths)
            for paths_of_kind in damage.list_entries_by_kind(bench.store).get(
                MADE_OF.get(kind, ""), []
            ):
                paths_of_kind.unlink()  # so that the build reads what is damaged
            for each in paths if kind == "index" else [path]:  # one form of it may do for another
                source.choice((damage.flip, damage.cut))(each, source)
            output = ""
            if kind == "index":  # which a locked build does not read
                output = bench.make("damaged", "lock", "host.yaml", "--update", "--dry-run")
            output += bench.make("damaged")
            good = bench.is_same("damaged")
            bench.clear("damaged")
            named = "damaged" in output
            outcome = "found and made anew" if named else "not needed by this build"
            row.count(outcome if good else "OTHER BYTES", missing=not good)
            bench.make("check", "store", "check")
            bench.make("fetch", "lock", "host.yaml", "--fetch")
        rows.append(row)
    return rows


def fill_disks(bench: Bench, sizes: list[int]) -> AttackRow:
    """Build into ever larger small disks; either it says so, or it is done."""
    row = AttackRow("output on a full disk (tmpfs)")
    path = bench.directory / "small"
    path.mkdir()
    for size in sizes:
        command = " ".join(bench.argv("small/out"))
        script = f"mount -t tmpfs -o size={size}k none small && {{ {command}; code=$?; ls -A small/out; exit $code; }}"
        result = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script],
            cwd=bench.directory,
            capture_output=True,
            text=True,
        )
        if result.returncode == 6 and "Traceback" not in result.stderr:
            left = any(name.endswith((".efi", ".raw")) for name in result.stdout.split())
            row.count("half an output left" if left else "refused, nothing left", missing=left)
        elif result.returncode in (0, 1):
            row.count("fits")
        else:
            row.count(f"exit code {result.returncode}", missing=True)
    return row


def build_with_pythons(bench: Bench) -> AttackRow:
    """Build with every Python of 3.11 to 3.13 that is here, in an environment of its own."""
    row = AttackRow("another Python, hash seed, locale, time zone, home")
    for version in ("3.11", "3.12", "3.13"):
        programs = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        program = str(programs[-1]) if programs else shutil.which(f"python{version}")
        if program is None:
            row.came[f"{version} is not here"] = 1
            continue
        path = bench.directory / f"python{version}"
        subprocess.run([program, "-m", "venv", str(path)], check=True)
        install = [str(path / "bin" / "pip"), "install", "--quiet", str(TOP)]
        subprocess.run(install, check=True)
        argv = [str(path / "bin" / "minbuild"), "make", "host.yaml", "--compression", "zstd"]
        argv += ["-o", f"by{version}", "--store", f"cold{version}"]
        home = bench.directory / f"home{version}"
        home.mkdir()
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "TZ": "Asia/Kathmandu"}
        env |= {"PYTHONHASHSEED": version[2:], "LC_ALL": "de_DE.UTF-8"}
        code = subprocess.run(argv, cwd=bench.directory, env=env, capture_output=True).returncode
        good = code in (0, 1) and bench.is_same(f"by{version}")
        row.count(f"{version}: same bytes" if good else f"{version}: OTHER", missing=not good)
    return row


BOMB = """
minbuild: 1
name: bomb
extends: [host.yaml]
archives: [{name: local, directory: debs, priority: 900}]
"""


def build_bombs(bench: Bench, size: int) -> AttackRow:
    """Give builds packages that unpack to `size` bytes, and little memory and processor time."""
    row = AttackRow(f"a package of at most 4 MB that unpacks to {size:,} bytes")
    (bench.directory / "bomb.yaml").write_text(BOMB)
    path = bench.directory / "debs"
    path.mkdir()
    for ending in (".xz", ".gz", ".zst"):
        before = count_stored_bytes(bench.store)
        data = deb(bomb(ending, size), ending, "busybox", "9:9")
        (path / "busybox.deb").write_bytes(data)
        result = run_limited(bench.directory, *bench.argv("", "plan", "bomb.yaml")[3:])
        refused = result.returncode == 4 and "unpacks to more than" in result.stderr
        selection = count_stored_bytes(bench.store) - before
        good = refused and selection < len(data) + (1 << 20)
        row.count(f"{ending} of {len(data):,} bytes refused" if good else "TAKEN", missing=not good)
        if not good:
            print(result.stderr, file=sys.stderr)
    return row


def count_stored_bytes(store: Path) -> int:
    """Bytes of all files of a store but its records."""
    return sum(path.stat().st_size for path in (store / "files").rglob("*") if path.is_file())


def main() -> int:
    """Run all of it; exits with 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.torture", description=__doc__)
    parser.add_argument("--store", type=Path, help="begin with a copy of this store")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--damages", type=int, default=60)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    source = random.Random(options.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows: list[AttackRow] = []
    with tempfile.TemporaryDirectory(prefix="minbuild-torture-") as directory:
        bench = Bench(Path(directory), options.store)
        steps: list[Callable[[], AttackRow | list[AttackRow]]] = [
            lambda: build_with_pythons(bench),
            lambda: build_concurrently(bench, 8),
            lambda: fill_disks(bench, [64, 1000, 10_000, 17_000, 20_000, 30_000, 50_000]),
            lambda: build_bombs(bench, 4 << 30),
            lambda: damage_store(bench, options.damages, source),
            lambda: kill_builds(bench, options.kills, source),
        ]
        for step in steps:
            made = step()
            for row in made if isinstance(made, list) else [made]:
                rows.append(row)
                output = ", ".join(f"{name} {count}" for name, count in sorted(row.came.items()))
                print(f"{row.name:<52} {row.tried:>5} tried  {row.lost} lost  {output}", flush=True)
    fuzz = [sys.executable, "-m", "tests.fuzz", "--inputs", str(options.inputs)]
    code = subprocess.run(fuzz, cwd=TOP).returncode
    return int(code != 0 or any(row.lost for row in rows))


if __name__ == "__main__":
    sys.exit(main())
