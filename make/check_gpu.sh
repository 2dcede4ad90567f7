#!/usr/bin/env bash
# Runs the workflow of examples/gpu from here, against your own project: an image with a GPU driver is built, booted on a
# VM with a GPU, and removed again. What CI without a GPU cannot try. With the emulator's variables set it runs there.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

[[ -n ${PROJECT:-} ]] || give_up 'PROJECT is not set' 'make check-gpu PROJECT=my-project [ZONE=us-west1-b GPU_TYPE=nvidia-tesla-t4 VERSION=default]'
command -v gcloud > /dev/null || give_up 'gcloud is not installed' 'https://cloud.google.com/sdk/docs/install says how.'
bin=$(cd "${VENV:-.venv}/bin" && pwd)
here=$PWD

image=gpu-check-$(date +%s)
work=$(mktemp -d)
leave() {
  trap '' INT TERM HUP
  if [[ -z ${KEEP:-} ]]; then
    gcloud compute images delete "$image" "--project=$PROJECT" --quiet 2> /dev/null || true
  fi
  rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A home of its own for the local state; the credentials stay where they are.
export CLOUDSDK_CONFIG=${CLOUDSDK_CONFIG:-$HOME/.config/gcloud} XDG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache}
export HOME=$work/home PATH=$bin:$PATH
mkdir -p "$HOME"
cp -r examples/gpu "$work/workspace"
cd "$work/workspace"

substitutions=("PROJECT_ID=$PROJECT" BUILD_ID=check "_IMAGE_NAME=$image")
for name in ZONE GPU_TYPE VERSION IMAGE_FAMILY; do
  [[ -z ${!name:-} ]] || substitutions+=("_$name=${!name}")
done
while read -r command <&3; do
  printf '\n$ %s\n' "$command"
  # Quoted by the program that printed it.
  eval "$command" < /dev/null
done 3< <("$bin/python" "$here/make/cloud_build.py" cloudbuild.yaml "${substitutions[@]}")
