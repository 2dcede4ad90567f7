set -euo pipefail
install -d /var/lib/web
echo 'Hello, World!' > /var/lib/web/index.html
