#!/usr/bin/env bash
# Makes sure that the host has what real virtual machines need.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh
source make/apt.sh

stage 'host packages'
missing=() reasons=()
while read -r program package reason; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null && continue
  missing+=("$package")
  reasons+=("$package ($reason)")
done << 'END'
qemu-system-x86_64 qemu-system-x86 runs the virtual machines
qemu-img qemu-utils makes their disks
mmdebstrap mmdebstrap makes the stand-in image
END

if ((${#missing[@]})); then
  what=$(printf '%s, ' "${reasons[@]}")
  apt_install "${what%, }" "${missing[@]}"
else
  stage_done 'all there'
fi
