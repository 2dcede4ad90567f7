"""Serial transcripts that play our guest on scripted machines; steps of its plan."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from support.packed_contents import packed

from cos_customizer.customizer.spec.steps.install_gpu import InstallGpu
from cos_customizer.guest.user_data import CONTENTS_ADDRESS, GuestStep

NONCE = {"nonce": {"metadata": "user-data", "pattern": r"(?m)^\s*nonce=(\w+)"}}


def said(text: str, after: float = 0.0) -> dict[str, Any]:
    """The guest prints something on its port."""
    return {"after": after, "port": 3, "text": text}


def script(*events: dict[str, Any], name: str = "cos-customizer-.*") -> dict[str, Any]:
    """A script for builder VMs."""
    return {"match": {"name": name}, "variables": NONCE, "events": list(events)}


def marker(text: str, after: float = 0.0) -> dict[str, Any]:
    """The guest writes a marker; `BuildStep: 1 started x` gets the build's nonce."""
    kind, _, rest = text.partition(":")
    return said(f"\n{kind}[${{nonce}}]:{rest}\n", after)


def succeeding(*labels: str, seconds: float = 0.0, disk_gb: int = 0, records: bool = True) -> dict[str, Any]:
    """Every step succeeds, after `seconds` in all; before the first one the guest waits for a disk of so many GB.

    A guest that `records` sends what is in the image, if it is told where to.
    """
    events: list[dict[str, Any]] = []
    if disk_gb:
        wants = marker(f"BuildDisk: wants {disk_gb << 30}")
        events += [wants, wants, {"disk_gb": disk_gb, **marker("BuildDisk: OEM has its new size")}]
    for number, label in enumerate(labels, start=1):
        events += [
            marker(f"BuildStep: {number} started {label}", seconds / len(labels)),
            said(f"BuildStatus: output of step {number}\r\n"),
            marker(f"BuildStep: {number} succeeded 0.4"),
        ]
    sent = sending(packed()) if records else ()
    return script(*events, *sent, *halted(0.0 if labels else seconds))


def succeeded(after: float = 0.0, contents: bytes | None = None) -> tuple[dict[str, Any], ...]:
    """The guest sends what is in the image, if it is told where to, announces success, and the machine halts."""
    return *sending(packed() if contents is None else contents, after), *halted()


def halted(after: float = 0.0) -> tuple[dict[str, Any], ...]:
    """The guest announces success, and the machine halts."""
    return marker("BuildSucceeded:", after), {"port": 1, "text": "[   20.1] reboot: System halted\r\n"}


def sending(contents: bytes, after: float = 0.0) -> tuple[dict[str, Any], ...]:
    """The guest sends recorded contents, and says so."""
    upload = {"after": after, "upload": CONTENTS_ADDRESS, "base64": base64.b64encode(contents).decode()}
    return upload, marker(f"BuildContents: sent {len(contents)} {hashlib.sha256(contents).hexdigest()}")


def script_step(path: str, env: Mapping[str, str] | None = None) -> GuestStep:
    """A step of the plan that runs a script."""
    return GuestStep("run-script", f"run-script {path}", [("script", path), *(env or {}).items()])


def driver_step(version: str = "396.26", *, gpu: bool = True, **fields: Any) -> GuestStep:
    """A step of the plan that installs a GPU driver."""
    step = InstallGpu(version=version, **fields)
    return GuestStep("install-gpu", step.label, step.settings(gpu=gpu), step.repeatable)
