"""The emulator's own API, below `/emulator/`: what tests and curious users may do that no cloud allows."""

import re
from collections.abc import Callable
from typing import Any, Protocol

from flask import Flask, Response, request

from .api import answer, json_body
from .calls import Calls
from .compute import Compute
from .errors import ApiError
from .scripted import ScriptedBackend, Scripts

_Adder = Callable[..., int]


class _Ordered(Protocol):
    def list(self) -> list[dict[str, Any]]: ...

    def clear(self, number: int | None = None, /) -> None: ...


def add_control(
    app: Flask, compute: Compute, calls: Calls, status: Callable[[], dict[str, Any]], shutdown: Callable[[], None]
) -> None:
    """Add the routes.

    Args:
        app: the application.
        compute: what is controlled.
        calls: the record of calls.
        status: what `GET /emulator/status` answers.
        shutdown: called when somebody asks the emulator to end.
    """

    @app.get("/emulator/status")
    def get_status() -> Response:
        return answer(status())

    @app.route("/emulator/clock", methods=["GET", "POST"])
    def clock() -> Response:
        if request.method == "POST":
            body = json_body()
            try:
                compute.clock.advance(float(body["advance"]))
            except (KeyError, TypeError, ValueError) as error:
                raise ApiError(400, "invalid", f'Send {{"advance": seconds}} with at least 0 ({error}).') from None
        return answer({"now": compute.clock.now(), "timestamp": compute.clock.timestamp()})

    @app.post("/emulator/stock-outs")
    def stock_out() -> Response:
        body = json_body()
        if not isinstance(body.get("zone"), str):
            raise ApiError(400, "invalid", 'Send {"zone": "us-west1-b", "on": true}.')
        compute.instances.stock_out(body["zone"], bool(body.get("on", True)))
        return answer({"stockedOut": compute.instances.stocked_out()})

    @app.route("/emulator/calls", methods=["GET", "DELETE"])
    def get_calls() -> Response:
        if request.method == "DELETE":
            calls.clear()
        query = {key: request.args.get(key, "") for key in ("service", "method", "path")}
        try:
            return answer(calls.report(**query))
        except re.error as error:
            raise ApiError(400, "invalid", f"Not a regular expression: {query['path']} ({error}).") from None

    @app.post("/emulator/shutdown")
    def end() -> Response:
        shutdown()
        return answer({})

    def add_fault() -> int:
        return compute.faults.add(**json_body())

    def add_script() -> int:
        return _scripts(compute).add(json_body())

    _collection(app, "faults", lambda: compute.faults, add_fault)
    _collection(app, "scripts", lambda: _scripts(compute), add_script)


def _scripts(compute: Compute) -> Scripts:
    if not isinstance(compute.backend, ScriptedBackend):
        raise ApiError(400, "invalid", f"Scripts are for scripted machines; these are {compute.backend.name}.")
    return compute.backend.scripts


def _collection(app: Flask, name: str, get: Callable[[], _Ordered], add: Callable[[], int]) -> None:
    @app.route(f"/emulator/{name}", methods=["GET", "POST", "DELETE"], endpoint=name)
    def collection() -> Response:
        if request.method == "POST":
            try:
                return answer({"id": add()})
            except (TypeError, ValueError) as error:
                raise ApiError(400, "invalid", f"{error}") from None
        if request.method == "DELETE":
            get().clear()
        return answer({name: get().list()})

    @app.delete(f"/emulator/{name}/<int:number>", endpoint=f"{name}_one")
    def delete_one(number: int) -> Response:
        get().clear(number)
        return answer({name: get().list()})
