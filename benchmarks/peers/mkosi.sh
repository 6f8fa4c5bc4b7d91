#!/bin/bash
# A directory by mkosi; needs root, apt and bubblewrap or user namespaces.
# Usage: mkosi.sh MIRROR DIRECTORY
set -eu
mirror=$1
tree=$2
rm -rf --one-file-system "$tree"
mkdir -p "$tree/sandbox/etc/apt/sources.list.d"
cd "$tree"
# its own list names a tree of debug packages too, which not every mirror has
cat >sandbox/etc/apt/sources.list.d/mkosi.sources <<END
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: ${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
END
${MKOSI:-mkosi} --distribution=debian --release=trixie --mirror="$mirror" --format=directory --sandbox-tree=sandbox \
  --output=image --bootable=no --with-network=yes --with-recommends=no \
  --package=linux-image-cloud-amd64,qemu-system-x86,busybox,iproute2,e2fsprogs,kmod,udhcpc build
