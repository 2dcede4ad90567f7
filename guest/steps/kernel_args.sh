# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh, and the settings of the step
# Changes arguments on the kernel's command line, on every kernel line of the boot menu.
# shellcheck source=boot_disk.sh
. "$directory/steps/boot_disk.sh"
# shellcheck source=boot_menu.sh
. "$directory/steps/boot_menu.sh"

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

# step_kernel_args append=<arguments> remove=<names> replace=<arguments> reboot=<1 or nothing>
step_kernel_args() {
  local append='' remove='' replace='' reboot='' "$@"
  local menu difference words changed
  open_menu
  change_menu change_arguments
  save_menu
  [[ $reboot ]] || return 0
  split_words "$(</proc/cmdline)"
  change_arguments
  [[ $changed ]] || return 0 # the kernel was booted like this
  printf '%s: rebooting\n' "$kind"
  systemctl --no-block reboot || give_up "cannot reboot"
}
