#!/usr/bin/env bash
# Builds the container image and its bill of materials, with the tool that works here: docker, podman or buildah.
# IMAGE and TAG name it, CONTAINER_TOOL chooses the tool, SBOM is the file for the bill of materials (none if empty), TARGET
# is the stage of the Dockerfile: `emulator`, or nothing for the program's own image.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh
source make/apt.sh

image=${IMAGE:-cos-customizer}:${TAG:-latest}
base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
own_base=localhost/cos-customizer-base:bookworm
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
revision=${REVISION:-$(git rev-parse HEAD 2> /dev/null || echo unknown)}
sbom=${SBOM-dist/sbom.cdx.json}
python=${VENV:-.venv}/bin/python
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} DOCKER_BUILDKIT=1

scratch=$(mktemp -d)
container=''
clean_up() {
  [[ -z $container ]] || remove_container
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run_quietly() { # command
  "$@" > "$scratch/log" 2>&1 < /dev/null || {
    cat "$scratch/log" >&2
    give_up "$1 ${2:-} failed" "see its own words above."
  }
}

find_tool() {
  local found
  for found in ${CONTAINER_TOOL:-docker podman buildah}; do
    # The client without its engine is no tool.
    if command -v "$found" > /dev/null && "$found" info > /dev/null 2>&1; then
      tool=$found
      return
    fi
  done
  [[ ${CONTAINER_TOOL:-buildah} == buildah ]] || give_up "$CONTAINER_TOOL does not work here" "\`$CONTAINER_TOOL info\` says why."
  apt_install 'buildah (container images)' buildah
  tool=buildah
}

# The base image: Docker pulls it while it builds; elsewhere, where no registry can be reached, Debian's packages make one
# that is no different to what is built on it: the same packages, as few, without manuals and translations.
provide_base() {
  [[ $tool != docker ]] || return 0
  local found
  for found in "$base" "$own_base"; do
    if "$tool" inspect --type image "$found" > /dev/null 2>&1; then
      base=$found
      return
    fi
  done
  stage 'base image'
  if timeout 300 "$tool" pull --quiet "$base" > /dev/null 2>&1; then
    stage_done "$base"
    return
  fi
  ((EUID == 0)) || give_up "no registry has $base for us" "as root, this makes one from Debian's packages."
  if ! command -v mmdebstrap > /dev/null; then apt_install 'mmdebstrap (root file systems)' mmdebstrap; fi
  base=$own_base
  local path rules=()
  for path in doc man locale info groff linda lintian; do rules+=(--dpkgopt="path-exclude=/usr/share/$path/*"); done
  # shellcheck disable=SC2016 # mmdebstrap gives the hook its directory
  run_quietly mmdebstrap --quiet --mode=root --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    "${rules[@]}" --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -f "$1/etc/hostname"; : > "$1/etc/resolv.conf"' \
    bookworm "$scratch/base.tar"
  if [[ $tool == podman ]]; then
    run_quietly podman import --change 'CMD ["bash"]' "$scratch/base.tar" "$base"
  else
    container=$(buildah from scratch)
    run_quietly buildah add "$container" "$scratch/base.tar"
    run_quietly buildah config --cmd bash "$container"
    run_quietly buildah commit "$container" "$base"
    remove_container
  fi
  rm "$scratch/base.tar"
  stage_done 'made from Debian packages: no registry is in reach'
}

# What leads pip to its packages here leads it in the build too, and goes nowhere into the image. Directories of this
# machine do not count: the build does not see them.
pass_on_pip() {
  local authorities=${PIP_CERT:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}} name
  "$python" - "$authorities" > "$scratch/pip.conf" << 'END'
import ast, pathlib, subprocess, sys
listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
settings = dict(line.split("=", 1) for line in listed.stdout.splitlines())
print("[global]")
for name in ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "default-timeout"):
    for section in (":env:", "install", "global"):  # the former wins, as with pip
        if value := settings.get(f"{section}.{name}"):
            words = [word for word in ast.literal_eval(value).split() if not word.startswith(("/", "file:"))]
            if words:
                print(f"{name} =", *words, sep="\n  ")
            break
if pathlib.Path(sys.argv[1]).is_file():
    print("cert = /run/authorities.pem")
END
  build+=(--secret "id=pip,src=$scratch/pip.conf")
  [[ ! -f $authorities ]] || build+=(--secret "id=authorities,src=$authorities")
  if [[ $tool == docker ]]; then
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
      [[ -z ${!name:-} ]] || build+=(--build-arg "$name")
    done
  fi
}

build_image() {
  stage 'container image'
  local build=("$tool" build --tag "$image" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "BASE=$base")
  case $tool in
    podman) build+=(--pull=never --layers) ;;
    buildah) build+=(--pull-never --layers --force-rm) ;;
  esac
  [[ -z ${TARGET:-} ]] || build+=(--target "$TARGET")
  pass_on_pip
  run_quietly "${build[@]}" .
  stage_done "$image, by $tool"
}

# Puts what the bill of materials is read from into a directory; `root` names it.
open_image() {
  if [[ $tool == buildah ]]; then
    container=$(buildah from --pull-never "$image")
    root=$(buildah mount "$container")
  else
    container=$("$tool" create "$image")
    root=$scratch/root
    mkdir "$root"
    "$tool" export "$container" | tar -x -C "$root" --no-same-owner etc usr/share/doc var/lib/dpkg opt
  fi
}

remove_container() {
  "$tool" rm "$container" > /dev/null
  container=''
}

write_sbom() {
  [[ -n $sbom ]] || return 0
  stage 'bill of materials'
  local root packages bin=${python%/*}
  open_image
  packages=$(echo "$root"/opt/cos-customizer/lib/python3*/site-packages)
  # What stands for the image's interpreter, of which the tool wants the path alone: it may be another machine's.
  printf '#!/bin/sh\necho '\''["%s"]'\''\n' "$packages" > "$scratch/python"
  chmod +x "$scratch/python"
  run_quietly "$bin/cyclonedx-py" environment --pyproject pyproject.toml --output-file "$scratch/python.cdx.json" \
    "$scratch/python"
  run_quietly "$bin/debsbom" generate --sbom-type cdx --cdx-schema-version 1.6 --root "$root" \
    --out "$scratch/debian.cdx.json"
  mkdir -p "$(dirname "$sbom")"
  run_quietly "$bin/debsbom" merge --sbom-type cdx --cdx-schema-version 1.6 --distro-name cos-customizer \
    --distro-version "$version" --out "$scratch/sbom.cdx.json" "$scratch/debian.cdx.json" "$scratch/python.cdx.json"
  cp "$scratch/sbom.cdx.json" "$sbom"
  remove_container
  stage_done "$sbom"
}

find_tool
provide_base
build_image
write_sbom
