# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Records what is on the machine's disk before the first step, and as the image is made of it, and sends both to Cloud
# Storage. What the texts are that it sends, customizer/contents/reading.py says, which reads them.
#
# Nothing here fails a build by itself: what could not be taken, or sent, is told of. Whoever reads the serial port decides.
# Work goes on in memory; what is found before the first step waits beside the build context, for reboots.
# shellcheck source=steps/boot_disk.sh
. "$directory/steps/boot_disk.sh"

contents=$directory/contents
most_files=250000
most_listed=$((160 << 20)) # bytes of the list of files
most_hashed=$((20 << 30)) # bytes of all files that are read
longest_hashing=300 # seconds
longest_asking=60 # seconds for a program that asks a daemon
longest_sending=600 # seconds
most_modules=200

# What no image is known by: what every boot writes anew, what the clean-up empties or removes, what steps cannot change.
noise=(
  "${emptied[@]/%//*}" '/var/log/*' "$state" '*/lost+found' '/root/*'
  /etc/machine-id /var/lib/dbus/machine-id '/etc/ssh/ssh_host_*' /etc/docker/key.json /etc/.updated /var/.updated
  /etc/hostname /etc/hosts /etc/resolv.conf /etc/adjtime /etc/mtab
  '/var/lib/dhcp/*' '/var/lib/dhcpcd/*' '/var/lib/NetworkManager/*' '/var/lib/chrony/*' '/var/lib/logrotate/*'
  '/var/lib/update-engine/*' '/mnt/stateful_partition/etc'
)
# What containers are kept in: told by image.
stores=(
  /var/lib/docker/{buildkit,containerd,image,network,plugins,runtimes,tmp,engine-id}
  /var/lib/docker/{aufs,btrfs,devicemapper,fuse-overlayfs,overlay,overlay2,vfs,zfs,rootfs}
  '/var/lib/docker/containers/*/*-json.log*' '/var/lib/containerd/*'
)

# leave_out <inventory> <what, and why>…
leave_out() {
  printf '%s\n' "${*:2}" >>"$1/left-out"
}

is_running() {
  systemctl --quiet is-active "$1" 2>/dev/null
}

# ask <command>…: with an end, and from nothing.
ask() {
  timeout "$longest_asking" "$@" 2>/dev/null </dev/null
}

# record_unit_files <file>: what becomes of units when the machine is started.
record_unit_files() {
  ask systemctl list-unit-files --no-legend --no-pager --full >"$1"
}

# take_packages <inventory>
take_packages() {
  local list=/etc/cos-package-info.json
  [[ ! -f $list ]] || cp "$list" "$1/packages.json"
  # shellcheck disable=SC2016 # names that dpkg-query fills in
  ! type -P dpkg-query >/dev/null || ask dpkg-query --show --showformat \
    '${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\t${source:Package}\n' >"$1/dpkg"
  ! type -P rpm >/dev/null || ask rpm --query --all --queryformat \
    '%{NAME}\t%{EPOCH}:%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\n' >"$1/rpm"
}

# take_docker <inventory>: what a running daemon says; else what it has left, for nothing is started here. Of an image's
# configuration only what is named here: its environment may hold what is nobody's business.
take_docker() {
  local store file layers ids
  if is_running docker.service; then
    mapfile -t ids < <(ask docker image ls --quiet --no-trunc | sort -u)
    ((${#ids[@]} > 0)) || return 0
    ask docker image inspect --format \
      '{"Id":{{json .Id}},"RepoTags":{{json .RepoTags}},"RepoDigests":{{json .RepoDigests}},"Layers":{{json .RootFS.Layers}},"Size":{{json .Size}}}' \
      "${ids[@]}" >"$1/docker" || leave_out "$1" "some of docker's images: the daemon has not told of them"
    return
  fi
  for store in /var/lib/docker/image/*/; do
    [[ -f $store/repositories.json ]] || continue
    cp "$store/repositories.json" "$1/docker-repositories.json"
    for file in "$store"/imagedb/content/sha256/*; do
      layers=$(list_in diff_ids <"$file")
      printf 'sha256:%s\t%s\n' "${file##*/}" "${layers:-[]}"
    done >"$1/docker-layers"
  done
}

# list_in <name>: the list of this name in a JSON text; of several the last one.
list_in() {
  tr -d '[:space:]' | grep -o "\"$1\":\[[^]]*\]" | tail -n 1 | sed 's/^[^:]*://'
}

# take_containerd <inventory>
take_containerd() {
  local space reference digest
  is_running containerd.service && type -P ctr >/dev/null || return 0
  for space in $(ask ctr namespaces ls --quiet); do
    [[ $space != moby ]] || ! is_running docker.service || continue # docker's own
    while read -r reference _ digest _; do
      [[ $digest == sha256:* ]] || continue
      tell_containerd_image "$space" "$reference" "$digest"
    done < <(ask ctr --namespace "$space" images ls)
  done >"$1/containerd"
}

# tell_containerd_image <namespace> <reference> <digest>: of an index, the manifest whose parts are here.
tell_containerd_image() {
  local manifest digest configuration layers=''
  for digest in "$3" $(ask ctr --namespace "$1" content get "$3" | tr -d '[:space:]' | sed 's/"config":{[^}]*}//' |
    grep -o '"digest":"sha256:[0-9a-f]*"' | cut -d '"' -f 4); do
    manifest=$(ask ctr --namespace "$1" content get "$digest" | tr -d '[:space:]')
    configuration=$(printf %s "$manifest" | sed -n 's/.*"config":{[^}]*"digest":"\(sha256:[0-9a-f]*\)".*/\1/p')
    [[ $configuration ]] || continue
    layers=$(ask ctr --namespace "$1" content get "$configuration" | list_in diff_ids)
    [[ ! $layers ]] || break
  done
  [[ $layers ]] || manifest=''
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$manifest" "$layers"
}

# take_disk <inventory>: partitions, boot menu, kernel line.
take_disk() {
  local disk place partition entry devices=() mounted=$directory/efi
  cp /proc/cmdline "$1/cmdline"
  find_boot_disk || { leave_out "$1" "partitions: the root file system is on no partition of a disk"; return; }
  { type -P sfdisk >/dev/null && ask sfdisk --dump "$disk" >"$1/partitions"; } ||
    leave_out "$1" "partitions: sfdisk cannot read the table of $disk"
  for entry in "$place"/*/partition; do
    entry=${entry%/partition}
    devices+=("/dev/${entry##*/}")
  done
  # Of what has no file system it says nothing, and that it has said nothing of some.
  ask blkid -p -s TYPE -o full "${devices[@]}" | sed -n 's/^\([^:]*\): .*TYPE="\([^"]*\)".*/\1 \2/p' >"$1/file-systems"
  find_partition 12 EFI-SYSTEM || return 0
  mkdir -p "$mounted"
  if mount -t vfat -o ro,nosuid,nodev,noexec "$partition" "$mounted" 2>/dev/null ||
    mount -t vfat -o nosuid,nodev,noexec "$partition" "$mounted" 2>/dev/null; then
    [[ ! -f $mounted/efi/boot/grub.cfg ]] || cp "$mounted/efi/boot/grub.cfg" "$1/boot-menu"
    umount "$mounted"
  else
    leave_out "$1" "the boot menu: the partition EFI-SYSTEM cannot be mounted"
  fi
}

# find_roots <inventory>: into `roots`, where the files are that an image keeps; into `pruned`, what is told twice there.
find_roots() {
  local path partition
  roots=(/) pruned=() oem_mounted=''
  is_cos || return 0
  roots=(/var /home /usr/share/oem /mnt/stateful_partition)
  for path in /mnt/stateful_partition/*; do
    [[ ! $path -ef /var && ! $path -ef /home ]] || pruned+=("$path")
  done
  # A step has sealed it, or the source image is sealed, and the device that verifies it has the partition for itself.
  ! mountpoint -q /usr/share/oem && find_partition 8 OEM || return 0
  for path in "/sys/class/block/${partition#/dev/}/holders"/*; do
    partition=/dev/${path##*/}
  done
  if mount -t ext4 -o ro,noload,nosuid,nodev,noexec "$partition" /usr/share/oem 2>/dev/null; then
    oem_mounted=1
  else
    leave_out "$1" "files of OEM: it cannot be mounted"
  fi
}

# list_contents <inventory> <root>…: all files in one pass: with what `find` says of them, and what is to be read.
list_contents() {
  local inventory=$1 path tests=() statuses
  shift
  for path in "${noise[@]}" "${stores[@]}" "${pruned[@]}"; do
    tests+=(-o -path "$path")
  done
  timeout "$longest_hashing" find "$@" -xdev \( "${tests[@]:1}" \) -prune -o \
    -printf '%y %m %U %G %s\0%p\0%l\0' \
    -type f -size +0 -fprintf "$contents/regular" '%s\t%p\0' -fprintf "$contents/sizes" '%s\n' \
    2>/dev/null </dev/null | head -z -n $((3 * most_files)) >"$inventory/files"
  statuses=("${PIPESTATUS[@]}")
  case ${statuses[0]} in
    124) leave_out "$inventory" "files: not all could be listed in $longest_hashing s" ;;
    126 | 127) leave_out "$inventory" "files: find cannot be run any more" ;;
  esac
  limit_list "$inventory"
}

# limit_list <inventory>: what is too long goes, from its end, and that is told.
limit_list() {
  local kept
  kept=$(($(tr -dc '\0' <"$1/files" | wc -c) / 3))
  ((kept < most_files)) || leave_out "$1" "files: more than the first $most_files"
  shorten_list "$1/files" "$kept" # it may end in the middle of one
  (($(stat -c %s "$1/files") > most_listed)) || return 0
  while (($(stat -c %s "$1/files") > most_listed)); do
    kept=$((kept / 2))
    shorten_list "$1/files" "$kept"
  done
  leave_out "$1" "files: more than the first $kept, for their names are long"
}

# shorten_list <list> <files>
shorten_list() {
  head -z -n $((3 * $2)) "$1" >"$contents/shorter" && mv "$contents/shorter" "$1"
}

# read_files <inventory>: the digests of all of them, several at a time, and no process for each. Each process writes to a
# file of its own: what two write to one could get mixed.
read_files() {
  local sizes total=0 count=0 pieces=$contents/pieces piece list=$contents/regular jobs status
  sort -n -o "$contents/sizes" "$contents/sizes"
  mapfile -t sizes <"$contents/sizes" # of a file: from a pipe, bash reads byte by byte
  for piece in "${sizes[@]}"; do
    ((total += piece, total <= most_hashed)) || break
    ((count++))
  done
  if ((count < ${#sizes[@]})); then
    leave_out "$1" "digests: the largest $((${#sizes[@]} - count)) files are too much to read"
    sort -z -n "$list" | head -z -n "$count" >"$list.kept" && mv "$list.kept" "$list"
  fi
  mkdir "$pieces"
  jobs=$(nproc 2>/dev/null) || jobs=1
  # shellcheck disable=SC2016 # of the other bash
  cut -z -f 2- "$list" | timeout "$longest_hashing" xargs -0 -r -n 250 -P "$jobs" bash -c \
    'exec sha256sum --zero -- "$@" >>"$0/$$" 2>/dev/null' "$pieces"
  status=${PIPESTATUS[1]}
  if ((status == 124)); then
    leave_out "$1" "digests: some files could not be read in $longest_hashing s"
    for piece in "$pieces"/*; do # the last one of each may be cut off
      head -z -n -1 "$piece" >"$piece.whole" && mv "$piece.whole" "$piece"
    done
  fi
  for piece in "$pieces"/*; do
    cat "$piece"
  done >"$1/digests"
  rm -rf "$pieces"
}

# take_modules <inventory>: those that come with no kernel: a driver's, say.
take_modules() {
  type -P modinfo >/dev/null || return 0
  cut -z -f 2- "$contents/regular" | grep -z '\.ko\(\.[a-z0-9]*\)\?$' | grep -zv '^\(/usr\)\?/lib/modules/[^/]*/kernel/' |
    head -z -n "$most_modules" | timeout "$longest_asking" xargs -0 -r modinfo 2>/dev/null >"$1/modules"
}

# take_files <inventory>: and what is known by files.
take_files() {
  local roots pruned oem_mounted
  find_roots "$1"
  : >"$contents/regular"
  : >"$contents/sizes"
  list_contents "$1" "${roots[@]}"
  take_modules "$1"
  read_files "$1"
  [[ ! $oem_mounted ]] || umount /usr/share/oem
  rm -f "$contents"/{regular,sizes}
}

# take_rest <inventory>: what daemons need not be asked for.
take_rest() {
  cp "$os_release" "$1/os-release"
  take_packages "$1"
  take_disk "$1"
  take_files "$1"
}

# take_daemons <inventory>: what is known only as long as they run. Container-Optimized OS makes /etc anew at every boot:
# what a step has enabled there is not in the image, and what was there before the first step of this boot is.
take_daemons() {
  if is_cos; then cp "$directory/unit-files" "$1/units"; else record_unit_files "$1/units"; fi
  [[ ! -r /sys/module/nvidia/version ]] || cp /sys/module/nvidia/version "$1/nvidia"
  take_docker "$1"
  take_containerd "$1"
}

# record_contents_before: once, before anything is changed. A step may remove what is kept of it; that is told then.
record_contents_before() {
  local now begin file=$state/contents.tar.gz
  record_unit_files "$directory/unit-files"
  [[ ! -e $file ]] || return 0
  read_clock
  begin=$now
  { rm -rf "$contents" && mkdir -p "$contents/before" "$state" && chmod 700 "$state"; } || return
  {
    take_daemons "$contents/before"
    take_rest "$contents/before"
    tar --create --gzip --directory "$contents" --file "$file.part" before && mv "$file.part" "$file" && sync "$state"
  } || say "warning: what is in the source image could not be recorded"
  rm -rf "$contents"
  read_clock
  say "recorded what is in the source image ($(((now - begin) / 100)) s)"
}

# begin_contents: at the end of the last step, while daemons run.
begin_contents() {
  rm -rf "$contents"
  mkdir -p "$contents"/{before,after}
  take_daemons "$contents/after"
}

# finish_contents: once nothing is changed any more. Sets `contents_said`, what the port is to be told of it.
finish_contents() {
  local now begin size digest file=$directory/contents.tar.gz why=''
  read_clock
  begin=$now
  tar --extract --gzip --directory "$contents" --file "$state/contents.tar.gz" 2>/dev/null || {
    mkdir -p "$contents/before"
    leave_out "$contents/before" "everything: a step has removed what was recorded before it"
  }
  take_rest "$contents/after"
  echo 1 >"$contents/version"
  if ! tar --create --gzip --numeric-owner --directory "$contents" --file "$file" version before after 2>/dev/null; then
    contents_said="failed it does not fit into memory"
    rm -rf "$contents" "$file"
    return
  fi
  rm -rf "$contents"
  size=$(stat -c %s "$file")
  read -r digest _ < <(sha256sum "$file")
  read_clock
  say "recorded what is in the image ($(((now - begin) / 100)) s, $(((size + 1023) / 1024)) KiB)"
  if send_contents "$file" "$size"; then
    contents_said="sent $size $digest"
  else
    contents_said="failed ${why:-it could not be sent}"
  fi
  rm -f "$file" "$file.rest"
  mark_contents "$contents_said"
}

# put <url> <range> [file]: one request of a resumable upload; into `status`, the answer's.
# https://cloud.google.com/storage/docs/performing-resumable-uploads
put() {
  local body=(-H 'Content-Length: 0') left=$((end - SECONDS))
  [[ ! ${3-} ]] || body=(--upload-file "$3")
  status=$(curl -sS --connect-timeout 10 --max-time $((left > 1 ? left : 1)) --speed-limit 1 --speed-time 60 \
    --request PUT -H 'Expect:' -H "Content-Range: bytes $2" "${body[@]}" \
    --dump-header "$directory/curl.headers" --output /dev/null --write-out '%{http_code}' "$1" 2>"$directory/curl.errors")
}

# bytes_taken: how many the answer says that it has.
bytes_taken() {
  local last
  last=$(sed -n 's/^[Rr][Aa][Nn][Gg][Ee]: *bytes=0-\([0-9]\{1,18\}\).*/\1/p' "$directory/curl.headers")
  echo $((${last:--1} + 1))
}

# send_contents <file> <size>: to the session that was begun for it. What is cut off is gone on with. Says in `why` what
# has gone wrong.
send_contents() {
  local file=$1 size=$2 url status=0 offset=0 pause=1 end=$((SECONDS + longest_sending)) first=1
  url=$(patiently get_metadata instance/attributes/contents-upload) || {
    why="the metadata server does not say where to: $(first_line "$directory/curl.errors")"
    return 1
  }
  url=$(endpoint_of storage)$url
  while ((SECONDS < end)); do
    put "$url" "*/$size"
    if [[ $status == 308 ]]; then
      offset=$(bytes_taken)
      # By an earlier try, on a machine that has restarted since: it had other bytes.
      [[ ! $first || $offset == 0 ]] || { why="an earlier try was cut off by a restart of the machine"; return 1; }
      first='' pause=1
      tail -c +$((offset + 1)) "$file" >"$file.rest"
      put "$url" "$offset-$((size - 1))/$size" "$file.rest"
    fi
    case $status in
      200 | 201) return 0 ;;
      308 | 408 | 429 | 000) ;;
      4??) why="Cloud Storage refuses it (HTTP $status)"; return 1 ;;
    esac
    why="no answer of Cloud Storage: HTTP $status $(first_line "$directory/curl.errors")"
    sleep "$pause"
    pause=$((pause < 16 ? 2 * pause : 16))
  done
  why="not in $longest_sending s: $why"
  return 1
}
