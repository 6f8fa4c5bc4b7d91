#!/bin/bash
# The only process of the builder's own: takes the order from /dev/vda, works on /dev/vdb, leaves
# what came of it as a tar on /dev/vdc; dib lies on /dev/vdd. Lines on the console are dib's log.
export PATH=/usr/bin:/usr/sbin HOME=/root LC_ALL=C
full="what dib wrote is lost: the build machine's disk is full"

say() {
    echo "builder: $1" >/dev/console
}

# Init must not end, whatever happens.
off() {
    sync
    poweroff -f
    sleep infinity
}

fail() {
    say "error: $1"
    off
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs run /run
ln -sf /proc/self/fd /dev/fd
read -r release </proc/sys/kernel/osrelease
# shellcheck disable=SC2046 # one word for each name
modprobe -a $(sed 's|:.*||; s|.*/||; s|[.]ko.*||' "/usr/lib/modules/$release/modules.dep")
mkfs.ext4 -q -F -O ^has_journal -E nodiscard -m 0 /dev/vdb || fail 'the work disk takes no file system'
mount -o noatime /dev/vdb /job || fail 'the work disk cannot be mounted'
mkdir /job/tmp
mount --bind /job/tmp /tmp
chmod 1777 /tmp
tar -x -f /dev/vdd -C / || fail 'dib cannot be read'
tar -x -f /dev/vda -C /job || fail 'the order cannot be read'
mkdir -p /job/out
cd /job || fail 'there is no work disk'
say started
bash /job/order/run
code=$?
echo "$code" >/job/out/.code
df -B1 --output=avail /job | tail -n 1 >/job/out/.free
say "disk-image-create ended with $code"
# writes are late: that a disk here has no space behind it is told to who asks
sync -f /job || fail "$full"
tar -c -S --format=gnu -f /dev/vdc -C /job/out . || fail 'the result does not fit on its disk'
sync /dev/vdc || fail "$full"
say 'done'
off
