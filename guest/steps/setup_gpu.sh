#!/bin/bash
# Sets up the GPU driver that lies beside this script. Run it as root every time the machine boots, by a cloud-config
# for example:
#   #cloud-config
#   runcmd:
#   - [bash, /var/lib/nvidia/setup_gpu.sh]
# It needs no network and no container, and does no harm when it is run again.
set -u

complain() {
  printf 'setup_gpu.sh: %s\n' "$*" >&2
}

# make_executable <directory>: file systems that survive a reboot are mounted noexec on Container-Optimized OS.
make_executable() {
  mountpoint -q "$1" || mount --bind "$1" "$1" || return
  mount -o remount,exec "$1"
}

# Tells the loader and the kernel where things are: /etc and /sys forget it on a reboot.
announce_files() {
  if [[ -d $driver/lib64 ]] && type -P ldconfig >/dev/null; then
    grep -qsxF "$driver/lib64" /etc/ld.so.conf || printf '%s\n' "$driver/lib64" >>/etc/ld.so.conf
    ldconfig || complain "the loader's cache could not be updated"
  fi
  [[ ! -d $driver/firmware ]] || printf %s "$driver/firmware" >/sys/module/firmware_class/parameters/path
}

# Says so if there is none: that explains whatever has just failed.
look_for_gpu() {
  grep -qs 0x10de /sys/bus/pci/devices/*/vendor || complain "there is no NVIDIA GPU on this machine"
}

# load_module <name>: unless it is loaded, or the driver has none of this name.
load_module() {
  local file=$driver/drivers/$1.ko said
  [[ -e $file && ! -d /sys/module/${1//-/_} ]] || return 0
  said=$(insmod "$file" 2>&1) && return
  [[ $said != *'File exists'* ]] || return 0 # loaded in this very moment
  complain "cannot load $1.ko: $said; the kernel's last words:"
  dmesg 2>/dev/null | tail -n 15 >&2
  case ${said,,} in
    *'invalid module format'* | *'key was rejected'* | *'required key'*)
      complain "$1.ko was made for another kernel than this one ($(uname -r)):" \
        "build the image anew, from this release of the system"
      ;;
    *) look_for_gpu ;;
  esac
  return 1
}

# Shows the GPU, and keeps it ready while no program uses it.
start_gpu() {
  [[ ! -x $driver/bin/nvidia-modprobe ]] || "$driver/bin/nvidia-modprobe" -c0 -u -m ||
    complain "nvidia-modprobe could not make all device files"
  "$driver/bin/nvidia-smi" || {
    complain "nvidia-smi does not see a GPU that works"
    look_for_gpu
    return 1
  }
  if [[ -x $driver/bin/nvidia-persistenced ]] && ! grep -qs '^nvidia-persiste' /proc/[0-9]*/comm; then
    "$driver/bin/nvidia-persistenced" --verbose || complain "nvidia-persistenced does not start"
  fi
  # A kernel that hangs in the driver is to crash, and to reboot, instead.
  printf 1 >/proc/sys/kernel/softlockup_panic || complain "softlockup_panic cannot be set"
}

setup_gpu() {
  local module
  driver=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
  if type -P flock >/dev/null; then # one at a time
    exec 9<"$driver" && flock 9
  fi
  make_executable "$driver" || {
    complain "cannot make $driver executable"
    return 1
  }
  announce_files
  for module in nvidia nvidia-uvm nvidia-modeset nvidia-drm; do
    load_module "$module" || return
  done
  start_gpu 9<&-
}

# The build sources this script for its functions.
[[ ${BASH_SOURCE[0]} != "$0" ]] || setup_gpu
