# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Leaves the machine as if it had never been booted, but for what the scripts have made.

# Units that write what is to be removed; the last three do so at shutdown, when nobody could remove it any more.
writers=(
  crash-reporter.service crash-sender.service device_policy_manager.service metrics-daemon.service
  update-engine.service
  systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket syslog.socket
  systemd-journald.service
  systemd-random-seed.service systemd-timesyncd.service systemd-update-utmp.service
)

# The directories to be emptied; from some a few names are kept, below.
emptied=(
  /var/cache /var/lib/systemd /var/tmp /tmp /var/lib/crash_reporter /var/lib/metrics /var/lib/update_engine
  /var/lib/whitelist /var/lib/cloud /var/log/journal /var/log/audit /etc/netplan
)

# stop_units <unit>…: in one go, those that are active.
stop_units() {
  local unit states active=()
  mapfile -t states < <(systemctl is-active "$@" 2>/dev/null)
  for unit in "$@"; do
    [[ ${states[0]-} != active ]] || active+=("$unit")
    states=("${states[@]:1}")
  done
  ((${#active[@]} == 0)) || timeout 60 systemctl stop "${active[@]}" 2>"$directory/stop.errors" ||
    say "warning: systemctl stop ${active[*]}: $(first_line "$directory/stop.errors")"
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

# Ends the processes that scripts have left behind, so that nothing is written after us.
end_leftovers() {
  local group list signal pid pause others
  group=$(systemctl show --property ControlGroup --value cos-customizer.service)
  for list in /sys/fs/cgroup{,/systemd,/unified}"${group:-/none}"/cgroup.procs; do
    [[ -e $list ]] && break
  done
  for signal in TERM KILL; do
    for ((pause = 0; pause < 20; pause++)); do
      others=()
      while read -r pid; do
        [[ $pid == "$$" ]] || others+=("$pid")
      done <"$list"
      ((${#others[@]} > 0)) || return 0
      ((pause > 0)) || kill -s "$signal" "${others[@]}" 2>/dev/null
      sleep 0.1
    done
  done
  say "warning: a script's processes cannot be ended: ${others[*]}"
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
  while (($# > 0)); do
    rm -rf --one-file-system -- "${@:1:1000}" 2>/dev/null || {
      sleep 1
      rm -rf --one-file-system -- "${@:1:1000}" 2>"$directory/rm.errors" ||
        fail "clean-up: $(first_line "$directory/rm.errors")"
    }
    shift $(($# < 1000 ? $# : 1000))
  done
}

clean_up() {
  local directory_to_empty path paths=()
  say "cleaning up"
  wait_for_cloud_init
  end_leftovers
  stop_units "${writers[@]}"
  unmount_leftovers

  for directory_to_empty in "${emptied[@]}"; do
    for path in "$directory_to_empty"/*; do
      case $path in
        /var/cache/apt | /var/cache/debconf | /var/lib/systemd/deb-systemd-helper-enabled) ;;
        *) paths+=("$path") ;;
      esac
    done
  done
  remove "${paths[@]}" /mnt/stateful_partition/etc /etc/docker/key.json /etc/ssh/ssh_host_*
  for path in /var/log/**; do
    # Not removed: daemons expect some of them.
    if [[ -f $path && ! -L $path ]]; then
      : >"$path" || fail "clean-up: cannot truncate $path"
    fi
  done
  # The record of the steps comes last: were we cut off before, the next boot would only clean up again.
  remove "$state/context"
  remove "$state"
  sync
}
