# shellcheck shell=sh
# The part of vm that answers for QEMU and KVM what the other parts ask of every driver: what guest.conf
# may say, whether there is room, how a guest is asked to stop.

MACHINE=microvm
# of addresses that no maker has, QEMU's
MAC_RANGE=52:54:00
CMDLINE='console=ttyS0 reboot=t panic=-1'
FULL=/usr/bin/qemu-system-x86_64
OVMF=/usr/share/OVMF/OVMF_
# /dev/kvm and /dev/vhost-net are for this group; it has no name here, and no other process
# is in it.
GROUP=36
# Guests' users begin behind this number.
USERS=1073741824
LIMITS=/sys/fs/cgroup
# What network/guest-filter brings.
FILTER=/usr/lib/minbuild/steps/36-guest-filter

# Files that QEMU opens by their names are read by the guest's group; one that others share stays as it is.
need_readable() {
    need_file "$1"
    case $path:$(stat -c %a "$path" 2>/dev/null) in
    "$GUESTS/$name"/* | *[4567] | *:) ;;
    *) mistake "$key: $path must be readable for all (chmod o+r)" ;;
    esac
}

# A qcow2 can name further files, which QEMU would open. Source: QEMU, docs/interop/qcow2.txt: the name's
# place at byte 8, the flag of an external data file in byte 79.
need_alone() {
    # shellcheck disable=SC2046 # one word for each byte
    set -- $(od -A n -v -t u1 -N 80 "$path" 2>/dev/null)
    if [ $# -lt 80 ] || [ "$1 $2 $3 $4" != '81 70 73 251' ]; then
        mistake "disk: $path is no qcow2"
        return 0
    fi
    version=$8
    shift 8
    [ "$1$2$3$4$5$6$7$8" = 00000000 ] || mistake "disk: $path has a backing file: qemu-img convert makes it whole"
    shift 71
    [ "$version" -lt 3 ] || [ $(($1 >> 2 & 1)) -eq 0 ] ||
        mistake "disk: $path has its data in another file: qemu-img convert makes it whole"
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
    uefi)
        [ -e "${OVMF}CODE_4M.fd" ] || mistake 'firmware=uefi needs the component hypervisor/ovmf'
        path=$GUESTS/$name/uefi-vars.fd
        [ ! -e "$path" ] && [ ! -L "$path" ] || need_plain_file
        ;;
    *) need_readable "$value" && firmware=$path ;;
    esac
}

# An IPv4 address beside a card is nothing without what holds the guest to it.
need_filter() {
    [ -x "$FILTER" ] || mistake "net=$value: IPv4 addresses need the component network/guest-filter"
}

need_format() {
    [ "$format" = raw ] || need_alone
}

read_cmdline() {
    cmdline=$value
}

need_start() {
    [ -n "$kernel$disks" ] || mistake 'neither a kernel nor a disk to start from'
    [ "$huge_pages" = no ] || [ $((memory % 2)) -eq 0 ] || mistake "huge-pages=yes: memory=$memory is no whole pages of 2 MiB"
    [ "$firmware" != uefi ] || [ "$machine" = q35 ] || mistake 'firmware=uefi needs machine=q35'
}

# Whether the guest that was read can be started now.
need_room() {
    [ -c /dev/kvm ] || die 'no /dev/kvm: the processor or the firmware offers no virtualisation'
    if [ "$huge_pages" = yes ]; then
        need_huge_room
        return 0
    fi
    free=$(($(awk '/^MemAvailable:/ {print $2}' /proc/meminfo) / 1024))
    [ "$memory" -lt "$free" ] || die "$name needs $memory MiB, of $free MiB that are free"
}

press_button() {
    control system_powerdown || true
}

pull_plug() {
    control quit || true
}

# What is left of a guest whose plug was pulled in vain.
clear_up() {
    kill -9 "$(cat "$dir/qemu.pid")" "$(cat "$dir/pid")" 2>/dev/null
    end_all
    drop_cards
}

# number_of GUEST: its process, as long as there is one.
number_of() {
    cat "$RUN/$1/qemu.pid" 2>/dev/null
}

# control COMMAND [JSON]: to the guest's QEMU, with its arguments; a pipe that nobody reads would wait for ever.
control() {
    [ -p "$dir/control.in" ] || return 1
    # shellcheck disable=SC2016 # $1 to $3 are the inner shell's
    timeout 2 sh -c 'printf "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"%s\"%s}\n" "$1" "$2" >"$3"' \
        control "$1" "${2-}" "$dir/control.in"
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
    ! grep -qw vmx /proc/cpuinfo || vendor=intel
    say kvm "/dev/kvm ready ($vendor)"
}

# Before any guest is started.
prepare_host() {
    await modules 60
    mount -t cgroup2 -o nosuid,nodev,noexec guests "$LIMITS" && open_controllers
    take_huge_pages
    report_kvm
}

open_console() {
    microcom "$dir/console"
}

# own_command COMMAND GUEST [MIB]: what this driver alone has.
own_command() {
    case $1 in
    inside) inside "$2" ;;
    memory) give_memory "${2-}" "${3-}" ;;
    *) return 1 ;;
    esac
}

own_usage() {
    echo 'vm memory NAME MIB   what a guest with balloon=yes keeps of its memory'
}

# Why the guest's process ended, in its own words.
last_words() {
    tail -n 1 "$root/qemu.log" | plain
}
