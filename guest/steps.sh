# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Runs the plan's steps, each once, whatever reboots lie between them.
#
# A step is an empty file that moves from pending/ to started/, then to done/ or, with its exit code added to its name, to
# failed/. All are made beforehand: to rename a file takes no space, and a script may have filled the disk. A step that a
# reboot may interrupt, and that is then run again, has two files in again/ for that.

# The files in $directory, by name: their text.
declare -A kept=()

# Keeps the files of the build in memory: a script may remove them by accident, and a build that is killed needs them.
keep_files() {
  local file
  for file in "$directory"/*.sh "$directory"/steps/*.sh "$directory/running"; do
    kept[${file#"$directory/"}]=$(<"$file")
  done
}

# Puts back those that are gone.
restore_files() {
  local file missing=()
  for file in "${!kept[@]}"; do
    [[ -e $directory/$file ]] || missing+=("$file")
  done
  ((${#missing[@]} > 0)) || return 0
  say "warning: a script has removed files of the build from $directory; they are put back"
  mkdir -p "$directory/steps" || fail "cannot put back what a script has removed from $directory"
  for file in "${missing[@]}"; do
    (umask 077 && printf '%s\n' "${kept[$file]}" >"$directory/$file") ||
      fail "cannot put back what a script has removed from $directory"
  done
  cd "$directory" || cd /
}

# check_record: whether each step is recorded as done.
check_record() {
  local number
  for ((number = 1; number <= steps; number++)); do
    [[ -e $state/done/$number ]] || fail_step "$number" "is not on record as done: something has changed $state"
  done
}

# record <from> <to>: durably, so that not even a reset makes a step run twice.
record() {
  { mv "$state/$1" "$state/$2" && sync "$state/${1%/*}" "$state/${2%/*}"; } ||
    fail "cannot record a step in $state: has a script removed it?"
}

record_plan() {
  [[ ! -d $state/pending ]] || return 0
  local number
  mkdir -p "$state"/{pending.part,started,done,failed,again} || fail "cannot make $state"
  for ((number = 1; number <= steps; number++)); do
    : >"$state/pending.part/$number" || fail "cannot record the plan in $state"
  done
  for number in $repeatable; do
    { : >"$state/again/$number-1" && : >"$state/again/$number-2"; } || fail "cannot record the plan in $state"
  done
  mv "$state/pending.part" "$state/pending"
  sync "$state"
}

# Ends the build if an earlier boot, or an earlier run of build.sh, has left a step that failed or did not end.
recall_steps() {
  local file name
  for file in "$state"/failed/*; do
    name=${file##*/}
    fail_step "${name%-*}" "exit ${name#*-}"
  done
  for file in "$state"/started/*; do
    name=${file##*/}
    if [[ -e $directory/running ]]; then
      fail_step "$name" "was interrupted: something killed the build's own processes"
    fi
    case " $repeatable " in
      *" $name "*) repeat_step "$name" ;;
      *) fail_step "$name" "was interrupted by a reboot before it finished" ;;
    esac
  done
}

# repeat_step <number>: lets a step that a reboot has interrupted run again.
repeat_step() {
  local left=("$state/again/$1"-*)
  ((${#left[@]} > 0)) || fail_step "$1" "was interrupted by a reboot three times, and is not run again"
  record "again/${left[0]##*/}" "done/again-${left[0]##*/}"
  record "started/$1" "pending/$1"
  say "step $1 was interrupted by a reboot, and is run again"
}

# Whether the machine is about to stop or to reboot. By the time that `reboot` returns, it is.
going_down() {
  [[ $(systemctl is-system-running 2>/dev/null) == stopping ]]
}

# Leaves what is next to the next boot, if a script has asked for one.
yield_to_shutdown() {
  local told=
  until going_down; do
    [[ -e /run/systemd/shutdown/scheduled ]] || return 0
    [[ $told ]] || say "waiting for the shutdown that is scheduled"
    told=1
    sleep 1
  done
  exit 0
}

# asks_for_reboot <exit code> <function>: whether steps of this kind ask for a reboot by it. Then they have succeeded.
asks_for_reboot() {
  declare -F "asks_for_reboot_${2#step_}" >/dev/null && "asks_for_reboot_${2#step_}" "$1"
}

# reboot_after <number>: reboots for a step that has asked for it; the next boot goes on behind the step. As a step runs
# once, a build reboots so at most once for each of its steps. Does not return.
reboot_after() {
  local pause
  say "step $1 asks for a reboot"
  going_down || systemctl --no-block reboot
  for ((pause = 0; pause < 60; pause++)); do
    ! going_down || exit 0
    sleep 1
  done
  fail "the VM does not reboot, though step $1 asks for it"
}

# The secrets of the step that runs, by the names of environment variables: see secrets.sh.
declare -A secrets=()

# Prints the program for sed that makes a script's output ours.
frame_output() {
  ((${#secrets[@]} == 0)) || mask_secrets
  printf '%s\n' 's/^/BuildStatus: /'
}

# print_output_of <function> <argument>…: runs it in the build context, its output on the port; returns its exit code.
# Of a step that fails a function explain_<kind>, if there is one, has the last word; it gets the exit code and the arguments.
print_output_of() {
  local printer code pause
  # sed writes each line as soon as it is complete, because the port is a terminal. (With -u it would read byte by byte.)
  exec 4> >(LC_ALL=C exec sed -f <(frame_output) >&3)
  printer=$!
  { # bash's own word on a script that was killed is of no use to anybody
    (
      cd "$state/context" || exit
      "$@" </dev/null >&4 2>&1 3>&- 4>&-
    )
    code=$?
  } 2>/dev/null
  exec 4>&-
  # A process that the script has left behind may hold its output open: then both are left alone.
  for ((pause = 0; pause < 40; pause++)); do
    kill -0 "$printer" 2>/dev/null || break
    sleep 0.05
  done
  # The script's last words may have been no whole line, which sed waits for.
  ((pause < 40)) || { printf '\n' 2>/dev/null >"/proc/$printer/fd/0" && sleep 0.2; }
  ((code == 0)) || asks_for_reboot "$code" "$1" || explain "$code" "$@"
  return "$code"
}

# explain <exit code> <function> <argument>…: says why a step failed, if its kind can tell. A line that begins with a tab is
# the place, for programs: see protocol.py.
explain() {
  local line place=$'BuildStatus: \t'
  declare -F "explain_${2#step_}" >/dev/null || return 0
  while LC_ALL=C IFS= read -r line; do # byte by byte: a command may be in any encoding
    case $line in
      "$place"*) mark_step "$number" "at ${line#"$place"}" ;;
      *) send "$line" ;;
    esac
  done < <(("explain_${2#step_}" "$1" "${@:3}") 2>/dev/null | LC_ALL=C sed -f <(frame_output))
}

# Sets `now` to the hundredths of a second since boot: unlike the time of day, they do not jump.
read_clock() {
  read -r now _ </proc/uptime
  now=$((10#${now/./}))
}

# give_up <reason>: for steps, to end with.
give_up() {
  printf '%s: %s\n' "$kind" "$*"
  exit 1
}

# step <number> <kind> <label> <name>=<value>… secret:<name>=<reference>…: a line of the plan. A kind is a function in a
# file of steps/.
step() {
  local number=$1 kind=$2 label=$3 code now begin word references=() call=() reboots=
  shift 3
  for word; do
    case $word in
      secret:*) references+=("$word") ;;
      *) call+=("$word") ;;
    esac
  done
  call=("step_${kind//-/_}" "${call[@]}")
  [[ ! -e $state/done/$number ]] || return 0 # on an earlier boot
  [[ -e $state/pending/$number ]] || fail_step "$number" "is not on record any more: something has removed it from $state"
  yield_to_shutdown
  record "pending/$number" "started/$number"
  mark_step "$number" "started $label"
  read_clock
  begin=$now
  declare -F "${call[0]}" >/dev/null || fail_step "$number" "is of a kind unknown to the builder VM: $kind"
  if ((${#references[@]} > 0)); then
    read_secrets "$number" "${references[@]}"
  fi
  print_output_of "${call[@]}"
  code=$?
  secrets=()
  restore_files
  if asks_for_reboot "$code" "${call[0]}"; then
    code=0 reboots=1
  fi
  if ((code != 0)); then
    record "started/$number" "failed/$number-$code"
    fail_step "$number" "exit $code"
  fi
  record "started/$number" "done/$number"
  read_clock
  mark_step "$number" "succeeded $(((now - begin) / 100)).$(printf %02d $(((now - begin) % 100)))"
  [[ ! $reboots ]] || reboot_after "$number"
}
