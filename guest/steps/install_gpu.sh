# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh, and the settings of the step
# Installs a GPU driver, by cos-extensions or by the legacy installer's container.
#
# https://cloud.google.com/container-optimized-os/docs/how-to/run-gpus describes the one,
# https://github.com/GoogleCloudPlatform/cos-gpu-installer the other.
# shellcheck source=setup_gpu.sh
. "$directory/steps/setup_gpu.sh"

# url_of <path>: as the installer sees it in its container, where the machine's root is /root.
url_of() {
  local LC_ALL=C path=$1 url='' character at
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
    installer=container
    if [[ $deps_dir || $version == *.run ]]; then
      why="for the sake of deps_dir"
    elif type -P cos-extensions >/dev/null; then
      installer=cos-extensions why="the image has it"
    else
      why="the image has no cos-extensions"
    fi
  fi
  printf 'install-gpu: driver %s, installed by %s (%s)\n' "$version" "$installer" "$why"
  if [[ $installer == cos-extensions ]]; then
    type -P cos-extensions >/dev/null ||
      give_up "the image has no cos-extensions, which comes with Container-Optimized OS since milestone 85"
    [[ ! $deps_dir && $version != *.run ]] || give_up "cos-extensions takes drivers from Google only, not from deps_dir"
    return
  fi
  type -P docker >/dev/null || give_up "the image has no docker to run the legacy installer"
  [[ $verify ]] || give_up "without a GPU it takes cos-extensions: the legacy installer ends by trying the driver on a GPU"
  case $version in
    latest | default | R[0-9]*)
      give_up "version $version needs cos-extensions: the legacy installer does not know it; name a full version"
      ;;
  esac
}

install_by_cos_extensions() {
  local arguments=("-host-dir=$install_dir") code
  [[ $version == default ]] || arguments=("-version=$version" "${arguments[@]}")
  [[ $verify ]] || arguments+=(-no-verify ${target_gpu:+"-target-gpu=$target_gpu"})
  [[ ! $md5sum ]] || printf 'install-gpu: cos-extensions verifies the signature of the driver, not its MD5 sum\n'
  cos-extensions install gpu -- "${arguments[@]}" && return
  code=$?
  printf 'install-gpu: what this image supports:\n'
  timeout 60 cos-extensions list
  return "$code"
}

# pull <image>: with patience, unless it is there.
pull() {
  local pause
  docker image inspect "$1" >/dev/null 2>&1 && return
  # Remembered beyond a reset: it is not to end up in the image.
  : >"$state/pulled" || give_up "cannot write to $state"
  for pause in 1 2 4 8 15 15 0; do
    printf 'install-gpu: pulling %s\n' "$1"
    docker pull "$1" && return
    sleep "$pause"
  done
  printf "install-gpu: docker's journal:\n"
  journalctl --unit docker.service --no-pager --lines 100
  give_up "cannot pull $1"
}

install_by_container() {
  local number=${version#NVIDIA-Linux-x86_64-} given=$state/context/$deps_dir found inputs=() code
  number=${number%.run}
  number=${number%%-*}
  given=${given%/.}
  # Only where they are set: some releases of the installer take an empty value for a place to download from.
  [[ ! $deps_dir ]] || inputs=(-e "COS_DOWNLOAD_GCS=$(url_of "$given")")
  if [[ $version == *.run ]]; then
    [[ -f $given/$version ]] || give_up "there is no $version in deps_dir ${deps_dir:-(which is not set)}"
    if [[ $md5sum ]]; then
      found=$(md5sum <"$given/$version") || give_up "cannot read $version"
      [[ ${found%% *} == "$md5sum" ]] || give_up "$version has the MD5 sum ${found%% *}, not $md5sum"
    fi
    inputs+=(-e "GPU_INSTALLER_DOWNLOAD_URL=$(url_of "$given/$version")")
  fi
  pull "$container"
  # The installer may change the kernel's command line and reset the machine at once; this step is then run again.
  sync
  docker run --rm --privileged --net=host --pid=host \
    --volume "$install_dir:/usr/local/nvidia" --volume /dev:/dev --volume /:/root \
    -e "NVIDIA_DRIVER_VERSION=$number" -e "NVIDIA_DRIVER_MD5SUM=$md5sum" \
    -e "NVIDIA_INSTALL_DIR_HOST=$install_dir" -e NVIDIA_INSTALL_DIR_CONTAINER=/usr/local/nvidia \
    -e "COS_NVIDIA_INSTALLER_CONTAINER=$container" -e ROOT_MOUNT_DIR=/root "${inputs[@]}" "$container"
  code=$?
  [[ ! -e $state/pulled ]] || docker image rm "$container" >/dev/null
  return "$code"
}

# step_install_gpu <name>=<value>…: the settings that customizer/spec/steps/install_gpu.py gives.
step_install_gpu() {
  local version='' install_dir='' installer='' container='' md5sum='' deps_dir='' verify='' target_gpu='' "$@"
  local driver=$install_dir code=0
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
  install -m 755 "$directory/steps/setup_gpu.sh" "$install_dir/setup_gpu.sh" ||
    give_up "cannot write $install_dir/setup_gpu.sh"
  if [[ $verify ]]; then
    start_gpu || exit 1
  else
    printf 'install-gpu: not verified: no GPU is attached%s\n' "${target_gpu:+; the driver is for $target_gpu}"
  fi
}
