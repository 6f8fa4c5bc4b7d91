#!/bin/bash
# A tar archive by diskimage-builder, as root or with sudo; needs debootstrap, qemu-utils and kpartx.
# Usage: disk-image-create.sh MIRROR DIRECTORY; leaves DIRECTORY/host.tar
set -eu
mirror=$1
tree=$2
rm -rf --one-file-system "$tree"
mkdir -p "$tree/programs" "$tree/tmp" "$tree/cache" "$tree/locks"
if ! command -v sudo >/dev/null; then
  # root needs none, but dib calls it for all
  printf '#!/bin/bash\nwhile [[ "${1:-}" == -* ]]; do shift; done\nexec env "$@"\n' >"$tree/programs/sudo"
  chmod 755 "$tree/programs/sudo"
fi
export PATH=$tree/programs:$PATH USER=${USER:-$(id -un)} HOME=${HOME:-$tree}
export TMP_DIR=$tree/tmp DIB_IMAGE_CACHE=$tree/cache DIB_LOCKFILES=$tree/locks DIB_NO_TMPFS=1
export DIB_RELEASE=trixie DIB_DISTRIBUTION_MIRROR=$mirror ARCH=amd64
# security updates come from another tree, which is not measured
export DIB_APT_SOURCES_CONF="default:deb $mirror trixie main"
export DIB_DEBOOTSTRAP_EXTRA_ARGS="--keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}"
cd "$tree"
disk-image-create -x -t tar -o "$tree/host" \
  -p linux-image-cloud-amd64,qemu-system-x86,busybox,iproute2,e2fsprogs,kmod,udhcpc debian-minimal
