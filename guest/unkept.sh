# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Says what steps have made where the image will have nothing of it: Container-Optimized OS makes /etc anew at every boot, and
# some places are in memory. Other systems keep their /etc, and are left alone.

os_release=/etc/os-release
unkept_places=(
  /etc /run/systemd/system /run/udev/rules.d /run/sysctl.d /run/tmpfiles.d /run/modules-load.d /run/systemd/network
)
most_names=8

# is_cos: whether this is Container-Optimized OS.
is_cos() {
  local line
  while read -r line; do
    case $line in ID=cos | ID=\"cos\" | "ID='cos'") return ;; esac
  done <"$os_release"
  return 1
} 2>/dev/null

# list_files: times, size and path of each file in those places, with a NUL behind it. Not every machine has all of them.
list_files() {
  find "${unkept_places[@]}" -xdev ! -type d -printf '%T@ %C@ %s\t%p\0' 2>/dev/null || :
}

# list_mounts: the points at which something in memory is mounted, but for those of containers and of the system.
list_mounts() {
  local fields at point
  while read -ra fields; do
    for ((at = 6; at < ${#fields[@]}; at++)); do
      [[ ${fields[at]} != - ]] || break
    done
    printf -v point %b "${fields[4]}" # spaces and the like are written in octal
    case ${fields[at + 1]-}:$point in
      *:/run/* | *:/dev/* | *:/proc/* | *:/sys/* | *:/tmp/* | *:/var/tmp/* | *:/root | *:/root/*) ;;
      *:/var/lib/docker/* | *:/var/lib/containerd/* | *:/var/lib/kubelet/* | *:/var/lib/containers/*) ;;
      tmpfs:* | ramfs:* | overlay:*) printf '%s\0' "$point" ;;
    esac
  done </proc/self/mountinfo
}

# record_unkept: what there is before the first step of this boot.
record_unkept() {
  [[ ! -e $directory/files ]] && is_cos || return 0
  list_mounts >"$directory/mounts"
  list_files >"$directory/files.part" && mv "$directory/files.part" "$directory/files"
}

# belongs_to_system <path>: whether the system writes it by itself while it runs.
belongs_to_system() {
  case $1 in
    /etc/resolv.conf | /etc/hosts | /etc/hostname | /etc/machine-id | /etc/mtab | /etc/adjtime | /etc/localtime) return 0 ;;
    /etc/.updated | /etc/.pwd.lock | /etc/*[a-z]- | /etc/ld.so.cache | /etc/udev/hwdb.bin) return 0 ;;
    /etc/ssh/ssh_host_* | /etc/docker/key.json | /etc/netplan/* | /etc/*.lock | /etc/*.swp) return 0 ;;
    /etc/ld.so.conf) declare -F step_install_gpu >/dev/null && return ;; # setup_gpu.sh writes it at every boot
  esac
  return 1
}

# tell_unkept: of what has changed since.
tell_unkept() {
  local entry path why unit found=() again=() counted lines=()
  local -A before=() now=()
  [[ -s $directory/files ]] || return 0
  while IFS=$'\t' read -rd '' entry path; do
    before[$path]=$entry
  done <"$directory/files"
  while IFS=$'\t' read -rd '' entry path; do
    now[$path]=1
    [[ ${before[$path]-} == "$entry" ]] || belongs_to_system "$path" || found+=("$path")
  done < <(list_files | sort -zt $'\t' -k 2)
  ((${#now[@]} > 0)) || return 0
  for path in "${!before[@]}"; do
    [[ ${now[$path]-} ]] || belongs_to_system "$path" || again+=("$path")
  done
  for path in "${found[@]}"; do
    why="COS keeps no /etc"
    [[ $path != /run/* ]] || why="it is in memory"
    unit=
    case $path in *.wants/* | *.requires/*) unit="${path##*/} will not be enabled in the image: " ;; esac
    lines+=("warning: $unit$path will not be in the image ($why)")
  done
  for path in "${again[@]}"; do
    lines+=("warning: $path will be in the image again (COS keeps no /etc)")
  done
  while read -rd '' path; do
    ! in_record "$path" || continue
    lines+=("warning: what is in $path will not be in the image (a step has mounted memory there)")
  done < <(list_mounts)
  for entry in "${lines[@]:0:most_names}"; do
    say "$entry"
  done
  counted=$((${#lines[@]} - most_names))
  ((counted <= 0)) || say "warning: $counted more files will not be in the image; what is to last belongs below /var or /home"
}

# in_record <mount point>: whether it was one before the first step.
in_record() {
  local point
  while read -rd '' point; do
    [[ $point != "$1" ]] || return 0
  done <"$directory/mounts"
  return 1
}
