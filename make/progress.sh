#!/usr/bin/env bash
# One line per stage: `  name ......... result (12 s)`. To be sourced.

stage_name=''
stage_began=0

# Begins a stage; its line stays open until `stage_done`.
stage() { # name
  stage_name=$1
  stage_began=$SECONDS
  local dots='...........................'
  printf '  %s %s ' "$stage_name" "${dots:${#stage_name}}"
}

# Ends the line of a stage; with how long it took where that is worth saying.
stage_done() { # result
  local seconds=$((SECONDS - stage_began))
  if ((seconds >= 2)); then
    printf '%s (%d s)\n' "$1" "$seconds"
  else
    printf '%s\n' "$1"
  fi
  stage_name=''
}

# Ends everything: what is wrong, and what to do about it.
give_up() { # message, hint
  [[ -z $stage_name ]] || printf 'failed\n'
  stage_name=''
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  [[ -z ${2:-} ]] || printf '  hint: %s\n' "$2" >&2
  exit 1
}
