# shellcheck shell=sh
# The part of vm that answers for Xen what the other parts ask of every driver, and runs one domain by xl.
# A guest is a PVH domain: its kernel starts without firmware and without QEMU, and domain 0's kernel serves
# its disks and cards. Nothing of domain 0 runs for a guest but xl, which waits for the domain's end.

MACHINE=xen-pvh
# Xen's own
MAC_RANGE=00:16:3e
CMDLINE='console=hvc0 panic=-1'
CONSOLES=/run/xen/console
# one version, of the suite
for BIN in /usr/lib/xen-*/bin; do :; done

need_readable() {
    need_file "$1"
}

need_machine() {
    case $value in
    xen-pvh) ;;
    microvm | q35) mistake "machine=$value needs KVM and QEMU: this host starts Xen, whose machine is xen-pvh" ;;
    *) mistake "machine=$value is not xen-pvh" ;;
    esac
}

read_firmware() {
    mistake "firmware=$value: a guest of Xen starts from its kernel (machine=xen-pvh), without firmware"
}

# The filter of network/guest-filter knows cards of QEMU's alone: a host that starts Xen cannot have it.
need_filter() {
    mistake "net=$value: a guest of Xen is not held to IPv4 addresses: leave them out"
}

# Domain 0's kernel serves bytes as they lie in the file; a qcow2 would need a process of QEMU for each.
need_format() {
    [ "$format" = raw ] ||
        mistake "disk=$path: a guest of Xen has raw disks alone: qemu-img convert -O raw makes it one"
    [ ! -f "$path" ] || [ "$(head -c 3 "$path")" != QFI ] ||
        mistake "disk=$path is a qcow2 by its content: qemu-img convert -O raw makes it raw"
}

# The line stands between quotes in xl's own file.
read_cmdline() {
    cmdline=$value
    case $value in *[\"\\]*) mistake 'cmdline: no " and no \ here' ;; esac
}

need_start() {
    [ -n "$kernel" ] || mistake 'no kernel to start from: a guest of Xen has no firmware (kernel=FILE)'
    [ "$disk_count" -le 16 ] || mistake 'more than 16 disks'
}

# What Xen takes for a domain beside its memory: the tables of its pages and its processors.
# Source: Xen, tools/libs/light/libxl_x86.c, libxl_get_required_shadow_memory.
count_memory() {
    echo $((memory + memory / 128 + cpus + 4))
}

# xl unpacks the guest's kernel in domain 0's memory: six times its size with Debian's, and the file itself.
count_building() {
    size=$(stat -L -c %s "$kernel")
    [ -z "$initrd" ] || size=$((size + $(stat -L -c %s "$initrd") / 4))
    echo $((size * 8 / 1048576 + 8))
}

need_room() {
    [ -e "$STATE/xen" ] || die "this host's Xen has no store: see the line of the step xen"
    free=$("$BIN/xl" info free_memory)
    needed=$(count_memory)
    [ "$needed" -le "${free:-0}" ] || die "$name needs $needed MiB, its memory and Xen's tables for it, of ${free:-0} MiB that Xen has free"
    available=$(($(awk '/^MemAvailable:/ {print $2}' /proc/meminfo) / 1024))
    needed=$(count_building)
    [ "$needed" -le "$available" ] || die "$name: unpacking its kernel takes $needed MiB, of $available MiB that domain 0 has (dom0_memory of the image)"
}

# number_of GUEST: its domain, as long as there is one.
number_of() {
    cat "$RUN/$1/domain" 2>/dev/null
}

# By its number: a guest's name could be one.
press_button() {
    ! domain=$(cat "$dir/domain" 2>/dev/null) || "$BIN/xl" shutdown "$domain" >/dev/null 2>&1
}

pull_plug() {
    ! domain=$(cat "$dir/domain" 2>/dev/null) || "$BIN/xl" destroy "$domain" >/dev/null 2>&1
}

clear_up() {
    kill -9 "$(cat "$dir/xl.pid")" "$(cat "$dir/pid")" 2>/dev/null
    end_all
}

# The domain, which no file names any more.
cut_off() {
    end_all
    kill "$builder"
}

# Nothing of the guest goes on: also where xl itself was killed.
end_all() {
    ! domain=$("$BIN/xl" domid "vm-$name" 2>/dev/null) || "$BIN/xl" destroy "$domain" >/dev/null 2>&1
    rm -f "$dir/domain" "$dir/xl.pid"
    give_turn
}

prepare_host() {
    await xen 120
}

open_console() {
    domain=$(cat "$dir/domain" 2>/dev/null) || die 'it has no domain yet'
    microcom "$(xenstore-read "/local/domain/$domain/console/tty")"
}

own_command() {
    return 1
}

own_usage() {
    :
}

# Keys that need QEMU, or cgroups of a kernel that is the guests' host.
read_own_key() {
    case $key in
    pin | nodes | cpu-limit | cpu-weight | disk-rate | disk-ops | huge-pages | balloon)
        mistake "$key needs KVM and QEMU: leave it out on a host that starts Xen"
        ;;
    *) return 1 ;;
    esac
}

forget_own_keys() {
    :
}

last_words() {
    tail -n 1 "$dir/xl.log" | plain
}

# list_disks: as xl reads them. A file gets a loop device of its own, by the script `block`.
list_disks() {
    letters=abcdefghijklmnop
    for disk in $disks; do
        path=${disk#file=}
        access=rw
        case $disk in *,readonly=on) access=ro ;; esac
        printf '"format=raw,backendtype=phy,script=block,vdev=xvd%s,access=%s,target=%s", ' \
            "${letters%"${letters#?}"}" "$access" "${path%%,*}"
        letters=${letters#?}
    done
}

# list_cards: each is a port of its bridge, by the script for ports that are a guest's own, or shared.
list_cards() {
    card=0
    for net in $nets; do
        split_net "$net"
        [ -n "$address" ] || address=$(mac "$card")
        kind=guest
        [ -z "$shared" ] || kind=shared
        if is_taken "$address"; then
            echo "net=$net: the host or another guest has the address $address" >&2
        else
            printf '"bridge=%s,mac=%s,script=vif-%s", ' "$bridge" "$address" "$kind"
        fi
        card=$((card + 1))
    done
}

# is_taken ADDRESS: by the host's own link, or by a card that another guest has now.
is_taken() {
    mine=
    [ ! -e "/sys/class/net/$INTERFACE" ] || read -r mine <"/sys/class/net/$INTERFACE/address"
    [ "$1" != "$mine" ] || return 0
    for other in "$RUN"/*/xl.cfg; do
        [ "$other" = "$dir/xl.cfg" ] || [ ! -e "${other%/*}/domain" ] || ! grep -qi "mac=$1," "$other" || return 0
    done
    return 1
}

# What is started was looked at: no text of the guest's file but what the shared part took. Kernel and initramfs
# are open already, and xl opens them by what is open.
write_config() {
    [ -z "$initrd" ] || echo 'ramdisk = "/proc/self/fd/17"'
    cat <<END
name = "vm-$name"
type = "pvh"
vcpus = $cpus
memory = $memory
maxmem = $memory
kernel = "/proc/self/fd/16"
cmdline = "$cmdline"
disk = [$(list_disks)]
vif = [$(list_cards)]
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
END
}

# One domain is built at a time: xl unpacks its kernel in domain 0's memory, and two at once have been more
# than that has. The turn is a directory with an entry of the guest that has it, made beside and moved into
# its place: rename replaces one that is empty, and none that has an entry. Of a guest that went without giving
# the turn back that very entry is removed, whoever else does the same meanwhile.
# Source: rename(2), ENOTEMPTY. No guest's name begins with a dot. 1: the guest's own directory is gone.
take_turn() {
    [ -d "$dir/turn" ] || mkdir "$dir/turn" || return 1
    : >"$dir/turn/$name.$$"
    until is_free && mv -T "$dir/turn" "$RUN/.building" 2>/dev/null; do
        [ -d "$dir" ] || return 1
        nap 0.5
    done
}

# is_free: whether no guest that is kept has the turn. No program is started while one has it.
is_free() {
    for entry in "$RUN/.building"/*; do
        [ -e "$entry" ] || continue
        holder=${entry##*/}
        keeper=
        { read -r keeper <"$RUN/${holder%.*}/pid"; } 2>/dev/null
        if [ -n "$keeper" ] && kill -0 "$keeper" 2>/dev/null; then return 1; fi
        rm -f "$entry"
    done
}

give_turn() {
    rm -f "$RUN/.building/$name".*
}

# xl says so when a domain is built and runs: its number is in `domain` then.
find_domain() {
    domain=
    while [ -z "$domain" ]; do
        nap 0.3
        while read -r line; do
            case $line in
            *'Waiting for domain '*'(domid '*)
                domain=${line##*(domid }
                domain=${domain%%)*}
                ;;
            esac
        done <"$dir/xl.log"
        [ -n "$domain" ] || kill -0 "$builder" 2>/dev/null || return 1
    done
}

start_xl() {
    (
        hold 16 on "$kernel"
        [ -z "$initrd" ] || hold 17 on "$initrd"
        write_config >"$dir/xl.cfg"
        exec "$BIN/xl" create -F "$dir/xl.cfg"
    ) >"$dir/xl.log" 2>&1 </dev/null &
    builder=$!
    echo "$builder" >"$dir/xl.pid"
}

run_once() {
    log=$CONSOLES/guest-vm-$name.log
    [ ! -e "$log" ] || mv "$log" "$dir/console.log.old"
    (umask 077 && : >"$log")
    ln -sf "$log" "$dir/console.log"
    end_all
    # what others were given meanwhile is no longer free
    if take_turn && (need_room) 2>"$dir/xl.log"; then
        start_xl
        watcher=
        if find_domain; then
            echo "$domain" >"$dir/domain"
            say "guest $name" "started (domain $domain, $cpus cpus, $memory MiB)"
            watch 2>/dev/null &
            watcher=$!
        fi
        give_turn
        wait "$builder"
        status=$?
        [ -z "$watcher" ] || kill "$watcher"
    else
        status=1
    fi
    end_all
}
