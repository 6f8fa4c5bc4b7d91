"""Every attack of the suite, by class, in one table: `make redteam`.

Each test named here plays an attacker: it hands over an input, an image, a change or a guest, and
passes when nothing of it came through. Those on the host boot it in the lab. A class that tried
nothing fails, and so does one of which a test is gone. `--quick` leaves out what boots.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest


@dataclass
class AttackClass:
    """One class of attacks."""

    attacker: str
    attack: str
    tests: tuple[tuple[str, str], ...]
    """Files and regular expressions of test names in them; the whole name without `test_`."""
    tried: int = 0
    stopped: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    unmet: list[str] = field(default_factory=list)
    """Of `tests`: those that no test has."""


def list_classes() -> list[AttackClass]:
    """Every class, in the order of the threat model."""
    unit, trust = "tests/unit", "tests/security"
    return [
        AttackClass("manifest", "files of the user in an image", (
            (f"{unit}/manifest/test_input_files.py", "files_outside_.*|links_are_.*|a_component_that_is_a_link.*|what_has_no_end.*"),
        )),
        AttackClass("manifest", "code on the build machine", (
            (f"{unit}/manifest/test_input_files.py", "what_runs_code.*"),
            (f"{trust}/test_strangers.py", ".*"),
        )),
        AttackClass("manifest", "templates: escapes, exhaustion", (
            (f"{unit}/manifest/test_template.py", ".*eat_the_machine.*|.*sandbox.*|.*reach.*"),
            (f"{trust}/test_hostile.py", "a_manifest_that_explodes.*"),
        )),
        AttackClass("manifest", "commands out of values in scripts", ((f"{unit}/manifest/test_quoting.py", ".*"),)),
        AttackClass("lock", "false rows, files of the machine, tools", (
            (f"{trust}/test_vouched.py", ".*"),
            (f"{unit}/pipeline/test_boot_setup.py", ".*lock.*"),
        )),
        AttackClass("archive", "back in time, other keys, other suites", (
            (f"{unit}/archive/test_suite.py", ".*"),
            (f"{trust}/test_archives.py", "a_store_never.*|another_archive_needs.*|a_snapshot.*"),
            (f"{unit}/archive/test_openpgp.py", ".*"),
        )),
        AttackClass("archive", "indices that are cut, joined or endless", ((f"{unit}/archive/test_compression.py", ".*"),)),
        AttackClass("mirror", "passwords of addresses told", ((f"{unit}/archive/test_credentials.py", ".*password.*|.*login.*"),)),
        AttackClass("package", "bombs", ((f"{trust}/test_hostile.py", "a_bomb.*"),)),
        AttackClass("file", "readers that run commands, reach files or the network", ((f"{unit}/sandbox/test_runner.py", ".*"),)),
        AttackClass("file", "inputs that eat the machine", (
            (f"{trust}/test_exhaustion.py", ".*"),
            (f"{unit}/report/test_history.py", "a_damaged_line.*"),
            (f"{unit}/test_bounds.py", ".*"),
        )),
        AttackClass("file", "noise and single wrong fields, every reader", (("tests/fuzz/test_readers.py", ".*"),)),
        AttackClass("file", "words that a terminal or a report obeys", (
            (f"{trust}/test_hostile.py", "an_error_never.*|a_mirrors_words.*"),
            (f"{unit}/test_escape.py", ".*"),
        )),
        AttackClass("image", "programs that firmware, stub or kernel run unseen", (
            (f"{unit}/formats/test_uki.py", ".*"),
            (f"{unit}/roots/test_started.py", ".*"),
            (f"{unit}/roots/test_boot_disk.py", ".*"),
        )),
        AttackClass("image", "trees that unpack to other than was counted", (
            ("tests/oracle/test_initramfs.py", ".*"),
            ("tests/oracle/test_tars.py", ".*"),
            ("tests/oracle/test_disks.py", "(?!a_thousand).*"),
            (f"{unit}/facts/test_root_tar.py", ".*"),
        )),
        AttackClass("image", "container images that pass as blobs", ((f"{unit}/roots/test_containers.py", ".*"),)),
        AttackClass("image", "a footprint that is another image's", (
            (f"{unit}/roots/test_image_verification.py", ".*"),
            (f"{trust}/test_verify.py", ".*"),
            (f"{trust}/test_attest.py", ".*not_vouched_for|sums_hold.*|only_a_file.*"),
        )),
        AttackClass("image", "files of the user by backing file, QEMU's reach", (
            (f"{unit}/lab/test_drives.py", ".*"),
            (f"{unit}/lab/test_landlock.py", ".*"),
        )),
        AttackClass("image", "unsigned or changed under Secure Boot", ((f"{trust}/test_secureboot.py", "what_the_trusted.*|all_else.*"),)),
        AttackClass("registry", "lies, withholds, goes back", (
            (f"{trust}/test_published.py", "lies_.*|signs_.*|gives_.*|withholds_.*|goes_back_.*"),
            (f"{unit}/components/test_update.py", "lies_.*|endless_.*|.*refused.*|what_is_withheld.*"),
            (f"{unit}/distribution/test_signify.py", ".*refused|.*not_what_was_signed|.*is_named"),
        )),
        AttackClass("change", "the gate talked past", (
            ("tests/e2e/test_ci.py", "a_hostile_change.*|an_image_over_the_limit.*|no_comment.*|an_artifact.*|the_comment_is_made_once.*"),
            (f"{unit}/footprint/test_budget_change.py", ".*"),
            (f"{unit}/footprint/test_budget_check.py", ".*waiver.*|what_a_list.*|ports_are_not.*"),
        )),
        AttackClass("local user", "a store, tool or test file of another's", (
            (f"{unit}/cache/test_private.py", ".*"),
            (f"{unit}/toolbox/test_intact.py", ".*"),
            (f"{trust}/test_own_cache.py", ".*"),
        )),
        AttackClass("data", "files of the host or of other guests as disks", (
            ("tests/e2e/guests/test_intruders.py", "a_hostile_file.*|names_.*"),
            (f"{unit}/components/test_vm.py", ".*refused.*|.*cannot_.*|.*is_a_link.*|.*no_two_guests.*|a_raw_disk.*|a_line_of_.*"),
        )),
        AttackClass("tenant", "out of QEMU's process, as its user", (("tests/e2e/guests/test_intruders.py", "where_.*|a_guest_s_process.*|what_a_guest_s.*|the_files_.*|the_log_.*"),)),
        AttackClass("tenant", "the host's lease, address and neighbours", (
            ("tests/e2e/guests/test_hostile.py", ".*"),
            ("tests/oracle/test_dhcp.py", "the_host_does_not_hear.*"),
        )),
        AttackClass("network", "leases that are no addresses, or commands", (("tests/oracle/test_dhcp.py", "what_cannot_be_taken.*|a_lease_for_no.*"),)),
        AttackClass("data, tenant", "what the host itself forbids", (("tests/e2e/guests/test_intruders.py", "the_data_partition.*|the_host_s_own.*"),)),
    ]  # fmt: skip


class AttackCollector:
    """Takes each test to its class."""

    def __init__(self, rows: Sequence[AttackClass], *, quick: bool) -> None:
        self._rows = rows
        self._quick = quick
        self.row_of_test: dict[str, AttackClass] = {}
        """By node id."""

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the tests that a class names."""
        result: set[tuple[str, str]] = set()
        remaining: list[pytest.Item] = []
        left: list[pytest.Item] = []
        for item in items:
            row = self._find_class(item, result)
            (left if row is None else remaining).append(item)
            if row is not None:
                self.row_of_test[item.nodeid] = row
        for row in self._rows:
            row.unmet = [
                f"{path}: {names}" for path, names in row.tests if (path, names) not in result
            ]
        config.hook.pytest_deselected(items=left)
        items[:] = remaining

    def _find_class(self, item: pytest.Item, result: set[tuple[str, str]]) -> AttackClass | None:
        path, name = (
            item.nodeid.partition("::")[0],
            item.nodeid.rpartition("::")[2].partition("[")[0],
        )
        for row in self._rows:
            for part in row.tests:
                if part[0] == path and re.fullmatch(part[1], name.removeprefix("test_")):
                    result.add(part)
                    boots = item.get_closest_marker("boot") is not None
                    return None if self._quick and boots else row
        return None


class ReportCounter:
    """Counts what came of the tests that the classes name, in a run of its own."""

    def __init__(self, collector: AttackCollector) -> None:
        self._collector = collector

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: by its call, or by what kept it from being called.

        pytest-xdist adds the group of a test to its name, after an `@`.
        """
        nodes = self._collector.row_of_test
        row = nodes.get(report.nodeid) or nodes.get(report.nodeid.rpartition("@")[0])
        rerun = str(report.outcome) == "rerun"
        if row is None or rerun or (report.when != "call" and report.passed):
            return
        row.tried += not report.skipped
        row.skipped += report.skipped
        row.stopped += report.passed
        if report.failed:
            row.failed.append(report.nodeid)


def render_table(rows: Sequence[AttackClass], *, quick: bool) -> tuple[str, bool]:
    """The rows as text, and whether each attack was held."""
    lines = [f"{'attacker':<13} {'attack':<55} {'tried':>6} {'held':>6} {'skipped':>8}"]
    good = True
    for row in rows:
        lines.append(
            f"{row.attacker:<13} {row.attack:<55} {row.tried:>6} {row.stopped:>6} {row.skipped:>8}"
        )
        lines += [f"    came through: {name}" for name in row.failed]
        lines += [f"    no such test: {name}" for name in row.unmet]
        good = good and not row.failed and not row.unmet and (row.tried > 0 or quick)
    tried, stopped = sum(row.tried for row in rows), sum(row.stopped for row in rows)
    lines.append(
        f"{'':<13} {'all':<55} {tried:>6} {stopped:>6} {sum(row.skipped for row in rows):>8}"
    )
    return "\n".join(lines), good


def run_side_by_side(options: Sequence[str], collector: AttackCollector) -> int:
    """Run the tests of the classes in as many processes as there are cores."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as names:
        names.write("\n".join(collector.row_of_test))
        names.flush()
        workers = ["-n", "auto", "--dist", "loadgroup"]
        return pytest.main([*options, *workers, f"@{names.name}"], [ReportCounter(collector)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the attacks, print the table; 1 when one came through."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave out what boots")
    parser.add_argument("--list", action="store_true", help="run nothing: are the tests there?")
    options = parser.parse_args(argv)
    rows = list_classes()
    files = sorted({path for row in rows for path, _ in row.tests})
    collector = AttackCollector(rows, quick=options.quick)
    chosen = ["-q", "-p", "no:randomly", "-m", ""]
    code = pytest.main([*chosen, "--collect-only", *files], [collector])
    if code == pytest.ExitCode.OK and not options.list:
        code = run_side_by_side(chosen, collector)
    text, good = render_table(rows, quick=options.quick or options.list)
    print(f"\n{text}")
    return 0 if good and code in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} else 1


if __name__ == "__main__":
    sys.exit(main())
