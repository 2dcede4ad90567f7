# shellcheck shell=bash
# shellcheck disable=SC2034 # the results are read by others
# Finds the boot disk, its partitions, and where they are mounted: by what the machine says of itself, never by a name that
# its disk happens to have.

# find_boot_disk: sets `disk`, the device of the disk that the root file system is on, be there dm-verity between; `place`,
# where it is in /sys; and `root_number`, the number of the root's partition. Fails if there is no such disk.
find_boot_disk() {
  local device entry
  disk='' place='' root_number=''
  device=/sys/dev/block/$(mountpoint -d /)
  for entry in "$device"/slaves/*; do
    device=$entry
  done
  [[ -e $device/partition ]] || return
  root_number=$(<"$device/partition")
  place=$device/..
  entry=$(readlink -f "$place")
  disk=/dev/${entry##*/}
}

# find_partition <number> <GPT name>: sets `partition`, its device. Fails if the boot disk has none of this name there.
find_partition() {
  local disk place root_number entry name value found=
  partition=
  find_boot_disk || return
  for entry in "$place"/*/partition; do
    [[ $(<"$entry") == "$1" ]] || continue
    while IFS='=' read -r name value; do
      case $name in
        DEVNAME) partition=/dev/$value ;;
        PARTNAME) found=$value ;;
      esac
    done <"${entry%/partition}/uevent"
  done
  [[ $partition && $found == "$2" ]]
}

# find_mounts <device>: into `mounts`, where it is mounted, bind mounts too, the innermost first; into `mount_options`, with
# which options.
find_mounts() {
  local number fields point
  mounts=() mount_options=()
  number=$(<"/sys/class/block/${1#/dev/}/dev")
  while read -ra fields; do
    [[ ${fields[2]} == "$number" ]] || continue
    printf -v point %b "${fields[4]}" # spaces and the like are written in octal
    mounts=("$point" "${mounts[@]}")
    mount_options=("${fields[5]}" "${mount_options[@]}")
  done </proc/self/mountinfo
}

# is_held <device>: whether another device, such as one of dm-verity, has it for itself.
is_held() {
  local entry
  for entry in "/sys/class/block/${1#/dev/}/holders"/*; do
    return 0
  done
  return 1
}

# find_file_system_size <device>: sets `size`, the bytes that its file system has. Fails if it is none of the kind ext4.
# Documentation/filesystems/ext4/super.rst: s_blocks_count_lo, s_log_block_size, s_magic.
find_file_system_size() {
  local blocks bits magic
  blocks=$(od -An -tu4 -j 1028 -N 4 "$1") && bits=$(od -An -tu4 -j 1048 -N 4 "$1") &&
    magic=$(od -An -tu2 -j 1080 -N 2 "$1") && ((magic == 0xef53)) && size=$((blocks << (10 + bits)))
}
