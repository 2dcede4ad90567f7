#!/usr/bin/env bash
# Makes the virtual environment from the lock, and installs the working tree into it. Does nothing if that was done.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

python=${PYTHON:-python3}
venv=${VENV:-.venv}
stamp=$venv/.lock
wanted=$(cat requirements/dev.txt pyproject.toml | sha256sum)

stage 'python environment'
if [[ -f $stamp && $(< "$stamp") == "$wanted" ]] && "$venv/bin/python" -c '' 2> /dev/null; then
  stage_done "$venv is up to date"
  exit
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null ||
  give_up "$python is no Python 3.11 or later" 'set PYTHON to one: make PYTHON=python3.12 …'
if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
  source make/apt.sh
  apt_install 'python3-venv (Python environments)' python3-venv
  stage 'python environment'
fi

# A file of ours says that an environment is ours to replace: one that a killed run left half made, above all.
if [[ -e $venv && ! -e $stamp ]]; then
  give_up "$venv exists and was not made by make" "remove it, or name another place: make VENV=… …"
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Made anew for another lock: what that one no longer has would stay.
rm -rf "$venv"
mkdir -p "$venv"
: > "$stamp"
"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input --quiet install --no-deps)
# The lock is complete, so nothing has to be resolved; one compilation on all cores is faster than pip's own.
if ! { "${pip[@]}" --no-compile --require-hashes --requirement requirements/dev.txt &&
  "${pip[@]}" --no-build-isolation --editable .; } > "$log" 2>&1; then
  cat "$log" >&2
  give_up "the Python packages of requirements/dev.txt could not be installed" "see pip's own words above."
fi
# Whatever does not compile is some package's template or test.
env -u PYTHONDONTWRITEBYTECODE "$venv/bin/python" -m compileall -q -j 0 "$venv/lib" > /dev/null 2>&1 || true
printf '%s\n' "$wanted" > "$stamp"
stage_done 'ready'
