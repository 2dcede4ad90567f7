set -euo pipefail
cat > "$AGENT_HOME/settings.env" << END
RELEASE=$RELEASE
DEBUG=$DEBUG
END
