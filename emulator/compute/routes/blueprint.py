"""What all routes of Compute Engine's API share: the blueprint, requests checked and begun, what a method lacks."""

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, Response, request

from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.schema import check_body
from cos_customizer.emulator.compute.store import Resource
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.partial_answers import selected
from cos_customizer.emulator.projects import check_writable
from cos_customizer.emulator.web import answer, json_body, service

V1 = "/compute/v1/projects"
View = TypeVar("View", bound=Callable[..., Response])

compute_api = Blueprint("compute", __name__)


def partly(missing: str = "", **of_methods: str) -> Callable[[View], View]:
    """Mark a method that does not do all that Compute Engine's does; the documents say so.

    Args:
        missing: what it lacks, as a part of a sentence.
        of_methods: what single ones of several methods of a route lack, by their names.
    """

    def mark(view: View) -> View:
        view.missing = {"": missing, **of_methods}  # type: ignore[attr-defined]
        return view

    return mark


def engine() -> ComputeEngine:
    """Return the engine that the present request is for."""
    return service(ComputeEngine)


def checked_body(type_name: str) -> dict[str, Any]:
    """Return the request's body, checked against a type of the API.

    Raises:
        ApiError: 400.
    """
    return check_body(type_name, json_body())


@compute_api.before_request
def _name_by_id() -> None:
    """Put a project's id in the place of its number, and a resource's name in that of its id: the API takes both."""
    args: dict[str, Any] = request.view_args or {}
    named = args.get("project", "")
    if named:
        args["project"] = engine().shared.store.project_id(named)
    if str(args.get("name", "")).isdecimal():
        collection = request.path.removeprefix("/compute/v1/").split(f"/{args['name']}")[0]
        collection = collection.replace(f"projects/{named}/", f"projects/{args['project']}/", 1)
        args["name"] = engine().named(f"{collection}/{args['name']}").rpartition("/")[2]
    elif "rest" in args:
        args["rest"] = engine().named(f"projects/{args['project']}/{args['rest']}").split("/", 2)[2]


@compute_api.before_request
def _count() -> None:
    """Count the request for its rate quota; a fault that is to come of it has come before."""
    args: dict[str, Any] = request.view_args or {}
    if project := args.get("project", ""):
        path = request.path.partition("/projects/")[2].partition("/")[2]
        engine().rates.count(project, request.method, f"/{path}")


@compute_api.after_request
def _only_what_is_wanted(response: Response) -> Response:
    """Answer a part of the answer, if a request asks for one (`fields`)."""
    fields = request.args.get("fields", "")
    if not fields or response.status_code != 200:
        return response
    try:
        return answer(selected(response.get_json(), fields))
    except ApiError as error:
        return answer(error.body(), error.code)


def change(project: str, method: str, begin: Callable[[], Resource]) -> Response:
    """Begin a change, or answer with the operation that an earlier request with the same `requestId` began.

    Args:
        project: where the change is made.
        method: the API method, for example `instances.insert`.
        begin: checks the request and begins the operation.

    Raises:
        ApiError: 400, 403, or as `begin` raises it.
    """
    check_writable(project)
    request_id = request.args.get("requestId", "")
    if request_id:
        try:
            uuid.UUID(request_id)
        except ValueError:
            message = f"Invalid value for field 'requestId': '{request_id}'. Must be a UUID."
            raise ApiError(400, "invalid", message) from None
    with engine().change_lock:
        return answer(engine().operations.once(project, method, request_id, begin))


def flag(name: str, default: str = "false") -> bool:
    """Return whether a parameter of the request is true."""
    return request.args.get(name, default).lower() in ("true", "1")


def number(name: str, default: int) -> int:
    """Return a parameter of the request.

    Raises:
        ApiError: 400, it is no number.
    """
    text = request.args.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ApiError(400, "invalid", f"Invalid value for field '{name}': '{text}'. Not a number.") from None
