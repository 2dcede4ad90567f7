"""The emulator's own API, below `/emulator/`: what tests and curious users may do that no cloud allows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request

from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.compute.rate_quotas import PREFIX
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.scripted import ScriptedBackend, Transcripts
from cos_customizer.emulator.web import answer, context, json_object, service

control_api = Blueprint("control", __name__, url_prefix="/emulator")
health_api = Blueprint("health", __name__)


@dataclass(frozen=True)
class Controls:
    """What this API does with the emulator as a whole.

    Attributes:
        status: describes it, for people.
        shutdown: begins to end it.
        reset: removes everything.
        overview: what there is, for people.
        is_ready: whether what is to be there from the beginning is there.
    """

    status: Callable[[], dict[str, Any]]
    shutdown: Callable[[], None]
    reset: Callable[[], None]
    overview: Callable[[], dict[str, Any]]
    is_ready: Callable[[], bool]


def _engine() -> ComputeEngine:
    return service(ComputeEngine)


@health_api.get("/healthz")
def _health() -> Response:
    is_ready = service(Controls).is_ready()
    return answer({"status": "ok" if is_ready else "starting"}, 200 if is_ready else 503)


@control_api.get("/status")
def _status() -> Response:
    return answer(service(Controls).status())


@control_api.post("/shutdown")
def _shutdown() -> Response:
    service(Controls).shutdown()
    return answer({})


@control_api.get("/overview")
def _overview() -> Response:
    controls = service(Controls)
    calls = context().request_log.count()
    return answer({"status": controls.status(), "calls": calls, **controls.overview()})


@control_api.get("/console")
def _console() -> Response:
    path = request.args.get("instance", "")
    chunk = _engine().instances.printed(path, _number("port", 1), _number("start"))
    contents = chunk.contents.decode("utf-8", "replace")
    return answer({"contents": contents, "start": str(chunk.start), "next": str(chunk.next)})


@control_api.post("/reset")
def _reset() -> Response:
    service(Controls).reset()
    return answer({})


@control_api.route("/clock", methods=["GET", "POST"])
def _clock() -> Response:
    clock = _engine().clock
    if request.method == "POST":
        body = json_object()
        try:
            clock.advance(float(body["advance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ApiError(400, "invalid", f'Send {{"advance": seconds}} with at least 0 ({error}).') from None
    return answer({"now": clock.now(), "timestamp": clock.timestamp()})


@control_api.post("/stock-outs")
def _stock_out() -> Response:
    body, instances = json_object(), _engine().instances
    if not isinstance(body.get("zone"), str):
        raise ApiError(400, "invalid", 'Send {"zone": "us-west1-b", "on": true}.')
    instances.stock_out(body["zone"], bool(body.get("on", True)))
    return answer({"stockedOut": instances.stocked_out()})


@control_api.post("/exports")
def _export() -> Response:
    body = json_object()
    image, target = body.get("image"), body.get("destination")
    if not isinstance(image, str) or not isinstance(target, str):
        example = '{"image": "projects/p/global/images/i", "destination": "gs://bucket/i.tar.gz"}'
        raise ApiError(400, "invalid", f"Send {example}.")
    return answer({"archiveSizeBytes": str(_engine().images.export(image, target))})


@control_api.route("/quotas", methods=["GET", "POST"])
def _quotas() -> Response:
    quotas, rates = _engine().quotas, _engine().rates
    if request.method == "POST":
        body = json_object()
        try:
            metric, limit = str(body["metric"]), float(body["limit"])
            if metric.startswith(PREFIX):
                rates.set_limit(metric, limit)
            else:
                quotas.set_limit(str(body.get("region", "")), metric, limit)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            example = '{"region": "us-west1", "metric": "NVIDIA_T4_GPUS", "limit": 0}'
            raise ApiError(400, "invalid", f"Send {example} ({error!r}).") from None
    return answer({"limits": [*quotas.limits(), *rates.limits()]})


@control_api.route("/calls", methods=["GET", "DELETE"])
def _calls() -> Response:
    log = context().request_log
    if request.method == "DELETE":
        log.clear()
    query = {key: request.args.get(key, "") for key in ("service", "method", "path")}
    try:
        return answer(log.report(**query, last=_number("last")))
    except ValueError as error:
        raise ApiError(400, "invalid", f"Not a regular expression: {query['path']} ({error}).") from None


@control_api.route("/<any(faults, scripts):kind>", methods=["GET", "POST", "DELETE"])
def _all(kind: str) -> Response:
    ordered = _ordered(kind)
    if request.method == "POST":
        body = json_object()
        try:
            number = ordered.add(**body) if isinstance(ordered, Faults) else ordered.add(body)
        except (TypeError, ValueError) as error:
            raise ApiError(400, "invalid", f"{error}") from None
        return answer({"id": number})
    if request.method == "DELETE":
        ordered.clear()
    return answer({kind: ordered.list()})


@control_api.delete("/<any(faults, scripts):kind>/<int:number>")
def _one(kind: str, number: int) -> Response:
    ordered = _ordered(kind)
    ordered.clear(number)
    return answer({kind: ordered.list()})


def _number(name: str, default: int = 0) -> int:
    """Return a number of the query.

    Raises:
        ApiError: 400.
    """
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise ApiError(400, "invalid", f"Invalid value for '{name}': '{text[:100]}'. It is a whole number from 0 on.")
    return int(text)


def _ordered(kind: str) -> Faults | Transcripts:
    """Return what was ordered by this name of the API."""
    if kind == "faults":
        return context().faults
    backend = _engine().backend
    if not isinstance(backend, ScriptedBackend):
        raise ApiError(400, "invalid", f"Scripts are for scripted machines; these are {backend.name}.")
    return backend.transcripts
