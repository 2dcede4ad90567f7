"""A repository of one's own: the page that leads to it is followed, its CI's job is run, its deployments are made."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import load_flow_from_entrypoint
from prefect.workers.process import ProcessWorker
from support.command_line import run
from support.guest_scripts import NONCE, marker, succeeded, succeeding
from support.packages import build_wheel
from support.paths import ROOT
from support.waiting import PATIENCE

from cos_customizer import BuildResult
from cos_customizer.emulator import background
from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.machines.host import missing_packages
from cos_customizer.emulator.server import Emulator

BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs/own-repository.md").read_text()
CHECKED = (marker("BuildStep: 1 started run-script check.sh"), marker("BuildStep: 1 succeeded 0.1"), *succeeded())
MACHINES: tuple[dict[str, Any], ...] = (
    {"match": {"name": ".*-test"}, "variables": NONCE, "events": list(CHECKED)},
    {**succeeding("run-script preload.sh"), "match": {"name": ".*-[0-9a-f]{10}"}},
)
"""What the builder VM and the test VM say."""


def commands(text: str) -> list[str]:
    """The commands of a page, in its order."""
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def shell(script: str, place: Path, environment: dict[str, str]) -> str:
    """Run commands as CI does: the first that fails ends it. What they print."""
    ran = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody with an empty home; the emulator that they start is stopped in the end."""
    (tmp_path / "home").mkdir()
    ours = ("PREFECT_", "CLOUDSDK_", "STORAGE_", "XDG_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(default_cache_dir().parent)}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    yield environment
    background.stop(state_of(environment))


def state_of(environment: dict[str, str]) -> Path:
    return Path(environment["HOME"], ".local/state/cos-customizer/emulator")


def add_scripts(environment: dict[str, str]) -> None:
    running = background.find(state_of(environment))
    assert running
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for machine in MACHINES:
        body = json.dumps(machine).encode()
        request = urllib.request.Request(
            f"{running.control.rstrip('/')}/scripts", body, {"Content-Type": "application/json"}
        )
        opener.open(request, timeout=PATIENCE).close()


@pytest.mark.slow
def test_the_page_leads_from_an_empty_directory_to_an_image_that_is_rebuilt_when_its_script_changes(
    tmp_path: Path, home: dict[str, str], served_program: str
) -> None:
    """On scripted machines: the emulator that the page starts is running already."""
    home["PATH"] = f"{Path(served_program).parent}:{home['PATH']}"
    before, _, rest = PAGE.partition("## On a Prefect server")
    there = commands(before)
    assert len(there) > 5
    last = commands(rest.partition("## A second image")[2])
    assert [command.split()[1] for command in last] == ["init"]
    (tmp_path / "empty").mkdir()
    shell("cos-customizer emulator start -machines=scripted", tmp_path, home)
    add_scripts(home)
    printed = shell("\n".join([*there, *last]), tmp_path / "empty", home)
    planned, _, done = printed.partition("to-build")[2].partition("Starting Step")
    assert "build context has changed" in planned, planned
    assert "built" in done
    running = background.find(state_of(home))
    assert running
    images = images_of(running.environment)
    assert sorted(image["family"] for image in images) == ["web", "web"]
    assert {image["status"] for image in images} == {"READY"}
    assert {path.name for path in (tmp_path / "empty/images/recipes").iterdir()} >= {"web.yaml", "worker.yaml"}


def images_of(environment: dict[str, str]) -> list[dict[str, Any]]:
    url = f"{environment['CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE'].rstrip('/')}/projects/my-project/global/images"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=PATIENCE) as answer:
        found: list[dict[str, Any]] = json.load(answer).get("items", [])
    return found


def job_of(repository: Path) -> list[dict[str, str]]:
    """The steps of the CI's job that run commands."""
    workflow = yaml.safe_load((repository / ".github/workflows/image.yaml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["defaults"]["run"]["shell"] == "bash"
    return [step for step in job["steps"] if "run" in step]


def test_the_job_s_first_step_installs_what_the_local_engine_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("init", str(tmp_path / "web")).code == 0
    installing, *_ = job_of(tmp_path / "web")
    monkeypatch.setattr("shutil.which", lambda _program: None)  # as on a machine that has none of it
    wanted = set(missing_packages(uefi=False)) - {
        "apt",
        "util-linux",
        "uidmap",
    }  # which every Debian has, or root does not need
    assert len(wanted) >= 3
    assert wanted <= set(installing["run"].split())


@pytest.mark.vm
def test_the_job_of_ci_runs_here_and_its_image_boots(tmp_path: Path, home: dict[str, str]) -> None:
    """The job as `init` writes it, on real VMs, with the program installed from a wheel.

    Debian's packages are here (`make host-packages`), and the wheel's dependencies are those of the tests' environment.
    """
    wheel = build_wheel(tmp_path / "packages")
    assert run("init", str(tmp_path / "web"), f"-requirement=cos-customizer[emulator] @ {wheel.as_uri()}").code == 0
    _, installing, building = job_of(tmp_path / "web")
    shell(installing["run"], tmp_path / "web", {**home, "PIP_NO_DEPS": "1"})
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (installed,) = Path(home["HOME"]).glob("cos-customizer/lib/python3*/site-packages")
    (installed / "libraries.pth").write_text("\n".join(libraries) + "\n")
    shell(building["run"], tmp_path / "web", home)
    running = background.find(state_of(home))
    assert running
    (image,) = images_of(running.environment)
    assert image["family"] == "web"
    assert re.fullmatch(r"web-20\d{6}", image["name"])
    boot = [f"{BIN}/cos-customizer", "emulator", "boot", image["name"], "--", "cat", "/var/lib/web/hello"]
    booted = subprocess.run(boot, env=home, check=True, capture_output=True, text=True)
    assert "Hello, World!" in booted.stdout


@pytest.mark.slow
def test_its_deployments_are_made_by_prefect_and_the_first_of_them_builds_its_recipe(
    tmp_path: Path, emulator: Emulator, session_server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "images"
    assert run("init", str(repository), "-name=web").code == 0
    for name, value in session_server.items():
        monkeypatch.setenv(name, value)
    deploy, *_ = commands(PAGE.partition("## On a Prefect server")[2])
    programs = {**os.environ, "PREFECT_CLI_PROMPT": "false", "PATH": f"{BIN}:{os.environ['PATH']}"}
    with get_client(sync_client=True) as client:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name="cos-customizer", type="process", base_job_template=template)
        client.create_work_pool(pool, overwrite=True)
    shell(deploy, repository, {**programs, "PWD": str(repository)})
    names = [each["name"] for each in yaml.safe_load((repository / "prefect.yaml").read_text())["deployments"]]
    with get_client(sync_client=True) as client:
        deployments = {name: client.read_deployment_by_name(f"{name}/{name}") for name in names}
    for name, deployment in deployments.items():
        assert deployment.entrypoint
        assert load_flow_from_entrypoint(deployment.entrypoint).name == name
        given = deployment.parameters or {}
        missing = set(deployment.parameter_openapi_schema["required"]) - set(given)  # type: ignore[index]
        assert missing == ({"spec"} if name == "build-image" else set())

    for machine in MACHINES:
        emulator.scripts.add(machine)
    first = deployments["build-recipe"]
    monkeypatch.chdir(repository)
    result = load_flow_from_entrypoint(str(first.entrypoint))(**first.parameters)
    assert isinstance(result, BuildResult)
    assert (result.outcome, result.image) == ("built", "web")
    assert [step.state for step in result.verification] == ["succeeded"]
