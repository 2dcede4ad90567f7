# Runs on a VM of the image before it is released: both images are there, and run without a network.
set -euo pipefail
project=$(curl -sSf -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/project/project-id)
docker run --rm --pull=never --network=none ubuntu
docker run --rm --pull=never --network=none "gcr.io/$project/app:1"
