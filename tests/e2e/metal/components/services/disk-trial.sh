#!/bin/sh
# Each disk by its label: what file system it has, by which bus it comes, what is written in it.
. /usr/lib/minbuild/init

# try LABEL TYPE
try() {
    tries=150
    until device=$(findfs "LABEL=$1" 2>/dev/null); do
        [ "$tries" -gt 0 ] || { echo "$1 absent"; return; }
        tries=$((tries - 1))
        nap 0.2
    done
    mkdir -p "/run/trial/$1"
    mount -t "$2" -o ro "$device" "/run/trial/$1" || { echo "$1 $2 not mounted"; return; }
    read -r text <"/run/trial/$1/hello"
    case $(readlink -f "/sys/class/block/${device##*/}") in
    */usb*) bus=usb ;;
    */ata*) bus=ata ;;
    *) bus=pci ;;
    esac
    echo "$1 $2 $bus $text"
    umount "/run/trial/$1"
}

# here PATH…: whether one of them is there
here() {
    for path; do
        [ ! -e "$path" ] || { echo here; return; }
    done
    echo absent
}

case $1 in
start)
    await modules 120
    keyboard=absent
    ! grep -q 'QEMU USB Keyboard' /proc/bus/input/devices || keyboard=here
    say board "ipmi0 $(here /dev/ipmi0), keyboard $keyboard, screen $(here /sys/class/graphics/fb0 /sys/class/vtconsole/vtcon0)"
    say disks "$(try STICK vfat); $(try RAID ext4); $(try SATA ext4)"
    ;;
esac
