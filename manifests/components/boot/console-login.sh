#!/bin/sh
# A login on every console of the kernel, again and again, for who knows the password of root.
. /usr/lib/minbuild/init

# This machine's own hash, where it was told one, lies over the image's file; both are root's alone.
take_password() {
    take hash console_password && [ "$hash" ] || return 0
    (umask 077 && printf 'root:%s:::::::\n' "$hash" >/run/shadow)
    mount --bind /run/shadow /etc/shadow && mount -o remount,bind,ro /etc/shadow
}

# A person's processes may be killed when memory is short: they are not the host's own.
serve() {
    echo 0 >/proc/self/oom_score_adj
    until [ -e "$STATE/halting" ]; do
        setsid -c login <"/dev/$1" >"/dev/$1" 2>&1
        nap 1
    done
}

# The terminal of each console=; tty0 is whichever is on the screen, and tty1 is at boot.
terminals() {
    read -r terminals_active </sys/class/tty/console/active
    for terminal in $terminals_active; do
        [ "$terminal" != tty0 ] || terminal=tty1
        [ ! -c "/dev/$terminal" ] || echo "$terminal"
    done
}

start() {
    take_password
    case $(cat /etc/shadow) in
    root:\$*) ;;
    *)
        say login 'FAILED: no password was given, nobody could come in'
        return 1
        ;;
    esac
    open=$(terminals | tr '\n' ' ')
    for terminal in $open; do
        serve "$terminal" &
    done
    say login "on ${open% }"
}

case $1 in
start) start ;;
esac
