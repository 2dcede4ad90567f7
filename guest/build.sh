#!/bin/bash
# Runs a build on the builder VM: fetches the build context, runs the plan's steps in order, cleans up, says how it went,
# and halts the machine. It never powers off by itself: a stopped VM's disk is collected by nobody.
#
# cos-customizer.service starts this on every boot, and again if it is killed. What is done is recorded on disk and not
# done again. Once the machine is clean, nothing on disk remembers the build: were the VM to restart by itself just then,
# the plan would begin again. Whoever reads the serial port sees that, and throws the disk away.
set -u
shopt -s nullglob dotglob globstar

directory=/run/cos-customizer  # in memory: scripts and plan, and what only this boot needs to know
state=/var/lib/.cos-customizer # on disk: build context and steps, for as long as the build goes on

cd "$directory" || exit
# shellcheck source=protocol.sh
. "$directory/protocol.sh"
# shellcheck source=context.sh
. "$directory/context.sh"
# shellcheck source=secrets.sh
. "$directory/secrets.sh"
# shellcheck source=steps.sh
. "$directory/steps.sh"
# shellcheck source=leftovers.sh
. "$directory/leftovers.sh"
# shellcheck source=unkept.sh
. "$directory/unkept.sh"
# shellcheck source=homes.sh
. "$directory/homes.sh"
# shellcheck source=blocks.sh
. "$directory/blocks.sh"
# shellcheck source=cleanup.sh
. "$directory/cleanup.sh"
if [[ -e $directory/layout.sh ]]; then
  # shellcheck source=layout.sh
  . "$directory/layout.sh"
fi
if [[ -e $directory/contents.sh ]]; then
  # shellcheck source=contents.sh
  . "$directory/contents.sh"
fi
for file in "$directory"/steps/*.sh; do
  # shellcheck source=/dev/null # of the kinds of step that the plan has
  . "$file"
done
# shellcheck source=/dev/null # rendered for each build
. "$directory/plan.sh"

# What scripts leave in their home (credentials above all) never reaches the disk, and so no image.
prepare_home() {
  grep -q '^[^ ]* /root tmpfs ' /proc/mounts || mount -t tmpfs -o mode=0700 tmpfs /root ||
    fail "cannot mount a tmpfs on /root"
  type -P docker-credential-gcr >/dev/null || return 0
  timeout 60 docker-credential-gcr configure-docker >"$directory/docker" 2>&1 </dev/null ||
    say "warning: docker-credential-gcr configure-docker failed: $(first_line "$directory/docker")"
}

main() {
  open_port || exit
  # With a handler, not ignored: that would be inherited by the scripts. See KillMode in the unit.
  trap : TERM
  [[ ! -e $directory/result ]] || conclude "$(<"$directory/result")"
  recall_steps
  : >"$directory/running"
  keep_files
  stop_units update-engine.service # it would change the machine, or reboot it, under the scripts
  ! declare -F record_contents_before >/dev/null || record_contents_before
  ! declare -F lay_out_disk >/dev/null || lay_out_disk
  prepare_home
  [[ -d $state/context ]] || fetch_context
  record_plan
  record_units
  if [[ $makes_image ]]; then
    record_homes
    record_unkept
  fi
  plan
  yield_to_shutdown
  # A test VM's disk is deleted: there is nothing to clean, and nothing that an image would lack.
  if [[ $makes_image ]]; then clean_up; else check_record; fi
  succeed
}

main
