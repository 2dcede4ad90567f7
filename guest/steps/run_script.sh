# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh
# Runs a script of the build context.

# step_run_script script=<path in the build context> [<name>=<value>…]: with these environment variables.
step_run_script() {
  local script=$state/context/${1#script=}
  shift
  exec_with_secrets /usr/bin/env -u INVOCATION_ID -u JOURNAL_STREAM -u SYSTEMD_EXEC_PID -u OLDPWD "$@" /bin/bash "$script"
}
