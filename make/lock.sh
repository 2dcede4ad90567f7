#!/usr/bin/env bash
# Writes the locks of requirements/ anew from pyproject.toml: every package with its version and hashes.
# What is locked stays as it is where it can; `make lock UPGRADE=1` takes the newest of everything, `UPGRADE=prefect` (names,
# with commas between them) of those packages and of what they then need.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install --quiet --no-deps --require-hashes --requirement requirements/lock.txt

upgrade=()
case ${UPGRADE:-} in
  '') ;;
  1) upgrade=(--upgrade) ;;
  *) IFS=, read -ra names <<< "$UPGRADE" && upgrade=("${names[@]/#/--upgrade-package=}") ;;
esac

compile() { # lock, further arguments
  local lock=requirements/$1
  shift
  UV_CUSTOM_COMPILE_COMMAND='make lock' "$tools/bin/uv" pip compile --quiet --universal --generate-hashes \
    --no-emit-index-url --no-emit-find-links "${upgrade[@]}" --output-file "$lock" "$@" > /dev/null
  printf '%s: %d packages\n' "$lock" "$(grep -c == "$lock")"
}

mkdir -p requirements
compile runtime.txt pyproject.toml
compile emulator.txt pyproject.toml --extra emulator --constraint requirements/runtime.txt # the emulator's container
compile dev.txt pyproject.toml --extra emulator --extra dev --constraint requirements/runtime.txt
compile site.txt - <<< 'zensical>=0.0.73' # builds the documentation site, in an environment of its own (make/site.sh)
compile build.txt - <<< 'setuptools>=77'
compile lock.txt - <<< 'uv' # the resolver itself
