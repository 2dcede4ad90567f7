set -euo pipefail
install -d -m 750 "$APP_HOME" "$APP_HOME/data"
