#!/usr/bin/env bash
# One line per stage: `  name ......... result (12 s)`. To be sourced.

stage_name=''
stage_line=''
stage_began=0
stage_ticker=''

# Begins a stage; its line stays open until `stage_done`. On a terminal, seconds at its end show that it goes on.
stage() { # name
  stage_name=$1
  stage_began=$SECONDS
  local dots='...........................'
  stage_line="  $stage_name ${dots:${#stage_name}} "
  printf '%s' "$stage_line"
  if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then
    stage_tick "$$" &
    stage_ticker=$!
  fi
}

# Ends with the script itself, whatever becomes of that.
stage_tick() { # pid of the script
  local seconds=0
  while sleep 1 && kill -0 "$1" 2> /dev/null; do
    ((++seconds < 2)) || printf '\r%s%d s' "$stage_line" "$seconds"
  done
}

# Takes the seconds away again.
stage_still() {
  [[ -n $stage_ticker ]] || return 0
  kill "$stage_ticker" 2> /dev/null || true
  wait "$stage_ticker" 2> /dev/null || true
  stage_ticker=''
  printf '\r%s\033[K' "$stage_line"
}

# Ends the line of a stage; with how long it took where that is worth saying.
stage_done() { # result
  local seconds=$((SECONDS - stage_began))
  stage_still
  if ((seconds >= 2)); then
    printf '%s (%d s)\n' "$1" "$seconds"
  else
    printf '%s\n' "$1"
  fi
  stage_name=''
}

# Ends the line of a stage that somebody has stopped.
stage_stopped() {
  stage_still
  [[ -z $stage_name ]] || printf 'stopped\n'
  stage_name=''
}

# Ends everything: what is wrong, and what to do about it.
give_up() { # message, hint
  stage_still
  [[ -z $stage_name ]] || printf 'failed\n'
  stage_name=''
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  [[ -z ${2:-} ]] || printf '  hint: %s\n' "$2" >&2
  exit 1
}
