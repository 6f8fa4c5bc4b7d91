"""A host of one shell script that says what the real one says on its console."""

MODULES = ("failover", "net_failover", "virtio_net", "virtio_blk")
"""In the order in which they are loaded."""
APPLETS = ("sh", "mount", "insmod", "ip", "udhcpc", "nslookup", "nc", "awk", "cat", "echo", "sleep")

LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/24" dev eth0
echo "$ip" >/lease
echo "nameserver $dns" >/etc/resolv.conf
"""

INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
say() { echo "<13>minbuild: $*" >/dev/kmsg; }
say init: ready
for m in MODULES; do insmod /modules/$m.ko; done
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -n -q -t 5 -T 1 -s /lease.sh >/dev/null 2>&1 && say "dhcp: lease $(cat /lease)"
# a UEFI boot has its own disk before the data disk
mount -t ext4 /dev/vda /mnt 2>/dev/null || mount -t ext4 /dev/vdb /mnt
[ -e /mnt/probe.conf ] && . /mnt/probe.conf
a=$(nslookup "$dns" 2>/dev/null | awk '/^Name/ {n = 1} n && /^Address/ {print $NF; exit}')
if [ -n "$a" ]; then say "dns: $dns is $a"; else say "dns: FAILED: no address for $dns"; fi
[ "$(echo hello | nc -w 5 "${tcp%:*}" "${tcp#*:}")" = hello ] && say "tcp: $tcp answered hello"
say "kvm: /dev/kvm ready (made up)"
if [ -s /mnt/guests/tiny/vmlinuz ] && [ -s /mnt/guests/tiny/initrd ]; then
    say "confined: guest tiny: user 1000, no_new_privs 1, seccomp 2, /dev/kvm 660 0:36, own mnt pid net ipc uts cgroup, nothing of the host in reach"
    say "guest tiny: ready: made up"
fi
case $(cat /proc/cmdline) in *tiny.serve*) nc -l -p 7070 -e echo tiny 1.0 ;; esac
case $(cat /proc/cmdline) in *tiny.panic*) echo c >/proc/sysrq-trigger ;; esac
echo "type something"
read -r word
echo "read $word"
sleep 1000
"""
