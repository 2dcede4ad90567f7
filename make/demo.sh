#!/usr/bin/env bash
# The README's example on this machine: starts the emulator, runs the build steps of examples/minimal as Cloud Build
# would, boots the image that they made, and leaves nothing behind but what makes the next run faster.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

make/venv.sh
make/host_packages.sh
bin=$(cd "${VENV:-.venv}/bin" && pwd)
example=$PWD/examples/minimal
here=$PWD
project=my-project
path=$PATH

work=$(mktemp -d)
job=
leave() { # signal for what is at work
  trap '' INT TERM HUP # the clean-up itself is short
  stage_stopped
  if [[ -n $job ]]; then
    kill -"$1" "$job" 2> /dev/null || true
    wait "$job" || true
  fi
  "$bin/cos-customizer" emulator stop "-state-dir=$work/state" 2> /dev/null || true
  rm -rf "$work"
}
signal=TERM
trap 'leave "$signal"' EXIT
trap 'signal=INT; exit 130' INT # so that what is stopped says what somebody has done
trap 'exit 143' TERM HUP

# Runs a program in a process group of its own, so that a signal reaches this script first, which passes on one.
run() { # command
  set -m
  "$@" < /dev/null &
  set +m
  job=$!
  local code=0
  wait "$job" || code=$?
  job=
  return "$code"
}

# A home of its own: what the demo does is not mixed with anybody's state. Only the cache is shared.
export XDG_CACHE_HOME=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}
export HOME=$work/home PATH=$bin:$PATH
# The emulator is near, and the build brings its own Prefect server.
export no_proxy="127.0.0.1${no_proxy:+,$no_proxy}" NO_PROXY="127.0.0.1${NO_PROXY:+,$NO_PROXY}"
unset PREFECT_API_URL
mkdir -p "$HOME" "$work/workspace"
cp "$example"/* "$work/workspace"

stage 'stand-in COS image'
run "$bin/python" make/prepare_vms.py stand-in-image > "$work/stage" 2>&1 ||
  give_up 'the stand-in image could not be built' "$(< "$work/stage")"
stage_done "$(< "$work/stage")"

stage 'qemu'
run "$bin/python" make/prepare_vms.py qemu > "$work/stage" 2>&1 || give_up 'QEMU does not work' "$(< "$work/stage")"
stage_done "$(< "$work/stage")"

stage 'emulator'
run cos-customizer emulator start "-state-dir=$work/state" "-project=$project" > "$work/environment" 2> "$work/log" ||
  give_up 'the emulator did not start' "$(< "$work/log")"
# shellcheck disable=SC1091
source "$work/environment"
stage_done 'Compute Engine and Cloud Storage on 127.0.0.1'

cd "$work/workspace"
while read -r command <&3; do
  # As one would paste it, in a terminal of 80 columns.
  printf '\n$ %s\n' "$(fold --spaces --width=74 <<< "$command" | sed '$!s/ *$/ \\/; 2,$s/^/    /')"
  # Quoted by the program that printed it.
  eval "run $command"
done 3< <("$bin/python" "$here/make/cloud_build.py" cloudbuild.yaml "PROJECT_ID=$project" BUILD_ID=1)

boot=(cos-customizer emulator boot my-custom-image -- cat /var/lib/hello)
printf '\n$ %s\n' "${boot[*]}"
run "${boot[@]}"

printf '\nNext, an image of a recipe, which you may edit:\n\n'
# shellcheck disable=SC2016 # to be pasted
[[ $(PATH=$path command -v cos-customizer) == "$bin/cos-customizer" ]] || printf 'export PATH=%q:$PATH\n' "$bin"
# shellcheck disable=SC2016 # to be pasted
printf '%s\n' 'eval "$(cos-customizer emulator start)"' 'cos-customizer build -recipe=examples/recipes/hello.yaml'
