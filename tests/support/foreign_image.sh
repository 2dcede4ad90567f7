#!/bin/bash
# Makes a Debian that boots by UEFI alone, as others make images: Debian's packages, systemd-boot on a FAT partition, a root
# that cloud-init grows and sets up for Compute Engine. Nothing of it is this project's. Needs mmdebstrap, and root or user
# namespaces; neither loop devices nor mounts. Debian's own tools in the new system make the disk.
#   foreign_image.sh FILE    the disk, raw and sparse
set -euo pipefail
disk=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,systemd-boot-efi,systemd-resolved,udev,dbus,cloud-init,cloud-guest-utils
packages+=,curl,ca-certificates,dosfstools,e2fsprogs,efibootmgr,fdisk,iproute2,mtools,procps,zstd

cat > "$work/disk.sh" << 'END'
set -eu
cd /
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
echo foreign > etc/hostname
printf '127.0.0.1 localhost foreign\n169.254.169.254 metadata.google.internal metadata\n' > etc/hosts
printf 'LABEL=root / ext4 defaults,x-systemd.growfs 0 1\n' > etc/fstab
printf '[Match]\nName=e*\n[Network]\nDHCP=ipv4\n' > etc/systemd/network/20-wired.network
printf 'datasource_list: [GCE]\nnetwork: {config: disabled}\nlocale: false\n' > etc/cloud/cloud.cfg.d/90-image.cfg
ln -sf /run/systemd/resolve/resolv.conf etc/resolv.conf
: > etc/machine-id
systemctl -q enable systemd-networkd systemd-networkd-wait-online systemd-resolved
rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/doc usr/share/locale usr/share/man

# Links to the files, without the file systems that are mounted among them.
mkdir -p work/tree/dev work/tree/proc work/tree/run work/tree/sys work/tree/tmp
for path in bin boot etc home lib lib64 mnt opt root sbin srv usr var; do cp -alx "$path" work/tree; done
chmod 1777 work/tree/tmp
truncate -s 1536M work/root
mke2fs -q -t ext4 -L root -d work/tree work/root

truncate -s 200M work/esp
mkfs.fat -F 32 -n ESP work/esp > work/log
mmd -i work/esp ::EFI ::EFI/BOOT ::loader ::loader/entries
mcopy -i work/esp usr/lib/systemd/boot/efi/systemd-bootx64.efi ::EFI/BOOT/BOOTX64.EFI
mcopy -i work/esp boot/vmlinuz-* ::vmlinuz
mcopy -i work/esp boot/initrd.img-* ::initrd
printf 'timeout 0\n' | mcopy -i work/esp - ::loader/loader.conf
printf 'title Debian\nlinux /vmlinuz\ninitrd /initrd\noptions root=LABEL=root rw console=ttyS0,115200\n' |
  mcopy -i work/esp - ::loader/entries/debian.conf

truncate -s 2G work/disk
printf 'label: gpt\nstart=1MiB, size=200MiB, type=U, name=esp\nsize=1536MiB, type=L, name=root\n' | sfdisk --quiet work/disk
dd if=work/esp of=work/disk bs=1M seek=1 conv=notrunc,sparse status=none
dd if=work/root of=work/disk bs=1M seek=201 conv=notrunc,sparse status=none
END

mmdebstrap --quiet --variant=minbase --include="$packages" --format=null --dpkgopt='path-exclude=/usr/share/doc/*' \
  --customize-hook="mkdir \"\$1/work\" && cp $work/disk.sh \"\$1/work\" && chroot \"\$1\" sh /work/disk.sh" \
  --customize-hook="cp --sparse=always \"\$1/work/disk\" '$disk'" bookworm -
