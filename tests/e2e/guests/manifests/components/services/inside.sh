#!/bin/sh
# What this guest sees of its machine, one line each; words of the command line choose what else it does.
export PATH=/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
read -r words </proc/cmdline

asked() {
    case " $words " in *" inside.$1 "*) ;; *) return 1 ;; esac
}

say() {
    echo "inside: $*"
}

piece() {
    dd if="/dev/$1" bs=16 skip="$2" count=1 2>/dev/null | tr -cd 'a-zA-Z0-9 '
}

# A megabyte in, a word is written and read back from the disk.
disks() {
    for dir in /sys/block/vd*; do
        [ -e "$dir" ] || continue
        disk=${dir##*/}
        read -r size <"$dir/size"
        if [ "$(cat "$dir/ro")" = 1 ]; then
            say "disk $disk $((size / 2048)) MiB read-only: $(piece "$disk" 0)"
            continue
        fi
        echo "$disk was written" | dd of="/dev/$disk" bs=16 seek=65536 conv=notrunc,sync 2>/dev/null
        sync
        echo 3 >/proc/sys/vm/drop_caches
        say "disk $disk $((size / 2048)) MiB: $(piece "$disk" 0), $(piece "$disk" 65536)"
    done
}

# One card after the other, so that each must find the way by itself.
cards() {
    for dir in /sys/class/net/eth*; do
        [ -e "$dir" ] || continue
        card=${dir##*/}
        ip link set "$card" up
        udhcpc -i "$card" -n -q -f -t 20 -T 1 -s /lease 2>/dev/null
        say "$card $(cat "$dir/address") heard $(echo "$card" | nc -w 10 192.0.2.1 7)"
        ip addr flush dev "$card"
        ip link set "$card" down
    done
}

# A word every 64 KiB, each said when the disk has it; what an earlier life wrote is looked for first.
write_on() {
    count=0
    while [ "$(piece vda $((count * 4096)))" = "word $count" ]; do
        count=$((count + 1))
    done
    say "found $count"
    while echo "word $count" | dd of=/dev/vda bs=16 seek=$((count * 4096)) conv=notrunc,sync,fsync 2>/dev/null; do
        say "wrote $count"
        count=$((count + 1))
    done
}

# An address that nobody gave, as a guest of a network without DHCP has it.
stand() {
    ip addr add "$1" dev eth0
    ip link set eth0 up
    say "with $1 heard $(echo standing | nc -w 10 192.0.2.1 7)"
}

# Leases for whoever asks on the first card.
serve() {
    ip addr add 192.0.2.66/24 dev eth0
    ip link set eth0 up
    : >/tmp/leases
    printf '%s\n' 'interface eth0' 'start 192.0.2.200' 'end 192.0.2.209' 'lease_file /tmp/leases' \
        'opt subnet 255.255.255.0' 'opt router 192.0.2.66' 'opt dns 192.0.2.66' >/tmp/udhcpd.conf
    udhcpd -f /tmp/udhcpd.conf 2>&1 &
    say 'serves leases'
}

listen() {
    while read -r line; do
        say "heard $line"
    done </dev/console
}

# The first one may be a keyboard.
button() {
    for dir in /sys/class/input/event*; do
        read -r name <"$dir/device/name"
        [ "$name" != 'Power Button' ] || echo "/dev/input/${dir##*/}"
    done | tail -n 1
}

modprobe -q -a virtio_mmio virtio_pci virtio_net virtio_blk button evdev
ip link set lo up
say "up with $(nproc) cpus"
# the word that it writes lies where write_on puts one
asked write || disks
for word in $words; do
    case $word in inside.stand=*) stand "${word#*=}" ;; esac
done
if asked serve; then
    serve
elif ! asked stand; then
    cards
fi
if asked hog; then
    say 'takes all memory'
    # what its own kernel still gives: a guest that runs out of memory by itself ends, and gives it back
    mount -t tmpfs -o size=75% tmp /tmp
    dd if=/dev/zero of=/tmp/all bs=1M 2>/dev/null
fi
! asked write || write_on &
listen &
say ready
dd if="$(button)" of=/dev/null bs=24 count=1 2>/dev/null || sleep 100000
say 'the button was pressed, going'
poweroff -f
