"""The variants of prefect.yaml for work pools that run each flow run in a container: `make docs` writes them."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
_IMAGE = "gcr.io/my-project/cos-customizer"
_ACCOUNT = "image-builder@my-project.iam.gserviceaccount.com"
_HEAD = """\
# prefect.yaml for {what}; `make docs` makes this file from it. docs/prefect.md tells the rest.
#
#   pip install {package}
#   prefect work-pool create --type {type} cos-customizer
#   prefect --no-prompt deploy --all --prefect-file deploy/{name}
#   prefect work-queue set-concurrency-limit --pool cos-customizer builds 10
#   prefect worker start --pool cos-customizer
name: cos-customizer

# The flows are in the image; recipes and build contexts are what the container can see: in an image made FROM this one,
# or at gs:// addresses.
pull: []

"""
_CLOUD_RUN = f"""\
    job_variables:
      image: {_IMAGE}
      region: us-west1
      service_account_name: {_ACCOUNT} # with the roles of docs/google-cloud.md
      cpu: 1000m
      memory: 1Gi
      # Seconds, longer than {{longest}}: Cloud Run kills the job then, and nothing is undone.
      timeout: {{timeout}}
      max_retries: 0
"""
_KUBERNETES = f"""\
    job_variables:
      image: {_IMAGE}
      namespace: default
      service_account_name: image-builder # of Kubernetes, bound to one of Google's (docs/google-cloud.md)
      cpu_request: 250m
      memory_request: 512Mi
      memory_limit: 1Gi
      finished_job_ttl: 3600 # seconds
      # Seconds, longer than {{longest}}: the worker takes the job for crashed then.
      job_watch_timeout_seconds: {{timeout}}
"""
_LONGEST = {
    "builds": ("a build's time limit", 7200),
    "upkeep": ("rebuild-images waits for its builds", 43_200),
}
VARIANTS = {
    "prefect.cloud-run.yaml": ("jobs of Cloud Run", "prefect-gcp", "cloud-run-v2", _CLOUD_RUN),
    "prefect.kubernetes.yaml": ("jobs of Kubernetes", "prefect-kubernetes", "kubernetes", _KUBERNETES),
}
"""By file: what it is for, the package and the type of its workers, the variables of their jobs."""


def variant(name: str) -> str:
    """The content of a variant."""
    what, package, kind, variables = VARIANTS[name]
    _, deployments = (ROOT / "prefect.yaml").read_text().split("\ndeployments:\n")
    text, _ = re.subn(r"entrypoint: flows/(\w+)\.py:(\w+)", r"entrypoint: cos_customizer.flows.\1.\2", deployments)
    for queue, (longest, timeout) in _LONGEST.items():
        said = f"    work_queue_name: {queue}\n"
        assert text.count(said) == 1, "each queue is named once, by an anchor"
        text = text.replace(said, said + variables.format(longest=longest, timeout=timeout))
    head = _HEAD.format(what=what, package=package, type=kind, name=name)
    return f"{head}deployments:\n{text}"


def write() -> None:
    """Bring all variants up to date."""
    for name in VARIANTS:
        (ROOT / "deploy" / name).write_text(variant(name))
