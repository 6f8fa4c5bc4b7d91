"""One boot from power-on to a verdict: what is laid out, tried again, and what came of it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import landlock, qemu
from minbuild.lab.accel import (
    QEMU,
    REAL_SYSTEM,
    KvmHistory,
    can_retry_emulated,
    choose_accelerator,
    choose_emulation_parameters,
    choose_trial_firmware,
)
from minbuild.lab.data_disk import LabGuest, find_unavailable_probes, has_uefi_probe, make_data_disk
from minbuild.lab.model import (
    BootRequest,
    BootResult,
    Decision,
    Firmware,
    LabServer,
    LogLine,
    Network,
    Tools,
)
from minbuild.lab.monitor import BootMonitor
from minbuild.lab.probes import ProbeTracker, find_unreachable_probes, list_netboot_probes
from minbuild.lab.qemu import ECHO_PORT, USER_NETWORK_ADDRESS, build_qemu_args, prepare_boot_source
from minbuild.lab.worker import echo_pipe
from minbuild.lab.worker.client import WorkerClient, choose_network, end_with_parent
from minbuild.lab.worker.network import (
    PROBE_DOMAIN,
    SERVER_ADDRESS,
    build_dnsmasq_args,
    require_lease_support,
    select_echo_address,
)
from minbuild.lab.worker.protocol import WorkerPlan
from minbuild.lab.worker.tcp_probe import encode_tcp_probe
from minbuild.progress import Progress


def boot_image(request: BootRequest, tools: Tools, progress: Progress) -> BootResult:
    """Boot an image and wait for its probes; repeat it once when KVM ran nothing, or the emulation crashed.

    A probe that failed is part of the result (see `verdict.verdict`), not an error.
    Raises: ToolError when the lab itself cannot do its work, UsageError for what cannot be booted.
    """
    trial_firmware = choose_trial_firmware(
        request.boot_firmware, secure=request.certificate is not None
    )
    accel = choose_accelerator(request.accel, tools, trial_firmware)
    result = boot_once(request, tools, progress, accel)
    if result.stall_reason and can_retry_emulated(request.accel, accel):
        return retry_by_emulation(request, tools, progress, result)
    crash = result.retry_reason
    if result.passed or accel.name != "tcg" or not crash:
        return replace(result, tries=1, retry_reason="")
    progress.note(f"it crashed under emulation ({crash}): booting once more")
    retry = boot_once(make_retry_request(request), tools, progress, accel)
    return replace(retry, tries=2, retry_reason=f"the first one crashed ({crash})")


def retry_by_emulation(
    request: BootRequest, tools: Tools, progress: Progress, result: BootResult
) -> BootResult:
    """Boot once more what KVM did not run; when it comes further so, this is remembered."""
    reason = f"under KVM {result.stall_reason}"
    progress.note(f"{reason}: booting once more, by emulation")
    retry = boot_once(make_retry_request(request), tools, progress, Decision("tcg", reason))
    if retry.stage > result.stage:
        KvmHistory(tools).save_fault(REAL_SYSTEM, f"{reason}, and by emulation it went on")
        progress.note("KVM is left alone on this machine from now on: minbuild store forget-kvm")
    return replace(retry, tries=2, retry_reason=reason)


def make_retry_request(request: BootRequest) -> BootRequest:
    """The request for the second try, whose working files lie beside those of the first."""
    keep = request.keep
    return replace(request, keep=keep and keep.with_name(f"{keep.name}.2"))


def boot_once(
    request: BootRequest, tools: Tools, progress: Progress, accel: Decision
) -> BootResult:
    """Boot once; `retried` of the result is the kernel's or QEMU's crash, if there was one."""
    with make_working_directory(request.keep) as work:
        network = choose_network(request.network, tools)
        qemu.require_http_support(request.firmware, network)
        require_lease_support(request.lease, network)
        plan, guest_skip_reasons = prepare_files(request, tools, work, accel, network)
        if not landlock.is_available():
            progress.note(landlock.UNCONFINED_NOTE)
        progress.step(f"booting {request.image.name} ({accel.name}, {request.firmware})")
        kind = Network(network.name)
        probes = (*list_netboot_probes(request.firmware), *request.probes)
        skip_reasons = find_unreachable_probes(probes, kind) | guest_skip_reasons
        tracker = ProbeTracker(
            probes,
            skip_reasons,
            kind,
            request.firmware.by_network,
            request.faults.ignore_fatal_lines,
        )
        suspect = can_retry_emulated(request.accel, accel)
        with WorkerClient(kind, plan) as client:
            monitor = BootMonitor(request, tracker, progress, client, detect_stall=suspect)
            end_reason = monitor.wait()
        monitor.flush()
    if request.log is not None:
        write_boot_log(request.log, monitor.lines)
    return BootResult(
        image=request.image.name,
        outcomes=tracker.list_outcomes(),
        end_reason=end_reason,
        accel=accel,
        network=network,
        firmware=request.firmware,
        memory=request.memory,
        cpus=request.cpus,
        tries=1,
        retry_reason=tracker.crash_line,
        seconds=monitor.seconds,
        lines=tuple(monitor.lines),
        stage=monitor.stage_tracker.stage,
        stall_reason=monitor.stall_reason,
    )


def prepare_files(
    request: BootRequest, tools: Tools, work: Path, accel: Decision, network: Decision
) -> tuple[WorkerPlan, dict[str, str]]:
    """Make what the boot needs in `work`; say what shall be started and what cannot be asked."""
    in_namespace = network.name == Network.NAMESPACE
    uefi = has_uefi_probe(request)
    source = prepare_boot_source(
        request, tools, work, choose_emulation_parameters(accel, uefi=uefi)
    )
    echo_port = 0 if LabServer.TCP in request.disabled_servers else ECHO_PORT
    data, guest = request.data_disk, select_guest(request, source.kernel)
    skip_reasons = find_unavailable_probes(request, guest)
    if data is None and not request.faults.no_disk:
        lookups = {
            "dns": PROBE_DOMAIN,
            "tcp": f"{select_echo_address(request.lease) if in_namespace else USER_NETWORK_ADDRESS}:{ECHO_PORT}",
        }
        data = make_data_disk(work, tools, lookups, guest, uefi=uefi)
    echo_reachable = None if in_namespace else bool(echo_port)
    qemu_args = build_qemu_args(request, tools, source, data, accel, echo_reachable)
    has_ntp = LabServer.NTP not in request.disabled_servers
    faults = request.faults
    dnsmasq_args = build_dnsmasq_args(
        lease=faults.lease,
        silent_dns=faults.silent_dns,
        shape=request.lease,
        dhcp=LabServer.DHCP not in request.disabled_servers,
        dns=LabServer.DNS not in request.disabled_servers,
        ntp=has_ntp,
        netboot_args=qemu.build_netboot_dnsmasq_args(
            request.firmware, work / qemu.SERVED_DIRECTORY
        ),
        conf_file=request.dnsmasq_conf,
    )
    plan = WorkerPlan(
        work=str(work),
        remove_work=request.keep is None,
        environment={**tools.build_environment(), "TMPDIR": str(work)},
        qemu=end_with_parent(
            confine_qemu(
                request,
                tools,
                work,
                data,
                (*tools.build_argv(QEMU), *qemu_args),
                network=not in_namespace,
            ),
            Network(network.name),
        ),
        dnsmasq=(*tools.build_argv("dnsmasq"), *dnsmasq_args) if in_namespace else (),
        ip=tools.build_argv("ip") if in_namespace else (),
        echo_port=echo_port,
        address=SERVER_ADDRESS if in_namespace else echo_pipe.ECHO_SOCKET,
        has_ntp=has_ntp and in_namespace,
        outages=faults.outages,
        cards=request.cards,
        silent_dns=faults.silent_dns and in_namespace,
        tcp_probes=tuple(
            encode_tcp_probe(one.name, one.tcp_probe)
            for one in request.probes
            if one.tcp_probe and in_namespace
        ),
        http_directory=str(source.served_directory)
        if source.served_directory and request.firmware is Firmware.HTTP
        else "",
    )
    return plan, skip_reasons


def confine_qemu(
    request: BootRequest,
    tools: Tools,
    work: Path,
    data: Path | None,
    argv: tuple[str, ...],
    *,
    network: bool,
) -> tuple[str, ...]:
    """QEMU's words, so that it reaches the files of this boot and its own, and no others."""
    paths = (request.image, request.initramfs, *request.disks)
    reads = [path.resolve() for path in paths if path is not None]
    reads += [Path(argv[0]), *tools.directories]
    writes = [work, *([data.resolve()] if data else [])]
    return landlock.build_confined_argv(reads, writes, argv, network=network)


def select_guest(request: BootRequest, kernel: Path | None) -> LabGuest | None:
    """The guest of the data disk; None without any kernel for it."""
    kernel = request.guest_kernel or kernel
    if kernel is None:
        return None
    return LabGuest(kernel, request.guest_initramfs, request.guest_ready, request.guest_cpus)


@contextmanager
def make_working_directory(keep: Path | None) -> Iterator[Path]:
    """A directory for one boot's files: `keep`, or one that is removed.

    Raises: ToolError when it cannot be made.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="minbuild-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True)
    except OSError as error:
        raise ToolError(
            f"cannot make the directory for the working files: {error.strerror}",
            where=str(keep),
            fix="name a directory that does not exist yet",
        ) from error
    yield keep.absolute()


def write_boot_log(path: Path, lines: list[LogLine]) -> None:
    """Write every line with its time and source.

    Raises: ToolError when the file cannot be written.
    """
    text = "".join(f"{line.seconds:8.3f} {line.source:<8} {line.text}\n" for line in lines)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ToolError(
            f"cannot write the log: {error.strerror}",
            where=str(path),
            fix="name a file in a directory that may be written",
        ) from error
