"""How many calls of a kind a project may make in a minute.

That is a rate quota's figure. Neither a project nor a region of Compute Engine has it among its quotas; Service Usage
has it: https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics/get. The kinds:
https://cloud.google.com/compute/api-quota.
"""

import math
from urllib.parse import quote

from google.auth.transport.requests import AuthorizedSession

from cos_customizer.customizer import deadline
from cos_customizer.gcp.clients import Clients

CONSOLE_READS = "compute.googleapis.com/get_serial_port_output_requests_per_region"
IMAGE_CHANGES = "compute.googleapis.com/global_resource_write_requests"
_SERVICE_USAGE = "https://serviceusage.googleapis.com"
_PATIENCE = 5.0
"""Seconds that an answer may take: whoever asks can do without."""


def calls_a_minute(clients: Clients, project: str, metric: str, region: str = "") -> float | None:
    """How many calls of a kind a project may make in a minute.

    Args:
        clients: Google's clients.
        project: Its id.
        metric: The kind: `CONSOLE_READS` or `IMAGE_CHANGES`.
        region: For example `us-west1`, of a metric that is counted by region.

    Returns:
        The number, which may be infinite; None if the project does not tell.
    """
    origin = clients.endpoints.compute if clients.endpoints.anonymous else _SERVICE_USAGE
    path = f"v1beta1/projects/{project}/services/compute.googleapis.com/consumerQuotaMetrics/{quote(metric, '')}"
    session = AuthorizedSession(clients.credentials)  # type: ignore[no-untyped-call]
    try:
        answer = session.get(f"{origin}/{path}", timeout=deadline.left(_PATIENCE))
        buckets = answer.json()["consumerQuotaLimits"][0]["quotaBuckets"]
        limits = {each.get("dimensions", {}).get("region", ""): float(each["effectiveLimit"]) for each in buckets}
        limit = limits.get(region, limits.get("", -1.0))
    except Exception:  # no permission, no such API here, another answer than expected: none of them ends a command
        return None
    finally:
        session.close()  # type: ignore[no-untyped-call]
    return limit if limit >= 0 else math.inf
