# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Fetches the build context from Cloud Storage, as the VM's service account, to $state/context.

# By address: a network with a DNS of its own need not know metadata.google.internal.
metadata_server=http://169.254.169.254/computeMetadata/v1

curl=(curl -sS -f --connect-timeout 10)

# The HTTP status that curl failed with; nothing if it did not come so far.
http_status() {
  sed -n 's/.*returned error: \([0-9]\{3\}\).*/\1/p' "$directory/curl.errors"
}

# Runs a function that calls curl, again and again for half a minute, unless the answer would be the same.
patiently() {
  local pause
  for pause in 1 2 4 8 15 0; do
    "$@" && return
    case $(http_status) in
      408 | 429) ;;
      4??) return 1 ;;
    esac
    [[ ! -e $directory/give-up ]] || return 1
    sleep "$pause"
  done
  return 1
}

# get_metadata <path>: prints the value.
get_metadata() {
  "${curl[@]}" --max-time 20 --noproxy '*' -H 'Metadata-Flavor: Google' "$metadata_server/$1" \
    2>"$directory/curl.errors"
}

# Prints an access token of the VM's service account; nothing if there is none, and then curl's errors say why.
access_token() {
  patiently get_metadata instance/service-accounts/default/token |
    sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p'
}

# endpoint_of <service>: Google's own, unless the metadata say otherwise.
endpoint_of() {
  local endpoint
  endpoint=$(patiently get_metadata "instance/attributes/$1-endpoint") ||
    endpoint=$(patiently get_metadata "project/attributes/$1-endpoint") || endpoint=https://$1.googleapis.com
  printf %s "${endpoint%/}"
}

# unpack: takes the archive from standard input. Reads it to the end in any case, for the sake of the digest.
unpack() {
  local code
  tar --extract --no-same-owner --directory "$state/context.part" 2>"$directory/tar.errors"
  code=$?
  cat >/dev/null
  return "$code"
}

# download <url> <token>: unpacks the archive in one pass and leaves the digest of the tar stream in $directory/digest.
download() {
  local digester statuses
  rm -rf "$state/context.part" "$directory"/{tar-stream,give-up}
  mkdir "$state/context.part"
  mkfifo "$directory/tar-stream"
  sha256sum <"$directory/tar-stream" >"$directory/digest" &
  digester=$!
  # The token goes through a pipe: arguments are for all to see. A transfer that stands still for a minute is given up.
  printf 'header = "Authorization: Bearer %s"\n' "$2" |
    "${curl[@]}" --config - --speed-limit 1 --speed-time 60 "$1" 2>"$directory/curl.errors" |
    gzip -dc 2>"$directory/gzip.errors" |
    tee "$directory/tar-stream" |
    unpack
  statuses=("${PIPESTATUS[@]}")
  wait "$digester"
  # What curl reports is about the network, except that nobody took its output.
  case ${statuses[1]} in
    0 | 23) ((statuses[2] == 0 && statuses[4] == 0)) || : >"$directory/give-up" ;;
  esac
  ((statuses[1] == 0 && statuses[2] == 0 && statuses[4] == 0))
}

# gzip, for one, begins its complaints with an empty line.
first_line() {
  grep -m 1 . "$1"
}

fetch_context() {
  local endpoint token digest where="gs://$context_bucket/$context_object"
  token=$(access_token)
  if [[ ! $token ]]; then
    [[ $(http_status) != 404 ]] || fail "the builder VM has no service account to read the build context with"
    fail "no access token from the metadata server: $(first_line "$directory/curl.errors")"
  fi
  endpoint=$(endpoint_of storage)

  { mkdir -p "$state" && chmod 700 "$state"; } || fail "cannot make $state"
  if ! patiently download "$endpoint/storage/v1/b/$context_bucket/o/$context_object?alt=media" "$token"; then
    [[ ! -e $directory/give-up ]] ||
      fail "cannot unpack the build context $where: $(first_line "$directory/gzip.errors" || first_line "$directory/tar.errors")"
    case $(http_status) in
      401 | 403) fail "the builder VM's service account may not read the build context $where (HTTP $(http_status))" ;;
      404) fail "the build context $where does not exist (HTTP 404 from $endpoint)" ;;
      *) fail "cannot fetch the build context $where from $endpoint: $(first_line "$directory/curl.errors")" ;;
    esac
  fi
  read -r digest _ <"$directory/digest"
  [[ $digest == "$context_sha256" ]] ||
    fail "the build context $where has SHA-256 $digest, not $context_sha256: it was changed after the upload"
  mv "$state/context.part" "$state/context" || fail "cannot unpack the build context"
  say "fetched the build context ($(du -sh --apparent-size "$state/context" | cut -f 1) unpacked)"
}
