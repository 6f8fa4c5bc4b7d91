#!/bin/sh
# Waits for the power button: a key event of 24 bytes. Source: linux/input.h, struct input_event.
. /usr/lib/minbuild/init

# Bytes 16 and 18 are type (1: a key) and code (116: power), byte 20 is 1 when it goes down.
listen() {
    while event=$(dd if="$1" bs=24 count=1 2>/dev/null | hexdump -v -e '24/1 "%d "') && [ -n "$event" ]; do
        # shellcheck disable=SC2086 # one word for each byte
        set -- "$1" $event
        shift_to_type "$@" || continue
        say power 'the button was pressed'
        poweroff
        return
    done
}

shift_to_type() {
    shift 17
    [ "$1" = 1 ] && [ "$3" = 116 ] && [ "$5" = 1 ]
}

start() {
    await modules 20
    count=0
    for dir in /sys/class/input/event*; do
        read -r name <"$dir/device/name" 2>/dev/null || continue
        case $name in
        *Power*Button*)
            listen "/dev/input/${dir##*/}" &
            count=$((count + 1))
            ;;
        esac
    done
    say power "$count power buttons"
}

case $1 in
start) start ;;
esac
