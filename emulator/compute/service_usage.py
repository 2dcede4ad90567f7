"""Of the Service Usage API what tells a project's rate quotas, read only.

Source: https://cloud.google.com/service-usage/docs/reference/rest/v1beta1/services.consumerQuotaMetrics/get.
"""

from flask import Blueprint, Response

from cos_customizer.emulator.compute.routes.blueprint import engine
from cos_customizer.emulator.web import answer

service_usage_api = Blueprint("service_usage", __name__)


@service_usage_api.get("/v1beta1/projects/<project>/services/compute.googleapis.com/consumerQuotaMetrics/<path:metric>")
def _metric(project: str, metric: str) -> Response:
    project = engine().shared.store.project_id(project)
    return answer(engine().rates.shown(project, metric))
