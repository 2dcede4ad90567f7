# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh, and the settings of the step
# Installs a GPU driver, by cos-extensions or by the legacy installer's container.
#
# https://cloud.google.com/container-optimized-os/docs/how-to/run-gpus describes the one,
# https://github.com/GoogleCloudPlatform/cos-gpu-installer the other.
# shellcheck source=setup_gpu.sh
. "$directory/setup_gpu.sh"

give_up() {
  printf 'install-gpu: %s\n' "$*"
  exit 1
}

# url_of <path in the build context>: as the installer sees it in its container, where the machine's root is /root.
url_of() {
  local LC_ALL=C path=$state/context/$1 url='' character at
  for ((at = 0; at < ${#path}; at++)); do
    character=${path:at:1}
    case $character in
      [A-Za-z0-9/._~-]) url+=$character ;;
      *) printf -v url '%s%%%02X' "$url" "'$character" ;;
    esac
  done
  printf 'file:///root%s' "$url"
}

choose_installer() {
  local why="as asked for"
  if [[ $installer == auto ]]; then
    if [[ $deps_dir ]]; then
      installer=container why="for the sake of -deps-dir"
    elif type -P cos-extensions >/dev/null; then
      installer=cos-extensions why="the image has it"
    else
      installer=container why="the image has no cos-extensions"
    fi
  fi
  printf 'install-gpu: driver %s, installed by %s (%s)\n' "$version" "$installer" "$why"
  if [[ $installer == cos-extensions ]]; then
    type -P cos-extensions >/dev/null ||
      give_up "the image has no cos-extensions, which comes with Container-Optimized OS since milestone 85"
    return
  fi
  type -P docker >/dev/null || give_up "the image has no docker to run the legacy installer"
  [[ $verify ]] || give_up "-no-gpu needs an image with cos-extensions: the legacy installer tries the driver on a GPU"
  case $version in
    latest | default | R[0-9]*)
      give_up "-version=$version needs an image with cos-extensions: the legacy installer takes full versions only"
      ;;
  esac
}

install_by_cos_extensions() {
  local arguments=("-host-dir=$install_dir") code
  [[ $version == default ]] || arguments=("-version=$version" "${arguments[@]}")
  [[ $verify ]] || arguments+=(-no-verify "-target-gpu=$target_gpu")
  [[ ! $md5sum ]] || printf 'install-gpu: cos-extensions verifies the signature of the driver, not its MD5 sum\n'
  cos-extensions install gpu -- "${arguments[@]}" && return
  code=$?
  printf 'install-gpu: what this image supports:\n'
  cos-extensions list
  return "$code"
}

# pull <image>: with patience, unless it is there.
pull() {
  local pause
  docker image inspect "$1" >/dev/null 2>&1 && return
  for pause in 1 2 4 8 15 15 0; do
    printf 'install-gpu: pulling %s\n' "$1"
    if docker pull --quiet "$1"; then
      pulled=$1
      return
    fi
    sleep "$pause"
  done
  printf "install-gpu: docker's journal:\n"
  journalctl --unit docker.service --no-pager --lines 100
  give_up "could not pull $1"
}

install_by_container() {
  local number=${version#NVIDIA-Linux-x86_64-} inputs=() code
  number=${number%.run}
  number=${number%%-*}
  if [[ $version == *.run && $md5sum ]]; then
    local found
    found=$(md5sum <"$state/context/$deps_dir/$version") || give_up "cannot read $deps_dir/$version"
    [[ ${found%% *} == "$md5sum" ]] || give_up "$version has the MD5 sum ${found%% *}, not $md5sum"
  fi
  [[ ! $deps_dir ]] || inputs=(-e "COS_DOWNLOAD_GCS=$(url_of "$deps_dir")")
  [[ $version != *.run ]] || inputs+=(-e "GPU_INSTALLER_DOWNLOAD_URL=$(url_of "$deps_dir/$version")")
  pull "$container"
  # The installer may change the kernel's command line and reset the machine at once; this step is then run again.
  sync
  docker run --rm --privileged --net=host --pid=host \
    --volume "$install_dir:/usr/local/nvidia" --volume /dev:/dev --volume /:/root \
    -e "NVIDIA_DRIVER_VERSION=$number" -e "NVIDIA_DRIVER_MD5SUM=$md5sum" \
    -e "NVIDIA_INSTALL_DIR_HOST=$install_dir" -e NVIDIA_INSTALL_DIR_CONTAINER=/usr/local/nvidia \
    -e "COS_NVIDIA_INSTALLER_CONTAINER=$container" -e ROOT_MOUNT_DIR=/root "${inputs[@]}" "$container"
  code=$?
  [[ ! $pulled ]] || docker image rm "$pulled" >/dev/null
  return "$code"
}

# install_gpu <name>=<value>…: the settings of a GpuStep, see user_data.py.
install_gpu() {
  local version='' install_dir='' installer='' container='' md5sum='' deps_dir='' verify='' target_gpu='' "$@"
  local pulled='' driver=$install_dir code=0
  choose_installer
  { mkdir -p "$install_dir" && make_executable "$install_dir"; } || give_up "cannot prepare $install_dir"
  "install_by_${installer//-/_}" || code=$?
  if ((code != 0)); then
    if [[ -e $install_dir/nvidia-installer.log ]]; then
      printf 'install-gpu: the end of nvidia-installer.log:\n'
      tail -n 200 "$install_dir/nvidia-installer.log"
    fi
    printf 'install-gpu: %s could not install driver %s\n' "$installer" "$version"
    exit "$code"
  fi
  install -m 755 "$directory/setup_gpu.sh" "$install_dir/setup_gpu.sh" || give_up "cannot write $install_dir/setup_gpu.sh"
  if [[ $verify ]]; then
    start_gpu || exit 1
  else
    printf 'install-gpu: not verified, no GPU is attached; the driver is for %s\n' "$target_gpu"
  fi
}
