#!/bin/sh
# vm: the guests of this host, one directory each in /data/guests; `vm` alone lists the commands.
# Run as the step 90-guests it starts them all at boot and stops them all before power-off.
. /usr/lib/minbuild/init

GUESTS=/data/guests
RUN=/run/guests
FULL=/usr/bin/qemu-system-x86_64
OVMF=/usr/share/OVMF/OVMF_
KEYS='machine cpus memory kernel initrd cmdline firmware disk net autostart restart stop-wait ready'
LOG_LIMIT=1048576
# /dev/kvm and /dev/vhost-net are for this group; it has no name here, and no other process
# is in it.
GROUP=36

usage() {
    cat <<'END'
vm list              every guest and its state
vm start [NAME]      start a guest, or all with autostart=yes
vm stop [NAME]       power button, then after stop-wait seconds the plug; without NAME all
vm kill NAME         pull the plug
vm status NAME       state, process, memory, disks and network cards
vm log NAME          what the guest wrote on its console
vm console NAME      talk to the guest's console (Ctrl-X leaves)
END
}

# What a guest or its file wrote, without anything that a terminal could obey.
plain() {
    tr -cd ' -~\n' | cut -c 1-400
}

die() {
    echo "vm: error: $*" >&2
    exit 1
}

# --- guest.conf: key=value, one a line; every mistake is reported with its line -----------------

mistake() {
    printf 'vm: error: %s:%s: %s\n' "$conf" "$number" "$*" | plain >&2
    mistakes=$((mistakes + 1))
}

need_number() {
    case $value in
    '' | *[!0-9]* | ???????*) mistake "$key=$value is not a number" ;;
    *) { [ "$value" -ge "$1" ] && [ "$value" -le "$2" ]; } || mistake "$key=$value is not in $1..$2" ;;
    esac
}

need_yes_or_no() {
    case $value in yes | no) ;; *) mistake "$key=$value is neither yes nor no" ;; esac
}

# A path in the guest's directory, or an absolute one. QEMU would take a comma for an option.
need_file() {
    path=$1
    case $1 in
    '' | *[!A-Za-z0-9._/+-]*)
        mistake "$key=$1 has characters that a path here must not have"
        return 0
        ;;
    esac
    case $path in /*) ;; *) path=$GUESTS/$name/$path ;; esac
    [ -e "$path" ] || mistake "$key: $path is not there"
}

# microvm: virtio devices alone, up in a moment. q35: a PC, where the host has the full QEMU.
need_machine() {
    case $value in
    microvm) ;;
    q35) [ -x "$FULL" ] || mistake 'machine=q35 needs the component hypervisor/qemu-full' ;;
    *) mistake "machine=$value is neither microvm nor q35" ;;
    esac
}

read_firmware() {
    firmware=$value
    case $value in
    uefi) [ -e "${OVMF}CODE_4M.fd" ] || mistake 'firmware=uefi needs the component hypervisor/ovmf' ;;
    *) need_file "$value" && firmware=$path read="$read $path" ;;
    esac
}

read_disk() {
    need_file "${value%%,*}"
    format=raw
    case $path in *.qcow2) format=qcow2 ;; esac
    readonly=off
    case $value in
    *,ro) readonly=on ;;
    *,*) mistake "disk=$value: after the comma only ro" ;;
    esac
    if [ "$readonly" = on ]; then read="$read $path"; else written="$written $path"; fi
    disks="$disks file=$path,format=$format,readonly=$readonly"
}

# The shell opens a card's device as a file of one digit, from 3 on.
read_net() {
    split_net "$value" && two='[0-9A-Fa-f][0-9A-Fa-f]' cards=$((cards + 1))
    case $bridge in
    '' | *[!A-Za-z0-9._-]*) mistake "net=$value names no bridge" ;;
    *) [ -d "/sys/class/net/$bridge/bridge" ] || mistake "net: no bridge $bridge" ;;
    esac
    case $address in
    '' | [0-9A-Fa-f][02468ACEace]:$two:$two:$two:$two:$two) ;;
    *) mistake "net=$value is not BRIDGE or BRIDGE,MAC, with or without ,shared" ;;
    esac
    [ "$cards" -le 7 ] || mistake "net=$value: more than 7 cards"
    nets="$nets $value"
}

# split_net BRIDGE[,MAC][,shared]: into `bridge`, `address` and `shared`.
split_net() {
    bridge=${1%%,*} address=${1#*,} shared=yes
    case $1 in
    *,shared) address=${address%shared} && address=${address%,} ;;
    *,*) shared='' ;;
    *) address='' shared='' ;;
    esac
}

read_key() {
    case $key in
    machine) need_machine && machine=$value ;;
    cpus) need_number 1 64 && cpus=$value ;;
    memory) need_number 8 999999 && memory=$value ;;
    kernel) need_file "$value" && kernel=$path read="$read $path" ;;
    initrd) need_file "$value" && initrd=$path read="$read $path" ;;
    firmware) read_firmware ;;
    cmdline) cmdline=$value ;;
    disk) read_disk ;;
    net) read_net ;;
    autostart) need_yes_or_no && autostart=$value ;;
    restart) need_yes_or_no && restart=$value ;;
    stop-wait) need_number 0 3600 && stop_wait=$value ;;
    ready) ready=$value ;;
    *) mistake "unknown key $key (known: $KEYS)" ;;
    esac
}

need_name() {
    case $1 in
    '' | *[!A-Za-z0-9_-]* | ?????????????????????????????????*) die "$1 is no name for a guest" ;;
    esac
}

# read_conf NAME: its settings as variables; 1 when there are mistakes.
read_conf() {
    name=$1 conf=$GUESTS/$1/guest.conf number=0 mistakes=0
    machine=microvm cpus=1 memory=256 kernel='' initrd='' firmware='' cmdline='console=ttyS0 reboot=t panic=-1'
    disks='' nets='' cards=0 read='' written='' autostart=yes restart=yes stop_wait=30 ready=''
    need_name "$name"
    [ -f "$conf" ] || die "no guest $name: $conf is not there (vm list)"
    while IFS= read -r line || [ -n "$line" ]; do
        number=$((number + 1))
        case $line in
        '' | '#'*) continue ;;
        *=*) key=${line%%=*} value=${line#*=} && read_key ;;
        *) mistake "not key=value: $line" ;;
        esac
    done <"$conf"
    [ -n "$kernel$disks" ] || mistake 'neither a kernel nor a disk to start from'
    [ "$firmware" != uefi ] || [ "$machine" = q35 ] || mistake 'firmware=uefi needs machine=q35'
    [ "$mistakes" -eq 0 ]
}

# --- one guest, in the process that keeps it running --------------------------------------------

# Stable for a guest's name and the number of its card.
digest() {
    echo "$name/$1" | md5sum | cut -c 1-8
}

mac() {
    digest "$1" | sed 's/^\(..\)\(..\)\(..\).*/52:54:00:\1:\2:\3/'
}

# The guest's own user, from its name: no other process of the host has it.
user() {
    uid=$((0x40000000 + 0x$(digest user | cut -c 1-7)))
}

# QEMU may write the guest's disks and read what it starts from; all else is root's. What root itself
# opens again lies in directories that QEMU cannot write to.
# shellcheck disable=SC2086 # one word for each file; no path has a space
hand_over() {
    mkdir -p "$dir/own"
    rm -f "$dir/own/qmp"
    ln -sf own/qmp "$dir/qmp"
    chmod a+x "${GUESTS%/*}" "$GUESTS" "$GUESTS/$name"
    chown "$uid:$GROUP" $written "$dir/own" "$dir/console.log" "$dir/control.in" "$dir/control.out"
    chmod u+rw,go= $written "$dir/own"
    [ -z "$read" ] || { chown ":$GROUP" $read && chmod g+r $read; }
}

# A card is a macvtap: the kernel gives it what is sent to its address, and nothing of another guest's. It
# lies on the guests' link to the bridge, whose port is isolated from the host's own: what the guests of
# this link send goes to the uplink, and neither to the host nor to each other, whatever address
# they write into it. A card that is shared has a link of its own, whose port is as any other.
make_cards() {
    drop_cards
    card=0
    for net in $nets; do
        split_net "$net" && tap=vm$(digest "$card")
        [ "$address" ] || address=$(mac "$card")
        if [ "$shared" ]; then
            lower=vs${tap#vm} && pair "$lower" "$bridge" shared && echo "$lower" >>"$dir/cards"
        else
            guests_link && echo "$tap" >>"$dir/cards"
        fi
        ip link add link "$lower" name "$tap" type macvtap
        echo 1 >"/proc/sys/net/ipv6/conf/$tap/disable_ipv6"
        # multicast too: which groups a guest is in, QEMU does not tell
        if ip link set "$tap" address "$address"; then
            ifconfig "$tap" allmulti up
        else
            echo "net=$net: no card has such an address, or another guest's card has it" >&2
            ip link del "$tap"
        fi
        card=$((card + 1))
    done
}

# The link that all guests of `bridge` have in common, in `lower`; the first of them makes it.
guests_link() {
    read -r index <"/sys/class/net/$bridge/ifindex" && lower=guests$index
    if [ ! -e "/sys/class/net/$lower" ] && pair "$lower" "$bridge" guests 2>/dev/null; then
        reached "$lower"
    fi
    await "$lower" 10
}

drop_cards() {
    [ -e "$dir/cards" ] || return 0
    while read -r link; do
        [ ! -e "/sys/class/net/$link" ] || ip link del "$link"
    done <"$dir/cards"
    rm -f "$dir/cards"
}

# Which QEMU runs the guest, and whether it has its filter of system calls: Debian 12's for microvm is
# built without it, is not linked to libseccomp then, and refuses -sandbox.
choose_qemu() {
    program=$FULL-microvm filter=yes
    [ -x "$program" ] || program=$FULL
    [ "$machine" = microvm ] || program=$FULL
    grep -q libseccomp "$program" || filter=
}

# ACPI gives the guest a power button; out of memory takes a guest before the host's own processes.
launch() {
    set -- -name "$name" -cpu host -smp "$cpus" -m "$memory" -nodefaults -no-user-config \
        -display none -no-reboot \
        ${filter:+-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny} \
        -chardev "pty,id=console,logfile=$dir/console.log,logappend=on" \
        -serial chardev:console \
        -chardev "pipe,id=control,path=$dir/control" -mon chardev=control,mode=control \
        -qmp "unix:$dir/own/qmp,server=on,wait=off"
    case $machine in
    microvm) bus=device && set -- "$@" -M microvm,accel=kvm,acpi=on,pic=on,pit=on,rtc=on ;;
    q35) bus=pci && set -- "$@" -M q35,accel=kvm -vga none ;;
    esac
    set -- "$@" -device "virtio-rng-$bus"
    case $firmware in
    '') ;;
    uefi)
        set -- "$@" -drive "if=pflash,format=raw,readonly=on,file=${OVMF}CODE_4M.fd" \
            -drive "if=pflash,format=raw,file=$GUESTS/$name/uefi-vars.fd"
        ;;
    *) set -- "$@" -bios "$firmware" ;;
    esac
    [ -z "$kernel" ] || set -- "$@" -kernel "$kernel" -append "$cmdline"
    [ -z "$initrd" ] || set -- "$@" -initrd "$initrd"
    card=0
    for disk in $disks; do
        set -- "$@" -drive "id=disk$card,if=none,$disk" -device "virtio-blk-$bus,drive=disk$card"
        card=$((card + 1))
    done
    # without a boot ROM of its own a card is never asked before the disk
    rom=
    [ "$bus" != pci ] || rom=,romfile=
    vhost=off
    [ ! -e /dev/vhost-net ] || vhost=on
    card=0
    # shellcheck disable=SC2034 # one round for each
    for net in $nets; do
        open_card "$card"
        set -- "$@" -netdev "tap,id=net$card,fd=$fd,vhost=$vhost" \
            -device "virtio-net-$bus,netdev=net$card,mac=$address$rom"
        card=$((card + 1))
    done
    echo 500 >/proc/self/oom_score_adj
    exec nsenter -G "$GROUP" -S "$uid" "$program" "$@"
}

# open_card NUMBER: its device as the open file `fd`, and its address in `address`.
open_card() {
    tap=/sys/class/net/vm$(digest "$1") fd=$(($1 + 3))
    [ -e "$tap" ] || exit 1
    read -r index <"$tap/ifindex"
    read -r address <"$tap/address"
    eval "exec $fd<>/dev/tap$index"
}

# What a guest's UEFI remembers is kept beside its disks.
keep_uefi_variables() {
    vars=$GUESTS/$name/uefi-vars.fd
    [ "$firmware" = uefi ] || return 0
    written="$written $vars"
    [ -e "$vars" ] || { cat "${OVMF}VARS_4M.fd" >"$vars.new" && mv "$vars.new" "$vars"; }
}

# "char device redirected to /dev/pts/0 (label console)", which QEMU says before its guest runs.
find_console() {
    while read -r word _ _ _ console _; do
        [ "$word" != char ] || return 0
    done <"$dir/qemu.log"
    return 1
}

# Wait until QEMU is set up, and look at what it may do.
settle() {
    until find_console; do
        [ -e "/proc/$qemu" ] || return 0
        nap 0.1
    done
    ln -sf "$console" "$dir/console"
    while read -r field value _; do
        case $field in
        Uid:) seen="user $value" ;;
        NoNewPrivs:) seen="$seen, no_new_privs $value" ;;
        Seccomp:) seen="$seen, seccomp $value" ;;
        esac
    done <"/proc/$qemu/status"
    [ "$filter" ] || seen="${seen%%,*}, no filter in this QEMU"
    say confined "guest $name: $seen, /dev/kvm $(stat -c '%a %u:%g' /dev/kvm)"
}

# The ready line is looked for, and the console's log kept below its limit.
watch() {
    pause=0.3
    [ -n "$ready" ] || pause=5
    while nap "$pause"; do
        if [ "$pause" != 5 ] && found=$(grep -m 1 -F -e "$ready" "$dir/console.log"); then
            say "guest $name" "ready: $(echo "$found" | plain)"
            pause=5
        fi
        [ "$(wc -c <"$dir/console.log")" -le "$LOG_LIMIT" ] || {
            tail -c 262144 "$dir/console.log" >"$dir/console.log.old"
            : >"$dir/console.log"
        }
    done
}

run_once() {
    [ ! -e "$dir/console.log" ] || mv "$dir/console.log" "$dir/console.log.old"
    : >"$dir/console.log"
    rm -f "$dir/console"
    : >"$dir/qemu.log"
    { user && keep_uefi_variables && make_cards && hand_over; } 2>>"$dir/qemu.log"
    choose_qemu
    launch >>"$dir/qemu.log" 2>&1 </dev/null &
    qemu=$!
    echo "$qemu" >"$dir/qemu.pid"
    say "guest $name" "started (pid $qemu, $cpus cpus, $memory MiB)"
    (settle && watch) 2>/dev/null &
    watcher=$!
    wait "$qemu"
    status=$?
    kill "$watcher"
    drop_cards
    rm -f "$dir/qemu.pid"
}

supervise() {
    # also when a person started the guest, whose own processes may be killed
    echo -1000 >/proc/self/oom_score_adj
    pause=1
    mkfifo -m 600 "$dir/control.in" "$dir/control.out" 2>/dev/null
    while read_conf "$name" 2>"$dir/qemu.log"; do
        seconds
        from=${now:?}
        run_once
        if [ -e "$dir/stopping" ] || [ "$restart" = no ]; then break; fi
        seconds
        [ $((now - from)) -le 60 ] || pause=1
        say "guest $name" "ended (status $status), again in $pause s: $(tail -n 1 "$dir/qemu.log" | plain)"
        nap "$pause"
        [ ! -e "$dir/stopping" ] || break
        pause=$((pause < 32 ? pause * 2 : 60))
    done
    say "guest $name" "stopped (status ${status-1})"
    rm -f "$dir/pid"
}

# --- commands -----------------------------------------------------------------------------------

is_running() {
    [ -e "$RUN/$1/pid" ] && kill -0 "$(cat "$RUN/$1/pid" 2>/dev/null)" 2>/dev/null
}

need_guest() {
    [ -n "${1-}" ] || die 'which guest? see vm list'
    read_conf "$1" || exit 1
    dir=$RUN/$1
}

# A guest that runs can be stopped whatever became of its file.
need_running() {
    [ -n "${1-}" ] || die 'which guest? see vm list'
    need_name "$1"
    dir=$RUN/$1
    is_running "$1" && return 0
    [ -f "$GUESTS/$1/guest.conf" ] || die "no guest $1: $GUESTS/$1/guest.conf is not there (vm list)"
    die "$1 is not running: vm start $1"
}

names() {
    for entry in "$GUESTS"/*/guest.conf; do
        entry=${entry%/guest.conf}
        [ "$entry" = "$GUESTS/*" ] || echo "${entry##*/}"
    done
}

start_one() {
    need_guest "$1"
    ! is_running "$1" || die "$1 is already running"
    [ -c /dev/kvm ] || die 'no /dev/kvm: the processor or the firmware offers no virtualisation'
    free=$(($(awk '/^MemAvailable:/ {print $2}' /proc/meminfo) / 1024))
    [ "$memory" -lt "$free" ] || die "$1 needs $memory MiB, of $free MiB that are free"
    mkdir -p "$dir" && rm -f "$dir/pid" "$dir/stopping"
    setsid /usr/bin/vm supervise "$1" </dev/null >/dev/null 2>&1 &
    echo $! >"$dir/pid"
}

stop_one() {
    need_running "$1"
    left=$(read_conf "$1" >/dev/null 2>&1 && echo "$stop_wait")
    left=${left:-30}
    : >"$dir/stopping"
    control system_powerdown
    while is_running "$1" && [ "$left" -gt 0 ]; do
        nap 1
        left=$((left - 1))
    done
    ! is_running "$1" || kill_one "$1"
}

kill_one() {
    need_running "$1"
    : >"$dir/stopping"
    control quit
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        is_running "$1" || return 0
        nap 0.2
    done
    kill -9 "$(cat "$dir/qemu.pid")" "$(cat "$dir/pid")" 2>/dev/null
    drop_cards
    rm -f "$dir/pid"
}

# control COMMAND: to the guest's QEMU; a pipe that nobody reads would wait for ever.
control() {
    [ -p "$dir/control.in" ] || return 0
    # shellcheck disable=SC2016 # $1 and $2 are the inner shell's
    timeout 2 sh -c 'printf "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"%s\"}\n" "$1" >"$2"' \
        control "$1" "$dir/control.in" || true
}

list_all() {
    printf '%-24s %-8s %5s %8s %6s\n' NAME STATE CPUS MEMORY PID
    for name in $(names); do
        state=stopped pid=-
        ! is_running "$name" || state=waiting
        [ "$state" = stopped ] || [ ! -e "$RUN/$name/qemu.pid" ] || {
            state=running
            pid=$(cat "$RUN/$name/qemu.pid")
        }
        read_conf "$name" 2>/dev/null || state=mistaken
        printf '%-24s %-8s %5s %8s %6s\n' "$name" "$state" "$cpus" "$memory" "$pid"
    done
}

status_one() {
    need_guest "$1"
    state=stopped
    ! is_running "$1" || state=running
    printf '%s=%s\n' name "$1" state "$state" cpus "$cpus" memory "$memory" autostart "$autostart" \
        restart "$restart" pid "$(cat "$dir/qemu.pid" 2>/dev/null)" disks "${disks# }" nets "${nets# }"
}

show_log() {
    need_guest "$1"
    [ -f "$dir/console.log" ] || die "$1 has not run since the host started"
    cat "$dir/console.log"
}

start_all() {
    mkdir -p "$RUN"
    for name in $(names); do
        (read_conf "$name" && { [ "$autostart" = no ] || start_one "$name"; }) 2>"$RUN/errors" ||
            say "guest $name" "FAILED: $(sed -n 's/^vm: error: //p' "$RUN/errors" | head -n 1 | plain)"
    done
}

stop_all() {
    for name in $(names); do
        ! is_running "$name" || (stop_one "$name") &
    done
    wait
}

report_kvm() {
    if [ ! -c /dev/kvm ]; then
        say kvm 'FAILED: no /dev/kvm'
        return 1
    fi
    for device in /dev/kvm /dev/vhost-net; do
        [ ! -c "$device" ] || { chown "0:$GROUP" "$device" && chmod 660 "$device"; }
    done
    vendor=amd
    [ ! -d /sys/module/kvm_intel ] || vendor=intel
    say kvm "/dev/kvm ready ($vendor)"
}

at_boot() {
    await modules 20
    kvm=0
    report_kvm || kvm=1
    if await data-settled 30 && [ -e "${STATE:?}/data" ]; then
        await network 30
        # what makes more bridges is waited for: guests may be on them
        for more in bridges nat; do
            [ ! -e "$STEPS/35-$more" ] || await "$more" 30
        done
        start_all
    fi
    say guests "$(names | wc -l) found on the data partition"
    return "$kvm"
}

[ "${0##*/}" != 90-guests ] || case $1 in
start) at_boot && exit 0 || exit 1 ;;
stop) stop_all && exit 0 || exit 1 ;;
esac

[ $# -le 2 ] || die "one guest at a time: $*"
case ${1-} in
'') usage ;;
list) list_all ;;
start) if [ -n "${2-}" ]; then start_one "$2"; else start_all; fi ;;
stop) if [ -n "${2-}" ]; then stop_one "$2"; else stop_all; fi ;;
kill) kill_one "${2-}" ;;
status) status_one "${2-}" ;;
log) show_log "${2-}" ;;
console) need_running "${2-}" && microcom "$dir/console" ;;
supervise) name=$2 dir=$RUN/$2 && supervise ;;
*)
    usage >&2
    die "there is no command $1"
    ;;
esac
