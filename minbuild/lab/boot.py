"""One boot of an image: its files are prepared, QEMU runs, the probes give a result."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import landlock
from minbuild.lab.accel import (
    QEMU,
    REAL_SYSTEM,
    KvmHistory,
    can_retry_emulated,
    choose_accelerator,
    choose_emulation_parameters,
    choose_trial_firmware,
)
from minbuild.lab.addresses import LabAddresses, choose_addresses
from minbuild.lab.boot_source import BootSource, prepare_boot_source
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
from minbuild.lab.netboot import build_netboot_dnsmasq_args, require_http_support
from minbuild.lab.probes import ProbeTracker, find_unreachable_probes, list_netboot_probes
from minbuild.lab.qemu import ECHO_PORT, build_qemu_args, choose_cpus
from minbuild.lab.worker import echo_pipe
from minbuild.lab.worker.client import WorkerClient, choose_network, end_with_parent
from minbuild.lab.worker.network import (
    PROBE_DOMAIN,
    build_dnsmasq_args,
    build_ip_commands,
    require_lease_support,
    select_echo_address,
)
from minbuild.lab.worker.protocol import WorkerPlan
from minbuild.lab.worker.tcp_probe import encode_tcp_probe
from minbuild.progress import Progress


def boot_image(request: BootRequest, tools: Tools, progress: Progress) -> BootResult:
    """Boot an image and wait for its probes.

    The boot is repeated once when KVM runs no system, or when it crashes under emulation. A failed
    probe is part of the result, not an error (see `boot_results.make_boot_error`).
    Raises: ToolError when the lab itself cannot work, UsageError for what cannot be booted.
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
    progress.note(f"it crashed under emulation ({crash}): booting again")
    retry = boot_once(make_retry_request(request), tools, progress, accel)
    return replace(retry, tries=2, retry_reason=f"the first boot crashed ({crash})")


def retry_by_emulation(
    request: BootRequest, tools: Tools, progress: Progress, result: BootResult
) -> BootResult:
    """Boot by emulation what KVM did not run; record it when the boot gets further that way."""
    reason = f"under KVM {result.stall_reason}"
    progress.note(f"{reason}: booting again, by emulation")
    retry = boot_once(make_retry_request(request), tools, progress, Decision("tcg", reason))
    if retry.stage > result.stage:
        KvmHistory(tools).save_fault(REAL_SYSTEM, f"{reason}, and by emulation it went on")
        progress.note("KVM is no longer used on this machine; undo with: minbuild store forget-kvm")
    return replace(retry, tries=2, retry_reason=reason)


def make_retry_request(request: BootRequest) -> BootRequest:
    """Make the request for the second boot, with its working files in DIR.2."""
    keep = request.keep
    return replace(request, keep=keep and keep.with_name(f"{keep.name}.2"))


def boot_once(
    request: BootRequest, tools: Tools, progress: Progress, accel: Decision
) -> BootResult:
    """Boot once; `retry_reason` of the result is the crash of the kernel or of QEMU, if any."""
    with prepare_boot_files(request, tools, progress, accel) as prepared:
        progress.step(f"booting {request.image.name} ({accel.name}, {request.firmware})")
        tracker = make_tracker(request, prepared)
        may_stall = can_retry_emulated(request.accel, accel)
        with WorkerClient(prepared.network_kind, prepared.plan) as client:
            monitor = BootMonitor(request, tracker, progress, client, detect_stall=may_stall)
            end_reason = monitor.wait()
        monitor.flush()
    if request.log is not None:
        write_boot_log(request.log, monitor.lines)
    return BootResult(
        image=request.image.name,
        outcomes=tracker.list_outcomes(),
        end_reason=end_reason,
        accel=accel,
        network=prepared.network,
        firmware=request.firmware,
        memory=request.memory,
        cpus=prepared.cpus,
        tries=1,
        retry_reason=tracker.crash_line,
        seconds=monitor.seconds,
        lines=tuple(monitor.lines),
        stage=monitor.stage_tracker.stage,
        stall_reason=monitor.stall_reason,
    )


@dataclass(frozen=True, slots=True)
class PreparedBoot:
    """What a boot needs before power-on; its files are in the working directory."""

    network: Decision
    plan: WorkerPlan
    """The programs that the worker starts."""
    skip_reasons: dict[str, str]
    """Probes that the data disk does not request, and why."""
    cpus: int
    """Processors of the machine."""
    addresses: LabAddresses

    @property
    def network_kind(self) -> Network:
        """The network, as the enum."""
        return Network(self.network.name)


@contextmanager
def prepare_boot_files(
    request: BootRequest, tools: Tools, progress: Progress, accel: Decision
) -> Iterator[PreparedBoot]:
    """Choose the network and write the files of a boot to a working directory.

    The directory is removed at the end of the `with` block, or kept where the request says so.
    Raises: ToolError when a tool fails, UsageError for what cannot be booted.
    """
    with make_working_directory(request.keep) as work:
        network = choose_network(request.network, tools)
        require_http_support(request.firmware, network)
        addresses = choose_addresses(request.fixed_address)
        require_lease_support(request.lease, network, addresses)
        uefi = has_uefi_probe(request)
        parameters = choose_emulation_parameters(accel, uefi=uefi)
        source = prepare_boot_source(request, tools, work, parameters)
        guest = select_guest(request, source)
        data_disk = request.data_disk
        if data_disk is None and not request.faults.no_disk:
            lookups = make_lookups(request, network, addresses)
            data_disk = make_data_disk(work, tools, lookups, guest, uefi=uefi)
        plan = make_worker_plan(request, tools, work, network, addresses, source, data_disk, accel)
        if not landlock.is_available():
            progress.note(landlock.UNCONFINED_NOTE)
        skip_reasons = find_unavailable_probes(request, guest)
        cpus = choose_cpus(request, source)
        yield PreparedBoot(network, plan, skip_reasons, cpus, addresses)


def make_tracker(request: BootRequest, prepared: PreparedBoot) -> ProbeTracker:
    """Make the tracker of the request's probes and those of a network boot."""
    probes = (*list_netboot_probes(request.firmware), *request.probes)
    unreachable = find_unreachable_probes(probes, prepared.network_kind, prepared.addresses)
    return ProbeTracker(
        probes,
        unreachable | prepared.skip_reasons,
        prepared.network_kind,
        request.firmware.is_netboot,
        request.faults.ignore_fatal_lines,
    )


def make_lookups(
    request: BootRequest, network: Decision, addresses: LabAddresses
) -> dict[str, str]:
    """Make the content of probe.conf: the name and the TCP server that the host looks up."""
    in_namespace = network.name == Network.NAMESPACE
    in_lab = select_echo_address(request.lease, addresses)
    address = in_lab if in_namespace else addresses.user.tcp_server
    return {"dns": PROBE_DOMAIN, "tcp": f"{address}:{ECHO_PORT}"}


def make_worker_plan(
    request: BootRequest,
    tools: Tools,
    work: Path,
    network: Decision,
    addresses: LabAddresses,
    source: BootSource,
    data_disk: Path | None,
    accel: Decision,
) -> WorkerPlan:
    """Make the plan of the programs that the worker starts."""
    in_namespace = network.name == Network.NAMESPACE
    echo_port = 0 if LabServer.TCP in request.disabled_servers else ECHO_PORT
    echo_reachable = None if in_namespace else bool(echo_port)
    qemu_args = build_qemu_args(
        request, tools, source, data_disk, accel, echo_reachable, work, addresses.user
    )
    qemu_argv = confine_qemu(
        request, tools, work, data_disk, (*tools.build_argv(QEMU), *qemu_args),
        network=not in_namespace,
    )  # fmt: skip
    serves_http = source.served_directory is not None and request.firmware is Firmware.HTTP
    plan = WorkerPlan(
        work=str(work),
        remove_work=request.keep is None,
        environment={**tools.build_environment(), "TMPDIR": str(work)},
        qemu=end_with_parent(qemu_argv, Network(network.name)),
        dnsmasq=(),
        ip=(),
        echo_port=echo_port,
        address=addresses.server if in_namespace else echo_pipe.ECHO_SOCKET,
        has_ntp=False,
        http_directory=str(source.served_directory) if serves_http else "",
        outages=request.faults.outages,
        cards=request.cards,
    )
    return add_namespace_programs(plan, request, tools, work, addresses) if in_namespace else plan


def add_namespace_programs(
    plan: WorkerPlan, request: BootRequest, tools: Tools, work: Path, addresses: LabAddresses
) -> WorkerPlan:
    """Add to a plan what only runs in a network namespace: dnsmasq, cards, NTP and TCP probes."""
    dnsmasq_args = build_dnsmasq_args(
        addresses,
        lease=request.faults.lease,
        silent_dns=request.faults.silent_dns,
        shape=request.lease,
        dhcp=LabServer.DHCP not in request.disabled_servers,
        dns=LabServer.DNS not in request.disabled_servers,
        ntp=LabServer.NTP not in request.disabled_servers,
        netboot_args=build_netboot_dnsmasq_args(request.firmware, work, addresses.server),
        conf_file=request.dnsmasq_conf,
    )
    return replace(
        plan,
        dnsmasq=(*tools.build_argv("dnsmasq"), *dnsmasq_args),
        ip=tools.build_argv("ip"),
        ip_commands=build_ip_commands(addresses),
        vlan_address=addresses.vlan_server,
        host_address=addresses.host_address,
        has_ntp=LabServer.NTP not in request.disabled_servers,
        silent_dns=request.faults.silent_dns,
        tcp_probes=tuple(
            encode_tcp_probe(probe.name, probe.tcp_probe)
            for probe in request.probes
            if probe.tcp_probe
        ),
    )


def confine_qemu(
    request: BootRequest,
    tools: Tools,
    work: Path,
    data_disk: Path | None,
    argv: tuple[str, ...],
    *,
    network: bool,
) -> tuple[str, ...]:
    """Extend QEMU's command line so that it can open the files of this boot and no others."""
    paths = (request.image, request.initramfs, *request.disks)
    reads = [path.resolve() for path in paths if path is not None]
    reads += [Path(argv[0]), *tools.directories]
    writes = [work, *([data_disk.resolve()] if data_disk else [])]
    return landlock.build_confined_argv(reads, writes, argv, network=network)


def select_guest(request: BootRequest, source: BootSource) -> LabGuest | None:
    """Choose the guest of the data disk; None when there is no kernel for it."""
    kernel = request.guest_kernel or source.kernel
    if kernel is None:
        return None
    return LabGuest(
        kernel, request.guest_initramfs, request.guest_ready, request.guest_cpus, xen=source.xen
    )


@contextmanager
def make_working_directory(keep: Path | None) -> Iterator[Path]:
    """Make the directory for one boot's files: `keep`, or a temporary one.

    Raises: ToolError when it cannot be created.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="minbuild-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True)
    except OSError as error:
        raise ToolError(
            f"cannot create the directory for the working files: {error.strerror}",
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
            fix="name a file in a writable directory",
        ) from error
