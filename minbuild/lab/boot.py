"""One boot from power-on to a verdict: what is laid out, waited for, and when it is over."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from minbuild.errors import ToolError
from minbuild.lab import confine, netboot, ports, relay, trace
from minbuild.lab.accel import QEMU, fault, settings
from minbuild.lab.data import Guest, by_uefi, data_disk, unasked
from minbuild.lab.dial import render
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
    Source,
    State,
    Tools,
)
from minbuild.lab.voice import Voice, broken
from minbuild.lab.wire import Lines, Plan, Tag
from minbuild.progress import Progress

TICK = 0.5
"""Seconds between two looks at the clock while nothing is said."""
MOST = 64 << 20
"""Characters that a machine and its servers may say in one boot."""
COMPLAINTS = 1 << 16
"""Bytes of QEMU's own words that are kept, the last ones."""
SILENT = 4
"""Times `timeout` that a console may be silent, however busy the machine is."""
LAST_WORDS = 0.3
"""Seconds that a kernel gets to finish its panic message."""

STREAMS = {
    Tag.CONSOLE: Source.CONSOLE,
    Tag.DNSMASQ: Source.DNSMASQ,
    Tag.SERVERS: Source.SERVERS,
}


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


class Run:
    """What is heard of one boot, and when enough was heard."""

    def __init__(
        self,
        request: BootRequest,
        watch: Watch,
        progress: Progress,
        session: Session,
        *,
        suspect: bool = False,
    ) -> None:
        """`suspect`: what runs the machine may run nothing, and silence is a sign of that."""
        self.lines: list[Line] = []
        self.seconds = 0.0
        self.voice = Voice()
        self.stalled = ""
        self._suspect = suspect
        self._request = request
        self._watch = watch
        self._progress = progress
        self._session = session
        self._acts = list(request.acts)
        self._streams = {tag: Lines() for tag in STREAMS}
        self._power = 0.0
        self._had = 0.0
        self._heard_at = 0.0
        self._said = 0
        self._code: int | None = None
        self._complaints = b""

    def wait(self) -> str:
        """Listen until the boot is over; say why it is.

        Raises: ToolError when QEMU could not start the machine.
        """
        self._power = time.monotonic()
        dead_at: float | None = None
        while True:
            for tag, block in self._session.blocks(TICK if dead_at is None else LAST_WORDS):
                self._take(tag, block)
            self.seconds = time.monotonic() - self._power
            self._had = self._session.granted.of(self.seconds)
            if self._code is not None:
                return self._ended()
            if self._watch.dead:
                dead_at = dead_at or self.seconds
                if self.seconds - dead_at >= LAST_WORDS:
                    return self._watch.dead
            elif reason := self._stalled() or self._enough():
                return reason

    def _stalled(self) -> str:
        """Why what runs the machine is taken to run nothing; "" when it may run it."""
        if self._suspect:
            self.stalled = broken(self._complaints) or self.voice.stalled(
                self._had, self._request.starts_by
            )
        return self.stalled

    def _enough(self) -> str:
        still = self._watch.open(self._had)
        if not still:
            lost = any(one.state is State.FAILED for one in self._watch.outcomes())
            return "no probe is open any more" if lost else "every probe was seen"
        if over := self._over():
            self.stalled = self.voice.silent() if self._suspect else ""
            return f"{over} without: {', '.join(probe.name for probe in still)}"
        return ""

    def _over(self) -> str:
        """Why the boot had its time; "" while it has some left.

        What a busy machine took from it does not count while the console goes on.
        """
        limit = self._request.timeout
        if self._said > MOST:
            return f"the machine said more than {MOST >> 20} MiB, which ended its time"
        if self._had >= limit:
            return f"{limit} s passed"
        silent = self.seconds - self._heard_at
        return f"{silent:.0f} s of silence passed" if silent >= SILENT * limit else ""

    def _take(self, tag: Tag, block: bytes) -> None:
        if tag is Tag.POWER:
            self._power = time.monotonic()
        elif tag is Tag.END:
            self._code = int(block)
        elif tag is Tag.QEMU:
            self._complaints = (self._complaints + block)[-COMPLAINTS:]
        elif tag in STREAMS:
            for text in self._streams[tag].feed(block):
                self._heard(STREAMS[tag], text)

    def _heard(self, source: Source, text: str) -> None:
        if source is Source.CONSOLE and self._traced(text):
            source = Source.TRACE
        before = len(self._watch.seen)
        seconds = time.monotonic() - self._power
        had = self._session.granted.of(seconds)
        line = Line(source, round(seconds, 3), text, round(had, 3))
        self.lines.append(line)
        self._said += len(text) + 1
        self._watch.feed(line)
        if source in {Source.CONSOLE, Source.TRACE}:
            self._heard_at = seconds
            self.voice.heard(text, had)
        if source is Source.CONSOLE:
            self._act(text)
        if len(self._watch.seen) > before:
            if any(self._watch.met(probe) for probe in self._request.probes):
                self.voice.proved()
            done = sum(not self._watch.missing(probe) for probe in self._watch.probes)
            self._progress.bar("probes", done, len(self._watch.probes))

    def _traced(self, text: str) -> bool:
        """Whether a line on the console is the kernel's word of what is opened."""
        wish = self._request
        return (wish.trace and trace.EVENT.match(text) is not None) or (
            wish.ports and ports.EVENT.match(text) is not None
        )

    def _act(self, text: str) -> None:
        """Do what waited for this line."""
        for act in [act for act in self._acts if act.after.search(text)]:
            self._acts.remove(act)
            self._session.type(act.keys.encode())
            if act.words:
                self._session.run(act.name, act.words)

    def finish(self) -> None:
        """Take the lines that had no end yet."""
        for tag, stream in self._streams.items():
            for text in stream.end():
                self._heard(STREAMS[tag], text)

    def _ended(self) -> str:
        if self._suspect and (why := self.voice.gone()) and not self._watch.dead:
            said = self._complaints.decode("utf-8", "replace").strip().splitlines()
            self.stalled = f"{why} ({said[-1]})" if self._code and said else why
            return self.stalled
        if self._code:
            self._watch.crash = fault(self._complaints)
            if not self._watch.crash:
                raise qemu_failed(self._code, self._complaints)
            return f"QEMU crashed: {self._watch.crash}"
        return self._watch.gone()


def qemu_failed(code: int, complaints: bytes) -> ToolError:
    """The error of a QEMU that did not run the machine."""
    said = complaints.decode("utf-8", "replace").strip().splitlines()
    return ToolError(
        f"QEMU ended with {code}: {said[-1] if said else 'it said nothing'}",
        fix="look at what it was given: --keep DIR",
    )


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
