# Runs on a VM that has booted from the new image. Whatever fails here keeps the image out of its family.
set -euo pipefail
grep -q 'Hello, World!' /var/lib/web/index.html
