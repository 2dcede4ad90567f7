# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Leaves the machine as if it had never been booted, but for what the scripts have made.

# Those of the journal, which keeps files open below /var/log.
journal=(
  systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket syslog.socket
  systemd-journald.service
)

# Units that write what is to be removed; the last three do so at shutdown, when nobody could remove it any more.
writers=(
  crash-reporter.service crash-sender.service device_policy_manager.service metrics-daemon.service
  update-engine.service
  "${journal[@]}"
  systemd-random-seed.service systemd-timesyncd.service systemd-update-utmp.service
)

# The directories to be emptied; from some a few names are kept, below.
emptied=(
  /var/cache /var/lib/systemd /var/tmp /tmp /var/lib/crash_reporter /var/lib/metrics /var/lib/update_engine
  /var/lib/whitelist /var/lib/cloud /var/log/journal /var/log/audit /etc/netplan
)

# stop_units <unit>…: in one go, those that are active.
stop_units() {
  local unit states said active=()
  mapfile -t states < <(systemctl is-active "$@" 2>/dev/null)
  for unit in "$@"; do
    [[ ${states[0]-} != active ]] || active+=("$unit")
    states=("${states[@]:1}")
  done
  ((${#active[@]} == 0)) || said=$(timeout 60 systemctl stop "${active[@]}" 2>&1) ||
    say "warning: systemctl stop ${active[*]}: ${said%%$'\n'*}"
}

# cloud-init has started us, and then writes a little more below /var/lib/cloud and /var/log.
wait_for_cloud_init() {
  local pause
  for ((pause = 0; pause < 300; pause++)); do
    systemctl is-active cloud-init.service cloud-config.service cloud-final.service cloud-init-main.service \
      2>/dev/null | grep -q '^activating' || return
    sleep 0.2
  done
}

# Unmounts what scripts have left mounted in the directories to be emptied: what is mounted there is not to be removed.
unmount_leftovers() {
  local point directory points=()
  while read -r _ _ _ _ point _; do
    printf -v point %b "$point" # spaces and the like are written in octal
    for directory in "${emptied[@]}" "$state"; do
      [[ $point != "$directory"/* ]] || points=("$point" "${points[@]}") # the innermost first
    done
  done </proc/self/mountinfo
  for point in "${points[@]}"; do
    umount -- "$point" || umount -l -- "$point"
  done 2>/dev/null
}

# remove <path>…: however many there are, and a second time where something has just been added.
remove() {
  local said
  while (($# > 0)); do
    rm -rf --one-file-system -- "${@:1:1000}" 2>/dev/null || {
      sleep 1
      said=$(rm -rf --one-file-system -- "${@:1:1000}" 2>&1) || fail "clean-up: ${said%%$'\n'*}"
    }
    shift $(($# < 1000 ? $# : 1000))
  done
}

# find_litter: into `litter`, what is in the directories to be emptied.
find_litter() {
  local place path
  litter=()
  for place in "${emptied[@]}"; do
    for path in "$place"/*; do
      case $path in
        /var/cache/apt | /var/cache/debconf | /var/lib/systemd/deb-systemd-helper-enabled) ;;
        *) litter+=("$path") ;;
      esac
    done
  done
}

# find_logs: into `logs`, the files below /var/log that have something in them.
find_logs() {
  local path
  logs=()
  for path in /var/log/**; do
    [[ ! -f $path || -L $path || ! -s $path ]] || logs+=("$path")
  done
}

empty_directories() {
  local path litter logs homes
  find_litter
  find_homes
  remove "${litter[@]}" "${homes[@]}" /mnt/stateful_partition/etc /etc/docker/key.json /etc/ssh/ssh_host_*
  find_logs
  for path in "${logs[@]}"; do
    : >"$path" || fail "clean-up: cannot truncate $path" # not removed: daemons expect some of them
  done
}

# Says what has come back where all was removed; empty if nothing has.
look_again() {
  local litter logs homes
  find_litter
  find_logs
  find_homes
  litter+=("${logs[@]}" "${homes[@]}")
  came_back=("${litter[@]:0:10}")
  ((${#litter[@]} <= 10)) || came_back+=("and $((${#litter[@]} - 10)) more")
}

# A script can take away by accident what the clean-up stands on. Then the build is to fail: an image that was not cleaned
# is worse than none.
check_means() {
  local program
  check_record
  for program in rm sync timeout sed; do
    type -P "$program" >/dev/null || fail "clean-up: there is no $program any more"
  done
  systemctl show --property=Version >/dev/null 2>&1 || fail "clean-up: systemctl cannot reach systemd any more"
  [[ -r /proc/self/mountinfo ]] || fail "clean-up: /proc is not mounted any more"
}

clean_up() {
  local came_back
  check_means
  say "cleaning up"
  tell_unkept
  ! declare -F begin_contents >/dev/null || begin_contents
  wait_for_cloud_init
  end_leftovers
  end_foreign_units
  stop_units "${writers[@]}"
  unmount_leftovers
  empty_directories
  remove "$state/context"
  renew_journals
  discard_free_space
  look_again
  if ((${#came_back[@]} > 0)); then
    end_leftovers
    end_foreign_units
    empty_directories
    look_again
    ((${#came_back[@]} == 0)) || say "warning: removed twice, and there again: ${came_back[*]}"
  fi
  tell_credentials
  ! declare -F finish_contents >/dev/null || finish_contents
  # The record of the steps comes last: were we cut off before, the next boot would only clean up again.
  remove "$state"
  discard_free_space again
}
