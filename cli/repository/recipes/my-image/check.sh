# Runs on a VM that has booted from the new image. Whatever fails here keeps the image out of its family.
set -euo pipefail
grep -qx 'Hello, World!' /var/lib/my-image/hello
