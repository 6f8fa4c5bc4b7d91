"""One boot from power-on to a verdict: what is laid out, tried again, and what came of it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import confine, netboot, relay
from minbuild.lab.accel import QEMU, settings
from minbuild.lab.data import Guest, by_uefi, data_disk, unasked
from minbuild.lab.dial import render
from minbuild.lab.hearing import Run
from minbuild.lab.kvm import SYSTEM, Memory, choose, may_emulate, way_of
from minbuild.lab.link import ADDRESS, NAME, dnsmasq_arguments, echo_address, need_leases
from minbuild.lab.machine import DOOR, ECHO_PORT, boot_from, qemu_arguments
from minbuild.lab.probes import Watch, network_boot, skipped
from minbuild.lab.session import Session, choose_network, mortal
from minbuild.lab.types import (
    BootRequest,
    BootResult,
    Choice,
    Firmware,
    Line,
    Network,
    Server,
    Tools,
)
from minbuild.lab.wire import Plan
from minbuild.progress import Progress


def boot(request: BootRequest, tools: Tools, progress: Progress) -> BootResult:
    """Boot an image and wait for its probes; repeat it once when KVM ran nothing, or the emulation crashed.

    A probe that failed is part of the result (see `verdict.verdict`), not an error.
    Raises: ToolError when the lab itself cannot do its work, UsageError for what cannot be booted.
    """
    way = way_of(request.starts_by, secure=request.certificate is not None)
    accel = choose(request.accel, tools, way)
    result = one_boot(request, tools, progress, accel)
    if result.stalled and may_emulate(request.accel, accel):
        return by_emulation(request, tools, progress, result)
    crash = result.retried
    if result.passed or accel.name != "tcg" or not crash:
        return replace(result, tries=1, retried="")
    progress.note(f"it crashed under emulation ({crash}): booting once more")
    again = one_boot(second(request), tools, progress, accel)
    return replace(again, tries=2, retried=f"the first one crashed ({crash})")


def by_emulation(
    request: BootRequest, tools: Tools, progress: Progress, result: BootResult
) -> BootResult:
    """Boot once more what KVM did not run; when it comes further so, this is remembered."""
    why = f"under KVM {result.stalled}"
    progress.note(f"{why}: booting once more, by emulation")
    again = one_boot(second(request), tools, progress, Choice("tcg", why))
    if again.stage > result.stage:
        Memory(tools).keep(SYSTEM, f"{why}, and by emulation it went on")
        progress.note("KVM is left alone on this machine from now on: minbuild store forget-kvm")
    return replace(again, tries=2, retried=why)


def second(request: BootRequest) -> BootRequest:
    """The request for the second try, whose working files lie beside those of the first."""
    keep = request.keep
    return replace(request, keep=keep and keep.with_name(f"{keep.name}.2"))


def one_boot(request: BootRequest, tools: Tools, progress: Progress, accel: Choice) -> BootResult:
    """Boot once; `retried` of the result is the kernel's or QEMU's crash, if there was one."""
    with working_directory(request.keep) as work:
        network = choose_network(request.network, tools)
        netboot.checked(request.firmware, network)
        need_leases(request.lease, network)
        plan, no_guest = lay_out(request, tools, work, accel, network)
        if not confine.available():
            progress.note(confine.UNABLE)
        progress.step(f"booting {request.image.name} ({accel.name}, {request.firmware})")
        kind = Network(network.name)
        probes = (*network_boot(request.firmware), *request.probes)
        skip = skipped(probes, kind) | no_guest
        watch = Watch(probes, skip, kind, request.firmware.by_network, request.trouble.patient)
        suspect = may_emulate(request.accel, accel)
        with Session(kind, plan) as session:
            run = Run(request, watch, progress, session, suspect=suspect)
            ended = run.wait()
        run.finish()
    if request.log is not None:
        write_log(request.log, run.lines)
    return BootResult(
        image=request.image.name,
        outcomes=watch.outcomes(),
        ended=ended,
        accel=accel,
        network=network,
        firmware=request.firmware,
        memory=request.memory,
        cpus=request.cpus,
        tries=1,
        retried=watch.crash,
        seconds=run.seconds,
        lines=tuple(run.lines),
        stage=run.voice.stage,
        stalled=run.stalled,
    )


def lay_out(
    request: BootRequest, tools: Tools, work: Path, accel: Choice, network: Choice
) -> tuple[Plan, dict[str, str]]:
    """Make what the boot needs in `work`; say what shall be started and what cannot be asked."""
    inside = network.name == Network.NAMESPACE
    uefi = by_uefi(request)
    start = boot_from(request, tools, work, settings(accel, uefi=uefi))
    port = 0 if Server.TCP in request.without else ECHO_PORT
    data, guest = request.data, guest_of(request, start.kernel)
    no_guest = unasked(request, guest)
    if data is None and not request.trouble.no_disk:
        asked = {
            "dns": NAME,
            "tcp": f"{echo_address(request.lease) if inside else DOOR}:{ECHO_PORT}",
        }
        data = data_disk(work, tools, asked, guest, uefi=uefi)
    door = None if inside else bool(port)
    qemu = qemu_arguments(request, tools, start, data, accel, door)
    clock = Server.NTP not in request.without
    trouble = request.trouble
    serve = dnsmasq_arguments(
        lease=trouble.lease,
        silent=trouble.silent_dns,
        shape=request.lease,
        dhcp=Server.DHCP not in request.without,
        dns=Server.DNS not in request.without,
        clock=clock,
        boot=netboot.dnsmasq_words(request.firmware, work / netboot.FOLDER),
        settings=request.settings,
    )
    plan = Plan(
        work=str(work),
        remove=request.keep is None,
        environment={**tools.environment(), "TMPDIR": str(work)},
        qemu=mortal(
            confined(request, tools, work, data, (*tools.argv(QEMU), *qemu), network=not inside),
            Network(network.name),
        ),
        dnsmasq=(*tools.argv("dnsmasq"), *serve) if inside else (),
        ip=tools.argv("ip") if inside else (),
        port=port,
        address=ADDRESS if inside else relay.SOCKET,
        clock=clock and inside,
        outages=trouble.outages,
        cards=request.cards,
        silent=trouble.silent_dns and inside,
        dials=tuple(render(one.name, one.dial) for one in request.probes if one.dial and inside),
        web=str(start.folder) if start.folder and request.firmware is Firmware.HTTP else "",
    )
    return plan, no_guest


def confined(
    request: BootRequest,
    tools: Tools,
    work: Path,
    data: Path | None,
    argv: tuple[str, ...],
    *,
    network: bool,
) -> tuple[str, ...]:
    """QEMU's words, so that it reaches the files of this boot and its own, and no others."""
    given = (request.image, request.initramfs, *request.disks)
    reads = [path.resolve() for path in given if path is not None]
    reads += [Path(argv[0]), *tools.places]
    writes = [work, *([data.resolve()] if data else [])]
    return confine.words(reads, writes, argv, network=network)


def guest_of(request: BootRequest, kernel: Path | None) -> Guest | None:
    """The guest of the data disk; None without any kernel for it."""
    kernel = request.guest_kernel or kernel
    if kernel is None:
        return None
    return Guest(kernel, request.guest_initramfs, request.guest_ready, request.guest_cpus)


@contextmanager
def working_directory(keep: Path | None) -> Iterator[Path]:
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


def write_log(path: Path, lines: list[Line]) -> None:
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
