"""The bridge's ports as the host makes them, with a DHCP server behind a guest's and one on the uplink.

Run as a program, as root of a user namespace with a network and mounts of its own. Its words are whose
the port of the guest is (guests, shared), the root directory of the host and the words that run
`ip`; stdout has as JSON who heard the host, and whose lease it took.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.oracle.dhcp_lab import LINK, Server

PORTS = """\
. /usr/lib/minbuild/init
brctl addbr br0
ip link set br0 up
pair %(link)s br0 host
pair guest br0 %(whose)s
brctl addif br0 c0
ip link set c0 up
"""
ASK = ("/usr/bin/udhcpc", "-f", "-n", "-q", "-t", "3", "-T", "1", "-i", LINK, "-s", "/usr/bin/cat")
PATHS = {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin"}


def main() -> None:
    whose, root, ip = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    mount(root)
    argv = ["link", "add", "s0", "type", "veth", "peer", "name", "c0"]
    subprocess.run([*ip, *argv], check=True)
    subprocess.run([*ip, "link", "set", "s0", "up"], check=True)

    def enter() -> None:
        os.chroot(root)
        os.chdir("/")

    script = PORTS % {"link": LINK, "whose": whose}
    subprocess.run(["/usr/bin/sh", "-ec", script], preexec_fn=enter, check=True, env=PATHS)
    guest, uplink = Server("guest"), Server("s0")
    guest.lease = {"ip": "192.0.2.66", "options": {}, "server": "192.0.2.67"}
    client = subprocess.Popen(
        ASK,
        preexec_fn=enter,  # noqa: PLW1509 - there are no threads here
        stderr=subprocess.PIPE,
        text=True,
        env=PATHS,
    )
    guest.until(lambda: client.poll() is not None)
    # what came to the uplink's server has waited for it
    uplink.until(lambda: bool(uplink.asked), seconds=1)
    assert client.stderr is not None
    result = {"guest": guest.asked, "uplink": uplink.asked, "said": client.stderr.read()}
    print(json.dumps(result))


def mount(root: Path) -> None:
    for path in ("run", "dev"):
        (root / path).mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", path, root / path], check=True)
    subprocess.run(["mount", "-t", "sysfs", "sys", root / "sys"], check=True)
    subprocess.run(["mount", "--rbind", "/proc", root / "proc"], check=True)
    (root / "dev/null").touch()
    subprocess.run(["mount", "--bind", "/dev/null", root / "dev/null"], check=True)


if __name__ == "__main__":
    main()
