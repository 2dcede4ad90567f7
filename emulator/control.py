"""The emulator's own API, below `/emulator/`: what tests and curious users may do that no cloud allows."""

import re

from flask import Blueprint, Response, request

from cos_customizer.emulator.compute.api import answer, compute, context, json_body
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.machines.scripted import ScriptedBackend, Scripts

control = Blueprint("control", __name__, url_prefix="/emulator")


@control.get("/status")
def _status() -> Response:
    return answer(context.status())


@control.route("/clock", methods=["GET", "POST"])
def _clock() -> Response:
    if request.method == "POST":
        body = json_body()
        try:
            compute.clock.advance(float(body["advance"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ApiError(400, "invalid", f'Send {{"advance": seconds}} with at least 0 ({error}).') from None
    return answer({"now": compute.clock.now(), "timestamp": compute.clock.timestamp()})


@control.post("/stock-outs")
def _stock_out() -> Response:
    body = json_body()
    if not isinstance(body.get("zone"), str):
        raise ApiError(400, "invalid", 'Send {"zone": "us-west1-b", "on": true}.')
    compute.instances.stock_out(body["zone"], bool(body.get("on", True)))
    return answer({"stockedOut": compute.instances.stocked_out()})


@control.route("/quotas", methods=["GET", "POST"])
def _quotas() -> Response:
    if request.method == "POST":
        body = json_body()
        try:
            compute.quotas.set_limit(str(body.get("region", "")), str(body["metric"]), float(body["limit"]))
        except (KeyError, TypeError, ValueError) as error:
            example = '{"region": "us-west1", "metric": "NVIDIA_T4_GPUS", "limit": 0}'
            raise ApiError(400, "invalid", f"Send {example} ({error!r}).") from None
    return answer({"limits": compute.quotas.limits()})


@control.route("/calls", methods=["GET", "DELETE"])
def _calls() -> Response:
    if request.method == "DELETE":
        context.calls.clear()
    query = {key: request.args.get(key, "") for key in ("service", "method", "path")}
    try:
        return answer(context.calls.report(**query))
    except re.error as error:
        raise ApiError(400, "invalid", f"Not a regular expression: {query['path']} ({error}).") from None


@control.post("/shutdown")
def _shutdown() -> Response:
    context.shutdown()
    return answer({})


@control.route("/<any(faults, scripts):kind>", methods=["GET", "POST", "DELETE"])
def _ordered(kind: str) -> Response:
    ordered = _collection(kind)
    if request.method == "POST":
        try:
            number = compute.faults.add(**json_body()) if kind == "faults" else _scripts().add(json_body())
        except (TypeError, ValueError) as error:
            raise ApiError(400, "invalid", f"{error}") from None
        return answer({"id": number})
    if request.method == "DELETE":
        ordered.clear()
    return answer({kind: ordered.list()})


@control.delete("/<any(faults, scripts):kind>/<int:number>")
def _one(kind: str, number: int) -> Response:
    ordered = _collection(kind)
    ordered.clear(number)
    return answer({kind: ordered.list()})


def _collection(kind: str) -> Faults | Scripts:
    return compute.faults if kind == "faults" else _scripts()


def _scripts() -> Scripts:
    if not isinstance(compute.backend, ScriptedBackend):
        raise ApiError(400, "invalid", f"Scripts are for scripted machines; these are {compute.backend.name}.")
    return compute.backend.scripts
