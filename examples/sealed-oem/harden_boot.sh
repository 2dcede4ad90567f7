#!/bin/bash
# Changes the boot menu after the partition was sealed, and keeps to what a kernel reads of its command line.
set -euo pipefail
disk=$(rootdev -s -d)
efi=$(mktemp -d)
mount -t vfat "${disk}12" "$efi"
trap 'umount "$efi"' EXIT
sed -i -e 's/cros_efi/cros_efi systemd.mask=getty@tty1.service/' "$efi/efi/boot/grub.cfg"
while read -r _ line; do
  if ((${#line} > 2047)); then
    echo "a kernel line of the boot menu has ${#line} characters; the kernel reads 2047" >&2
    exit 1
  fi
done < <(grep cros_efi "$efi/efi/boot/grub.cfg")
