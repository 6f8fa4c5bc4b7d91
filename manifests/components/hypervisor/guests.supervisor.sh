# shellcheck shell=sh
# The part of vm that runs QEMU for one guest, once.

# The guest's own user: the next number, which no other guest has before the host starts again. Nothing
# that lasts belongs to it.
choose_user() {
    [ ! -s "$dir/user" ] || return 0
    set -C
    number=1
    until { echo "$name"; } 2>/dev/null >"$RUN/.users/$number"; do
        number=$((number + 1))
    done
    set +C
    echo $((USERS + number)) >"$dir/user"
}

# The one child of unshare, which ends with it: first `inside`, then QEMU.
find_qemu() {
    qemu='' word=''
    while [ -z "$qemu" ]; do
        read -r word <"/proc/$launcher/comm"
        # a file without a line's end, of which read says 1
        [ "$word" != unshare ] || read -r qemu _ <"/proc/$launcher/task/$launcher/children" || [ -z "$qemu" ] || break
        read -r _ _ word _ <"/proc/$launcher/stat" && [ "$word" != Z ] || return 1
        nap 0.05
    done
}

# Wait until QEMU is set up, and look at what it may do.
settle() {
    until [ -c "$root/dev/pts/0" ]; do
        [ -e "/proc/$qemu" ] || return 0
        nap 0.1
    done
    ln -sf root/dev/pts/0 "$dir/console"
    say confined "$(confirm)"
}

# Tried as QEMU's user where QEMU is: each line that comes of it is a hole.
tries() {
    cat <<'END'
for place in /data /proc /sys /run /etc /tmp /var /boot /dev/mem /dev/kmsg /dev/log /dev/vda; do
    [ ! -e "$place" ] || echo "sees $place"
done
for place in / /dev /usr /usr/bin; do
    (: >"$place/.tried") 2>/dev/null && echo "writes to $place"
done
[ "$(ip link | grep -c "^[0-9]")" = 1 ] || echo "has a network"
END
}

confirm() {
    while read -r field value _; do
        case $field in
        Uid:) seen="user $value" ;;
        NoNewPrivs:) seen="$seen, no_new_privs $value" ;;
        Seccomp:) seen="$seen, seccomp $value" ;;
        esac
    done <"/proc/$qemu/status"
    [ "$filter" ] || seen="${seen%, seccomp*}, no filter in this QEMU"
    own=
    for world in mnt pid net ipc uts; do
        # shellcheck disable=SC2046 # two numbers
        set -- $(stat -L -c %i "/proc/1/ns/$world" "/proc/$qemu/ns/$world")
        [ "${1-}" = "${2-}" ] || own="$own $world"
    done
    read -r group <"/proc/$qemu/cgroup"
    [ "$group" != "0::/guest-$name" ] || own="$own cgroup"
    tried=$(nsenter -t "$qemu" -m -u -i -n -r -w -G "$GROUP" -S "$uid" /usr/bin/sh -c "$(tries)" 2>&1 | tr '\n' ' ' | plain)
    echo "guest $name: $seen, /dev/kvm $(stat -c '%a %u:%g' /dev/kvm), own$own, ${tried:-nothing of the host in reach}"
}

run_once() {
    root=$dir/root
    rm -f "$dir/console"
    choose_user
    read -r uid <"$dir/user"
    make_root 2>"$dir/errors"
    {
        make_cards
        choose_qemu
        limit
    } 2>>"$root/qemu.log"
    (
        open_cards
        # out of memory takes a guest before the host's own processes
        echo 0 >"$LIMITS/guest-$name/cgroup.procs"
        echo 500 >/proc/self/oom_score_adj
        exec unshare -m -u -i -n -p -f /usr/bin/vm inside "$name"
    ) >>"$root/qemu.log" 2>&1 </dev/null &
    launcher=$!
    watcher=
    if find_qemu 2>/dev/null; then
        echo "$qemu" >"$dir/qemu.pid"
        say "guest $name" "started (pid $qemu, $cpus cpus, $memory MiB)"
        (settle && watch) 2>/dev/null &
        watcher=$!
    fi
    wait "$launcher"
    status=$?
    [ -z "$watcher" ] || kill "$watcher"
    end_all
    drop_cards
    rm -f "$dir/qemu.pid"
}

# QEMU, which no file names any more.
cut_off() {
    kill -9 "$qemu"
}

# Nothing of the guest goes on.
end_all() {
    [ ! -e "$LIMITS/guest-$name/cgroup.kill" ] || echo 1 >"$LIMITS/guest-$name/cgroup.kill"
}
