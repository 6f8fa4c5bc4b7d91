"""A guest with a card behind the host's NAT and one on a VLAN, which talks to the lab through both.

Who connects to its port 9 is told so.
"""

MODULES = ("failover", "net_failover", "virtio_net", "virtio_mmio")
"""In the order in which they are loaded."""
APPLETS = ("sh", "mount", "insmod", "ip", "udhcpc", "nc", "echo", "sleep")
READY = "behind: done"

LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/24" dev "$interface"
[ "$interface" = eth1 ] || ip route add default via "$router"
echo "behind: $interface has $ip"
"""

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for m in MODULES; do insmod /modules/$m.ko; done
for link in eth0 eth1; do
    until [ -e /sys/class/net/$link ]; do sleep 0.2; done
    ip link set $link up
    udhcpc -i $link -n -q -t 20 -T 1 -s /lease.sh 2>/dev/null
done
while :; do echo "behind door" | nc -l -p 9; done &
echo "behind nat" | nc -w 9 192.0.2.1 7
echo "behind vlan" | nc -w 9 198.51.100.1 7
echo "behind: done"
while :; do sleep 1000; done
"""
