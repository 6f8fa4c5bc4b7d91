#!/bin/sh
# Domain 0: Xen's file system, its store, the entries of domain 0 in it, and the guests' consoles.
. /usr/lib/minbuild/init
# one version, of the suite
for BIN in /usr/lib/xen-*/bin; do :; done
CONSOLES=/run/xen/console

fail() {
    say xen "FAILED: $*"
    exit 1
}

# A store that ended has lost what every domain knew of the others: one that starts anew would be empty.
# Guests run on, and `vm` cannot reach them before the machine starts again.
hold_store() {
    "$BIN/xenstored" -N </dev/null >/run/xen/xenstored.log 2>&1
    status=$?
    lost xen
    [ -e "$STATE/halting" ] || say xen "FAILED: xenstored ended (status $status): $(tail -n 1 /run/xen/xenstored.log); guests run on, and can be neither started nor stopped until this host restarts"
}

start_store() {
    hold_store &
    store=$!
    tries=600
    until [ -S /run/xenstored/socket ]; do
        # what it ended of is said already
        kill -0 "$store" 2>/dev/null || exit 1
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail 'xenstored has not opened /run/xenstored/socket in 60 s: restart this host'
        nap 0.1
    done
    "$BIN/xen-init-dom0" >/run/xen/init.log 2>&1 ||
        fail "xen-init-dom0 could not enter domain 0 in the store: $(tail -n 1 /run/xen/init.log)"
}

# What xl says of the machine, in one line.
describe() {
    "$BIN/xl" info >/run/xen/info 2>&1 || fail "xl info: $(tail -n 1 /run/xen/info)"
    "$BIN/xl" list 0 >/run/xen/list 2>&1 || fail "xl list 0: $(tail -n 1 /run/xen/list)"
    awk '
        FILENAME ~ /list/ { if (FNR == 2) mine = $3; next }
        /^xen_version/ { version = $3 }
        /^total_memory/ { total = $3 }
        /^free_memory/ { free = $3 }
        /^virt_caps/ { for (i = 3; i <= NF; i++) caps = caps (caps ? "," : "") $i }
        END { print "Xen " version ", domain 0 has " mine " of " total " MiB, " free " MiB free, " caps }
    ' /run/xen/list /run/xen/info
}

start() {
    await modules 60
    mount -t xenfs -o nosuid,nodev,noexec xenfs /proc/xen ||
        fail 'xenfs cannot be mounted on /proc/xen: Linux was started without Xen; start the EFI file of the image by UEFI'
    read -r role </proc/xen/capabilities
    [ "$role" = control_d ] ||
        fail "/proc/xen/capabilities is '$role', not control_d: this machine is a guest of another Xen"
    mkdir -p "$CONSOLES" /run/xenstored /run/lock /var/lib/xen/xenstore
    start_store
    keep xenconsoled "$BIN/xenconsoled" -i --log=guest "--log-dir=$CONSOLES" &
    line=$(describe) || exit 1
    say xen "$line"
    reached xen
}

case $1 in
start) start ;;
esac
