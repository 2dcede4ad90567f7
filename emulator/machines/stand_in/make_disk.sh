#!/bin/bash
# Makes the stand-in's disk of the root file system it runs in (by chroot). Needs neither loop devices nor mounts.
#   /build/stand_in  the recipe's data    /build/debs  the kernel and the tools, not installed
#   /build/disk.raw  what it makes, with /build/vmlinuz and /build/initrd
set -euo pipefail
shopt -s nullglob
cd /build
export PATH=/usr/sbin:/usr/bin LC_ALL=C
data=/build/stand_in
mib=$((1024 * 1024))

mkdir tools root state boot
for deb in debs/*.deb; do dpkg -x "$deb" tools; done
kernel=$(basename tools/lib/modules/*)
cp "tools/boot/vmlinuz-$kernel" vmlinuz

# Root file system: links to the files of this one, so that nothing is copied. File systems mounted here stay out.
for path in /bin /boot /etc /home /lib* /media /mnt /opt /root /sbin /srv /usr /var; do cp -alx "$path" root; done
mkdir -p root/{dev,proc,sys,run,tmp,mnt/disks,mnt/stateful_partition,usr/share/oem} "root/usr/lib/modules/$kernel"
chmod 1777 root/tmp
cp -r --remove-destination $data/overlay/. root
chmod 755 root/usr/lib/stand-in/cloud-init-all root/usr/bin/{cgpt,cos-extensions,docker-credential-gcr,rootdev,toolbox,update_engine_client}
cp --remove-destination root/etc/os-release root/usr/lib/os-release
# COS carries the list of its packages.
dpkg-query -W -f='{"category": "debian", "name": "${Package}", "version": "${Version}", "ebuild_version": "${Version}"}\n' |
  sed '1s/^/{"installedPackages": [/; $!s/$/,/; $s/$/], "buildTimePackages": []}/' > root/etc/cos-package-info.json
: > root/etc/machine-id
# The only one of systemd's generators that is called, by the initrd's leave.
mv root/usr/lib/systemd/system-generators/systemd-debug-generator root/usr/lib/stand-in
# shellcheck disable=SC2086  # these are patterns
while read -r pattern; do rm -rf root/$pattern; done < $data/removed.txt
# COS has no Python for its users: cloud-init keeps its own, off the PATH.
mv root/usr/bin/python3.11 root/usr/lib/stand-in/python3
rm -f root/usr/bin/py*
sed -i '1s|^#!/usr/bin/python3|#!/usr/lib/stand-in/python3|' root/usr/bin/cloud-init
while read -r unit; do ln -sf /dev/null "root/etc/systemd/system/$unit"; done < $data/masked_units.txt
mkdir -p root/etc/systemd/system/sysinit.target.wants
ln -sf ../cloud-init.service root/etc/systemd/system/sysinit.target.wants/
ln -sf /lib/systemd/system/multi-user.target root/etc/systemd/system/default.target
ln -sf ../update-engine.service root/usr/lib/systemd/system/multi-user.target.wants/
# Started by docker.socket, when somebody wants docker.
rm root/etc/systemd/system/multi-user.target.wants/{docker,containerd}.service

# The modules that a guest may want; the boot itself needs only those of boot_modules.txt.
for part in crypto drivers/acpi drivers/block drivers/char drivers/input drivers/md drivers/net drivers/scsi drivers/virtio \
  fs/ext4 fs/fat fs/fuse fs/jbd2 fs/mbcache.ko fs/nls fs/overlayfs fs/squashfs arch/x86/crypto lib \
  net/802 net/bridge net/core net/ipv4 net/ipv6 net/llc net/netfilter net/packet; do
  [ ! -e "tools/lib/modules/$kernel/kernel/$part" ] ||
    (cd "tools/lib/modules/$kernel" && cp -al --parents "kernel/$part" "/build/root/usr/lib/modules/$kernel")
done
rm -rf "root/usr/lib/modules/$kernel/kernel/drivers/net/"{ethernet,wireless,wwan,usb,phy,can,hamradio}
cp "tools/lib/modules/$kernel/modules."{order,builtin,builtin.modinfo} "root/usr/lib/modules/$kernel"
depmod -b root "$kernel"
bash $data/make_container.sh "tools/lib/modules/$kernel/kernel/fs/nls/nls_ascii.ko"

# Initrd: busybox, the modules that the boot needs, in order, and dmsetup with its libraries.
mkdir -p boot/{bin,dev,modules,overlay,proc,r,sys}
cp tools/bin/busybox boot/bin
cp /usr/sbin/dmsetup boot/bin
ldd /usr/sbin/dmsetup | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "boot${library%/*}"
  cp "$library" "boot$library"
done
for applet in chroot echo insmod ip mkdir mount poweroff sh switch_root udhcpc umount usleep; do
  ln -s busybox boot/bin/$applet
done
install -m 755 $data/init $data/udhcpc.sh boot
while read -r module; do modprobe -d /build/root -S "$kernel" --show-depends "$module"; done < $data/boot_modules.txt |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
  cp "$file" boot/modules
  basename "$file" >> boot/modules/order
done
(cd boot && find . | LC_ALL=C sort | /build/tools/bin/busybox cpio -o -H newc) > initrd 2> /dev/null

# State: what lies under /var on the first boot.
mkdir -p state/home
mv root/var state
mkdir root/var

# Disk: the partitions of COS in COS's order, the one that grows last. The root's slots have COS's size, and are mostly holes.
root_mib=$(($(du -s --apparent-size --block-size=$mib root | cut -f1) * 110 / 100 + 24))
slot_mib=$((root_mib * 102 / 100)) # with the hash tree
[ $slot_mib -gt 2048 ] || slot_mib=2048
at=1
declare -A start=()
table="label: gpt"
partition() { # number, type, name, size in MiB, attributes
  start[$1]=$at
  table+=$'\n'"disk.raw$1 : start=$((at * 2048)), size=$(($4 * 2048)), type=$2, name=\"$3\"${5:+, attrs=\"$5\"}"
  at=$((at + $4))
}
linux=0FC63DAF-8483-4772-8E79-3D69D8477DE4
kern=FE3A2A5D-4F32-41A7-B725-ACCC3285A309
rootfs=3CB8E202-3B7E-47DD-8A3C-7FF2A13CFCEC
reserved=2E0A753D-9E48-43B0-8337-B15192CB1B5E
bios=21686148-6449-6E6F-744E-656564454649
esp=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
partition 11 $bios RWFW 1
partition 6 $kern KERN-C 1
partition 7 $rootfs ROOT-C 1
partition 9 $reserved reserved 1
partition 10 $reserved reserved 1
partition 2 $kern KERN-A 16 GUID:48,56 # priority 1, successful
partition 4 $kern KERN-B 16
partition 8 $linux OEM 16
partition 12 $esp EFI-SYSTEM 64
partition 5 $rootfs ROOT-B $slot_mib
partition 3 $rootfs ROOT-A $slot_mib
partition 1 $linux STATE 256
truncate -s $((at + 1))M disk.raw
sfdisk --quiet disk.raw <<< "$table"

filesystem() { # partition number, label, size in MiB, further options
  local number=$1 label=$2 size=$3
  shift 3
  mke2fs -q -F -t ext4 -b 4096 -L "$label" -m 0 -O ^metadata_csum -E "offset=$((start[$number] * mib)),nodiscard,lazy_itable_init=1,lazy_journal_init=1" \
    "$@" disk.raw "${size}M"
}
filesystem 3 ROOT-A "$root_mib" -O ^has_journal -d root
filesystem 1 STATE 256 -J size=8 -i 16384 -d state
filesystem 8 OEM 16 -O ^has_journal
dd if=vmlinuz of=disk.raw bs=1M seek="${start[2]}" conv=notrunc status=none

# The root is under dm-verity. COS's SHA-256 would cost a boot without KVM seconds, which reads some 40 MiB of the root; and
# nobody attacks this one.
hash=xxhash64
sealed=$(LD_LIBRARY_PATH=tools/usr/lib/x86_64-linux-gnu PYTHONPATH=tools/usr/lib/python3/dist-packages \
  python3 $data/verity_tree.py disk.raw $((start[3] * mib)) $((root_mib * 256)) $hash) # the root's hash, and a salt
verity_of() { # number of the partition: its entry of dm-mod.create
  local partition
  partition=PARTUUID=$(sfdisk --part-uuid disk.raw "$1")
  echo "vroot,,,ro,0 $((root_mib * 2048)) verity 0 $partition $partition 4096 4096 $((root_mib * 256)) $((root_mib * 256))" \
    "$hash $sealed"
}
common="console=ttyS0 quiet nokaslr norandmaps mitigations=off apparmor=0 tsc=reliable no_timer_check"
sed -e "s|@COMMON@|$common|; s|@VERITY_A@|$(verity_of 3)|; s|@VERITY_B@|$(verity_of 5)|" $data/grub.cfg > grub.cfg

# Boot loader: GRUB and its files on EFI-SYSTEM, its core image in RWFW, its boot sector in the MBR.
grub=tools/usr/lib/grub/i386-pc
tools/usr/bin/grub-mkimage -d $grub -O i386-pc -p /efi/boot -c $data/grub_early.cfg -o core.img \
  biosdisk part_gpt fat normal linux16 configfile search search_fs_file serial terminal echo test
truncate -s %512 core.img
truncate -s 64M esp
export MTOOLS_SKIP_CHECK=1
tools/usr/bin/mformat -i esp -c 16 -v EFI-SYSTEM ::
tools/usr/bin/mmd -i esp ::efi ::efi/boot ::syslinux
printf 'prioA=1\nprioB=0\n' > priority.cfg
tools/usr/bin/mcopy -i esp grub.cfg priority.cfg ::efi/boot
for slot in A B; do
  tools/usr/bin/mcopy -i esp vmlinuz ::syslinux/vmlinuz.$slot
  tools/usr/bin/mcopy -i esp initrd ::syslinux/initrd.$slot
done
dd if=esp of=disk.raw bs=1M seek="${start[12]}" conv=notrunc,sparse status=none

poke() { # file, offset, bytes as printf escapes
  printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
little_endian() { # value, length in bytes
  local value=$1 length=$2
  while [ "$length" -gt 0 ]; do
    printf '\\x%02x' $((value & 255))
    value=$((value >> 8)) length=$((length - 1))
  done
}
# GRUB's manual, "BIOS installation": the MBR's code loads the sector whose number stands at 0x5c (and jumps there from
# 0x66 on, where two NOPs take the place of a check for floppies); that sector's block list says where the rest lies.
sector=$((start[11] * 2048))
dd if=$grub/boot.img of=disk.raw bs=440 count=1 conv=notrunc status=none
poke disk.raw $((0x5c)) "$(little_endian $sector 8)"
poke disk.raw $((0x66)) '\x90\x90'
poke core.img $((0x1f4)) "$(little_endian $((sector + 1)) 8)$(little_endian $(($(stat -c %s core.img) / 512 - 1)) 2)$(little_endian $((0x820)) 2)"
dd if=core.img of=disk.raw bs=1M seek="${start[11]}" conv=notrunc status=none
