#!/bin/bash
# Runs one command on a VM, once, and passes on what it prints and how it ends; one_command.py is the other end, and
# describes it. cos-customizer-command.service starts this on every boot.
set -u

directory=/run/cos-customizer-command    # in memory
begun=/var/lib/.cos-customizer-command # on disk: a command that restarts the machine is not run again, for ever

# shellcheck source=protocol.sh
. "$directory/protocol.sh"
# shellcheck source=/dev/null # rendered for each command: nonce, command
. "$directory/settings.sh"

# tell <what>: one line, in one piece.
# shellcheck disable=SC2154 # nonce is one of the settings
tell() {
  send "Command[$nonce]: $*"
}

# relay <out|err>: passes on what it reads as soon as there is something, in pieces of a line each.
relay() {
  local piece
  while piece=$(dd bs=32K count=1 status=none | base64 -w 0) && [[ -n $piece ]]; do
    tell "$1 $piece"
  done
}

# Says it until somebody has read it: the console can lose text. Whoever boots the VM deletes it then.
conclude() {
  while tell "$*"; do
    sleep 2
  done
  exit
}

main() {
  local relays=() pid code=0 watch
  open_port || exit
  [[ ! -e $begun ]] || conclude restarted
  : >"$begun"
  mkfifo -m 0600 "$directory/out" "$directory/err" || exit
  relay out <"$directory/out" &
  relays+=("$!")
  relay err <"$directory/err" &
  relays+=("$!")
  tell started
  set -m # a process group of its own
  # shellcheck disable=SC2154 # command is one of the settings
  /usr/bin/env -u INVOCATION_ID -u JOURNAL_STREAM -u SYSTEMD_EXEC_PID -u OLDPWD -- "${command[@]}" \
    >"$directory/out" 2>"$directory/err" 3>&- </dev/null &
  pid=$!
  set +m
  wait "$pid" || code=$?
  # What it has left running ends with it, as in a container; what has left its group holds its output for ten seconds.
  kill -KILL -- "-$pid" 2>/dev/null
  { sleep 10 && kill "${relays[@]}"; } 2>/dev/null &
  watch=$!
  wait "${relays[@]}"
  kill "$watch" 2>/dev/null
  conclude "ended $code"
}

main
