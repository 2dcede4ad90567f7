#!/bin/sh
# A stand-in for version 1 of Google's cos-gpu-installer (https://github.com/GoogleCloudPlatform/cos-gpu-installer): it
# is called as that is, and leaves files where that leaves them, but there is no NVIDIA driver in it.
#
# Two versions do what NVIDIA's do only now and then: 0.0.1 cannot be built; 0.0.2 needs another command line of the
# kernel, which the installer changes and then resets the machine.
set -eu

version=${NVIDIA_DRIVER_VERSION:-418.67}
target=${NVIDIA_INSTALL_DIR_CONTAINER:-/usr/local/nvidia}
root=${ROOT_MOUNT_DIR:-/root}
driver=NVIDIA-Linux-x86_64-$version.run
url=${GPU_INSTALLER_DOWNLOAD_URL:-}

say() {
  printf '[INFO    %s] %s\n' "$(date -u '+%Y-%m-%d %H:%M:%S UTC')" "$*"
}

# One line each: how it was called, and what it sees of the machine.
record_call() {
  for argument; do printf 'argument %s\n' "$argument"; done
  env | sort | sed 's/^/environment /'
  while read -r _ _ _ from at _; do
    case $at in
      "$root"/*) ;; # of the machine
      *) printf 'mount %s %s\n' "$at" "$from" ;;
    esac
  done < /proc/self/mountinfo
  printf 'process-1 %s\n' "$(cat /proc/1/comm)"
  printf 'hostname %s\n' "$(hostname)"
}

# There is no driver to be had; its text stands for it. An URL's percent-encoded bytes are decoded.
download() {
  case $url in
    '') printf 'stand-in for %s\n' "$driver" ;;
    file://*) cat "$(printf %b "$(printf %s "${url#file://}" | sed 's/\\/\\\\/g; s/%/\\x/g')")" ;;
    *)
      printf 'this stand-in cannot download %s\n' "$url" >&2
      return 1
      ;;
  esac
}

mkdir -p "$target"
record_call "$@" > "$target/stand-in-call.txt"
# shellcheck source=/dev/null
BUILD_ID=$(. "$root/etc/os-release" && echo "$BUILD_ID")
say "Running the stand-in for cos-gpu-installer on COS build id $BUILD_ID"

cd /tmp
say "Downloading GPU installer from ${url:-https://storage.googleapis.com/nvidia-drivers-us-public/tesla/$version/$driver}"
download > "$driver"
if [ -n "${NVIDIA_DRIVER_MD5SUM:-}" ]; then
  printf '%s  %s\n' "$NVIDIA_DRIVER_MD5SUM" "$driver" | md5sum -c 2> /dev/null || {
    echo "md5sum: WARNING: 1 computed checksum did NOT match" >&2
    exit 1
  }
fi

if [ "$version" = 0.0.2 ] && [ ! -e "$target/stand-in-was-here" ]; then
  say "Changing the command line of the kernel. Rebooting."
  dd if=/dev/null "of=$target/stand-in-was-here" conv=fsync 2> /dev/null # nothing else gets to the disk
  echo b > /proc/sysrq-trigger
  sleep 60
fi

say "Running Nvidia installer"
sh /usr/lib/stand-in/gpu/install_driver.sh "$target" "$version"
say "Updating cached version"
printf 'CACHE_BUILD_ID=%s\nCACHE_NVIDIA_DRIVER_VERSION=%s\n' "$BUILD_ID" "$version" > "$target/.cache"
say "Finished installing the drivers."
