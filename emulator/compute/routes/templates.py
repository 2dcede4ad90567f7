"""Routes of instance templates, global and regional ones."""

from flask import Response

from cos_customizer.emulator.compute.routes.blueprint import V1, change, checked_body, compute_api, engine, partly

_TEMPLATES = f"{V1}/<project>/global/instanceTemplates"


@compute_api.post(_TEMPLATES)
@partly("templates of an instance (`sourceInstance`)")
def _insert_template(project: str) -> Response:
    body = checked_body("InstanceTemplate")
    return change(project, "instanceTemplates.insert", lambda: engine().templates.insert(project, body))


@compute_api.delete(f"{_TEMPLATES}/<name>")
def _delete_template(project: str, name: str) -> Response:
    return change(project, "instanceTemplates.delete", lambda: engine().templates.delete(project, name))


_REGIONAL_TEMPLATES = f"{V1}/<project>/regions/<region>/instanceTemplates"


@compute_api.post(_REGIONAL_TEMPLATES)
@partly("templates of an instance (`sourceInstance`)")
def _insert_regional_template(project: str, region: str) -> Response:
    body = checked_body("InstanceTemplate")
    return change(project, "regionInstanceTemplates.insert", lambda: engine().templates.insert(project, body, region))


@compute_api.delete(f"{_REGIONAL_TEMPLATES}/<name>")
def _delete_regional_template(project: str, region: str, name: str) -> Response:
    return change(project, "regionInstanceTemplates.delete", lambda: engine().templates.delete(project, name, region))
