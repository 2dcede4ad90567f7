# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Ends what scripts have left running, wherever it runs: nothing is to be written after the clean-up.

# list_units: those in which something runs, or that start something later.
list_units() {
  systemctl list-units --type=service,scope,timer,path,socket,automount \
    --state=active,activating,reloading,deactivating --no-legend --plain --full 2>/dev/null |
    while read -r unit _; do
      printf '%s\n' "$unit"
    done
}

# Remembers the units of the machine itself, before the first step, and beyond a reboot.
record_units() {
  [[ ! -e $state/units ]] || return 0
  { list_units >"$state/units.part" && mv "$state/units.part" "$state/units" && sync "$state"; } ||
    fail "cannot record the machine's units in $state"
}

# recall_units: into `known`, a set.
recall_units() {
  local unit
  while read -r unit; do
    known[$unit]=1
  done <"$state/units"
  [[ ${known[*]+set} ]] || fail "clean-up: it is not known which units are the machine's own"
}

# belongs_to_machine <unit>: or to us.
belongs_to_machine() {
  case $1 in
    cos-customizer.service | init.scope) return ;;
    # These run what others give them, containers and jobs, which may outlive them: COS lets containers run on while docker
    # is replaced. A container that is to start with the machine still does: its restart policy is not touched.
    docker.service | docker.socket | containerd.service | crio.service | podman.service | podman.socket) return 1 ;;
    cron.service | crond.service | atd.service | user@*.service | systemd-nspawn@*.service) return 1 ;;
    # The boot may still be going on, and start its own; to stop some of them would unmount what we stand on.
    systemd-* | cloud-init*.service | cloud-config.service | cloud-final.service) return ;;
  esac
  [[ ${known[$1]-} ]]
}

# find_foreign_units: into `units`.
find_foreign_units() {
  local unit
  units=()
  while read -r unit; do
    belongs_to_machine "$unit" || units+=("$unit")
  done < <(list_units)
}

# find_group <process>: its control group as systemd counts them, into `group`.
find_group() {
  local hierarchy controllers path
  group=
  while IFS=: read -r hierarchy controllers path; do
    case $hierarchy:$controllers in
      *:name=systemd) group=$path && return ;;
      0:) group=$path ;;
    esac
  done <"/proc/$1/cgroup"
} 2>/dev/null

# find_start <process>: when it was started, into `start`; nothing if it is gone.
find_start() {
  local stat fields
  start=
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return
  read -ra fields < <(printf '%s\n' "${stat##*) }")
  start=${fields[19]}
}

# find_strays: into `strays`, processes that are in no unit of the machine, nor in ours: of containers, for example, or
# of units that could not be stopped.
find_strays() {
  local process pid group unit part parts start ours
  strays=()
  find_start $$
  ours=$start
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [[ $pid != 1 && -e $process/exe ]] || continue # the kernel's own have no program
    find_group "$pid"
    IFS=/ read -ra parts < <(printf '%s\n' "$group")
    unit=
    for part in "${parts[@]}"; do
      case $part in *.service | *.scope | *.socket) unit=$part ;; esac
    done
    if [[ $unit ]]; then
      belongs_to_machine "$unit" || strays+=("$pid")
    elif [[ $group != / ]]; then
      [[ ! $group ]] || strays+=("$pid")
    else # in none at all: what the machine was started by is older than we are
      find_start "$pid"
      ((${start:-0} <= ours)) || strays+=("$pid")
    fi
  done
}

# Ends the processes that scripts have left behind in our own unit, into which all of theirs are born.
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

# end_strays: those of `find_strays`, as long as there are any.
end_strays() {
  local signal pause
  for signal in TERM KILL; do
    for ((pause = 0; pause < 20; pause++)); do
      find_strays
      ((${#strays[@]} > 0)) || return 0
      ((pause > 0)) || kill -s "$signal" "${strays[@]}" 2>/dev/null
      sleep 0.1
    done
  done
}

# Ends the units that are there since the first step, and the processes that are in none. What is enabled stays so: it
# will start with the machine, as it is to.
end_foreign_units() {
  local units strays names=() ended=() pid round
  local -A known=()
  recall_units
  # What is stopped may start something else.
  for round in 1 2 3; do
    find_foreign_units
    ((${#units[@]} == 0)) || timeout 60 systemctl stop -- "${units[@]}" >/dev/null 2>&1 </dev/null
    [[ $round != 1 ]] || ended=("${units[@]}")
    end_strays
    find_foreign_units
    ((${#units[@]} + ${#strays[@]} > 0)) || break
  done
  ((${#ended[@]} == 0)) || say "stopped what has been started since the first step: ${ended[*]}"
  names=("${units[@]}")
  for pid in "${strays[@]}"; do
    { names+=("$(<"/proc/$pid/comm") (process $pid)"); } 2>/dev/null
  done
  ((${#names[@]} == 0)) || say "warning: cannot be ended, and may go on writing: ${names[*]}"
}
