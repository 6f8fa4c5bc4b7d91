#!/bin/sh
# The last words of a kernel that panicked: what the firmware kept of them is told, and goes to the data
# partition. Source: Linux, Documentation/ABI/testing/pstore.
. /usr/lib/minbuild/init

RECORDS=/sys/fs/pstore
KEPT=/data/panics
# so many of them
MOST=20

# is_of TIME RECORD: of the panic that began then; the firmware may take seconds to write one down.
is_of() {
    record_time=$(stat -c %Y "$2")
    [ "$record_time" -ge "$1" ] && [ "$record_time" -lt $(($1 + 60)) ]
}

# words_of TIME: the log of that panic, oldest line first. Its records are numbered from its end, and each
# has a line of its own before it: `Panic#1 Part2`.
words_of() {
    parts=
    for record in "$RECORDS"/dmesg-*; do
        ! is_of "$1" "$record" || parts="$record $parts"
    done
    for record in $parts; do
        sed 1d "$record"
    done
}

# reason FILE: why the kernel stopped, else the last line.
reason() {
    grep -o -m 1 -e 'Kernel panic - .*' -e 'Oops: .*' "$1" || tail -n 1 "$1"
}

# The data partition may have been written by another: nothing that is there is followed.
can_keep() {
    await data-settled 600 && [ -e "$STATE/data" ] && [ ! -L "$KEPT" ] && mkdir -p "$KEPT"
}

# keep_words TIME: out of the firmware's memory, which is small, once they are in a file.
keep_words() {
    rm -f "$KEPT/$1.txt"
    (set -C && cat /run/panic >"$KEPT/$1.txt") || return 1
    for record in "$RECORDS"/dmesg-*; do
        ! is_of "$1" "$record" || rm "$record"
    done
}

forget_old() {
    # shellcheck disable=SC2046 # one word for each
    set -- $(cd "$KEPT" && ls)
    while [ $# -gt "$MOST" ]; do
        rm -f "$KEPT/$1"
        shift
    done
}

tell_all() {
    times=$(stat -c %Y "$RECORDS"/dmesg-* 2>/dev/null | sort -u)
    kept=
    [ -z "$times" ] || ! can_keep || kept=yes
    last=0
    for time in $times; do
        [ "$time" -ge $((last + 60)) ] || continue
        last=$time
        words_of "$time" >/run/panic
        say pstore "the kernel stopped at $(date -u -d "@$time" +%Y-%m-%dT%H:%M:%SZ): $(reason /run/panic)"
        if [ "$kept" ] && keep_words "$time"; then
            say pstore "its last $(wc -l </run/panic) lines are in $KEPT/$time.txt"
        else
            say pstore "its last lines stay in $RECORDS"
        fi
    done
    rm -f /run/panic
    [ -z "$kept" ] || forget_old
}

start() {
    await modules 120
    mount -t pstore -o nosuid,nodev,noexec pstore "$RECORDS" || return 1
    read -r backend </sys/module/pstore/parameters/backend
    case $backend in
    '' | '(null)')
        say pstore 'nothing of this machine keeps the words of a panic: neither UEFI nor ERST'
        return 0
        ;;
    esac
    say pstore "$backend keeps the last words of a panic"
    tell_all
}

case $1 in
start)
    start || say pstore 'FAILED: the last words of a panic are not to be read'
    ;;
esac
