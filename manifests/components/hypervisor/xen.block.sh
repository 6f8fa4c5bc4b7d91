#!/bin/sh
# What libxl runs for a guest's disk: XENBUS_PATH=backend/vbd/DOMAIN/DEVICE block add|remove.
# Source: Xen, docs/misc/block-scripts.txt, xl-disk-configuration(5). A file gets a loop device of its own.
. /usr/lib/minbuild/init

fail() {
    xenstore-write "$XENBUS_PATH/hotplug-error" "$*" "$XENBUS_PATH/hotplug-status" error
    say guests "FAILED: disk: $*"
    exit 1
}

# The file is opened once, and the descriptor asked what it is: `vm` looked at a name, which is no proof.
open_file() {
    case $mode in
    w*) exec 3<>"$path" ;;
    *) exec 3<"$path" ;;
    esac
    [ "$(readlink /proc/self/fd/3)" = "$path" ] || fail "$path is another file now"
    [ "$(stat -L -c '%F:%h' /proc/self/fd/3)" = 'regular file:1' ] || fail "$path is no regular file now, or has a second name"
}

# Others may take the device that is free between the question and the answer.
attach() {
    tries=50
    while [ "$tries" -gt 0 ]; do
        device=$(losetup -f) || fail 'there is no loop device'
        case $mode in
        w*) losetup "$device" /proc/self/fd/3 2>/dev/null && return 0 ;;
        *) losetup -r "$device" /proc/self/fd/3 2>/dev/null && return 0 ;;
        esac
        tries=$((tries - 1))
        nap 0.1
    done
    fail "$path: no loop device took it"
}

case $1 in
add)
    path=$(xenstore-read "$XENBUS_PATH/params")
    mode=$(xenstore-read "$XENBUS_PATH/mode")
    if [ -b "$path" ]; then
        device=$path
    else
        open_file
        attach
        xenstore-write "$XENBUS_PATH/node" "$device"
    fi
    xenstore-write "$XENBUS_PATH/physical-device" "$(stat -L -c '%t:%T' "$device")" \
        "$XENBUS_PATH/hotplug-status" connected
    ;;
remove)
    device=$(xenstore-read "$XENBUS_PATH/node" 2>/dev/null) || exit 0
    losetup -d "$device"
    ;;
esac
