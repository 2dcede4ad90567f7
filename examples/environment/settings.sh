# Scripts run in the root of the build context, whatever their own directory.
set -euo pipefail
source lib/settings.sh
setting "$APP_HOME/settings.env" RELEASE "$RELEASE"
setting "$APP_HOME/settings.env" CHANNEL "$CHANNEL"
