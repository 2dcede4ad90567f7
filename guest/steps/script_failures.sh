# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of build.sh, and of whoever calls: bash's variables are seen by what is called
# Finds out where a script has failed.
#
# The script's bash writes down where it is, by a trap, when a command fails, and when it ends. At its end it no longer
# knows the line: this is looked for in the script's text, by the command. Nothing is done while commands succeed.

# What bash reads before the script. The script sees none of it but the two traps: no function, variable, option or open
# file. One that sets traps of its own has just these. The last argument keeps `$_` what it was; standard error is away
# for the sake of `set -x`.
# shellcheck disable=SC2016 # it is the script's bash that expands it
watching='unset BASH_ENV
trap '\''{ builtin printf "%s\0%s\0%s\0%s\0%s\0%s\0%s\0%s\0%s\0%.0s" "$?" "$LINENO" "$-" "${PIPESTATUS[*]}" "@command@" \
  "$PWD" "${BASH_SOURCE[0]-}" "${BASH_SOURCE[1]-}" "${BASH_LINENO[0]-}" "$_" >|@directory@/failed; } 2>/dev/null'\'' ERR
trap '\''{ builtin printf "%s\0" "$?" "${PIPESTATUS[*]}" "@command@" "$PWD" \
  "$(shopt -s extdebug; compgen -A function | while read -r function; do declare -F "$function"; done)" \
  "${#BASH_SOURCE[@]}" "${BASH_SOURCE[@]-}" "${BASH_LINENO[@]-}" "${FUNCNAME[@]-}" >|@directory@/ended; } 2>/dev/null'\'' EXIT'

# watch_script: writes that file. What a secret may have been expanded in is not written down, not even to memory.
watch_script() {
  local text=${watching//@directory@/"$directory"} command="\$BASH_COMMAND"
  ((${#secrets[@]} == 0)) || command="\${BASH_COMMAND%%[[:space:]]*}"
  rm -f -- "$directory"/{watching,failed,ended}
  printf '%s\n' "${text//@command@/"$command"}" >"$directory/watching"
} 2>/dev/null

# read_records: into `failed` and `ended`, what the traps have written.
read_records() {
  [[ ! -f $directory/failed ]] || mapfile -d '' -t failed <"$directory/failed"
  [[ ! -f $directory/ended ]] || mapfile -d '' -t ended <"$directory/ended"
  rm -f -- "$directory"/{watching,failed,ended}
}

# explain_failure: of `script`, which has ended with `code`.
explain_failure() {
  local how signal said text name='' found=() from=1 to=1000000 count=1
  local pipe='' command='' sources=() lines=() functions=() elsewhere=() end
  name_code
  if ((code == 2)) && ! said=$(/bin/bash -O extglob -n "$state/context/$script" 2>&1 </dev/null); then
    said=${said%%$'\n'*}
    print_syntax_error "${said#"$state/context/"}"
  elif ((${#ended[@]} > 6)); then
    take_end
    print_place
  elif ((${#failed[@]} == 9)) && [[ ${failed[2]} == *e* && ${failed[0]} == "$code" ]]; then
    take_failed_command # by `set -e`, of a script that has an EXIT trap of its own
    print_place
  elif ((code > 128)); then
    printf 'failed at %s: %s\n' "$script" "$how"
    name_place "$script"
  fi
}

# print_syntax_error <bash's words>: `preload.sh: line 3: syntax error …`.
print_syntax_error() {
  printf 'failed at %s\n' "$1"
  [[ $1 =~ ^(.+):\ line\ ([0-9]+):\  ]] || return 0
  name_place "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
}

# name_place <file> [<line> [<command>]]: for programs. A line of nobody is -.
name_place() {
  [[ $1 && $1 != *[$'\t\n']* ]] || return 0
  printf '\t%s\t%s\t%s\n' "${2:--}" "$1" "${3-}"
}

# name_code: `code` into `how`.
name_code() {
  how="exit $code"
  if ((code > 128)) && signal=$(kill -l "$code" 2>/dev/null) && [[ $signal == [A-Z]* ]]; then
    how+=" (killed by signal $((code - 128)), $signal)"
  fi
}

# take_end: where the script was when its bash ended.
take_end() {
  pipe=${ended[1]} command=${ended[2]} count=${ended[5]}
  sources=("${ended[@]:6:count}") lines=("${ended[@]:6+count:count}") functions=("${ended[@]:6+2*count}")
  [[ ${functions[0]-} ]] || functions=()
  read_source "${sources[0]}" "${ended[3]}"
  # A signal ends bash between two commands; all else ends it with the code of the last one.
  if ((code > 128 && ended[0] != code)); then
    how=${how#*\(} how=${how%\)}
  elif is_last_failed; then
    take_failed_command
    return
  fi
  find_range
  find_lines "$from" "$to"
  if ((${#found[@]} == 0)) && [[ $command =~ ^(\.|source)([[:space:]]|$) ]]; then
    # While a file is being sourced, bash has the command that sources it in place of the one that failed.
    command="exit $code"
    find_lines "$from" "$to"
    ((${#found[@]} > 0)) || command=
  fi
}

# find_range: into `from` and `to`, the lines of the function that the script has ended in; or, if it was in none, into
# `elsewhere` those of all functions.
find_range() {
  local function file begin
  while read -r function begin file; do
    [[ $file == "${sources[0]}" && $begin == [0-9]* ]] || continue
    find_function_end "$begin"
    if [[ $function == "${functions[0]-}" ]]; then
      from=$begin to=$end elsewhere=()
      return
    fi
    for ((; begin <= end; begin++)); do
      elsewhere[begin]=1
    done
  done <<<"${ended[4]}"
}

# is_last_failed: whether the command that was the last to fail is the one that the script ended with.
is_last_failed() {
  ((${#failed[@]} == 9 && failed[0] == code)) && [[ ${failed[6]} == "${sources[0]}" ]] || return
  [[ ${functions[0]:-} == @(|source) ]] || return # functions do not inherit the trap
  [[ ${failed[4]} == "$command" ]] || ((count > 1))
}

# take_failed_command: the last one; its line is known.
take_failed_command() {
  local line=${failed[1]}
  pipe=${failed[3]} command=${failed[4]}
  if ((${#sources[@]} == 0)); then
    sources=("${failed[6]}" ${failed[7]:+"${failed[7]}"}) lines=("${failed[8]}") count=${#sources[@]}
    read_source "${sources[0]}" "${failed[5]}"
  fi
  find_lines "$line" "$line"
  # Of a compound command it is the line of its end; of a command of a trap, none of the script's.
  ((${#found[@]} > 0)) || find_lines 1 "$line"
  ((${#found[@]} == 0)) || { found=("${found[-1]}") && return; }
  find_lines 1 "$to"
}

# read_source <file as bash names it> <working directory>: into `text`, its lines; into `name`, what people call it.
read_source() {
  local place places
  text=()
  # If it has gone elsewhere since, by its name.
  case $1 in /*) places=("$1") ;; *) places=("$state/context/$1" "$2/$1" "$state/context"/**/"${1#./}") ;; esac
  for place in "${places[@]}"; do
    [[ ! -f $place ]] || { mapfile -n 20000 -t text <"$place" && break; }
  done
  name=${1#"$state/context/"}
  name=${name#./}
} 2>/dev/null

# squeeze <text>: into `squeezed`, without what bash adds, and what it leaves out, when it prints a command.
squeeze() {
  squeezed=${1//[[:space:];\\]/}
}

# find_lines <first> <last>: into `found`, the numbers of the lines between these on which `command` begins.
find_lines() {
  local wanted squeezed number next beyond own last=$2
  found=()
  squeeze "$command"
  wanted=${squeezed:0:500}
  [[ $wanted ]] || return 0
  ((last <= ${#text[@]})) || last=${#text[@]}
  for ((number = $1; number <= last; number++)); do
    squeeze "${text[number - 1]}"
    [[ $squeezed && $squeezed != '#'* && ! ${elsewhere[number]-} ]] || continue
    beyond=$squeezed own=${#squeezed}
    for ((next = number; next < ${#text[@]} && ${#beyond} < ${#wanted} + own; next++)); do
      squeeze "${text[next]}"
      beyond+=$squeezed
    done
    [[ $beyond == *"$wanted"* ]] || continue
    beyond=${beyond%%"$wanted"*}
    ((${#beyond} >= own)) || found+=("$number")
  done
}

# find_function_end <line>: into `end`, of the function that begins there: a bracket as far to the right as it.
find_function_end() {
  local indent line
  end=$1
  (($1 <= ${#text[@]})) || return 0
  line=${text[$1 - 1]}
  indent=${line%%[![:space:]]*}
  [[ ! $line =~ [\{\(].*[^\)[:space:]].*[\}\)][[:space:]]*$ ]] || return 0 # all in one line
  for ((end = $1 + 1; end < ${#text[@]}; end++)); do
    [[ ${text[end - 1]} != "$indent"[\}\)]* ]] || return 0
  done
}

# find_statement <line>: into `first` and `statement`, the beginning and the text of what goes over this line.
find_statement() {
  local line=$1 goes_on='(\\|\||&&)[[:space:]]*$'
  while ((line > 1)) && [[ ${text[line - 2]} =~ $goes_on && ! ${text[line - 2]} =~ ^[[:space:]]*# ]]; do
    ((line--))
  done
  first=$line statement=
  for (( ; line <= ${#text[@]}; line++)); do
    statement+="${text[line - 1]%\\} "
    [[ ${text[line - 1]} =~ $goes_on ]] || break
  done
  in_one_line "$statement"
  statement=$one_line
}

# in_one_line <text>: into `one_line`, with single spaces.
in_one_line() {
  local words
  read -rd '' -a words <<<"$1"
  one_line=${words[*]}
}

# show_command: `command` as it is to be read: of a pipe or a list of commands all of it.
show_command() {
  local first statement squeezed wanted one_line
  if ((${#found[@]} == 1)); then
    squeeze "$command"
    wanted=$squeezed
    find_statement "${found[0]}"
    found=("$first")
    squeeze "$statement"
    if [[ $squeezed == *"$wanted"* && ($statement == *@('|'|'&&')* || ${#secrets[@]} -gt 0) ]]; then
      command=$statement
      return
    fi
  fi
  in_one_line "${command%%$'\n'*}"
  [[ $command != *$'\n'* ]] || one_line+=' …'
  command=$one_line
}

# print_place: what has been found out.
print_place() {
  local at='' called='' place number asked=$command
  show_command
  if ((${#found[@]} == 1)); then
    at=": line ${found[0]}"
  elif ((${#found[@]} > 1)); then
    printf -v at ', %s' "${found[@]:0:4}"
    at=": line ${at#, }"
    at="${at%, *} or ${at##*, }"
    ((${#found[@]} <= 4)) || at+=' or another'
  fi
  [[ $pipe != *[0-9]' '[0-9]* ]] || how+=" (of the pipe: $pipe)"
  for ((number = 1; number < count && number < 5; number++)); do
    if [[ ${functions[number - 1]:-} == @(|source) ]]; then
      called+=', sourced'
    else
      called+=", in ${functions[number - 1]}, called"
    fi
    place=${sources[number]#"$state/context/"}
    [[ ${sources[number]} != "${sources[number - 1]}" ]] || place=
    called+=" at ${place:+${place#./} }line ${lines[number - 1]}"
  done
  ((${#command} <= 160)) || command="${command:0:160}…"
  if [[ $command && $command != "$how" && $command != *[[:space:]]"$how" ]]; then
    how="$command: $how"
  else
    how=${command:-$how}
  fi
  printf 'failed at %s%s: %s%s\n' "$name" "$at" "$how" "$called"
  ((${#found[@]} == 1)) || found=(-)
  name_place "$name" "${found[0]}" "$command"
  # shellcheck disable=SC2016 # not a command
  ! is_question || printf 'standard input is empty: nobody can answer a `read`\n'
}

# is_question: whether the command that failed, or the one before `||`, reads standard input.
is_question() {
  local read='^([A-Za-z_][A-Za-z_0-9]*=[^[:space:]]*[[:space:]]+)*read'
  [[ $command != *'<'* && ! $command =~ [^|]\|[^|] ]] || return
  if [[ $asked =~ ${read}([[:space:]]|$) ]]; then
    ((code == 1))
  else
    [[ $command =~ ${read}[^|]*\|\| ]]
  fi
}
