# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh, and the settings of the step
# Changes arguments on the kernel's command line: on every kernel line of efi/boot/grub.cfg on partition 12, EFI-SYSTEM.

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

# change_arguments: makes `words` what the settings want, and sets `changed` if that makes a difference to the kernel.
change_arguments() {
  local line=("${words[@]}") word name argument before new=() verity=()
  local -A removed=() replacing=() there=()
  changed=
  split_words "$remove"
  for word in "${words[@]}"; do
    understand "$word"
    removed[:$argument]=1 # a name alone stands for all arguments of that name
  done
  split_words "$replace"
  for word in "${words[@]}"; do
    understand "$word"
    replacing[:$name]=$word
    new+=("$word")
  done
  split_words "$append"
  new+=("${words[@]}")
  words=()
  for word in "${line[@]}"; do
    understand "$word"
    if [[ ${removed[:$name]-} || ${removed[:$argument]-} ]]; then
      changed=1
      continue
    fi
    if [[ ${replacing[:$name]+set} ]]; then
      before=$argument
      understand "${replacing[:$name]}"
      if [[ $before != "$argument" || ${there[:$argument]-} ]]; then
        word=${replacing[:$name]} changed=1
      fi
      [[ ! ${there[:$argument]-} ]] || continue # the second of its name
    fi
    there[:$argument]=1
    words+=("$word")
  done
  # Whoever seals an image counts on the verity entry being the last argument: what is new comes before it.
  if ((${#words[@]} > 0)); then
    understand "${words[-1]}"
    case $name in
      dm | dm_mod.create)
        verity=("${words[-1]}")
        unset 'words[-1]'
        ;;
    esac
  fi
  for word in "${new[@]}"; do
    understand "$word"
    [[ ! ${there[:$argument]-} ]] || continue
    there[:$argument]=1
    words+=("$word")
    changed=1
  done
  words+=("${verity[@]}")
}

# change_menu <file>: reads it into `menu`, its kernel lines changed, and sets `difference` if there is one.
change_menu() {
  local LC_ALL=C line number kernels=0 indent start words changed
  difference=
  mapfile -t menu <"$1" # all at once: nothing must be open when the partition is unmounted
  for number in "${!menu[@]}"; do
    line=${menu[number]}
    if [[ $line =~ $kernel_line ]]; then
      indent=${BASH_REMATCH[1]} kernels=$((kernels + 1))
      split_words "$line" || give_up "line $((number + 1)) of grub.cfg has a quotation mark that is not closed"
      start=("${words[@]:0:2}")
      words=("${words[@]:2}")
      change_arguments
      if [[ $changed ]]; then
        difference=1
        line="BOOT_IMAGE=${start[1]-} ${words[*]}" # as the boot loader puts it
        ((${#line} <= longest_command_line)) || give_up \
          "the command line of ${start[1]-} would have ${#line} characters; the kernel reads $longest_command_line"
        line="$indent${start[*]} ${words[*]}"
        printf '%s: line %s: %s\n' "$kind" "$((number + 1))" "${line#"$indent"}"
      fi
    fi
    menu[number]=$line
  done
  ((kernels > 0)) || give_up "grub.cfg has no kernel line"
}

# Sets `partition` to partition 12 of the disk that the root file system is on, be there dm-verity between.
find_boot_partition() {
  local device entry name value found=
  device=/sys/dev/block/$(mountpoint -d /)
  for entry in "$device"/slaves/*; do
    device=$entry
  done
  for entry in "$device"/../*/partition; do
    [[ $(<"$entry") == 12 ]] || continue
    while IFS='=' read -r name value; do
      case $name in
        DEVNAME) partition=/dev/$value ;;
        PARTNAME) found=$value ;;
      esac
    done <"${entry%/partition}/uevent"
  done
  [[ $found == EFI-SYSTEM ]] ||
    give_up "the boot disk has no partition 12 named EFI-SYSTEM: this is not Container-Optimized OS"
}

# replace_file <file>: by the lines of `menu`, so that whenever the machine stops, the old or the new one is there.
replace_file() {
  printf '%s\n' "${menu[@]}" >"$1.new" && sync "$1.new" && mv -f "$1.new" "$1" && sync -f "$1" && return
  rm -f "$1.new"
  give_up "cannot write grub.cfg"
}

# step_kernel_args append=<arguments> remove=<names> replace=<arguments> reboot=<1 or nothing>
step_kernel_args() {
  local append='' remove='' replace='' reboot='' "$@"
  local mounted=$directory/efi partition='' menu difference words changed
  local file=$mounted/efi/boot/grub.cfg
  find_boot_partition
  mkdir -p "$mounted"
  mount -t vfat -o nosuid,nodev,noexec "$partition" "$mounted" || give_up "cannot mount $partition"
  trap 'umount "$directory/efi"' EXIT # however the step ends
  [[ -f $file ]] || give_up "there is no efi/boot/grub.cfg on $partition: this is not Container-Optimized OS"
  change_menu "$file"
  if [[ $difference ]]; then
    replace_file "$file"
  else
    printf '%s: there is nothing to change\n' "$kind"
  fi
  trap - EXIT
  umount "$mounted" || give_up "cannot unmount $partition"
  [[ $reboot ]] || return 0
  split_words "$(</proc/cmdline)"
  change_arguments
  [[ $changed ]] || return 0 # the kernel was booted like this
  printf '%s: rebooting\n' "$kind"
  systemctl --no-block reboot || give_up "cannot reboot"
}
