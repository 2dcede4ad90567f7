#!/usr/bin/env bash
# Builds the programs that the guest brings along (guest/tools), with a compiler of its own, and compares them with those
# that are there: they are the same, to the byte. After a change of their source: `make guest-tools WRITE=1`.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

compiler=ziglang==0.17.1
tools=guest/tools

stage "compiler ($compiler)"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" --quiet --disable-pip-version-check install --only-binary :all: "$compiler"
stage_done installed

stage 'programs'
for source in "$tools"/*.zig; do
  name=$(basename "$source" .zig)
  for machine in x86_64 aarch64; do
    # From its own folder, into a place of its own: no path of this machine is in the program.
    (
      cd "$tools"
      "$place/venv/bin/python" -m ziglang build-exe "$name.zig" -target "$machine-linux-none" -mcpu baseline \
        -O ReleaseFast -fstrip -fsingle-threaded -fno-unwind-tables --global-cache-dir "$place/cache" --cache-dir "$place/cache" \
        -femit-bin="$place/$name.$machine"
    )
    chmod 644 "$place/$name.$machine"
  done
done
stage_done built

(cd "$place" && sha256sum -- *.x86_64 *.aarch64) > "$place/SHA256SUMS"
if [[ ${WRITE:-} ]]; then
  mv "$place"/*.x86_64 "$place"/*.aarch64 "$place/SHA256SUMS" "$tools"
  git --no-pager diff --stat -- "$tools"
elif ! diff "$tools/SHA256SUMS" "$place/SHA256SUMS"; then
  echo "guest-tools: what the sources give is not what is in $tools: make guest-tools WRITE=1" >&2
  exit 1
else
  (cd "$tools" && sha256sum --quiet --check SHA256SUMS)
  echo 'guest-tools: as they are'
fi
