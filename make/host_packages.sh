#!/usr/bin/env bash
# Makes sure that the host has what real virtual machines need; the emulator knows what that is.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh
source make/apt.sh

stage 'host packages'
read -r -a missing < <("${VENV:-.venv}/bin/python" -c '
from cos_customizer.emulator.machines.host import missing_packages
print(*missing_packages())
')
if ((${#missing[@]})); then
  apt_install "${missing[*]}, to run virtual machines and to make their disk image" "${missing[@]}"
else
  stage_done 'all there'
fi
