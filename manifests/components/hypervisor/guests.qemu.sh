# shellcheck shell=sh
# The part of vm that starts QEMU: in a root, namespaces and a user of its own.

# Which QEMU runs the guest, and whether it has its filter of system calls: Debian 12's for microvm is
# built without it, is not linked to libseccomp then, and refuses -sandbox.
choose_qemu() {
    program=$FULL-microvm filter=yes
    [ -x "$program" ] || program=$FULL
    [ "$machine" = microvm ] || program=$FULL
    grep -q libseccomp "$program" || filter=
}

# node NUMBER: the disk of the file with that descriptor, its format as guest.conf has it, and nothing behind it.
node() {
    file='file'
    [ ! -b "$path" ] || file=host_device
    printf '{"driver":"%s","node-name":"disk%s","read-only":%s%s,"file":{"driver":"%s","filename":"/dev/fdset/%s","read-only":%s}}' \
        "$format" "$1" "$readonly" "$alone" "$file" "$1" "$readonly"
}

# pflash NAME PATH READ-ONLY: a part of the firmware's memory.
pflash() {
    printf '{"driver":"raw","node-name":"%s","read-only":%s,"file":{"driver":"file","filename":"%s","read-only":%s}}' \
        "$1" "$3" "$2" "$3"
}

# ACPI gives the guest a power button. In QEMU's own root, behind what `inside` has set up.
launch() {
    set -- -name "$name" -cpu host -smp "$cpus" -m "$memory" -nodefaults -no-user-config \
        -display none -no-reboot \
        ${filter:+-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny} \
        -chardev "pty,id=console,logfile=/console.log,logappend=on" \
        -serial chardev:console \
        -chardev "pipe,id=control,path=/control" -mon chardev=control,mode=control \
        -qmp "unix:/own/qmp,server=on,wait=off"
    case $machine:$firmware in
    microvm:*) bus=device && set -- "$@" -M microvm,accel=kvm,acpi=on,pic=on,pit=on,rtc=on ;;
    q35:uefi)
        bus=pci
        set -- "$@" -M q35,accel=kvm,pflash0=code,pflash1=vars -vga none \
            -blockdev "$(pflash code "${OVMF}CODE_4M.fd" true)" -add-fd fd=19,set=99 \
            -blockdev "$(pflash vars /dev/fdset/99 false)"
        ;;
    q35:*) bus=pci && set -- "$@" -M q35,accel=kvm -vga none ;;
    esac
    [ "$huge_pages" = no ] || set -- "$@" -machine memory-backend=memory \
        -object "memory-backend-memfd,id=memory,size=${memory}M,hugetlb=on,hugetlbsize=2M,prealloc=on"
    # pages that the guest frees are the host's again, without being asked
    [ "$balloon" = no ] || set -- "$@" -device "virtio-balloon-$bus,free-page-reporting=on"
    set -- "$@" -device "virtio-rng-$bus"
    case $firmware in '' | uefi) ;; *) set -- "$@" -bios /firmware ;; esac
    [ -z "$kernel" ] || set -- "$@" -kernel /kernel -append "$cmdline"
    [ -z "$initrd" ] || set -- "$@" -initrd /initrd
    card=0
    for disk in $disks; do
        read_row "$disk"
        set -- "$@" -add-fd "fd=$((20 + card)),set=$card" -blockdev "$(node "$card")" \
            -device "virtio-blk-$bus,drive=disk$card"
        card=$((card + 1))
    done
    # without a boot ROM of its own a card is never asked before the disk
    rom=
    [ "$bus" != pci ] || rom=,romfile=
    vhost=off
    [ ! -e /dev/vhost-net ] || vhost=on
    card=0
    while [ "$card" -lt "$cards" ]; do
        find_card "$card"
        set -- "$@" -netdev "tap,id=net$card,fd=$((card + 3)),vhost=$vhost" \
            -device "virtio-net-$bus,netdev=net$card,mac=$address$rom"
        card=$((card + 1))
    done
    leave "$program" "$@"
}

# read_row FILE,FORMAT,READONLY: as read_disk wrote it.
read_row() {
    path=${1#file=}
    path=${path%%,*}
    format=${1#*,format=}
    format=${format%%,*}
    alone=
    [ "$format" = raw ] || alone=',"backing":null'
    readonly=false
    case $1 in *,readonly=on) readonly=true ;; esac
}

# What a guest's UEFI remembers is kept beside its disks; `>` makes a new file here, and follows no link.
keep_uefi_variables() {
    vars=$GUESTS/$name/uefi-vars.fd
    if [ ! -e "$vars" ]; then
        rm -f "$vars.new"
        (umask 077 && set -C && cat "${OVMF}VARS_4M.fd" >"$vars.new") && mv "$vars.new" "$vars"
    fi
    hold 19 off "$vars"
}

# What the guest's QEMU will have as its root: a few MiB of memory, in which it owns its logs and a
# directory. `inside` adds its files there.
make_root() {
    [ ! -e "$root/console.log" ] || tail -c 262144 "$root/console.log" >"$dir/console.log.old"
    umount -l "$root" 2>/dev/null
    mkdir -p "$root"
    mount -t tmpfs -o nosuid,nodev,noexec,mode=755,size=4m guest "$root" || return 1
    mkdir -p "$root/dev/pts" "$root/usr" "$root/own"
    mount -t devpts -o nosuid,noexec,mode=600,ptmxmode=666,max=4 guest "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s usr/lib usr/lib64 "$root"
    mkfifo -m 600 "$root/control.in" "$root/control.out"
    (umask 077 && : >"$root/console.log" && : >"$root/qemu.log")
    chown "$uid:$GROUP" "$root/own" "$root/console.log" "$root/control.in" "$root/control.out"
    ln -sf root/own/qmp root/console.log root/qemu.log root/control.in root/control.out "$dir"
}

# show NAME FD PATH: the file as /NAME in QEMU's root. Its own group may read one of the guest's own.
show() {
    hold "$2" on "$3"
    case $3 in
    "$GUESTS/$name"/*) chown ":$GROUP" "/proc/self/fd/$2" && chmod g+r "/proc/self/fd/$2" ;;
    esac
    bind "/proc/self/fd/$2" "$1"
}

# bind SOURCE NAME: a line for mount.
bind() {
    [ -e "$root/$2" ] || : >"$root/$2"
    echo "$1 $root/$2 none bind 0 0" >>"$dir/fstab"
}

# find_mounts: the mounts that QEMU shall not have, in `hidden`; what lies below one goes with it.
find_mounts() {
    hidden=
    while read -r _ place _; do
        [ "$place" != / ] || continue
        for above in $hidden; do
            case $place in "$above"/*) continue 2 ;; esac
        done
        hidden="$hidden $place"
    done </proc/mounts
}

# leave PROGRAM ARGUMENT…: into the root of its own, as the guest's user; nothing else stays mounted.
# The kernel's first file system cannot change its place, so the new root is moved over it.
# shellcheck disable=SC2086 # one word for each mount
leave() {
    mount -a -T "$dir/fstab" || exit 1
    mount -o remount,bind,ro,nosuid,nodev "$root/usr" || exit 1
    find_mounts
    cd "$root" && mount --move . / || exit 1
    umount -l $hidden || exit 1
    # the filter brings no_new_privs with it
    [ "$filter" ] || set -- /usr/bin/setpriv --nnp "$@"
    exec chroot . /usr/bin/nsenter -G "$GROUP" -S "$uid" "$@"
}

# In namespaces of its own, before QEMU takes this process's place.
inside() {
    need_guest "$1"
    root=$dir/root
    read -r uid <"$dir/user"
    : >"$dir/fstab"
    bind /usr usr
    for device in null urandom kvm vhost-net; do
        [ ! -c "/dev/$device" ] || bind "/dev/$device" "dev/$device"
    done
    [ -z "$kernel" ] || show kernel 16 "$kernel"
    [ -z "$initrd" ] || show initrd 17 "$initrd"
    case $firmware in
    '') ;;
    uefi) keep_uefi_variables ;;
    *) show firmware 18 "$firmware" ;;
    esac
    descriptor=20
    for disk in $disks; do
        path=${disk#file=}
        hold "$descriptor" "${disk##*,readonly=}" "${path%%,*}"
        descriptor=$((descriptor + 1))
    done
    choose_qemu
    launch
}
