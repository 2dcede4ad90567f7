"""Boots an image on the local Compute Engine and prints a file as the booted machine sees it.

The machine itself writes the file to its second serial port, by user-data; nothing looks into the disk.
"""

import argparse
import os
import signal
import sys
import time
from typing import Any

import requests

_PORT = 2
_DEVICE = "/dev/ttyS1"
_END = "-- end --"
_USER_DATA = """\
#cloud-config
runcmd:
- [sh, -c, 'cat "$0" > {device}; echo "{end}" > {device}', "{file}"]
"""


class _Api:
    """The few calls that are needed, in Compute Engine's REST API."""

    def __init__(self, url: str, project: str, zone: str) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between this machine and itself
        self._zone = f"{url.rstrip('/')}/projects/{project}/zones/{zone}"

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = self._session.request(method, f"{self._zone}/{path}", timeout=150, **arguments)
        answer: dict[str, Any] = response.json()
        if not response.ok:
            raise SystemExit(f"{method} {path}: {answer['error']['message']}")
        return answer

    def wait(self, operation: dict[str, Any]) -> None:
        while operation["status"] != "DONE":
            operation = self.call("POST", f"operations/{operation['name']}/wait")
        if errors := operation.get("error", {}).get("errors"):
            raise SystemExit(f"{operation['operationType']}: {errors[0]['message']}")


def _instance(name: str, zone: str, image: str, file: str) -> dict[str, Any]:
    disk = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}
    user_data = _USER_DATA.format(device=_DEVICE, end=_END, file=file)
    return {
        "name": name,
        "machineType": f"zones/{zone}/machineTypes/n1-standard-1",
        "disks": [disk],
        "networkInterfaces": [{"network": "global/networks/default"}],
        "metadata": {"items": [{"key": "user-data", "value": user_data}]},
    }


def _read(api: _Api, name: str, patience: float) -> str:
    text: str = ""
    start = 0
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        chunk = api.call("GET", f"instances/{name}/serialPort", params={"port": _PORT, "start": start})
        text += str(chunk["contents"])
        start = int(chunk["next"])
        if _END in text:
            return text.partition(_END)[0].replace("\r\n", "\n").rstrip("\n")
        if api.call("GET", f"instances/{name}")["status"] in ("STOPPING", "TERMINATED"):
            raise SystemExit(f"{name} has stopped without a word of the file")
        time.sleep(0.5)
    raise SystemExit(f"{name} has not shown the file within {patience:.0f} s")


def main() -> None:
    """Boot, print, delete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="projects/PROJECT/global/images/IMAGE")
    parser.add_argument("file", help="path in the booted machine")
    parser.add_argument("--project", default="my-project")
    parser.add_argument("--zone", default="us-west1-b")
    parser.add_argument("--patience", type=float, default=240, help="seconds to wait for the file")
    arguments = parser.parse_args()
    url = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE")
    if not url:
        parser.error('no emulator: eval "$(cos-customizer emulator start)" names one')
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    api = _Api(url, arguments.project, arguments.zone)
    name = f"boot-{os.getpid()}"
    try:
        api.wait(api.call("POST", "instances", json=_instance(name, arguments.zone, arguments.image, arguments.file)))
        print(f"{arguments.file}: {_read(api, name, arguments.patience)}")
    finally:
        api.wait(api.call("DELETE", f"instances/{name}"))


if __name__ == "__main__":
    main()
