# The service itself.
set -euo pipefail
while :; do
  printf '%s\n' "$GREETING" >/run/hello-app/greeting
  sleep 60
done
