# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Gives back the blocks of what was deleted. An image is made of a disk's blocks, whether a file still has them or not.

longest_filling=300 # seconds
journal_limit=262144 # KiB

# find_file_systems: into `points`, one mount point of each file system on a disk that was, or may have been, written to;
# into `devices`, its device; into `writable`, something if it can be written to now.
find_file_systems() {
  local fields at kind device point seen=' '
  points=() devices=() writable=()
  while read -ra fields; do
    for ((at = 6; at < ${#fields[@]}; at++)); do
      [[ ${fields[at]} != - ]] || break
    done
    kind=${fields[at + 1]-} device=${fields[at + 2]-}
    case $kind:$device in
      *:/dev/loop*) continue ;; # a file that a script has mounted
      ext[234]:/dev/* | vfat:/dev/* | xfs:/dev/* | btrfs:/dev/* | f2fs:/dev/*) ;;
      *) continue ;;
    esac
    [[ ${fields[4]} != / && $seen != *" ${fields[2]} "* ]] || continue
    seen+="${fields[2]} "
    printf -v point %b "${fields[4]}" # spaces and the like are written in octal
    points+=("$point")
    devices+=("$device")
    case ,${fields[at + 3]-}, in *,rw,*) writable+=(1) ;; *) writable+=('') ;; esac
  done </proc/self/mountinfo
}

# renew_journal <mount point> <device>: the journal of ext4 holds copies of directories, names of files that are gone among
# them. It is a ring: as many new directories as it has blocks take the place of all of them.
renew_journal() {
  local place=$1/.cos-customizer.journal size left
  size=$(dumpe2fs -h "$2" 2>/dev/null | sed -n 's/^\(Total j\|J\)ournal size: *\([0-9]*\)\([kM]\)$/\2\3/p')
  case $size in
    '') ! type -P dumpe2fs >/dev/null || return 0; left=65536 ;; # no journal; or nobody to tell
    *M) left=$((${size%M} * 1024)) ;;
    *) left=${size%k} ;;
  esac
  ((left < journal_limit)) || left=$journal_limit
  for (( ; left > 0; left -= 4096)); do
    # Written to the journal before they are gone again; 1,024 at a time, because a disk may be nearly full.
    { mkdir -p "$place" && cd "$place" && mkdir {1..1024} && sync -f .; } 2>/dev/null
    cd / && rm -rf -- "$place"
  done
  cd "$directory" || cd /
  sync -f "$1"
}

# fill_with_zeros <mount point>: its free space, as far as that goes in the time there is; says what came of it.
fill_with_zeros() {
  local file=$1/.cos-customizer.zeros left
  timeout "$longest_filling" dd if=/dev/zero of="$file" bs=1M 2>/dev/null </dev/null
  sync -f "$1"
  left=$(($(stat -f -c '%f * %S' "$1") >> 20))
  rm -f -- "$file"
  sync -f "$1"
  if ((left < 2)); then
    say "warning: $1 takes no discard ($2): its free space was overwritten with zeros"
  else
    say "warning: $1 takes no discard ($2): $left MiB of its free space could not be overwritten with zeros in" \
      "$longest_filling s, and what was deleted there may be in the image"
  fi
}

# discard_free_space: of all file systems; what has been discarded since the machine was started is passed over quickly.
discard_free_space() {
  local points devices writable at said
  find_file_systems
  sync
  for at in "${!points[@]}"; do
    said=$(timeout 600 fstrim "${points[at]}" 2>&1 </dev/null) && continue
    # One that cannot be written to has not been written to, as far as anybody knows.
    [[ ! ${writable[at]} || ${1-} == again ]] || fill_with_zeros "${points[at]}" "${said##*: }"
  done
}

renew_journals() {
  local points devices writable at
  find_file_systems
  for at in "${!points[@]}"; do
    [[ ! ${writable[at]} ]] || renew_journal "${points[at]}" "${devices[at]}"
  done
}
