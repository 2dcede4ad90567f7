# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # results are read by others; variables of build.sh
# Changes the boot menu: efi/boot/grub.cfg on partition 12, EFI-SYSTEM. A step opens it, changes its kernel lines by a
# function of its own, and saves it.

kernel_line='^([[:space:]]*)(linux|linux16|linuxefi)[[:space:]]'
longest_command_line=2047 # the kernel's COMMAND_LINE_SIZE, less the closing zero

# split_words <text>: into `words`, at spaces that no quotation marks enclose. Fails if a mark is not closed.
split_words() {
  local LC_ALL=C rest=$1 word=$'^[[:space:]]*(([^[:space:]"\']|"[^"]*"|\'[^\']*\')+)'
  words=()
  while [[ $rest =~ $word ]]; do
    words+=("${BASH_REMATCH[1]}")
    rest=${rest:${#BASH_REMATCH[0]}}
  done
  [[ ! $rest =~ [^[:space:]] ]]
}

# understand <word>: sets `name` and `argument`, by which words are compared. The boot loader passes `a="b c"` on as
# `"a=b c"`, and hyphens in a name are underscores to the kernel.
understand() {
  argument=${1//[\"\']/}
  name=${argument%%=*}
  argument=${name//-/_}${argument#"$name"}
  name=${name//-/_}
}

# open_menu: mounts the partition, and reads the menu into `menu`.
open_menu() {
  local mounted=$directory/efi partition=''
  find_partition 12 EFI-SYSTEM ||
    give_up "the boot disk has no partition 12 named EFI-SYSTEM: this is not Container-Optimized OS"
  mkdir -p "$mounted"
  mount -t vfat -o nosuid,nodev,noexec "$partition" "$mounted" || give_up "cannot mount $partition"
  trap 'umount "$directory/efi"' EXIT # however the step ends
  [[ -f $mounted/efi/boot/grub.cfg ]] ||
    give_up "there is no efi/boot/grub.cfg on $partition: this is not Container-Optimized OS"
  mapfile -t menu <"$mounted/efi/boot/grub.cfg" # all at once: nothing must be open when the partition is unmounted
  difference=
}

# change_menu <function>: lets it change the arguments of each kernel line, which are in `words`. It sets `changed` if that
# makes a difference to the kernel; `number` is the line's, from 1. Sets `difference` if any line has changed.
change_menu() {
  local LC_ALL=C line at number kernels=0 indent start words changed
  for at in "${!menu[@]}"; do
    line=${menu[at]} number=$((at + 1))
    [[ $line =~ $kernel_line ]] || continue
    indent=${BASH_REMATCH[1]} kernels=$((kernels + 1)) changed=
    split_words "$line" || give_up "line $number of grub.cfg has a quotation mark that is not closed"
    start=("${words[@]:0:2}")
    words=("${words[@]:2}")
    "$1"
    [[ $changed ]] || continue
    difference=1
    line="BOOT_IMAGE=${start[1]-} ${words[*]}" # as the boot loader puts it
    ((${#line} <= longest_command_line)) || give_up "line $number of grub.cfg is too long:" \
      "the command line of ${start[1]-} would have ${#line} characters; the kernel reads $longest_command_line"
    line="$indent${start[*]} ${words[*]}"
    printf '%s: line %s: %s\n' "$kind" "$number" "${line#"$indent"}"
    menu[at]=$line
  done
  ((kernels > 0)) || give_up "grub.cfg has no kernel line"
}

# save_menu: so that whenever the machine stops, the old or the new one is there; and unmounts the partition.
save_menu() {
  local file=$directory/efi/efi/boot/grub.cfg
  if [[ ! $difference ]]; then
    printf '%s: there is nothing to change\n' "$kind"
  elif ! { printf '%s\n' "${menu[@]}" >"$file.new" && sync "$file.new" && mv -f "$file.new" "$file" && sync -f "$file"; }; then
    rm -f "$file.new"
    give_up "cannot write grub.cfg"
  fi
  trap - EXIT
  umount "$directory/efi" || give_up "cannot unmount the partition EFI-SYSTEM"
}

# mask_units <unit>…: keeps them from being started: an argument each behind the first `cros_efi` of the line, unless the
# line has it. Sets `maskable` if there is such a place.
mask_units() {
  local word name argument unit line=("${words[@]}") missing=() place=
  for unit; do
    for word in "${line[@]}"; do
      understand "$word"
      [[ $argument != "systemd.mask=$unit" ]] || continue 2
    done
    missing+=("systemd.mask=$unit")
  done
  words=()
  for word in "${line[@]}"; do
    words+=("$word")
    [[ ! $place && $word == cros_efi ]] || continue
    place=1 maskable=1
    ((${#missing[@]} > 0)) || continue
    words+=("${missing[@]}")
    changed=1
  done
}
