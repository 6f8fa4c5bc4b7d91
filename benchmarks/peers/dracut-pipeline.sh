#!/bin/bash
# The whole job as it is done without us: packages unpacked by mmdebstrap (no maintainer scripts),
# module index by depmod, initramfs by the dracut inside the unpacked tree. Needs root.
# Usage: dracut-pipeline.sh MIRROR DIRECTORY; leaves DIRECTORY/boot/initrd.img
set -eu -o pipefail
mirror=$1
tree=$2

host=(base-files tiny-initramfs linux-image-cloud-amd64 qemu-system-x86 busybox udhcpc iproute2 e2fsprogs kmod)
for_dracut=(dracut-core bash dash coreutils util-linux mount login passwd sed grep findutils
            diffutils gzip xz-utils tar cpio mawk libc-bin)
modules=(kvm kvm_intel kvm_amd virtio_net virtio_blk virtio_pci virtio_mmio virtio_rng vhost_net
         tun tap bridge ext4 af_packet)
files=(/usr/bin/busybox /usr/bin/qemu-system-x86_64-microvm /usr/sbin/e2fsck /usr/sbin/ip
       /usr/sbin/mke2fs /usr/sbin/modprobe /usr/sbin/udhcpc /usr/share/seabios/bios-microvm.bin
       /usr/share/qemu/linuxboot_dma.bin /usr/share/qemu/pvh.bin /usr/share/qemu/qboot.rom)

export SOURCE_DATE_EPOCH=1000000000 LC_ALL=C.UTF-8
rm -rf --one-file-system "$tree"
all=$(IFS=,; echo "${host[*]},${for_dracut[*]}")
"$(dirname "$0")/mmdebstrap.sh" "$mirror" "$tree" extract "$all"

release=$(basename "$tree"/usr/lib/modules/*)
ln -sf mawk "$tree/usr/bin/awk"  # an alternative, which a maintainer script would make
printf 'root:x:0:0::/root:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\n' >"$tree/etc/group"
depmod --basedir "$tree" "$release"
chroot "$tree" ldconfig
chroot "$tree" dracut --quiet --force --reproducible --kver "$release" \
  --no-hostonly --no-hostonly-cmdline --no-early-microcode \
  --modules "base busybox kernel-modules" --filesystems ext4 \
  --drivers "${modules[*]}" --install "${files[*]}" \
  --compress "xz --threads=2 --check=crc32 --lzma2=dict=1MiB" /boot/initrd.img
