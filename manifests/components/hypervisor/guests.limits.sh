# shellcheck shell=sh
# The part of vm that gives a guest of QEMU its share of the machine: processors and memory nodes, time,
# what its disks move, huge pages. All of it is the guest's cgroup but the pages, which are QEMU's.

HUGE=/sys/kernel/mm/hugepages/hugepages-2048kB
CPUS_PRESENT=/sys/devices/system/cpu/present
NODES_PRESENT=/sys/devices/system/node/possible

# need_controller NAME: that the kernel has this part of cgroups.
need_controller() {
    controllers=
    [ ! -e "$LIMITS/cgroup.controllers" ] || read -r controllers <"$LIMITS/cgroup.controllers"
    case " $controllers " in
    *" $1 "*) ;;
    *) mistake "$key: this host's kernel has no cgroup controller $1" ;;
    esac
}

# need_list FILE: a list as 0-3,8, of numbers up to the last one that FILE names.
need_list() {
    last=0
    [ ! -e "$1" ] || read -r last <"$1"
    last=${last##*[-,]}
    list_rest=$value,
    while [ "$list_rest" ]; do
        item=${list_rest%%,*}
        list_rest=${list_rest#*,}
        case ${item%%-*}:${item#*-} in
        *[!0-9:]* | :* | *: | 0[0-9]* | *:0[0-9]* | *?????:* | *:?????*)
            mistake "$key=$value is no list such as 0-3,8"
            return 0
            ;;
        esac
        if [ "${item%%-*}" -gt "${item#*-}" ] || [ "${item#*-}" -gt "$last" ]; then
            mistake "$key=$value: this host has 0 to $last"
            return 0
        fi
    done
}

# Without hugetlb in the kernel there is no such directory.
need_huge_pages() {
    need_yes_or_no
    [ "$value" = no ] || [ -e "$HUGE" ] || mistake "$key=yes: this host's kernel has no pages of 2 MiB"
}

# read_own_key: those that QEMU and cgroups alone serve; 1 for a key that is none.
read_own_key() {
    case $key in
    pin) need_controller cpuset && need_list "$CPUS_PRESENT" && pin=$value ;;
    nodes) need_controller cpuset && need_list "$NODES_PRESENT" && nodes=$value ;;
    cpu-limit) need_controller cpu && need_number 1 6400 && cpu_limit=$value ;;
    cpu-weight) need_controller cpu && need_number 1 10000 && cpu_weight=$value ;;
    disk-rate) need_controller io && need_number 1 99999 && disk_rate=$value ;;
    disk-ops) need_controller io && need_number 1 999999 && disk_ops=$value ;;
    huge-pages) need_huge_pages && huge_pages=$value ;;
    balloon) need_yes_or_no && balloon=$value ;;
    *) return 1 ;;
    esac
}

forget_own_keys() {
    pin='' nodes='' cpu_limit='' cpu_weight='' disk_rate='' disk_ops='' huge_pages=no balloon=no
}

# Whether there is room for a guest with huge pages.
need_huge_room() {
    read -r free <"$HUGE/free_hugepages"
    [ "$memory" -le $((free * 2)) ] ||
        die "$name needs $memory MiB of huge pages, of $((free * 2)) MiB that are free (huge_pages of the image)"
}

# The controllers that a kernel has, for the guests' cgroups; a guest that asks for another is refused.
open_controllers() {
    for controller in memory pids cpu cpuset io; do
        echo "+$controller" >"$LIMITS/cgroup.subtree_control"
    done 2>/dev/null
}

# The pages are taken while memory is in one piece still.
take_huge_pages() {
    [ "$HUGE_PAGES" -gt 0 ] || return 0
    if [ ! -e "$HUGE" ]; then
        say huge-pages "FAILED: this kernel has no pages of 2 MiB"
        return 1
    fi
    echo "$HUGE_PAGES" >"$HUGE/nr_hugepages"
    read -r taken <"$HUGE/nr_hugepages"
    failed=
    [ "$taken" -eq "$HUGE_PAGES" ] || failed='FAILED: '
    say huge-pages "$failed$taken of $HUGE_PAGES pages of 2 MiB taken"
}

# set_limit FILE VALUE: of the guest's cgroup; what the kernel refuses is in the guest's log.
set_limit() {
    [ -z "$2" ] || echo "$2" >"$LIMITS/guest-$name/$1"
}

# At most this much memory and this many processes, whatever becomes of QEMU. What it needs beside the
# guest's memory is about 60 MiB, and up to 32 MiB for the tables of each qcow2.
limit() {
    [ -e "$LIMITS/cgroup.procs" ] && mkdir -p "$LIMITS/guest-$name" || return 0
    set_limit memory.max $(((memory + 256 + 40 * disk_count) << 20))
    set_limit pids.max $((cpus + 160))
    set_limit cpuset.cpus "$pin"
    set_limit cpuset.mems "$nodes"
    set_limit cpu.max "${cpu_limit:+$((${cpu_limit:-0} * 1000)) 100000}"
    set_limit cpu.weight "$cpu_weight"
    [ -z "$disk_rate$disk_ops" ] || limit_disks
}

# Each device that the guest's disks lie on: reading and writing as much, each.
limit_disks() {
    limits=
    [ -z "$disk_rate" ] || limits=" rbps=$((disk_rate << 20)) wbps=$((disk_rate << 20))"
    [ -z "$disk_ops" ] || limits="$limits riops=$disk_ops wiops=$disk_ops"
    done=' '
    for disk in $disks; do
        path=${disk#file=}
        find_device "${path%%,*}"
        case $done in *" $device "*) continue ;; esac
        done="$done$device "
        set_limit io.max "$device$limits"
    done
}

# find_device PATH: the whole device that a file lies on, or that it is, in `device` as MAJOR:MINOR.
find_device() {
    # shellcheck disable=SC2046 # three words
    set -- "$1" $(stat -c '%d %t %T' "$1")
    device=$(($2 >> 8 & 4095)):$(($2 & 255 | $2 >> 12 & 1048320))
    [ ! -b "$1" ] || device=$((0x$3)):$((0x$4))
    [ ! -e "/sys/dev/block/$device/partition" ] || read -r device <"/sys/dev/block/$device/../dev"
}

# give_memory NAME MIB: what a guest with a balloon keeps.
give_memory() {
    need_running "${1-}"
    read_conf "$1" || exit 1
    [ "$balloon" = yes ] || die "$1 has no balloon: balloon=yes in its guest.conf, and start it anew"
    case ${2-} in '' | *[!0-9]* | 0* | ???????*) die "vm memory $1 MIB: ${2:-nothing} is not a number" ;; esac
    { [ "$2" -ge 8 ] && [ "$2" -le "$memory" ]; } || die "vm memory $1 $2: not in 8..$memory, its memory"
    control balloon ",\"arguments\":{\"value\":$(($2 << 20))}" ||
        die "vm memory $1 $2: its QEMU did not take the order within 2 s; try again, or see vm log $1"
}
