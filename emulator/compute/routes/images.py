"""Routes of images."""

from flask import Response

from cos_customizer.emulator.compute.labels import set_labels
from cos_customizer.emulator.compute.routes.blueprint import V1, change, checked_body, compute_api, engine, flag, partly
from cos_customizer.emulator.web import answer

_IMAGES = f"{V1}/<project>/global/images"


@compute_api.get(f"{_IMAGES}/family/<family>")
def _image_from_family(project: str, family: str) -> Response:
    return answer(engine().images.from_family(project, family))


@compute_api.get(f"{V1}/<project>/zones/<zone>/imageFamilyViews/<family>")
def _image_family_view(project: str, zone: str, family: str) -> Response:  # noqa: ARG001 (the same in all zones)
    return answer({"image": engine().images.from_family(project, family)})


@compute_api.post(_IMAGES)
@partly("encryption with keys of customers; effect of UEFI keys, since no VM is shielded")
def _insert_image(project: str) -> Response:
    body, force = checked_body("Image"), flag("forceCreate")
    return change(project, "images.insert", lambda: engine().images.insert(project, body, force))


@compute_api.patch(f"{_IMAGES}/<name>")
def _patch_image(project: str, name: str) -> Response:
    body = checked_body("Image")
    return change(project, "images.patch", lambda: engine().images.patch(project, name, body))


@compute_api.delete(f"{_IMAGES}/<name>")
def _delete_image(project: str, name: str) -> Response:
    return change(project, "images.delete", lambda: engine().images.delete(project, name))


@compute_api.post(f"{_IMAGES}/<name>/deprecate")
@partly("acting on its dates")
def _deprecate_image(project: str, name: str) -> Response:
    body = checked_body("DeprecationStatus")
    return change(project, "images.deprecate", lambda: engine().images.deprecate(project, name, body))


@compute_api.post(f"{_IMAGES}/<name>/setLabels")
def _label_image(project: str, name: str) -> Response:
    body, path = checked_body("GlobalSetLabelsRequest"), f"projects/{project}/global/images/{name}"
    return change(project, "images.setLabels", lambda: set_labels(engine().shared, path, body))
