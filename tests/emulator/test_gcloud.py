"""gcloud against the emulator: a client that nobody here wrote. `make check-gcloud` tries some 350 commands."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.compute_clients import ZONE
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed"),
]
Gcloud = Callable[..., Any]


@pytest.fixture
def gcloud(emulator: Emulator, tmp_path: Path) -> Gcloud:
    """Runs `gcloud compute …`: its decoded JSON, or with `code`, its error output."""
    token = tmp_path / "token"
    token.write_text("any")
    environment = {
        **os.environ,
        **emulator.environment(),
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_PROJECT": "my-project",
    }

    def run(*arguments: str, code: int = 0) -> Any:
        command = ["gcloud", "compute", *arguments, *([] if code else ["--format=json"])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr if code else json.loads(done.stdout or "null")

    return run


def test_the_life_of_an_instance_and_its_image(gcloud: Gcloud, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"text": "hello from port 3\n"}]})
    zone = f"--zone={ZONE}"
    created = gcloud("instances", "create", "vm", zone, "--image-project=cos-cloud", "--image-family=cos-stable")
    assert created[0]["status"] == "RUNNING"
    assert [vm["name"] for vm in gcloud("instances", "list")] == ["vm"]
    assert gcloud("instances", "describe", "vm", zone)["disks"][0]["boot"] is True
    assert gcloud("instances", "get-serial-port-output", "vm", zone, "--port=3")["contents"] == "hello from port 3\n"
    gcloud("instances", "add-labels", "vm", zone, "--labels=a=b")
    gcloud("instances", "add-metadata", "vm", zone, "--metadata=k=v")
    vm = gcloud("instances", "describe", "vm", zone)
    assert (vm["labels"], vm["metadata"]["items"]) == ({"a": "b"}, [{"key": "k", "value": "v"}])
    refused = gcloud("images", "create", "i", "--source-disk=vm", f"--source-disk-zone={ZONE}", code=1)
    assert "already being used by" in refused
    gcloud("instances", "stop", "vm", zone)
    gcloud("images", "create", "i", "--source-disk=vm", f"--source-disk-zone={ZONE}", "--family=f")
    gcloud("images", "deprecate", "i", "--state=DEPRECATED", "--replacement=j", "--delete-in=30d")
    assert gcloud("images", "list", "--no-standard-images") == []
    shown = gcloud("images", "list", "--no-standard-images", "--show-deprecated")
    assert [(image["name"], image["deprecated"]["state"]) for image in shown] == [("i", "DEPRECATED")]
    gcloud("instances", "delete", "vm", zone)
    gcloud("images", "delete", "i")
    assert gcloud("instances", "list") == gcloud("disks", "list") == []


def test_several_requests_travel_in_one_batch(gcloud: Gcloud, emulator: Emulator) -> None:
    emulator.calls.clear()
    gcloud("zones", "list")
    gcloud("images", "list")  # of a dozen public projects at once
    assert emulator.calls.count(path="/global/images") > 5
    refused = gcloud("instances", "delete", "one", "two", f"--zone={ZONE}", code=1)
    assert refused.count("was not found") == 2
