# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh and of the plan
# Reads secrets from Secret Manager, as the VM's service account, for the one step that asks for them. A value is in
# memory, in pipes, and in the environment of that step: in no file, and on no command line.
#
# https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access

# read_secret <reference> <token>: prints the answer.
read_secret() {
  printf 'header = "Authorization: Bearer %s"\n' "$2" |
    "${curl[@]}" --config - --max-time 60 "$endpoint/v1/$1:access" 2>"$directory/curl.errors"
}

# refuse_secret <reference>: says why it could not be read, as the end of "step n".
refuse_secret() {
  case $(http_status) in
    401 | 403) printf %s "the builder VM's service account may not read the secret $1 (HTTP $(http_status))" ;;
    400) printf %s "the version of the secret $1 is disabled or destroyed (HTTP 400 from $endpoint)" ;;
    404) printf %s "the secret $1 does not exist (HTTP 404 from $endpoint)" ;;
    *) printf %s "cannot read the secret $1 from $endpoint: $(first_line "$directory/curl.errors")" ;;
  esac
}

# read_secrets <number of the step> secret:<name>=projects/<project>/secrets/<secret>/versions/<version>…: into `secrets`.
read_secrets() {
  local LC_ALL=C number=$1 token endpoint name reference data value size
  shift
  token=$(access_token)
  [[ $token ]] || fail_step "$number" "cannot read its secrets: the builder VM has no access token of a service account"
  endpoint=$(endpoint_of secretmanager)
  for reference; do
    name=${reference#secret:}
    reference=${name#*=} name=${name%%=*}
    data=$(patiently read_secret "$reference" "$token") ||
      fail_step "$number" "cannot be given $name: $(refuse_secret "$reference")"
    data=$(printf %s "$data" | tr -d ' \t\r\n' | sed -n 's/.*"data":"\([^"]*\)".*/\1/p')
    # Line feeds at its end belong to it, and bash would drop them; it drops zeros too.
    { value=$(printf %s "$data" | base64 -d && printf x) && size=$(printf %s "$data" | base64 -d | wc -c); } 2>/dev/null ||
      fail_step "$number" "cannot be given $name: $endpoint has not answered as Secret Manager does"
    value=${value%x}
    ((${#value} > 0)) || fail_step "$number" "cannot be given $name: the secret $reference is empty"
    ((${#value} == size)) || fail_step "$number" "cannot be given $name: the secret $reference holds a NUL character"
    # shellcheck disable=SC2004 # by name: declared in steps.sh
    secrets[$name]=$value
  done
}

# exec_with_secrets <command> <argument>…: as exec, with the secrets in its environment.
exec_with_secrets() {
  local name
  ((${#secrets[@]} > 0)) || exec "$@"
  # Through a pipe into a bash of its own: no variable of ours is in the way of one of theirs, whatever its name.
  exec /bin/bash -c '
    mapfile -t -d "" -u 9
    exec 9<&-
    set -- "${#MAPFILE[@]}" "${MAPFILE[@]}" "$@"
    unset MAPFILE
    export "${@:2:$1}" || exit
    shift "$(($1 + 1))"
    exec "$@"' bash "$@" 9< <(for name in "${!secrets[@]}"; do printf '%s=%s\0' "$name" "${secrets[$name]}"; done)
}

# say_parts <text>: its lines, without the space around them, long ones in pieces; short ones only if there is nothing else
# to know it by.
say_parts() {
  local line lines long=()
  mapfile -t lines < <(printf %s "$1" | sed 's/^[[:space:]]*//; s/[[:space:]]*$//; /^$/d')
  for line in "${lines[@]}"; do
    while ((${#line} > 260)); do # a pattern of many thousand bytes takes sed minutes
      long+=("${line:0:256}")
      line=${line:256}
    done
    ((${#line} < 4)) || long+=("$line")
  done
  ((${#long[@]} > 0)) || long=("${lines[@]}")
  for line in "${long[@]}"; do
    printf '%06d %s\n' "${#line}" "$line"
  done
}

# base64_amid <length> <value>: what base64 makes of the value behind so many other bytes, whatever those are and whatever
# follows it: without the characters that tell of them as well.
base64_amid() {
  local encoded skipped=(0 2 3)
  encoded=$(printf %s "$(printf '%*s' "$1" '')$2" | base64 -w 0)
  [[ $encoded != *= ]] || encoded=${encoded%%=*} encoded=${encoded%?}
  printf %s "${encoded:skipped[$1]}"
}

# Prints a program for sed that masks the secrets, line by line: as they are, in hexadecimal digits, and in base64, in one
# line or in several, alone or amid other text. What base64 makes of a value's last bytes depends on what follows them: nothing, or a line
# feed.
mask_secrets() {
  local -x LC_ALL=C
  local value end columns encoded before
  for value in "${secrets[@]}"; do
    say_parts "$value"
    if ((${#value} >= 2)); then
      encoded=$(printf %s "$value" | od -An -v -tx1 | tr -d ' \n')
      say_parts "$encoded"$'\n'"${encoded^^}"
    fi
    for before in 0 1 2; do
      encoded=$(base64_amid "$before" "$value")
      ((${#encoded} < 4)) || say_parts "$encoded"$'\n'"$(printf %s "$encoded" | tr +/ -_)"
    done
    for end in '' $'\n'; do
      for columns in 0 64 76; do
        encoded=$(printf %s "$value$end" | base64 -w "$columns")
        say_parts "$encoded"
        say_parts "$(printf %s "$encoded" | tr +/ -_)"
      done
    done
  done | sort -r -u | # the longest first: a shorter one may be a part of it
    sed 's/^[0-9]* //; s|[][\.*^$/]|\\&|g; s|.*|s/&/***/g|'
  printf '%s\n' 's/\(\*\*\*\)\{2,\}/***/g'
}
