# What is below /var and /home outlives a reboot; /etc does not.
set -euo pipefail
install -d -m 755 /var/lib/web
install -m 644 index.html /var/lib/web/index.html
