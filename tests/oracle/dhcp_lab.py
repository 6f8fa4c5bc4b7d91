"""Two DHCP clients against one small server, in namespaces; run as a program.

Its words are the root directory of the clients and the words that run `ip`; stdin has the
conversations as JSON, stdout what became of each: after each lease, as the host's own client and as
dhcpcd has it. Run it as root of a user namespace, with a network and mounts of its own.
"""

import contextlib
import ctypes
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Facts = dict[str, Any]
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
SO_BINDTODEVICE = 25
MAGIC = bytes.fromhex("63825363")
"""Source: RFC 2131, 3."""
HEAD = 240
DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
ALWAYS = frozenset({51, 53, 54})
SECONDS = 8
LINK = "host0"
STEP = "/usr/lib/minbuild/steps/30-network"
SERVERS = "192.0.2.1/24 192.0.2.65/32 10.9.0.1/32 10.0.0.1/32 172.20.0.1/32 198.51.100.3/32"
"""The server's addresses: every router that a lease may name."""


class Server:
    """Answers with the lease of the hour, and with those of its options that were asked for."""

    def __init__(self, card: str) -> None:
        self.lease: Facts = {}
        self.asked: list[int] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, card.encode() + b"\0")
        self._socket.bind(("", 67))

    def until(self, result: Callable[[], bool], seconds: float = SECONDS) -> bool:
        """Serve until something is done, a while at most."""
        end = time.monotonic() + seconds
        while not result():
            if time.monotonic() > end:
                return False
            if select.select([self._socket], [], [], 0.01)[0]:
                self._serve(self._socket.recv(4096))
        return True

    def close(self) -> None:
        self._socket.close()

    def _serve(self, message: bytes) -> None:
        options = dict(parse_options(message[HEAD:]))
        kind = options.get(53, b"\0")[0]
        if kind not in {DISCOVER, REQUEST}:
            return
        self.asked = list(options.get(55, b""))
        if self.lease:
            self._answer(message, OFFER if kind == DISCOVER else ACK)

    def _answer(self, message: bytes, kind: int) -> None:
        server = socket.inet_aton(self.lease.get("server", "192.0.2.1"))
        options = {53: bytes([kind]), 54: server, 51: struct.pack(">I", 3600)}
        options |= {int(code): bytes.fromhex(text) for code, text in self.lease["options"].items()}
        body = b"".join(
            bytes([code, len(value)]) + value
            for code, value in options.items()
            if code in ALWAYS or code in self.asked
        )
        head = struct.pack(">BBBB4sHH", 2, 1, 6, 0, message[4:8], 0, 0x8000)
        head += bytes(4) + socket.inet_aton(self.lease["ip"]) + server + bytes(4) + message[28:44]
        whole = head + bytes(192) + MAGIC + body + b"\xff"
        self._socket.sendto(whole.ljust(300, b"\0"), ("255.255.255.255", 68))


def parse_options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a message."""
    path = 0
    while path < len(data) and data[path] != 255:
        if data[path]:
            yield data[path], data[path + 2 : path + 2 + data[path + 1]]
            path += 1 + data[path + 1]
        path += 1


class Client:
    """A network of its own with one card, and a root directory for programs there."""

    def __init__(self, root: Path, ip: list[str]) -> None:
        self._root, self._ip = root, ip
        self._holder = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; read _"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout
        self._holder.stdout.readline()
        self._net = os.open(f"/proc/{self._holder.pid}/ns/net", os.O_RDONLY)
        self.outside("link", "set", "c0", "netns", str(self._holder.pid))
        for argv in (f"link set c0 name {LINK}", "link set lo up", f"link set {LINK} up"):
            self.ip(*argv.split())

    def outside(self, *argv: str) -> None:
        subprocess.run([*self._ip, *argv], check=True)

    def enter(self, *, root: bool) -> Callable[[], None]:
        libc = ctypes.CDLL(None, use_errno=True)

        def enter() -> None:
            if libc.setns(self._net, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            if root:
                libc.unshare(CLONE_NEWNS)
                libc.mount(b"sysfs", bytes(self._root / "sys"), b"sysfs", 0, None)
                os.chroot(self._root)
                os.chdir("/")

        return enter

    def start(self, *argv: str, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as file:
            return subprocess.Popen(
                argv,
                preexec_fn=self.enter(root=True),  # noqa: PLW1509 - there are no threads here
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={"PATH": "/usr/bin:/usr/sbin:/bin:/sbin"},
            )

    def ip(self, *argv: str) -> str:
        ran = subprocess.run(
            [*self._ip, *argv], preexec_fn=self.enter(root=False), capture_output=True, check=True
        )
        return ran.stdout.decode()

    def state(self, names: str, clocks: str) -> Facts:
        """Addresses, routes and MTU as the kernel has them, and the files."""
        (link,) = json.loads(self.ip("-j", "-4", "addr", "show", "dev", LINK)) or [{}]
        routes = json.loads(self.ip("-j", "-4", "route", "show"))
        (card,) = json.loads(self.ip("-j", "link", "show", "dev", LINK))
        return {
            "addresses": [
                f"{one['local']}/{one['prefixlen']} {one.get('broadcast', '-')}"
                for one in link.get("addr_info", [])
            ],
            "routes": sorted(f"{one['dst']} {one.get('gateway', '-')}" for one in routes),
            "mtu": card["mtu"],
            "route_mtu": sorted(
                {m["mtu"] for one in routes for m in one.get("metrics", []) if "mtu" in m}
            ),
            "names": read_text(self._root / names).splitlines(),
            "clocks": read_text(self._root / clocks).split(),
            "hostname": socket.gethostname(),
        }

    def close(self) -> None:
        os.close(self._net)
        self._holder.communicate()


def read_text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def clear_root(root: Path) -> None:
    """Nothing is left of an earlier client."""
    for path in (root / "run", root / "var/lib/dhcpcd"):
        subprocess.run(["find", path, "-mindepth", "1", "-delete"], check=True)
    (root / "run/minbuild").mkdir()
    os.mkfifo(root / "run/minbuild/never")
    (root / "dev/kmsg").unlink(missing_ok=True)
    os.mkfifo(root / "dev/kmsg")
    (root / "etc/resolv.conf").unlink(missing_ok=True)


def run_own_client(root: Path, ip: list[str], server: Server, leases: list[Facts]) -> list[Facts]:
    """The host's own client: the words that its step starts, and the step at every event."""
    clear_root(root)
    client = Client(root, ip)
    states = []
    output: list[str] = []
    log = os.open(root / "dev/kmsg", os.O_RDWR | os.O_NONBLOCK)
    # stands for the clock's program
    clock = subprocess.Popen(["sleep", "100"])
    try:
        server.lease = leases[0]
        argv = read_udhcpc_options(root).split()
        process = client.start(
            "/usr/bin/udhcpc", "-f", "-i", LINK, "-s", "/event", *argv, log=root / "run/log"
        )
        for number, lease in enumerate(leases):
            server.lease = lease
            if number:
                process.send_signal(signal.SIGUSR1)
            came = await_event(root, server, number)
            state = client.state("run/resolv.conf", "run/ntp-servers")
            output += read_new_lines(log)
            states.append(
                {**state, "came": came, "said": [*output], "log": read_text(root / "run/log")}
            )
            if not state["addresses"]:  # a client without a lease ends; its kill may be on its way
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(2)
            states[-1] |= {"ticks": is_running(clock), "runs": is_running(process)}
            (root / "run/minbuild/ntpd").write_text(f"{clock.pid}\n")
        for one in (process, clock):
            one.kill()
            one.wait()
    finally:
        os.close(log)
        client.close()
        server.close()
    return states


def is_running(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has not ended, and no signal waits for it on a busy machine."""
    if process.poll() is not None:
        return False
    pending = re.findall(r"ShdPnd:\s*(\w+)", read_text(Path(f"/proc/{process.pid}/status")))
    return all(int(bits, 16) == 0 for bits in pending)


def read_new_lines(log: int) -> list[str]:
    """What was written to the console since it was last asked."""
    try:
        text = os.read(log, 1 << 16).decode(errors="replace")
    except BlockingIOError:
        return []
    return [line.removeprefix("<13>minbuild: ") for line in text.split("\n")][:-1]


def read_udhcpc_options(root: Path) -> str:
    """What the step gives to udhcpc behind its own name."""
    text = (root / STEP.lstrip("/")).read_text()
    _, _, argv = text.partition('keep dhcp udhcpc -f -i "$INTERFACE" -s "$0" ')
    return argv.partition(" &")[0]


def await_event(root: Path, server: Server, number: int) -> bool:
    """Wait until the step ended for the lease of this number."""

    def is_over() -> bool:
        events = read_text(root / "run/events").split()
        return sum(one in {"bound", "renew"} for one in events) > number

    return server.until(is_over)


def run_dhcpcd(root: Path, ip: list[str], server: Server, lease: Facts) -> Facts:
    """dhcpcd, once."""
    clear_root(root)
    client = Client(root, ip)
    try:
        server.lease = lease
        process = client.start(
            "/usr/sbin/dhcpcd", "-1", "-4", "-B", "-t", "5", LINK, log=root / "run/log"
        )
        came = server.until(lambda: process.poll() is not None)
        state = client.state("etc/resolv.conf", "run/clocks")
        if not came:
            process.kill()
        return {
            **state,
            "came": came and process.returncode == 0,
            "log": read_text(root / "run/log"),
        }
    finally:
        client.close()
        server.close()


def reset_network(ip: list[str]) -> Server:
    """A pair of cards, the near one a server's; an earlier one is gone, or goes with its namespace."""
    subprocess.run([*ip, "link", "del", "s0"], capture_output=True)
    subprocess.run([*ip, "link", "add", "s0", "type", "veth", "peer", "name", "c0"], check=True)
    for address in SERVERS.split():
        subprocess.run([*ip, "addr", "add", address, "dev", "s0"], check=True)
    subprocess.run([*ip, "link", "set", "s0", "up"], check=True)
    return Server("s0")


def main() -> None:
    root, ip = Path(sys.argv[1]), sys.argv[2:]
    for path in ("run", "dev", "var/lib/dhcpcd"):
        (root / path).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", path, root / path], check=True)
    subprocess.run(["mount", "--rbind", "/proc", root / "proc"], check=True)
    for name in ("null", "urandom", "random"):
        (root / "dev" / name).touch()
        subprocess.run(["mount", "--bind", f"/dev/{name}", root / "dev" / name], check=True)
    for scope in ("all", "default"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter").write_text("0")
    subprocess.run([*ip, "link", "set", "lo", "up"], check=True)
    for conversation in json.load(sys.stdin):
        leases = conversation["leases"]
        print(
            json.dumps(
                {
                    "ours": run_own_client(root, ip, reset_network(ip), leases),
                    "theirs": [
                        run_dhcpcd(root, ip, reset_network(ip), lease)
                        for lease in (leases if conversation["both"] else [])
                    ],
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
