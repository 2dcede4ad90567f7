# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh, and the secrets of the step
# Runs a script of the build context.
# shellcheck source=script_failures.sh
. "$directory/steps/script_failures.sh"

# step_run_script script=<path in the build context> [<name>=<value>…]: with these environment variables.
step_run_script() {
  local script=$state/context/${1#script=} watched=()
  shift
  # A BASH_ENV of the step's own comes later, and counts.
  if [[ ! -v 'secrets[BASH_ENV]' ]] && watch_script; then
    watched=("BASH_ENV=$directory/watching")
  fi
  exec_with_secrets /usr/bin/env -u INVOCATION_ID -u JOURNAL_STREAM -u SYSTEMD_EXEC_PID -u OLDPWD "${watched[@]}" "$@" \
    /bin/bash "$script"
}

# asks_for_reboot_run_script <exit code>: whether the script has ended by `exit 3010`, as Windows and, after it, builders of
# images ask for a reboot. Linux keeps 8 bits of it, 194, which is what scripts for AWS's agent exit with:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/send-commands-reboot.html
asks_for_reboot_run_script() {
  (($1 == (3010 & 255)))
}

# explain_run_script <exit code> script=<path> …: prints where it failed, as far as its bash has written it down.
explain_run_script() {
  local code=$1 script=${2#script=} failed=() ended=()
  read_records
  [[ ! -f $state/context/$script ]] || explain_failure
}
