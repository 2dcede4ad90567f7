# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# The homes of people who have logged in to look at a build go with it; what steps have made below /home stays. Credentials
# that are left there are told of.

homes_place=/home
accounts=/etc/passwd
# What tools leave in a home that lets others in somewhere.
credential_files=(
  .docker/config.json .config/containers/auth.json .git-credentials .netrc .ssh/id_rsa .ssh/id_ecdsa .ssh/id_ed25519
  .config/gcloud/credentials.db .config/gcloud/application_default_credentials.json
)

# record_homes: those that the source image has, before the first step, and beyond a reboot.
record_homes() {
  [[ ! -e $state/homes ]] || return 0
  { printf '%s\n' "$homes_place"/* >"$state/homes.part" && mv "$state/homes.part" "$state/homes" && sync "$state"; } ||
    fail "cannot record the machine's homes in $state"
}

# is_of_login <directory>: whether Google's guest agent has made it, for a key of the metadata
# (https://github.com/GoogleCloudPlatform/guest-agent), or OS Login, whose accounts are in no file.
is_of_login() {
  local name=${1##*/} account home
  grep -qs '^# Added by Google' "$1/.ssh/authorized_keys" && return
  ! cut -d: -f1 "$accounts" | grep -qxF -- "$name" && account=$(getent passwd -- "$name" 2>/dev/null) &&
    IFS=: read -r _ _ _ _ _ home _ < <(printf '%s\n' "$account") && [[ $home == "$1" ]]
}

# find_homes: into `homes`, those to be removed.
find_homes() {
  local home
  homes=()
  for home in "$homes_place"/*; do
    [[ -d $home && ! -L $home ]] || continue
    grep -qxFs -- "$home" "$state/homes" || ! is_of_login "$home" || homes+=("$home")
  done
}

# tell_credentials: once the homes of people are gone.
tell_credentials() {
  local home file
  for home in "$homes_place" "$homes_place"/*; do
    for file in "${credential_files[@]/#/$home/}"; do
      case $file in
        # Without one, it names programs that know the credentials, as `docker-credential-gcr configure-docker` leaves it.
        *.json) grep -qs '"\(auth\|identitytoken\|refresh_token\|private_key\)"[[:space:]]*:' "$file" || continue ;;
        *) [[ -s $file ]] || continue ;;
      esac
      say "warning: $file has credentials in it, and will be in the image"
    done
  done
}
