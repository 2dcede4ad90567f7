set -euo pipefail
install -d -m 750 "$AGENT_HOME"
