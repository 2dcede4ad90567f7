# Runs on a VM that has booted from the new image. Whatever fails here keeps the image out of its family.
set -euo pipefail
cmp index.html /var/lib/web/index.html
docker version
systemctl is-active docker
