#!/bin/sh
# install_driver.sh <directory> <version>: leaves there what stands in for an installed NVIDIA driver. The kernel modules
# can be loaded and do nothing; the programs are scripts. Version 0.0.1 fails.
set -eu
target=$1 version=$2
parts=$(dirname "$0")
log=$target/nvidia-installer.log

mkdir -p "$target"
cat > "$log" << EOF
nvidia-installer log file '$log'
creation time: $(date)
installer version: $version (stand-in, there is no NVIDIA driver in it)
-> Building kernel modules
EOF
if [ "$version" = 0.0.1 ]; then
  cat >> "$log" << EOF
ERROR: Unable to build the kernel module.
ERROR: Installation has failed.  Please see the file '$log' for details.
EOF
  echo "ERROR: Unable to build the kernel module." >&2
  exit 1
fi

mkdir -p "$target/bin" "$target/lib64" "$target/drivers"
cat > "$target/bin/nvidia-smi" << EOF
#!/bin/sh
cat << TABLE
+-----------------------------------------------------------------------------+
$(printf '| %-75s |' "NVIDIA-SMI $version   Driver Version: $version   (stand-in: there is no GPU)")
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
|===============================+======================+======================|
|   0  Stand-in            Off  | 00000000:00:04.0 Off |                    0 |
+-------------------------------+----------------------+----------------------+
TABLE
EOF
cat > "$target/bin/nvidia-persistenced" << 'EOF'
#!/bin/sh
# A stand-in: there is nothing to keep. Like the daemon, it is back at once.
printf 'nvidia-persistenced %s\n' "$*" >> /run/stand-in-nvidia-persistenced
EOF
cat > "$target/bin/nvidia-modprobe" << 'EOF'
#!/bin/sh
# A stand-in: there are no device files to make.
printf 'nvidia-modprobe %s\n' "$*" >> /run/stand-in-nvidia-modprobe
EOF
chmod 755 "$target/bin/"*
printf 'stand-in for libnvidia-ml.so of NVIDIA driver %s\n' "$version" > "$target/lib64/libnvidia-ml.so.1"
for module in nvidia nvidia-uvm; do
  {
    [ ! -e "$parts/$module.ko" ] || cat "$parts/$module.ko"
    printf '\nstand-in for %s.ko of NVIDIA driver %s: it does nothing\n' "$module" "$version"
  } > "$target/drivers/$module.ko"
done
echo "-> Installation of the stand-in for driver $version is now complete." >> "$log"
