# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# The speaking end of the serial protocol; protocol.py is the other one and describes it.

# Opens the serial port as file descriptor 3. Write-only: a terminal that is read could become our controlling terminal.
open_port() {
  local port=/dev/ttyS2
  [[ $(uname -m) != aarch64 ]] || port=/dev/ttyAMA2
  exec 3>"$port" 2>&3 || return
  ! type -P stty >/dev/null || stty -F "$port" raw -echo 115200
}

# Writes a line in one piece and at the start of a line, whatever a script that is still running has just printed.
# bash itself writes to a terminal line by line, dd all that it was given.
send() {
  printf '\n%s\n' "$1" | dd bs=64K iflag=fullblock status=none >&3
}

say() {
  send "BuildStatus: $*"
}

# mark_step <number> <what became of it>
mark_step() {
  send "BuildStep[$nonce]: $*"
}

# mark_disk <what becomes of it>: while the boot disk is laid out anew.
mark_disk() {
  send "BuildDisk[$nonce]: $*"
}

# mark_contents <what became of them>: of the recorded contents of the image.
mark_contents() {
  send "BuildContents[$nonce]: $*"
}

# Ends the build with this last marker, and repeats it: the console can lose text. Does not return.
conclude() {
  mkdir -p "$directory" && printf '%s\n' "$1" >"$directory/result"
  trap - TERM # from here on there is nothing to finish, and to stop is what we wait for
  while send "$1" && ! going_down; do
    sleep 5
  done
  exit 0
}

# Ends a build that has come to its end, and brings the machine to a halt: services are stopped in order, file systems
# unmounted, the disk is clean. A machine that has halted has not powered off: Compute Engine counts it as running, and
# deletes it when its maxRunDuration is over, should whoever wants its disk be gone.
succeed() {
  local marker="BuildSucceeded[$nonce]:" number
  printf '%s\n' "$marker" >"$directory/result"
  for _ in 1 2 3; do # the console can lose text
    for ((number = 1; number <= steps; number++)); do
      mark_step "$number" succeeded
    done
    [[ ! ${contents_said-} ]] || mark_contents "$contents_said"
    send "$marker"
    sleep 0.3
  done
  systemctl --no-block halt || say "cannot halt"
  conclude "$marker"
}

fail() {
  conclude "BuildFailed[$nonce]: $*"
}

# fail_step <number> <exit code or reason>
fail_step() {
  mark_step "$1" "failed $2"
  fail "step $1 $2"
}
