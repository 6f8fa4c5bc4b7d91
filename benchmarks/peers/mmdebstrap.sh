#!/bin/bash
# A tree by mmdebstrap 1.5 or newer; needs root.
# Usage: mmdebstrap.sh MIRROR DIRECTORY [VARIANT [PACKAGE,…]]
set -eu
mirror=$1
tree=$2
variant=${3:-minbase}
packages=${4:-linux-image-cloud-amd64,qemu-system-x86,busybox,iproute2,e2fsprogs,kmod,udhcpc}
keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
rm -rf --one-file-system "$tree"
DEBIAN_FRONTEND=noninteractive "${MMDEBSTRAP:-mmdebstrap}" --quiet --mode=root \
  --variant="$variant" --include="$packages" --aptopt='Acquire::Languages "none"' \
  trixie "$tree" "deb [signed-by=$keyring] $mirror trixie main"
