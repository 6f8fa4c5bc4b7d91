#!/bin/bash
# A tar archive by diskimage-builder; needs root, sudo, debootstrap, qemu-utils and kpartx.
# Usage: disk-image-create.sh MIRROR DIRECTORY
set -eu
mirror=$1
tree=$2
rm -rf --one-file-system "$tree"
mkdir -p "$tree/image"
export DIB_RELEASE=trixie DIB_DISTRIBUTION_MIRROR=$mirror ARCH=amd64
export DIB_DEBOOTSTRAP_EXTRA_ARGS="--keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}"
cd "$tree"
disk-image-create -x -t tar -o "$tree/host" \
  -p linux-image-cloud-amd64,qemu-system-x86,busybox,iproute2,e2fsprogs,kmod,udhcpc debian-minimal
tar -C "$tree/image" -xf "$tree/host.tar"
