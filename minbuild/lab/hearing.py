"""What is heard of one boot, and when enough was heard."""

import time

from minbuild.errors import ToolError
from minbuild.lab import ports, trace
from minbuild.lab.accel import fault
from minbuild.lab.probes import Watch
from minbuild.lab.session import Session
from minbuild.lab.types import BootRequest, Line, Source, State
from minbuild.lab.voice import Voice, broken
from minbuild.lab.wire import Lines, Tag
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
