#!/usr/bin/env bash
# Runs what says soonest whether another Python will do, where one is at hand: the pure core, the command line and the
# library, in an environment of its own. OTHER_PYTHON names one; by default it is the newest that is found.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

version_of() { # interpreter
  "$1" -c 'import sys, ensurepip, sqlite3, ssl, venv; print("%d%02d" % sys.version_info[:2])' 2> /dev/null
}

stage 'another Python'
ours=$(version_of "${PYTHON:-python3}")
other=${OTHER_PYTHON:-}
if [[ -z $other ]]; then
  newest=310
  shopt -s nullglob
  for candidate in /usr/bin/python3.?? /usr/local/bin/python3.?? "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
    version=$(version_of "$candidate") || continue
    if ((version > newest && version != ours && version <= 313)); then # what is newer is not promised yet
      other=$candidate newest=$version
    fi
  done
fi
if [[ -z $other ]]; then
  stage_done 'none here, so nothing is tried'
  exit
fi
stage_done "$("$other" --version), $other"

place=.venv-other
VENV=$place PYTHON=$other make/venv.sh
"$place/bin/pytest" -q -p no:cacheprovider -m 'not slow and not vm and not container' -n auto --dist loadfile \
  -W error::pytest.PytestUnraisableExceptionWarning tests/customizer tests/cli tests/project/test_library.py
