"""A shell in the build root that answers the $(shell …) of Kconfig files, one after the other."""

import contextlib
from collections.abc import Iterator
from types import TracebackType

from minbuild.errors import ToolError
from minbuild.kernel.build_root import SOURCE, BuildRoot
from minbuild.process import stop_program

_END = "\x01minbuild\x01"


class OptionShell:
    """Runs commands in /linux; each is a process of its own, in one shell that stays."""

    def __init__(self, root: BuildRoot) -> None:
        self._root = root
        self._answers: dict[str, str] = {}
        self._process = root.start_shell("reading the kernel's options")

    def run(self, command: str) -> str:
        """What a command prints; "" where it fails. Paths of the source may be this machine's.

        Raises: ToolError when the shell has ended.
        """
        line = command.replace(str(self._root.source), SOURCE)
        if line not in self._answers:
            self._answers[line] = self._ask(line)
        return self._answers[line]

    def _ask(self, line: str) -> str:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(
                f"( {line}\n) </dev/null 2>/dev/null\nprintf '{_END}\\n'\n".encode()
            )
            process.stdin.flush()
        return "".join(self._read_answer(process.stdout))

    def _read_answer(self, lines: "Iterator[bytes]") -> Iterator[str]:
        for raw in lines:
            text = raw.decode("utf-8", "replace")
            before, end, _ = text.partition(_END)
            yield before
            if end:
                return
        raise ToolError(
            "the shell that answers the kernel's Kconfig files has ended",
            where=str(self._root.source),
            fix="run the same command again; -vv shows the command that starts it",
        )

    def __enter__(self) -> "OptionShell":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:
            stop_program(self._process)
