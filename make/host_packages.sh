#!/usr/bin/env bash
# Makes sure that the host has what real virtual machines need, which the emulator knows; or, with `tests`, the programs
# that tests run which start none; or, with `fleet`, those of a Prefect server for a fleet.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh
source make/apt.sh

stage 'host packages'
if [[ ${1:-} == tests ]]; then
  what='to run the tests'
  missing=()
  PATH=$PATH:/usr/sbin:/sbin # not every user's has them
  for each in curl:curl sfdisk:fdisk veritysetup:cryptsetup-bin; do
    command -v "${each%:*}" > /dev/null || missing+=("${each#*:}")
  done
elif [[ ${1:-} == fleet ]]; then
  what='to run a Prefect server for a fleet'
  read -r -a missing < <(PYTHONPATH=tests "${VENV:-.venv}/bin/python" -c '
from support.fleet_server import missing_packages
print(*missing_packages())
')
else
  what='to run virtual machines and to make their disk image'
  read -r -a missing < <("${VENV:-.venv}/bin/python" -c '
from cos_customizer.emulator.machines.host import missing_packages
print(*missing_packages())
')
fi
if ((${#missing[@]})); then
  apt_install "${missing[*]}, $what" "${missing[@]}"
else
  stage_done 'all there'
fi
