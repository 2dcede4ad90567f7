# Images that are there need not be pulled when a VM boots.
set -euo pipefail
for image in $IMAGES; do
  docker pull --quiet "$image"
done
