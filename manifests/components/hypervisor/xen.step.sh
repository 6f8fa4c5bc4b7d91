#!/bin/sh
# Domain 0: Xen's file system, its store, the entries of domain 0 in it, and the guests' consoles.
. /usr/lib/minbuild/init
# one version, of the suite
set -- "$@" /usr/lib/xen-*/bin
BIN=$2
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
    [ -e "$STATE/halting" ] || say xen "FAILED: xenstored ended (status $status): guests run on, and can be neither started nor stopped before this host restarts"
}

start_store() {
    hold_store &
    tries=200
    until [ -S /run/xenstored/socket ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail 'xenstored did not start'
        nap 0.1
    done
    "$BIN/xen-init-dom0" >/run/xen/init.log 2>&1 || fail "xen-init-dom0: $(cat /run/xen/init.log)"
}

# What xl says of the machine, in one line.
describe() {
    "$BIN/xl" info >/run/xen/info 2>&1 || fail "xl: $(cat /run/xen/info)"
    "$BIN/xl" list 0 >/run/xen/list
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
    mount -t xenfs -o nosuid,nodev,noexec xenfs /proc/xen || fail 'this kernel does not run under Xen'
    read -r role </proc/xen/capabilities
    [ "$role" = control_d ] || fail 'this is a guest of Xen, not its domain 0'
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
