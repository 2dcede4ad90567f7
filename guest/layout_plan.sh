# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # results and arguments are variables: of the build's plan, and of layout_table.sh
# Where OEM and STATE are to be on the boot disk. All numbers are sectors of 512 bytes.

kept_of_root=4096 # what stays free behind the start of ROOT-A, where it is reclaimed

# overlap <begin> <size> <begin> <size>
overlap() {
  (($1 < $3 + $4 && $3 < $1 + $2))
}

# plan_layout: from the table: `state_start`; `oem_start` and `oem_sectors`, empty if OEM stays as it is. `problem` is why
# that cannot be, `remark` what there is to say of it.
#
# The room begins behind what stays of ROOT-A, if that is reclaimed; else where OEM lies, if it lies right before STATE; else
# where STATE begins. OEM comes first in it, then STATE, which every boot grows to the end of the disk.
plan_layout() {
  local wanted=$((${oem_size:-0} / 512)) point=${starts[1]} number end
  oem_start='' oem_sectors='' problem='' remark=''
  if [[ $reclaim ]]; then
    point=$((starts[3] + kept_of_root))
  elif ((starts[8] + sizes[8] == starts[1])); then
    point=${starts[8]}
  fi
  if ((wanted > 0 && wanted <= sizes[8])); then
    remark="warning: OEM has $(mib "${sizes[8]}"), which is not less than the $(mib "$wanted") that are wanted: it stays as it is"
    wanted=0
  fi
  if ((wanted > 0)); then
    oem_start=$point
    state_start=$(((point + wanted) / 8 * 8))
    oem_sectors=$((state_start - oem_start))
  else
    ((starts[8] < point || starts[8] > starts[1])) || point=$(((starts[8] + sizes[8] + 7) / 8 * 8)) # not over OEM
    state_start=$((point < starts[1] ? point : starts[1]))
  fi
  end=$((state_start + sizes[1]))
  if ((end - 1 > disk_end)); then
    problem="the boot disk is too small: with $(mib "$wanted") for OEM, STATE would end at $(mib "$end") of $(mib "$disk_end")"
  fi
  for number in "${!starts[@]}"; do
    ((number != 1 && number != 8)) || continue
    ! overlap "$point" $((end - point)) "${starts[number]}" "${sizes[number]}" ||
      problem="partition $number (${names[number]}) lies where OEM and STATE are to be"
  done
}

# find_moves: into `moves`, the numbers of the partitions that are not yet where they are to be, in the order in which they
# can go there.
find_moves() {
  moves=()
  [[ ! $oem_start ]] || ((starts[8] == oem_start && sizes[8] == oem_sectors)) || moves=(8)
  if ((state_start < starts[1])); then
    moves+=(1)
  elif ((state_start > starts[1])); then
    moves=(1 "${moves[@]}")
  fi
}

# names_of <number>…: prints `STATE and OEM`.
names_of() {
  local number text=
  for number; do
    text+="${text:+ and }${names[number]}"
  done
  printf %s "$text"
}
