# Images that are there need not be pulled when a VM boots. The second is private: docker asks for it with the token of the
# VM's service account, which docker-credential-gcr gives it.
set -euo pipefail
project=$(curl -sSf -H Metadata-Flavor:Google http://metadata.google.internal/computeMetadata/v1/project/project-id)
docker pull ubuntu
docker pull "gcr.io/$project/app:1"
