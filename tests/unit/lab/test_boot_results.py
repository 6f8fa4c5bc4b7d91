"""How a result is shown."""

from dataclasses import replace

from minbuild.lab.boot_results import (
    draw_time_bar,
    format_result_table,
    make_boot_error,
    result_to_json,
)
from minbuild.lab.model import (
    BootResult,
    Decision,
    Firmware,
    LineSource,
    LogLine,
    ProbeOutcome,
    ProbeState,
)


def result(*outcomes: ProbeOutcome) -> BootResult:
    return BootResult(
        image="host.raw",
        outcomes=outcomes,
        end_reason="every probe was seen",
        accel=Decision("tcg", "there is no /dev/kvm"),
        network=Decision("namespace", "dnsmasq in a network namespace"),
        firmware=Firmware.UEFI,
        memory=1024,
        cpus=2,
        tries=1,
        retry_reason="",
        seconds=4.0,
        lines=(LogLine(LineSource.CONSOLE, 1.0, "the last line"),),
    )


INIT = ProbeOutcome("init", ProbeState.PASSED, 2.0, 1.25, "ready", "it did not start")
DHCP = ProbeOutcome("dhcp", ProbeState.FAILED, None, None, "not seen on the console", "no lease")
KVM = ProbeOutcome("kvm", ProbeState.PASSED, 4.0, None, "/dev/kvm ready", "no KVM")


def test_the_table_has_a_line_for_each_probe() -> None:
    assert format_result_table(result(INIT, DHCP, KVM)) == (
        "probe           seconds  uptime",
        "init   ok          2.00    1.25  ███████████████                 ready",
        "dhcp   FAILED   not seen on the console",
        "kvm    ok          4.00          ██████████████████████████████  /dev/kvm ready",
        "",
        "accelerator  tcg (there is no /dev/kvm)",
        "network      namespace (dnsmasq in a network namespace)",
        "machine      uefi, 2 CPUs, 1024 MiB",
        "ended        every probe was seen, after 4.0 s",
    )


def test_no_line_is_longer_than_the_terminal() -> None:
    failed = replace(
        KVM, detail="guest tiny: user 1206317262, no_new_privs 1, seccomp 2, /dev/kvm 660"
    )
    why = Decision("tcg", "/dev/kvm ran no guest: error: failed to set MSR 0x10a to 0xc000069")
    shown = format_result_table(replace(result(INIT, DHCP, failed), accel=why), 80)
    assert shown[1:4] == (
        "init   ok          2.00    1.25  ██████        ready",
        "dhcp   FAILED   not seen on the console",
        "kvm    ok          4.00          ████████████  guest tiny: user 1206317262, no_…",
    )
    assert shown[5:7] == (
        "accelerator  tcg (/dev/kvm ran no guest: error: failed to set MSR 0x10a to",
        "             0xc000069)",
    )
    assert {len(line) for line in shown if len(line) >= 80} == {80}
    assert "█" * 30 in format_result_table(result(INIT, KVM), 80)[2]


def test_a_bar_is_never_longer_than_the_longest() -> None:
    assert [draw_time_bar(value, 2.0) for value in (0.0, 1 / 120, 2.0)] == ["", "▏", "█" * 30]
    assert draw_time_bar(0.0, 0.0) == ""


def test_a_failed_probe_is_a_verdict_with_the_console() -> None:
    problem = make_boot_error(result(INIT, DHCP))
    assert problem is not None
    assert problem.exit_code == 1
    assert "    dhcp: no lease\n" in problem.what
    refused = replace(DHCP, detail="FAILED: no link")
    problem = make_boot_error(result(INIT, refused))
    assert problem is not None
    assert "    dhcp: no lease (FAILED: no link)\n" in problem.what
    assert "the last line" in problem.what
    assert make_boot_error(result(INIT)) is None


def test_the_result_is_data() -> None:
    document = result_to_json(result(INIT, DHCP))
    assert document["schema"] == "minbuild.boot/1"
    assert document["passed"] is False


def test_words_of_a_stranger_s_image_are_no_orders_to_a_terminal() -> None:
    evil = replace(INIT, name="init\x1b[31m", detail="\x1b]0;title\x07::error::")
    shown = "\n".join(format_result_table(result(evil, replace(DHCP, name="\x9b1m")), 80))
    assert shown.replace("\n", "").isprintable()
