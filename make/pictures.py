"""Makes the pictures of docs/prefect.md anew: of runs, one of them started in the form of Prefect's UI."""

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
from support.builds import make_image  # noqa: E402
from support.guest_scripts import succeeding  # noqa: E402
from support.prefect_place import POOL, PrefectPlace  # noqa: E402
from support.waiting import wait_for  # noqa: E402

from cos_customizer.emulator.server import Emulator  # noqa: E402

IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000
PAGE, GRAPH = (1280, 760), (2000, 560)
"""Width and height of pictures, in pixels."""
FAMILY = "my-family"
PLAIN: dict[str, Any] = {
    "source": {"project": "cos-cloud", "family": "cos-125-lts"},
    "context": {"path": "examples/minimal"},
    "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
    "steps": [{"type": "run-script", "script": "preload.sh", "env": {}}],
    "builder": {"project": "my-project", "zones": ["us-west1-b"]},
    "output": {"project": "my-project", "name": "my-custom-image", "family": FAMILY},
    "timeout": "30m",
}
RELEASED: dict[str, Any] = {
    **PLAIN,
    "context": {"path": "examples/family"},
    "output": {**PLAIN["output"], "name": "my-custom-image-2", "deprecate_old_images": True},
    "verify": {"scripts": ["check.sh"]},
}
"""A build that tries its image on a test VM before the family gets it and the older images are deprecated."""


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

    def worker_is_there(self) -> bool:
        """Whether a worker asks for runs: until then the UI shows a warning."""
        return any(queue["status"] == "READY" for queue in self.ask("work_queues/filter", {}))

    def finished_run(self, name: str) -> str:
        """Id of the run of this name when it has succeeded, empty before; with another end there is no picture."""
        for run in self.ask("flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}):
            if run["state_type"] == "COMPLETED":
                return str(run["id"])
            if run["state_type"] in ("FAILED", "CRASHED", "CANCELLED"):
                raise SystemExit(f"{name}: {run['state_type']}: {run['state']['message']}")
        return ""


def take(place: PrefectPlace, browser: Browser) -> None:
    """Start runs, one of them in the form, wait for them, and take pictures."""
    api = Api(place.api)
    browser.open(place.origin, "Dashboard")
    pages = str(browser.run("location.href")).partition("/dashboard")[0]  # of the UI that this server shows by default
    deployment = api.ask("deployments/name/build-image/build-image")["id"]
    wait_for(api.worker_is_there)
    parameters = urllib.parse.quote(json.dumps({"spec": PLAIN}))
    form = f"{pages}/deployments/deployment/{deployment}/run?parameters={parameters}"
    browser.open(form, "Project of the source image.")
    browser.picture(IMAGES / "prefect-form.png")
    browser.click("Submit")
    plain = wait_for(lambda: api.finished_run("build my-custom-image"))
    api.ask(f"deployments/{deployment}/create_flow_run", {"parameters": {"spec": RELEASED}})
    released = wait_for(lambda: api.finished_run("build my-custom-image-2"))

    browser.open(f"{pages}/runs/flow-run/{plain}", "Beginning flow run")
    browser.picture(IMAGES / "prefect-run.png")
    take_graph(browser, IMAGES / "prefect-graph.png")
    browser.open(f"{pages}/runs/flow-run/{released}", "Beginning flow run")
    take_graph(browser, IMAGES / "prefect-graph-released.png")
    artifacts = {"key": {"any_": [f"image-{FAMILY}"]}, "flow_run_id": {"any_": [plain]}}
    found = api.ask("artifacts/filter", {"artifacts": artifacts})
    browser.resize(*PAGE)
    browser.open(f"{pages}/artifacts/artifact/{found[0]['id']}", "Phases")
    browser.picture(IMAGES / "prefect-summary.png")
    browser.open(f"{pages}/deployments", "sweep")
    browser.picture(IMAGES / "prefect-deployments.png")


def take_graph(browser: Browser, file: Path) -> None:
    """Take a picture of the graph alone of the flow run that the browser shows, laid out by what depends on what."""
    browser.click_on("button:has(> svg.lucide-expand)")
    browser.resize(*GRAPH)
    browser.click_on("button:has(> svg.lucide-cog)")
    browser.click_on("input[value=dependency_nearest-parent]")
    browser.until(lambda: browser.run("!!document.querySelector('input[value=dependency_nearest-parent]:checked')"))
    browser.escape()
    browser.still()
    browser.click_on("button:has(> svg.lucide-crosshair)")  # all of it
    browser.picture(file)


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cos-customizer-") as name:
        directory = Path(name)
        with Emulator(directory / "emulator", "scripted", projects=("my-project",)) as emulator:
            os.environ.update(emulator.environment())
            emulator.scripts.add({**succeeding("run-script check.sh", seconds=2.0), "match": {"name": ".*-test"}})
            emulator.scripts.add(succeeding("run-script preload.sh", seconds=4.0))
            make_image("my-old-image", family=FAMILY)
            with PrefectPlace(directory, ui=True) as place, Browser(*PAGE) as browser:
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
