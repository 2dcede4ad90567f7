#!/bin/bash
# Moves STATE and OEM to where they are to be, when the machine shuts down and both are unmounted: layout.sh arms
# cos-customizer-disk.service for it. What it needs is in memory, or on the root file system, which stays.
set -u
shopt -s nullglob

directory=/run/cos-customizer
# shellcheck source=protocol.sh
. "$directory/protocol.sh"
# shellcheck source=steps/boot_disk.sh
. "$directory/steps/boot_disk.sh"
# shellcheck source=layout_table.sh
. "$directory/layout_table.sh"
# shellcheck source=layout_plan.sh
. "$directory/layout_plan.sh"
# shellcheck source=/dev/null # rendered for each build
. "$directory/plan.sh"
# shellcheck source=/dev/null # by layout.sh: disk, state_start, oem_start, oem_sectors
. "$directory/targets.sh"

# Ends the build: the next boot could not say it if there is none. Does not return.
fail() {
  for _ in 1 2 3; do # the console can lose text
    send "BuildFailed[$nonce]: $*"
    sleep 0.3
  done
  exit 1
}

# release <number>: unmounts what is still mounted of a partition, and makes sure that nobody has it, in whatever namespace.
release() {
  local mounts mount_options point device said
  device=$(device_of "$1")
  find_mounts "$device"
  for point in "${mounts[@]}"; do
    said=$(umount -- "$point" 2>&1) ||
      fail "${names[$1]} is still in use when the machine shuts down, and was not moved: ${said%%$'\n'*}"
  done
  # e2fsck opens a device for itself alone. It also repairs what a move would only carry along.
  said=$(e2fsck -p "$device" 2>&1) || (($? == 1)) ||
    fail "${names[$1]} is not fit to be moved: ${said%%$'\n'*}"
}

main() {
  local starts sizes names attributes disk_end moves number
  open_port || exit
  read_table || fail "the partition table cannot be read any more"
  find_moves
  for number in "${moves[@]}"; do
    release "$number"
  done
  for number in "${moves[@]}"; do
    case $number in
      1) move 1 "$state_start" "${sizes[1]}" ;;
      8) move 8 "$oem_start" "$oem_sectors" ;;
    esac
  done
  mark_disk "$(names_of "${moves[@]}") moved"
}

main
