#!/bin/bash
# A tree by debootstrap, the same packages added by the apt inside it; needs root.
# Usage: debootstrap.sh MIRROR DIRECTORY
set -eu
mirror=$1
tree=$2
keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
rm -rf --one-file-system "$tree"
debootstrap --variant=minbase --keyring="$keyring" trixie "$tree" "$mirror"
DEBIAN_FRONTEND=noninteractive chroot "$tree" apt-get install --yes --quiet --no-install-recommends \
  linux-image-cloud-amd64 qemu-system-x86 busybox iproute2 e2fsprogs kmod udhcpc
