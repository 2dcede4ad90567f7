# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Lays out the boot disk of Container-Optimized OS anew, before the first step and over as many reboots as it takes: makes
# ROOT-A superfluous and takes its room (`reclaim`), waits until the disk has grown (`disk_size`), lets STATE and OEM be moved
# while the machine shuts down (layout_move.sh), and fits OEM's file system into its partition (`oem_size`, `oem_blocks`).
#
# What has to be done is read from the disk at each boot. $state/layout remembers which reboots were asked for: one that has
# not brought what it was to bring is not asked for again.
# shellcheck source=steps/boot_disk.sh
. "$directory/steps/boot_disk.sh"
# shellcheck source=layout_table.sh
. "$directory/layout_table.sh"
# shellcheck source=layout_plan.sh
. "$directory/layout_plan.sh"

smallest_root=8 # sectors that are left to ROOT-A
patience_for_disk=180 # seconds

lay_out_disk() {
  local disk place root_number starts sizes names attributes disk_end
  local state_start oem_start oem_sectors oem_was=''
  [[ ! -e $state/layout/done ]] || return 0
  inspect_disk
  { mkdir -p "$state/layout" && chmod 700 "$state"; } || fail "cannot make $state"
  if [[ $reclaim ]]; then
    boot_from_b
    shrink_a
  fi
  await_growth
  recall_layout
  move_partitions
  give_back
  fit_oem
  remember "done"
}

# remember <what>: durably.
remember() {
  { : >"$state/layout/$1" && sync "$state/layout/$1" "$state/layout"; } || fail "cannot write to $state"
}

# restart <why>: reboots the machine. Does not return.
restart() {
  mark_disk "$*"
  wait_for_cloud_init # it would keep STATE in use
  sync
  systemctl --no-block reboot || fail "cannot reboot"
  until going_down; do
    sleep 0.2
  done
  exit 0
}

# Refuses a disk that is not as Container-Optimized OS has it, before anything is changed.
inspect_disk() {
  local wanted number
  for wanted in sfdisk e2fsck resize2fs ${reclaim:+cgpt}; do
    type -P "$wanted" >/dev/null || fail "there is no $wanted here: this is not Container-Optimized OS"
  done
  find_boot_disk || fail "the root file system is on no partition of a disk: this is not Container-Optimized OS"
  read_table || fail "$disk has no GPT with sectors of 512 bytes: this is not Container-Optimized OS"
  for wanted in 1:STATE 8:OEM 12:EFI-SYSTEM ${reclaim:+2:KERN-A 3:ROOT-A 4:KERN-B 5:ROOT-B}; do
    number=${wanted%%:*}
    [[ ${names[number]-} == "${wanted#*:}" ]] || fail \
      "the boot disk has no partition $number named ${wanted#*:}: this is not Container-Optimized OS"
  done
  for number in 1 8; do
    ! is_moving "$number" || fail \
      "the machine was cut off while it moved ${names[number]}: what is on that partition is lost, and so is this disk"
  done
}

# in_use <number>: whether a partition is mounted, or held by another device.
in_use() {
  local mounts mount_options device
  device=$(device_of "$1")
  find_mounts "$device"
  ((${#mounts[@]} > 0)) || is_held "$device"
}

# Lets ROOT-B be what the machine runs from.
boot_from_b() {
  local said
  case $root_number in
    5) return ;;
    3) ;;
    *) fail "the machine runs from partition $root_number, neither from ROOT-A nor from ROOT-B" ;;
  esac
  [[ ! -e $state/layout/switched ]] ||
    fail "the machine has rebooted and still runs from ROOT-A: its boot loader does not heed the priorities of cgpt"
  ((sizes[5] >= sizes[3])) || fail "ROOT-B has $(mib "${sizes[5]}"), too little for a copy of ROOT-A ($(mib "${sizes[3]}"))"
  ! in_use 5 || fail "ROOT-B is in use"
  mark_disk "copying the root file system to its other partition ($(mib "${sizes[3]}"))"
  copy "copying the root file system" "$(device_of 3)" 0 "$(device_of 5)" 0 "${sizes[3]}" >"$directory/copy" ||
    fail "cannot copy ROOT-A to ROOT-B: $(<"$directory/copy")"
  said=$(cgpt prioritize -P 5 -i 4 "$disk" 2>&1) || fail "cgpt prioritize: ${said%%$'\n'*}"
  remember switched
  restart "rebooting from the other root file system"
}

# Leaves of ROOT-A no more than its place in the table.
shrink_a() {
  local said
  ((sizes[3] > smallest_root)) || return 0
  ! in_use 3 || fail "ROOT-A is in use, though the machine runs from ROOT-B"
  said=$(change_table 3 "size=$smallest_root") || fail "cannot shrink ROOT-A: ${said%%$'\n'*}"
  mark_disk "ROOT-A has given back $(mib $((sizes[3] - smallest_root)))"
  sizes[3]=$smallest_root
}

# Waits until whoever reads the serial port has made the disk larger.
await_growth() {
  local second wanted=$((${disk_size:-0} / 512)) file
  for ((second = 0; $(disk_sectors) < wanted; second++)); do
    ((second < patience_for_disk)) || fail "the disk did not grow to $disk_size bytes within $patience_for_disk seconds"
    ((second % 5 > 0)) || mark_disk "wants $disk_size"
    for file in "/sys/class/block/${disk#/dev/}/device"/{rescan,rescan_controller}; do
      [[ ! -w $file ]] || echo 1 >"$file"
    done 2>/dev/null
    sleep 1
  done
  ((second == 0)) || mark_disk "the disk has $(mib "$(disk_sectors)") now"
  read_table || fail "the partition table cannot be read any more"
}

# Sets `state_start`, `oem_start` and `oem_sectors`, as they were computed before anything was moved.
recall_layout() {
  local problem remark
  if [[ -e $state/layout/targets ]]; then
    # shellcheck source=/dev/null
    . "$state/layout/targets"
    return
  fi
  plan_layout
  [[ ! $problem ]] || fail "$problem"
  [[ ! $remark ]] || say "$remark"
  [[ ! $oem_start ]] || ! is_held "$(device_of 8)" || fail "OEM is sealed in the source image, and cannot become larger"
  [[ ! $oem_start ]] || oem_was="${starts[8]} ${sizes[8]}"
  { tell_targets >"$state/layout/targets.part" && sync "$state/layout/targets.part" &&
    mv "$state/layout/targets.part" "$state/layout/targets" && sync "$state/layout"; } || fail "cannot write to $state"
}

tell_targets() {
  local name
  for name in state_start oem_start oem_sectors oem_was; do
    printf '%s=%q\n' "$name" "${!name}"
  done
}

# Reboots, if anything has to be moved, and lets it be moved when nothing is mounted any more.
move_partitions() {
  local moves what
  find_moves
  ((${#moves[@]} > 0)) || return 0
  what=$(names_of "${moves[@]}")
  [[ ! -e "$state/layout/moving $what" ]] || fail "the machine has rebooted, but this was not moved: $what"
  remember "moving $what"
  arm_move "${moves[@]}"
  restart "moving $what while the machine shuts down"
}

# arm_move <number>…: starts a unit that is stopped once the mount points of these partitions are unmounted, and moves them
# then. The journal's service would keep STATE mounted, and is needed no more.
arm_move() {
  local number mounts mount_options point units=shutdown.target said
  for number; do
    find_mounts "$(device_of "$number")"
    for point in "${mounts[@]}"; do
      units+=" $(systemd-escape --path --suffix=mount -- "$point")"
    done
  done
  { tell_targets && printf 'disk=%q\n' "$disk"; } >"$directory/targets.sh"
  # A backslash of a unit's name stands for itself in a list of units.
  cat >/run/systemd/system/cos-customizer-disk.service <<END
[Unit]
Description=Move partitions of the boot disk
DefaultDependencies=no
Conflicts=shutdown.target
Before=$units

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/bash $directory/layout_move.sh
StandardOutput=null
StandardError=null
# Less than the half hour after which systemd reboots the machine whatever is going on.
TimeoutStopSec=25min
END
  said=$(systemctl daemon-reload 2>&1 && systemctl start cos-customizer-disk.service 2>&1) ||
    fail "cannot start cos-customizer-disk.service: ${said%%$'\n'*}"
  stop_units "${journal[@]}"
  systemctl mask --runtime "${journal[@]}" >/dev/null 2>&1
}

# discard <device> <first sector> <sectors>: gives back the blocks of what is no more, or overwrites them.
discard() {
  local range=(--offset $(($2 * 512)) --length $(($3 * 512)) "$1")
  blkdiscard --force "${range[@]}" 2>/dev/null || blkdiscard "${range[@]}" 2>/dev/null || timeout "$longest_filling" \
    dd if=/dev/zero of="$1" bs=1M conv=notrunc,fsync iflag=count_bytes oflag=seek_bytes seek=$(($2 * 512)) \
    count=$(($3 * 512)) status=none || say "warning: what was at the old place of OEM may be in the image"
}

# Gives back the old place of OEM, unless it is in use again.
give_back() {
  local begin size number
  [[ $oem_was ]] || return 0
  read -r begin size <<<"$oem_was"
  for number in "${!starts[@]}"; do
    ! overlap "$begin" "$size" "${starts[number]}" "${sizes[number]}" || return 0
  done
  discard "$disk" "$begin" "$size"
}

# Lets OEM's file system have its partition, or as many blocks of it as are wanted.
fit_oem() {
  local device size wanted='' mounts mount_options at said
  [[ $oem_start || ${oem_blocks-} ]] || return 0
  device=$(device_of 8)
  find_file_system_size "$device" || fail "OEM has no file system of the kind ext4"
  if [[ ${oem_blocks-} ]]; then
    ((size != oem_blocks * 4096)) || return 0
    wanted=$((oem_blocks * 4))K
  fi
  find_mounts "$device"
  for at in "${!mounts[@]}"; do
    said=$(umount -- "${mounts[at]}" 2>&1) || fail "OEM cannot be unmounted: ${said%%$'\n'*}"
  done
  ((size / 512 >= sizes[8])) || discard "$device" $((size / 512)) $((sizes[8] - size / 512)) # old blocks of others
  said=$(e2fsck -fp "$device" 2>&1) || (($? == 1)) || fail "e2fsck of OEM: ${said%%$'\n'*}"
  said=$(resize2fs "$device" $wanted 2>&1) || fail "resize2fs of OEM: ${said##*$'\n'}"
  find_file_system_size "$device"
  for ((at = ${#mounts[@]} - 1; at >= 0; at--)); do
    said=$(mount -t ext4 -o "${mount_options[at]}" "$device" "${mounts[at]}" 2>&1) ||
      fail "OEM cannot be mounted again: ${said%%$'\n'*}"
  done
  mark_disk "the file system of OEM has $(mib $((size / 512))) now"
}
