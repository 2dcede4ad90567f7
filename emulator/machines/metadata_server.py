"""The metadata server of one virtual machine, as a guest sees it at 169.254.169.254.

Follows https://cloud.google.com/compute/docs/metadata/querying-metadata and …/metadata/predefined-metadata-keys.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.http_server import DROP_CONNECTION, HttpServer
from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.machines.guest_attributes import DISABLED, GuestAttributes, are_enabled
from cos_customizer.emulator.projects import project_number

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

GUEST_IP = "169.254.169.15"
GUEST_MAC = "42:01:a9:fe:a9:0f"
GATEWAY_IP = "169.254.169.1"
"""The host's loopback interface as the guest sees it."""

TOKEN_SECONDS = 3599
_GRANT_PREFIX = "ya29.local-"
"""How access tokens begin; the instance's id follows, which nobody else in the guests' network knows."""
_NAMES = (
    "169.254.169.254",
    "169.254.169.254:80",
    "metadata",
    "metadata.google.internal",
    "metadata.google.internal:80",
)
_LONGEST_WAIT = 3600.0
"""Seconds in which a request that waits for a change is answered."""
_ROOT = "/computeMetadata/v1"
_GUEST_ATTRIBUTES = f"{_ROOT}/instance/guest-attributes"
_NAMED_BY_USERS = ("attributes", "service-accounts")
"""Directories whose entries keep their names in JSON."""


class MetadataServer:
    """Answers a guest's requests about its own instance; `app` is the WSGI application behind it.

    Args:
        spec: the instance; without a service account there are no accounts and no tokens.
        faults: applied to requests (kinds `http`, `drop` and `delay`), by path and by the instance's name.
        guest_attributes: what the guest says of itself.
    """

    def __init__(
        self, spec: MachineSpec, faults: Faults | None = None, guest_attributes: GuestAttributes | None = None
    ) -> None:
        self._spec = spec
        self._guest_attributes = guest_attributes or GuestAttributes()
        self._faults = faults or Faults()
        self._changed = threading.Condition()
        self._stopped = False
        self._server: HttpServer | None = None

    def start(self) -> int:
        """Answer on a free port of the loopback interface; returns the port."""
        self._server = HttpServer(self.app, 0, lambda *_: None, _NAMES)
        self._server.start()
        return self._server.port

    def stop(self) -> None:
        """Stop answering, and end all waiting for a change."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._server:
            self._server.stop()

    def update(self, spec: MachineSpec) -> None:
        """Show what the instance is now, and answer the requests that wait for a change."""
        with self._changed:
            self._spec = spec
            self._changed.notify_all()

    def app(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """The WSGI application."""
        request = Request(environ)
        response = self._faulty(request) or self._respond(request)
        return response(environ, start_response)

    def _faulty(self, request: Request) -> Response | None:
        method, path, name = request.method, request.full_path.rstrip("?"), self._spec.name
        delay = self._faults.take("delay", method=method, path=path, name=name)
        if delay:
            time.sleep(delay.seconds)
        fault = self._faults.take("http", "drop", method=method, path=path, name=name)
        if fault is None:
            return None
        if fault.kind == "http":
            return _response(f"{fault.message or 'The request was made to fail.'}\n", status=fault.status)
        response = _response("")
        response.headers[DROP_CONNECTION] = "1"
        return response

    def _respond(self, request: Request) -> Response:
        if request.path == "/":
            return _response("computeMetadata/\n")
        if request.headers.get("Metadata-Flavor") != "Google":
            return _response("Missing Metadata-Flavor:Google header.\n", status=403)
        if "X-Forwarded-For" in request.headers:
            return _response("Requests with an X-Forwarded-For header are not allowed.\n", status=403)
        if f"{request.path}/".startswith(f"{_GUEST_ATTRIBUTES}/"):
            if not are_enabled(self._spec.attributes, self._spec.project_attributes):
                return _response(f"{DISABLED}\n", status=403)
            if request.method in ("PUT", "DELETE"):
                return self._change_attribute(request)
        if request.method not in ("GET", "HEAD"):
            return _response("Method not allowed.\n", status=405)
        if not request.path.startswith(_ROOT):
            return _not_found(request.path)
        return self._wait(request) if _is_true(request, "wait_for_change") else self._answer(request)

    def _change_attribute(self, request: Request) -> Response:
        path = request.path.removeprefix(_GUEST_ATTRIBUTES).strip("/")
        try:
            if request.method == "PUT":
                self._guest_attributes.put(path, request.get_data().decode())
            elif not self._guest_attributes.delete(path):
                return _not_found(request.path)
        except UnicodeDecodeError:
            return _response("The value must be UTF-8.\n", status=400)
        except ValueError as error:
            return _response(f"{error}\n", status=400)
        with self._changed:
            self._changed.notify_all()
        return _response("")

    def _answer(self, request: Request) -> Response:
        path = request.path.removeprefix(_ROOT)
        try:
            is_enabled = are_enabled(self._spec.attributes, self._spec.project_attributes)
            guest_attributes = self._guest_attributes.all() if is_enabled else {}
            value = _look_up(_tree(self._spec, guest_attributes), path)
        except KeyError:
            return _not_found(request.path)
        if isinstance(value, dict) and not path.endswith("/"):
            location = request.path + "/" + (f"?{request.query_string.decode()}" if request.query_string else "")
            return _response("", status=301, Location=location)
        recursive = _is_true(request, "recursive")
        as_json = request.args.get("alt", "json" if recursive else "text") == "json"
        text = _as_json(value, path) if as_json else _as_text(value, recursive)
        response = _response(text, "application/json" if as_json or path.endswith("/token") else "application/text")
        response.headers["ETag"] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return response

    def _wait(self, request: Request) -> Response:
        wanted = request.args.get("timeout_sec", _LONGEST_WAIT, float)
        deadline = time.monotonic() + min(wanted, _LONGEST_WAIT)
        with self._changed:
            response = self._answer(request)
            known = request.args.get("last_etag") or _etag(response)
            while _etag(response) == known and not self._stopped and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
                response = self._answer(request)
        return response


def instance_of_token(authorization: str) -> str | None:
    """Return the numeric id of the instance whose service account's token a request has; None if it has none.

    Args:
        authorization: the request's header `Authorization`.
    """
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip().startswith(_GRANT_PREFIX):
        return None
    return token.strip().removeprefix(_GRANT_PREFIX)


def _tree(spec: MachineSpec, guest_attributes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    number = project_number(spec.project)
    accounts: dict[str, Any] = {}
    if spec.service_account:
        account = {
            "aliases": ["default"],
            "email": spec.service_account,
            "scopes": list(spec.scopes),
            "token": _Token(spec.instance_id),
        }
        accounts = {"default": account, spec.service_account: account}
    interface = {
        "access-configs": {},
        "dns-servers": ["169.254.169.3"],
        "forwarded-ips": {},
        "gateway": GATEWAY_IP,
        "ip": GUEST_IP,
        "mac": GUEST_MAC,
        "mtu": 1500,
        "network": f"projects/{number}/networks/default",
        "subnetmask": "255.255.255.0",
    }
    return {
        "instance": {
            "attributes": dict(spec.attributes),
            "cpu-platform": "QEMU",
            "description": "",
            "disks": _disks(spec),
            **_directory("guest-attributes", guest_attributes),
            "hostname": f"{spec.name}.{spec.zone}.c.{spec.project}.internal",
            "id": int(spec.instance_id),
            "image": "",
            "licenses": {},
            "machine-type": f"projects/{number}/machineTypes/{spec.machine_type}",
            "maintenance-event": "NONE",
            "name": spec.name,
            "network-interfaces": {"0": interface},
            "preempted": "FALSE",
            "scheduling": {"automatic-restart": "FALSE", "on-host-maintenance": "MIGRATE", "preemptible": "FALSE"},
            "service-accounts": accounts,
            "tags": _Tags(spec.tags),
            "zone": f"projects/{number}/zones/{spec.zone}",
        },
        "project": {
            "attributes": dict(spec.project_attributes),
            "numeric-project-id": number,
            "project-id": spec.project,
        },
    }


def _directory(name: str, entries: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return a directory, or nothing if there is nothing in it."""
    return {name: {key: dict(values) for key, values in entries.items()}} if entries else {}


def _disks(spec: MachineSpec) -> dict[str, Any]:
    disks = [(spec.boot_device, spec.disk_interface, False)]
    disks += [(disk.device, "SCSI", disk.read_only) for disk in spec.disks]
    return {
        str(index): {
            "device-name": device,
            "index": index,
            "interface": interface,
            "mode": "READ_ONLY" if read_only else "READ_WRITE",
            "type": "PERSISTENT",
        }
        for index, (device, interface, read_only) in enumerate(disks)
    }


class _Tags(list[str]):
    """A list that is shown as JSON even where text is asked for."""


class _Token(str):
    """Stands for an access token, which no listing of values shows; it is made when a request names it."""

    __slots__ = ()

    def grant(self) -> str:
        token = {"access_token": f"{_GRANT_PREFIX}{self}", "expires_in": TOKEN_SECONDS, "token_type": "Bearer"}
        return json.dumps(token, separators=(",", ":"))


def _look_up(tree: Any, path: str) -> Any:
    for part in filter(None, path.split("/")):
        if not isinstance(tree, dict):
            raise KeyError(part)
        tree = tree[part]
    if path.endswith("/") and not isinstance(tree, dict):
        raise KeyError(path)
    return tree


def _as_text(value: Any, recursive: bool) -> str:
    if isinstance(value, dict):
        if recursive:
            return "".join(f"{path} {text}\n" for path, text in _leaves(value))
        return "".join(f"{name}/\n" if isinstance(entry, dict) else f"{name}\n" for name, entry in value.items())
    if isinstance(value, _Token):
        return value.grant()
    if isinstance(value, list) and not isinstance(value, _Tags):
        return "".join(f"{entry}\n" for entry in value)
    return json.dumps(value) if isinstance(value, list) else str(value)


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}/")
        elif not isinstance(value, _Token):
            found.append((prefix + name, _as_text(value, recursive=False).strip()))
    return found


def _as_json(value: Any, path: str) -> str:
    if isinstance(value, _Token):
        return value.grant()
    of_guest = f"{_ROOT}{path}/".startswith(f"{_GUEST_ATTRIBUTES}/")
    shown = value if of_guest else _camel(value, path.strip("/").rpartition("/")[2])
    return json.dumps(shown, separators=(",", ":"))


def _camel(value: Any, name: str) -> Any:
    """Return the value as JSON shows it: camel case, numbered directories as lists, no tokens."""
    if not isinstance(value, dict) or name == "guest-attributes":
        return value
    entries = {key: _camel(entry, key) for key, entry in value.items() if not isinstance(entry, _Token)}
    if name in ("disks", "network-interfaces", "access-configs", "forwarded-ips", "licenses"):
        return list(entries.values())
    if name in _NAMED_BY_USERS:
        return entries
    return {_camel_name(key): entry for key, entry in entries.items()}


def _camel_name(name: str) -> str:
    first, *rest = name.split("-")
    return first + "".join(part.capitalize() for part in rest)


def _response(text: str, content_type: str = "application/text", status: int = 200, **headers: str) -> Response:
    given = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM", **headers}
    if status >= 300:
        content_type = "text/html; charset=UTF-8"
    return Response(text, status, given, content_type=content_type)


def _not_found(path: str) -> Response:
    return _response(f"404 Not Found: {path} was not found on this metadata server.\n", status=404)


def _etag(response: Response) -> str:
    return response.headers.get("ETag", "0")


def _is_true(request: Request, name: str) -> bool:
    return request.args.get(name, "").lower() == "true"
