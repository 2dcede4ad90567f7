"""Makes the pictures of docs/prefect.md anew: of runs, one of them started in the form of Prefect's UI."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from browser import Browser  # noqa: E402
from support.builds import make_image  # noqa: E402
from support.fleet_recipes import Fleet  # noqa: E402
from support.guest_scripts import marker, said, script, succeeded  # noqa: E402
from support.inventories import inventory, with_file  # noqa: E402
from support.prefect_place import POOL, PrefectPlace  # noqa: E402
from support.recorded_contents import archive  # noqa: E402
from support.waiting import PATIENCE, wait_for  # noqa: E402

from cos_customizer.customizer.contents.inventory import Contents  # noqa: E402
from cos_customizer.emulator.server import Emulator  # noqa: E402
from cos_customizer.flows.watch_sources import MEMORY  # noqa: E402
from cos_customizer.gcp.clients import connect  # noqa: E402

IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000
PAGE, GRAPH = (1280, 760), (2000, 560)
"""Width and height of pictures, in pixels."""
SUBMIT = "Submit"
HEARD = 30.0
"""Seconds after which a form is submitted again that nothing has come of."""
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
BROKEN: dict[str, Any] = {**PLAIN, "output": {**PLAIN["output"], "name": "my-broken-image", "family": "broken"}}
"""A build whose script fails."""

APPROVED: dict[str, Any] = {
    **PLAIN,
    "output": {**PLAIN["output"], "name": "my-approved-image", "family": "approved"},
    "verify": {"require_approval": True},
}
"""A build that waits for a person."""

RECIPE: dict[str, Any] = {
    "recipe": "examples/recipes/hello.yaml",
    "settings": ["steps.0.env.RELEASE=42"],
    "dry_run": False,
}


class Api:
    """Prefect's, as far as pictures need it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, path: str, body: object = None) -> Any:
        """The answer to a request, which may be made again: a server that is busy answers 500, or late."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self._address}/{path}", data, {"Content-Type": "application/json"})

        def answers() -> list[Any]:
            try:
                with self._opener.open(request, timeout=PATIENCE) as answer:
                    return [json.load(answer)]
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise
                return []

        return wait_for(answers)[0]

    def start(self, deployment: str, spec: dict[str, Any]) -> None:
        """Start a build, once, however often it is asked for."""
        body = {"parameters": {"spec": spec}, "idempotency_key": spec["output"]["name"]}
        self.ask(f"deployments/{deployment}/create_flow_run", body)

    def worker_is_there(self) -> bool:
        """Whether a worker asks for runs: until then the UI shows a warning."""
        return any(queue["status"] == "READY" for queue in self.ask("work_queues/filter", {}))

    def finished_run(self, name: str, state: str = "COMPLETED") -> str:
        """Id of the run of this name when it has ended so, empty before; with another end there is no picture."""
        for run in self.ask("flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}):
            if run["state_type"] == state:
                return str(run["id"])
            if run["state_type"] in ("FAILED", "CRASHED", "CANCELLED"):
                raise SystemExit(f"{name}: {run['state_type']}: {run['state']['message']}")
        return ""


def at_work(label: str, *lines: str) -> dict[str, Any]:
    """A machine that boots, runs a step, prints these lines and halts, each of which takes its time."""
    started = marker(f"BuildStep: 1 started {label}", 4.0)
    told = [said(f"BuildStatus: {line}\n", 1.0) for line in lines]
    done = marker("BuildStep: 1 succeeded 3.0", 2.0)
    return script(started, *told, done, *succeeded(1.0))


def deployment_of(api: Api, flow: str) -> str:
    """Id of the flow's deployment."""
    return str(api.ask(f"deployments/name/{flow}/{flow}")["id"])


def form(api: Api, pages: str, flow: str, parameters: dict[str, Any]) -> str:
    """Address of the form that starts the flow, filled in."""
    filled = urllib.parse.quote(json.dumps(parameters))
    return f"{pages}/deployments/deployment/{deployment_of(api, flow)}/run?parameters={filled}"


def submit(api: Api, browser: Browser) -> None:
    """Submit the form that the browser shows until there is a run: a busy server does not hear it every time."""
    next_time = 0.0

    def begun() -> bool:
        nonlocal next_time
        if api.ask("flow_runs/filter", {}):
            return True
        if time.monotonic() > next_time and SUBMIT in browser.text():
            browser.click(SUBMIT)
            next_time = time.monotonic() + HEARD
        return False

    wait_for(begun)


def take(place: PrefectPlace, browser: Browser, emulator: Emulator) -> None:
    """Start runs, one of them in the form, wait for them, and take pictures."""
    api = Api(place.api)
    browser.open(place.origin, "Dashboard")
    pages = str(browser.run("location.href")).partition("/dashboard")[0]  # of the UI that this server shows by default
    wait_for(api.worker_is_there)
    browser.open(form(api, pages, "build-recipe", RECIPE), "Parameters")
    browser.until(lambda: RECIPE["recipe"] in browser.values())
    browser.picture(IMAGES / "prefect-form-recipe.png")
    browser.open(form(api, pages, "build-image", {"spec": PLAIN}), "Parameters")
    browser.until(lambda: PLAIN["source"]["project"] in browser.values())
    browser.picture(IMAGES / "prefect-form.png")
    submit(api, browser)
    plain = wait_for(lambda: api.finished_run("build my-custom-image"))
    deployment = deployment_of(api, "build-image")
    api.start(deployment, RELEASED)
    released = wait_for(lambda: api.finished_run("build my-custom-image-2"))

    browser.open(f"{pages}/runs/flow-run/{plain}", "Beginning flow run")
    browser.picture(IMAGES / "prefect-run.png")
    take_graph(browser, IMAGES / "prefect-graph.png")
    browser.open(f"{pages}/runs/flow-run/{released}", "Beginning flow run")
    take_graph(browser, IMAGES / "prefect-graph-released.png")
    artifacts = {"key": {"any_": [f"image-{FAMILY}"]}, "flow_run_id": {"any_": [plain]}}
    found = api.ask("artifacts/filter", {"artifacts": artifacts})
    browser.resize(*PAGE)
    take_failure(api, pages, deployment, browser, emulator)
    browser.open(f"{pages}/artifacts/artifact/{found[0]['id']}", "Phases")
    browser.picture(IMAGES / "prefect-summary.png")
    browser.open(f"{pages}/deployments", "sweep")
    browser.picture(IMAGES / "prefect-deployments.png")


def take_failure(api: Api, pages: str, deployment: str, browser: Browser, emulator: Emulator) -> None:
    """Start a run whose script fails, and take pictures of its page and of its summary."""
    emulator.scripts.clear()
    emulator.scripts.add(
        script(
            marker("BuildStep: 1 started run-script preload.sh", 2.0),
            said("BuildStatus: fetching app.tar.gz\nBuildStatus: curl: (6) Could not resolve host: intern.example\n"),
            marker("BuildStep: 1 failed exit 6", 2.0),
            marker("BuildFailed: step 1 exit 6"),
        )
    )
    api.start(deployment, BROKEN)
    broken = wait_for(lambda: api.finished_run("build my-broken-image", "FAILED"))
    browser.open(f"{pages}/runs/flow-run/{broken}", "Beginning flow run")
    browser.picture(IMAGES / "prefect-failed-run.png")
    found = api.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["image-broken"]}}})
    browser.open(f"{pages}/artifacts/artifact/{found[0]['id']}", "Last lines")
    browser.picture(IMAGES / "prefect-failed-summary.png")


def watch_sources(api: Api, name: str) -> None:
    """Run the flow that looks for new source images, and wait until it has ended."""
    deployment = deployment_of(api, "watch-sources")
    parameters = {"recipes": ["recipes/fleet-*.yaml"]}
    run = api.ask(f"deployments/{deployment}/create_flow_run", {"parameters": parameters, "tags": [name]})
    wait_for(lambda: api.ask(f"flow_runs/{run['id']}")["state_type"] == "COMPLETED")


def take_night(place: PrefectPlace, browser: Browser, emulator: Emulator) -> None:
    """Let a new source image start a rebuild, and take a picture of its report."""
    api = Api(place.api)
    browser.open(place.origin, "Dashboard")
    pages = str(browser.run("location.href")).partition("/dashboard")[0]
    emulator.scripts.clear()
    emulator.scripts.add(at_work("run-script preload.sh", "fetching app.tar.gz"))
    fleet = Fleet(place.checkout / "recipes", 12, 4)
    fleet.write()
    fleet.make_images(connect())
    fleet.change()
    program = str(Path(sys.executable).with_name("cos-customizer"))
    apply = [program, "apply-automations", f"-file={ROOT / 'automations' / 'new-source.yaml'}"]
    subprocess.run(apply, cwd=place.checkout, env=place.environment, check=True)
    watch_sources(api, "first")  # which only remembers
    remembered = api.ask(f"variables/name/{MEMORY}")["value"]
    place.prefect("variable", "set", "--overwrite", MEMORY, json.dumps(dict.fromkeys(remembered, "0")))
    watch_sources(api, "second")
    which = {"artifacts": {"key": {"any_": ["rebuild-images-report"]}}}
    wait_for(lambda: api.ask("artifacts/filter", which))
    browser.open(f"{pages}/artifacts/artifact/{api.ask('artifacts/filter', which)[0]['id']}", "built")
    browser.picture(IMAGES / "prefect-night.png")


def take_approval(place: PrefectPlace, browser: Browser, emulator: Emulator) -> None:
    """Let a build wait for a person, and take a picture of the form that asks."""
    api = Api(place.api)
    browser.open(place.origin, "Dashboard")
    pages = str(browser.run("location.href")).partition("/dashboard")[0]
    old = inventory(verity={})
    sent = archive(Contents(old, with_file(old, "/var/lib/app/data", "two")))
    emulator.scripts.clear()
    emulator.scripts.add(
        script(
            marker("BuildStep: 1 started run-script preload.sh"),
            marker("BuildStep: 1 succeeded 3.0"),
            *succeeded(contents=sent),
        )
    )
    api.start(deployment_of(api, "build-image"), APPROVED)
    paused = {"flow_runs": {"name": {"any_": ["build my-approved-image"]}, "state": {"type": {"any_": ["PAUSED"]}}}}
    (run,) = wait_for(lambda: api.ask("flow_runs/filter", paused))
    browser.open(f"{pages}/runs/flow-run/{run['id']}", "Paused")
    browser.click_on("button[aria-haspopup=menu]")
    browser.click("Resume")
    browser.until(lambda: "May my-approved-image be released?" in browser.text())
    browser.resize(PAGE[0], 900)
    time.sleep(2)
    browser.picture(IMAGES / "prefect-approval.png", moves=True)  # the time line behind the form goes on
    browser.resize(*PAGE)


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
            emulator.scripts.add({**at_work("run-script check.sh", "Hello, World!"), "match": {"name": ".*-test"}})
            emulator.scripts.add(at_work("run-script preload.sh", "fetching app.tar.gz"))
            make_image("my-old-image", family=FAMILY)
            with PrefectPlace(directory, ui=True) as place, Browser(*PAGE) as browser:
                place.prefect("work-pool", "create", "--type", "process", POOL)
                place.prefect("--no-prompt", "deploy", "--all")
                place.start_worker()
                take(place, browser, emulator)
                take_night(place, browser, emulator)
                take_approval(place, browser, emulator)
    for file in sorted(IMAGES.glob("prefect-*.png")):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} kB")
        if file.stat().st_size > LARGEST:
            raise SystemExit(f"{file.name} is too large for the repository")


if __name__ == "__main__":
    main()
