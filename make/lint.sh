#!/usr/bin/env bash
# Checks style, types and shell scripts with the tools of the lock.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
failed=0

check() { # command
  printf '+ %s\n' "$*"
  "$@" || failed=1
}

check "$bin/ruff" check --quiet .
check "$bin/ruff" format --check --quiet .

check "$bin/mypy" -p cos_customizer -m cos_customizer_pytest
check "$bin/mypy" tests benchmarks make

stand_in=emulator/machines/stand_in
scripts=('*.sh' .ci/run "$stand_in/init" "$stand_in/overlay/usr/bin/*" ":!$stand_in/overlay/usr/bin/docker-credential-gcr")
readarray -t scripts < <(git ls-files --cached --others --exclude-standard -- "${scripts[@]}" ':!examples' ':!cli/repository')
check "$bin/shellcheck" --external-sources --source-path=SCRIPTDIR "${scripts[@]}"
# What users write needs no first line: the guest runs it with bash.
check "$bin/shellcheck" --shell=bash --external-sources --source-path=SCRIPTDIR examples/*/*.sh examples/*/*/*.sh \
  cli/repository/*/*/*.sh

((failed == 0)) && printf 'lint: clean\n'
exit "$failed"
