# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # results and arguments are variables
# Reads and changes the boot disk's partition table, and copies on the disk. All numbers are sectors of 512 bytes.

gpt_end=33 # sectors of the table's copy at the end of a disk
moving=62 # bit of a GPT partition's attributes, set while its data is moved, which nobody else uses
pause_of_progress=10 # seconds between two words on how far a copy is

# device_of <number>: prints the device of a partition of `disk`.
device_of() {
  local separator=
  [[ $disk != *[0-9] ]] || separator=p
  printf %s "$disk$separator$1"
}

disk_sectors() {
  cat "/sys/class/block/${disk#/dev/}/size"
}

# read_table: into `starts`, `sizes`, `names` and `attributes`, by number; and `disk_end`, the last sector of the disk that
# a partition can have. Fails if there is no GPT, or one with other sectors.
read_table() {
  local table line number
  starts=() sizes=() names=() attributes=()
  table=$(sfdisk --dump "$disk" 2>/dev/null) || return
  [[ $table == *'label: gpt'* && ! $table =~ sector-size:\ *[^5\ ] ]] || return
  while read -r line; do
    [[ $line =~ ^[^\ ]*[^0-9]([0-9]+)\ :\ start=\ *([0-9]+),\ size=\ *([0-9]+)(,.*)?$ ]] || continue
    number=${BASH_REMATCH[1]}
    starts[number]=${BASH_REMATCH[2]} sizes[number]=${BASH_REMATCH[3]} names[number]='' attributes[number]=''
    [[ ! $line =~ \ name=\"([^\"]*)\" ]] || names[number]=${BASH_REMATCH[1]}
    [[ ! $line =~ \ attrs=\"([^\"]*)\" ]] || attributes[number]=${BASH_REMATCH[1]}
  done <<<"$table"
  disk_end=$(($(disk_sectors) - gpt_end - 1))
}

# change_table <number> <field>=<value>…: of one partition, in one go. Prints what is wrong. The kernel hears of it at the
# next boot: it uses what is changed, or has just done so.
change_table() {
  local number=$1 IFS=,
  shift
  sfdisk --quiet --no-reread --no-tell-kernel --wipe never --wipe-partitions never -N "$number" "$disk" <<<"$*" 2>&1 &&
    sync "$disk" 2>&1
}

# is_moving <number>: whether a move of its data has begun, and not ended.
is_moving() {
  [[ ${attributes[$1]-} =~ (^|[^0-9])$moving($|[^0-9]) ]]
}

# mib <sectors>: prints them as MiB, with commas.
mib() {
  local number=$(($1 / 2048)) text=
  while ((number >= 1000)); do
    text=,$(printf %03d $((number % 1000)))$text
    number=$((number / 1000))
  done
  printf '%s MiB' "$number$text"
}

# zero <device> <first sector> <sectors>: if the disk can do that by itself, without being sent all the zeros.
zero() {
  local most range=(--offset $(($2 * 512)) --length $(($3 * 512)) "$1")
  { most=$(<"/sys/class/block/${disk#/dev/}/queue/write_zeroes_max_bytes") && ((most > 0)); } 2>/dev/null || return
  # It wants to have the disk for itself unless it is forced; versions before 2.36 never do.
  blkdiscard --zeroout --force "${range[@]}" 2>/dev/null || blkdiscard --zeroout "${range[@]}" 2>/dev/null
}

# copy <what> <from device> <first sector> <to device> <first sector> <sectors>: prints what is wrong, and says from time to
# time how far it is.
#
# It goes piece by piece; where two places on one disk overlap, from the side on which no piece takes the place of one that is
# still to be copied. Most of a disk is empty: a piece's place is emptied first, and only what is not empty is written. Reads
# and writes past the kernel's cache, which may know a partition's blocks as they once were.
copy() {
  local what=$1 from=$3 to=$5 left=$6 piece=$((64 * 2048)) block=1M begin=$3 backward='' alike='' said told=$SECONDS away flags
  away=$((to > from ? to - from : from - to))
  if [[ $2 == "$4" ]] && ((away < left)); then
    ((to < from)) || backward=1
    if ((away >= 2048)); then
      ((piece <= away)) || piece=$((away / 8 * 8))
    else
      # So near to each other that each piece has to be in memory as a whole.
      piece=$((16 * 2048)) block=16M alike=1
    fi
  fi
  while ((left > 0)); do
    ((piece <= left)) || piece=$left
    left=$((left - piece))
    [[ ! $backward ]] || begin=$((from + left))
    flags=notrunc
    [[ $alike ]] || ! zero "$4" $((begin - from + to)) "$piece" || flags+=,sparse
    said=$(dd if="$2" of="$4" bs=$block conv=$flags iflag=direct,fullblock,skip_bytes,count_bytes \
      oflag=direct,seek_bytes skip=$((begin * 512)) seek=$(((begin - from + to) * 512)) count=$((piece * 512)) \
      status=none 2>&1) || { printf '%s\n' "${said%%$'\n'*}" && return 1; }
    begin=$((begin + piece))
    ((SECONDS < told + pause_of_progress)) || {
      mark_disk "$what: $(mib $(($6 - left))) of $(mib "$6")"
      told=$SECONDS
    }
  done
  sync "$4" 2>&1
}

# move <number> <first sector> <sectors>: of one partition, its data and then its place.
#
# As long as its data is being moved, the table says so at its old place (`moving`). Its new place, and that it is whole, are
# written at once. So whenever the machine stops, the next boot finds the partition as it was, or where it is to be, or knows
# that it is lost.
move() {
  local number=$1 to=$2 size=$3 old=${attributes[$1]} said
  if ((starts[number] != to)); then
    said=$(change_table "$number" "attrs=\"$old${old:+ }GUID:$moving\"") ||
      fail "cannot change the partition table: ${said%%$'\n'*}"
    mark_disk "moving ${names[number]} ($(mib "${sizes[number]}")) from $(mib "${starts[number]}") to $(mib "$to") of the disk"
    copy "moving ${names[number]}" "$disk" "${starts[number]}" "$disk" "$to" "${sizes[number]}" >"$directory/copy" ||
      fail "cannot move ${names[number]}: $(<"$directory/copy")"
  fi
  said=$(change_table "$number" "start=$to" "size=$size" "attrs=\"$old\"") ||
    fail "cannot change the partition table: ${said%%$'\n'*}"
}
