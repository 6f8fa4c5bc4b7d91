"""Program between QEMU's user network and the lab's TCP server: relays stdin and stdout.

QEMU runs it for each connection to the lab's address. The server is a Unix socket in QEMU's working
directory, since the confined QEMU may not open TCP connections.
"""

import os
import selectors
import socket

ECHO_SOCKET = "echo.socket"
CHUNK = 65536


def relay() -> None:
    """Relay both directions until the server or the machine ends the connection."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server,
        selectors.DefaultSelector() as loop,
    ):
        server.connect(ECHO_SOCKET)
        loop.register(0, selectors.EVENT_READ)
        loop.register(server, selectors.EVENT_READ)
        while True:
            for key, _ in loop.select():
                data = os.read(key.fd, CHUNK)
                if key.fd == 0 and data:
                    server.sendall(data)
                elif key.fd == 0:
                    server.shutdown(socket.SHUT_WR)
                    loop.unregister(0)
                elif data:
                    write_stdout(data)
                else:
                    return


def write_stdout(data: bytes) -> None:
    """Write all of `data` to stdout."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(1, remaining) :]


if __name__ == "__main__":
    relay()
