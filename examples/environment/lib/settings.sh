# Writes a setting to a file in the form that systemd's EnvironmentFile takes.
setting() { # file name value
  printf '%s=%q\n' "$2" "$3" >> "$1"
}
