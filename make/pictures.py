"""Makes the pictures of docs/prefect.md anew: a run started in the form of Prefect's UI, and what is shown of it."""

import json
import os
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser  # noqa: E402
from support.guest_scripts import succeeding  # noqa: E402
from support.prefect_place import POOL, PrefectPlace  # noqa: E402
from support.waiting import wait_for  # noqa: E402

from cos_customizer.emulator.server import Emulator  # noqa: E402

IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000
SPEC = {
    "source": {"project": "cos-cloud", "family": "cos-125-lts"},
    "context": {"path": "examples/minimal"},
    "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
    "steps": [{"type": "run-script", "script": "preload.sh", "env": {}}],
    "builder": {"project": "my-project", "zones": ["us-west1-b"]},
    "output": {"project": "my-project", "name": "my-custom-image", "family": "my-family"},
    "timeout": "30m",
}


class Api:
    """Prefect's, as far as pictures need it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path: str, body: object = None) -> Any:
        """The answer to a request."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self._address}/{path}", data, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def finished_run(self) -> str:
        """Id of a run that has succeeded; empty if there is none."""
        found = self.ask("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
        return str(found[0]["id"]) if found else ""


def take(place: PrefectPlace, browser: Browser) -> None:
    """Start a run in the form, wait for it, and take pictures."""
    api = Api(place.api)
    deployment = api.ask("deployments/name/build-image/build-image")["id"]
    parameters = urllib.parse.quote(json.dumps({"spec": SPEC}))
    browser.open(f"{place.origin}/deployments/deployment/{deployment}/run?parameters={parameters}", "Submit")
    browser.picture(IMAGES / "prefect-form.png")
    browser.click("Submit")
    run = wait_for(api.finished_run)
    browser.open(f"{place.origin}/runs/flow-run/{run}", "serial log")
    browser.picture(IMAGES / "prefect-run.png", settle=3.0)
    found = api.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["image-my-family"]}}})
    browser.open(f"{place.origin}/artifacts/artifact/{found[0]['id']}", "Phases")
    browser.picture(IMAGES / "prefect-summary.png")
    browser.open(f"{place.origin}/deployments", "sweep")
    browser.picture(IMAGES / "prefect-deployments.png")


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cos-customizer-") as name:
        directory = Path(name)
        with Emulator(directory / "emulator", "scripted", projects=("my-project",)) as emulator:
            os.environ.update(emulator.environment())
            emulator.scripts.add(succeeding("run-script preload.sh", seconds=4.0))
            with PrefectPlace(directory, ui=True) as place, Browser() as browser:
                place.prefect("work-pool", "create", "--type", "process", POOL)
                place.prefect("--no-prompt", "deploy", "--all")
                place.start_worker()
                take(place, browser)
    for file in sorted(IMAGES.glob("prefect-*.png")):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")
        if file.stat().st_size > LARGEST:
            raise SystemExit(f"{file.name} is too large for the repository")


if __name__ == "__main__":
    main()
