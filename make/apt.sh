#!/usr/bin/env bash
# Installs Debian packages where that is possible without a question. To be sourced, after progress.sh.

apt_install() { # what for, packages
  local what=$1 command
  shift
  command="apt-get install --no-install-recommends $*"
  [[ -z $stage_name ]] || stage_done "needs $what"
  local become=()
  ((EUID == 0)) || become=(sudo -n)
  if ! command -v apt-get > /dev/null || ! "${become[@]}" true 2> /dev/null; then
    give_up "this machine lacks $what" "install it as your system does; on Debian: sudo $command"
  fi
  stage 'host packages'
  local log
  log=$(mktemp)
  if ! { "${become[@]}" apt-get --quiet update &&
    "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "$@"; } \
    > "$log" 2>&1 < /dev/null; then
    cat "$log" >&2
    rm -f "$log"
    give_up "could not install $*" "see apt-get's own words above, then try: sudo $command"
  fi
  rm -f "$log"
  stage_done "installed $*"
}
