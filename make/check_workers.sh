#!/usr/bin/env bash
# Asks the workers of Cloud Run and Kubernetes, of the newest packages of Prefect's, whether they know what the variants
# of prefect.yaml give to their jobs.
set -euo pipefail
cd "$(dirname "$0")/.."
source make/progress.sh

stage "Prefect's workers"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
prefect=$(sed -n 's/^\(prefect==[^ ]*\) .*/\1/p' requirements/dev.txt)
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" --quiet --disable-pip-version-check install "$prefect" prefect-gcp prefect-kubernetes
stage_done "$("$place/venv/bin/pip" --disable-pip-version-check freeze | grep '^prefect' | tr '\n' ' ')"

"$place/venv/bin/python" -c '
import json
from prefect_gcp.workers.cloud_run_v2 import CloudRunWorkerV2
from prefect_kubernetes.worker import KubernetesWorker

print(json.dumps({each.type: each.get_default_base_job_template() for each in (CloudRunWorkerV2, KubernetesWorker)}))
' > "$place/templates.json"
PYTHONPATH=tests "${VENV:-.venv}/bin/python" make/check_workers.py "$place/templates.json"
