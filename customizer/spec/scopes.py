"""OAuth scopes of a build's VMs: what their service account's token is good for (no pydantic here).

Sources: https://developers.google.com/identity/protocols/oauth2/scopes; the short names are those that gcloud takes
(`gcloud compute instances create --scopes`).
"""

from collections.abc import Collection

_PREFIX = "https://www.googleapis.com/auth/"
CLOUD_PLATFORM = f"{_PREFIX}cloud-platform"
DEFAULT = (f"{_PREFIX}devstorage.read_write", CLOUD_PLATFORM)

_GCLOUD = {
    "compute-ro": "compute.readonly",
    "compute-rw": "compute",
    "logging-write": "logging.write",
    "monitoring-read": "monitoring.read",
    "monitoring-write": "monitoring.write",
    "service-control": "servicecontrol",
    "service-management": "service.management.readonly",
    "storage-full": "devstorage.full_control",
    "storage-ro": "devstorage.read_only",
    "storage-rw": "devstorage.read_write",
    "trace": "trace.append",
    "userinfo-email": "userinfo.email",
}
_STORAGE = ("read_only", "read_write", "full_control")
_READ_STORAGE = {CLOUD_PLATFORM, *(f"{_PREFIX}devstorage.{name}" for name in _STORAGE)}


def check_scopes(scopes: Collection[str]) -> list[str]:
    """Scopes by their whole names, each once.

    Args:
        scopes: each as a URL, by what follows `…/auth/`, or by gcloud's short name.

    Raises:
        ValueError: one cannot be a scope, or without another one the VM cannot read the build context.
    """
    whole = []
    for scope in scopes:
        name = scope.removeprefix(_PREFIX)
        if not name or not name.isascii() or not name.replace(".", "").replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{scope!r} is not a scope: write {CLOUD_PLATFORM}, or cloud-platform")
        whole.append(_PREFIX + _GCLOUD.get(name, name))
    if whole and not _READ_STORAGE & set(whole):
        raise ValueError("the VM reads the build context in Cloud Storage: add devstorage.read_only, or cloud-platform")
    return list(dict.fromkeys(whole))
