"""Headless Chromium from the archive, brought by minbuild's own resolver and driven over a pipe."""

import base64
import fcntl
import functools
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from minbuild.cache.store import Store
from minbuild.manifest.model import Archive, Location, PackagePaths, Tool
from minbuild.paths import RootPath
from minbuild.toolbox.toolbox import Toolbox
from tests.support.cache import cache_directory
from tests.support.patience import PATIENCE
from tests.support.real_archive import make_toolbox, open_real_archive

HERE = Location("test", 1, 1)
PROGRAM = RootPath("/usr/lib/chromium/chromium-headless-shell")
PACKAGES = {
    "chromium-headless-shell": (str(PROGRAM),),
    "chromium-common": (
        "/usr/lib/chromium/*.pak",
        "/usr/lib/chromium/icudtl.dat",
        "/usr/lib/chromium/*.bin",
    ),
    "fonts-dejavu-core": ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",),
}
TOOL = Tool(
    "chromium",
    "shows pages",
    PROGRAM,
    tuple(PackagePaths(name, paths, HERE) for name, paths in PACKAGES.items()),
    False,
    HERE,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-zygote",
    "--remote-debugging-pipe",
    "--window-size=1280,900",
    "--hide-scrollbars",
    "--lang=en-US",
]


@functools.cache
def toolbox() -> Toolbox:
    """Chromium and its libraries in a store that all test runs of this user share."""
    store = Store(cache_directory("browser"))
    with (store.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        box = make_toolbox((TOOL,), open_real_archive(store, Archive()))
        assert box.root.is_dir()
        return box


def _build_argv(box: Toolbox, home: Path) -> list[str]:
    """Start words whose program has its data beside it, where Chromium looks: by /proc/self/exe.

    That is the loader, since the loader starts it; so the loader is copied to the data.
    """
    directory = home / "chromium"
    directory.mkdir()
    for path in box.find_path(PROGRAM).parent.iterdir():
        (directory / path.name).symlink_to(path)
    loader, *rest = box.build_argv("chromium")
    copy = directory / "loader"
    shutil.copyfile(loader, copy)
    copy.chmod(0o755)
    return [str(copy), *rest]


class Page:
    """One browser with one page, spoken to by the DevTools protocol over two pipes."""

    def __init__(self, work: Path) -> None:
        self._ids = itertools.count(1)
        self._buffer = b""
        self.errors: list[str] = []
        self._start(work)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _start(self, work: Path) -> None:
        box = toolbox()
        home = work / "home"
        home.mkdir()
        fonts = box.find_path(RootPath("/usr/share/fonts"))
        (home / "fonts.conf").write_text(
            f"<fontconfig><dir>{fonts}</dir><cachedir>{home}/cache</cachedir></fontconfig>"
        )
        argv = _build_argv(box, home)
        wrapper = home / "child"
        quoted = " ".join(f"'{word}'" for word in argv)
        wrapper.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
        wrapper.chmod(0o755)
        environment = {
            "HOME": str(home), "TMPDIR": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8",
            "FONTCONFIG_FILE": str(home / "fonts.conf"),
        }  # fmt: skip
        into, self._write = os.pipe()
        self._read, out = os.pipe()
        self._log = (work / "chromium.log").open("wb")
        # the protocol's pipes are descriptors 3 and 4, which only a shell can name portably
        command = f'exec "$@" 3<&{into} 4>&{out}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", command, "chromium", *argv, *FLAGS,
             f"--browser-subprocess-path={wrapper}", f"--user-data-dir={home}/data", "about:blank"],
            env=environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            pass_fds=(into, out), cwd=home,
        )  # fmt: skip
        os.close(into)
        os.close(out)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read_message()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def _read_message(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._read, 1 << 16)
            assert data, "the browser ended: " + Path(self._log.name).read_text(errors="replace")
            self._buffer += data
        first, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
        if message.get("method") == "Log.entryAdded":
            self.errors.append(message["params"]["entry"]["text"])
        return message

    def open(self, path: Path, fragment: str = "") -> None:
        """Show a file and wait until it is loaded."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=path.as_uri() + fragment)
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        end = time.monotonic() + PATIENCE
        while not self.js(expression):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.05)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the page."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        """Move the pointer."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def key(self, name: str, text: str = "") -> None:
        """Press a key."""
        extra = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, **extra)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def save_screenshot(self, path: Path) -> None:
        """Write a screenshot."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)
        self._log.close()
