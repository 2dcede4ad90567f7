"""The container image, as Cloud Build and a Prefect worker run it: what is in it, who may run it, how it ends."""

import json
import os
import re
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from packaging.utils import canonicalize_name
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.containers import Container, base_of_image, image, settings_of, terminate
from support.guest_scripts import marker, script, succeeding
from support.leftovers import leftovers
from support.paths import ROOT
from support.prefect_place import POOL, PrefectPlace
from support.waiting import PATIENCE, wait_for

from cos_customizer.emulator.server import Emulator

pytestmark = pytest.mark.container

BASE = "docker.io/library/debian:bookworm-slim"
BUDGET = 350_000_000
"""Bytes that the image may unpack to beyond its base: what is promised."""
PACKAGES = "/opt/cos-customizer/lib/python3*/site-packages"
EMULATOR_PORT = 4588
LABEL = "run-script preload.sh"
START = (
    *("start-image-build", "-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud"),
    *("-gcs-bucket=my-project_cloudbuild", "-gcs-workdir=work"),
)
FINISH = (
    *("finish-image-build", "-zone=us-west1-b", "-project=my-project"),
    *("-image-name=my-image", "-image-project=my-project"),
)
USERS = [pytest.param(0, id="root"), pytest.param(1000, id="uid-1000")]


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"


@pytest.fixture(scope="module")
def built(sbom: Path) -> str:
    return image(str(sbom))


@pytest.fixture
def container(built: str) -> Iterator[Container]:
    with Container(built, network=False) as container:
        yield container


class Places:
    """The two directories that Cloud Build passes from one step to the next; every step is a new container."""

    def __init__(self, directory: Path, image: str, emulator: Emulator, user: int) -> None:
        self.home = directory / "home"
        self.workspace = directory / "workspace"
        for path in (self.home, self.workspace):
            path.mkdir()
            os.chown(path, user, user)
        (self.workspace / "preload.sh").write_text("echo hello\n")
        self._image = image
        self._environment = emulator.environment()
        self._user = user

    def container(self) -> Container:
        return Container(self._image, self.home, self.workspace, self._environment, self._user)

    def step(self, *arguments: str) -> str:
        """Run a step; what it prints."""
        with self.container() as container:
            done = container.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prepare(self) -> None:
        self.step(*START)
        self.step("run-script", "-script=preload.sh")


def size(root: Path) -> int:
    """Bytes in a directory, each file once."""
    files = {}
    for directory, names, others in os.walk(root):
        for name in (*names, *others):
            status = Path(directory, name).lstat()
            files[status.st_ino] = status.st_size
    return sum(files.values())


def test_the_image_keeps_to_its_budget(container: Container) -> None:
    with Container(base_of_image()) as base:
        beyond = size(container.root()) - size(base.root())
    assert 100_000_000 < beyond < BUDGET


def test_its_labels_say_what_it_is(built: str) -> None:
    labels: Any = settings_of(built)["Labels"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.version"] == project["version"]
    assert labels[f"{prefix}.licenses"] == project["license"]
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels[f"{prefix}.revision"])
    assert labels[f"{prefix}.base.name"] == BASE
    settings = settings_of(built)
    assert settings["WorkingDir"] == "/workspace"
    assert "User" not in settings


@pytest.mark.parametrize("user", USERS)
def test_it_explains_itself_to_anyone_without_a_network(built: str, tmp_path: Path, user: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, user, user)
    with Container(built, home, user=user, network=False) as container:
        shown = container.run("help")
        assert shown.returncode == 0, shown.stderr
        assert "usage: cos-customizer" in shown.stdout
        assert container.run().stdout == shown.stdout
        assert container.run("version").stdout.startswith("cos-customizer ")
        refused = container.run("no-such-command")
        assert refused.returncode == 2
        assert "no-such-command" in refused.stderr


def test_nothing_is_left_of_its_making(container: Container) -> None:
    root = container.root()
    packages = next((root / "opt/cos-customizer/lib").glob("python3*/site-packages"))
    programs = {path.name for path in (*root.glob("usr/bin/*"), *root.glob("opt/cos-customizer/bin/*"))}
    assert "prefect" in programs
    assert programs & {"gcc", "cc", "ld", "strip", "make", "pip", "pip3", "git"} == set()
    for pattern in ("pip", "pip-*", "setuptools", "wheel", "prefect/server/ui*", "**/tests", "**/*.pyi", "**/*.pyx"):
        assert [str(path) for path in packages.glob(pattern)] == []
    for path in ("var/lib/apt/lists", "var/cache/apt", "root", "tmp", "src", "usr/share/man", "workspace"):
        assert [str(left) for left in (root / path).glob("**/*.*") if left.name not in (".bashrc", ".profile")] == []
    for path in ("etc/pip.conf", "run/authorities.pem"):
        assert not (root / path).exists()


def test_what_runs_is_compiled_once(container: Container) -> None:
    packages = next((container.root() / "opt/cos-customizer/lib").glob("python3*/site-packages"))
    for package in ("cos_customizer", "click", "prefect", "google/cloud/compute_v1"):
        times = {
            path: len(list(path.parent.glob(f"__pycache__/{path.stem}.*.pyc")))
            for path in (packages / package).rglob("*.py")
        }
        assert times
        assert [path for path, number in times.items() if number != 1] == []


def test_its_bill_of_materials_names_every_package(built: str, sbom: Path, container: Container) -> None:
    bill = json.loads(sbom.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    urls = [unquote(component.get("purl", "")) for component in bill["components"]]
    python = {canonicalize_name(url.split("/")[1].split("@")[0]) for url in urls if url.startswith("pkg:pypi/")}
    lock = re.findall(r"^([\w.-]+)==", (ROOT / "requirements/runtime.txt").read_text(), re.MULTILINE)
    installed = container.run(entrypoint=["sh", "-c", f"ls -d {PACKAGES}/*.dist-info"]).stdout.split()
    names = {canonicalize_name(Path(path).name.partition("-")[0]) for path in installed}
    assert len(names & {canonicalize_name(name) for name in lock}) > 100
    assert names - python == {"cos-customizer"}  # it is what the bill is of
    debian = {url.split("/")[2].split("@")[0] for url in urls if url.startswith("pkg:deb/debian/")}
    asked = container.run(entrypoint=["dpkg-query", "--show", "--showformat", "${Package}\n"])
    assert set(asked.stdout.split()) <= debian
    assert {"python3.11", "tini", "libssl3"} <= debian


@pytest.mark.parametrize("user", USERS)
def test_a_build_goes_through_new_containers_to_an_image(
    built: str, tmp_path: Path, emulator: Emulator, user: int
) -> None:
    emulator.scripts.add(succeeding(LABEL))
    places = Places(tmp_path, built, emulator, user)
    places.prepare()
    assert "my-image" in places.step(*FINISH)
    assert [found["name"] for found in emulator.list("projects/my-project/global/images")] == ["my-image"]
    assert leftovers(emulator) == []
    assert [file.name for file in (places.home / ".cos-customizer-workdir").iterdir()] == ["ended.txt"]
    assert not (places.home / ".cache").exists(), "the image's migrated database was not used"


def test_a_container_that_is_stopped_undoes_its_build(built: str, tmp_path: Path, emulator: Emulator) -> None:
    emulator.scripts.add(script(marker(f"BuildStep: 1 started {LABEL}")))
    places = Places(tmp_path, built, emulator, 0)
    places.prepare()
    with places.container() as container:
        process = container.begin(*FINISH)
        wait_for(lambda: emulator.calls.count(path="serialPort") > 0)
        terminate(process)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 143, err
        assert "cleaned up" in out
        assert "terminated" in err
        assert list((container.root() / "tmp").iterdir()) == []
    assert leftovers(emulator) == []
    assert emulator.list("projects/my-project/global/images") == []


def test_process_1_heeds_a_signal_from_the_beginning_and_reaps_orphans(container: Container, built: str) -> None:
    tini = settings_of(built)["Entrypoint"][:-1]  # type: ignore[index]
    early = container.begin(entrypoint=[*tini, "sleep", "60"])
    terminate(early)
    assert early.wait(PATIENCE) == 143
    # What a worker's flow run leaves behind when it is killed: it becomes a child of process 1.
    orphan = (
        "import glob, os, time\n"
        "if not os.fork(): os.fork(); os._exit(0)\n"
        "os.wait(); time.sleep(0.5)\n"
        "print(*(line for path in glob.glob('/proc/[0-9]*/status') for line in open(path) if 'zombie' in line))"
    )
    assert container.run(entrypoint=[*tini, "python", "-c", orphan]).stdout == "\n"


def test_the_flows_are_where_the_deployments_look_for_them(container: Container) -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    code = (
        "import sys; from prefect.flows import load_flow_from_entrypoint\n"
        "for each in sys.argv[1:]: print(load_flow_from_entrypoint(each).name)"
    )
    entrypoints = [deployment["entrypoint"] for deployment in deployments]
    loaded = container.run(*entrypoints, entrypoint=["python", "-c", code], directory="/opt/cos-customizer")
    assert loaded.stdout.split() == [deployment["name"] for deployment in deployments], loaded.stderr


def test_a_worker_of_the_image_runs_deployments_made_from_it(
    built: str, tmp_path: Path, emulator: Emulator, prefect_template: Path
) -> None:
    emulator.scripts.add(succeeding(LABEL))
    with PrefectPlace(tmp_path, prefect_template) as place, temporary_settings({PREFECT_API_URL: place.api}):
        place.prefect("work-pool", "create", "--type", "process", POOL)
        home = tmp_path / "worker"
        home.mkdir()
        os.chown(home, 1000, 1000)
        settings = {name: place.environment[name] for name in ("PREFECT_API_URL", "PREFECT_WORKER_QUERY_SECONDS")}
        environment = {**settings, **emulator.environment()}
        with (
            Container(built, home, ROOT, environment, user=1000) as container,
            get_client(sync_client=True) as client,
        ):
            deployed = container.run("prefect", "--no-prompt", "deploy", "--all", directory="/opt/cos-customizer")
            assert deployed.returncode == 0, deployed.stdout + deployed.stderr
            worker = container.begin("prefect", "worker", "start", "--pool", POOL)
            deployment = client.read_deployment_by_name("build-image/build-image")
            spec = {
                "source": {"project": "cos-cloud", "family": "cos-125-lts"},
                "context": {"path": "/workspace/examples/minimal"},
                "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
                "steps": [{"type": "run-script", "script": "preload.sh"}],
                "builder": {"project": "my-project", "zones": ["us-west1-b"]},
                "output": {"project": "my-project", "name": "by-worker"},
                "timeout": "5m",
            }
            run_id = client.create_flow_run_from_deployment(deployment.id, parameters={"spec": spec}).id
            wait_for(lambda: (state := client.read_flow_run(run_id).state) and state.is_final())
            state = client.read_flow_run(run_id).state
            terminate(worker)
            out, err = worker.communicate(timeout=PATIENCE)
            assert state is not None
            assert state.type.value == "COMPLETED", out + err
    assert [found["name"] for found in emulator.list("projects/my-project/global/images")] == ["by-worker"]
    assert leftovers(emulator) == []


@pytest.mark.parametrize("user", USERS)
def test_the_emulator_s_own_container_answers_on_its_one_port(user: int) -> None:
    with Container(image(target="emulator"), user=user) as container:
        process = container.begin()
        wait_for(lambda: process.poll() is not None or healthy())
        assert process.poll() is None, process.communicate()
        address = f"http://127.0.0.1:{EMULATOR_PORT}"
        storage = Client("p", AnonymousCredentials(), client_options={"api_endpoint": address})  # type: ignore[no-untyped-call]
        storage.create_bucket("some-bucket").blob("object").upload_from_string("text")
        assert storage.bucket("some-bucket").blob("object").download_as_bytes() == b"text"
        images = f"{address}/compute/v1/projects/cos-cloud/global/images/family/cos-stable"
        with urllib.request.urlopen(images, timeout=PATIENCE) as answer:
            assert json.load(answer)["status"] == "READY"
        terminate(process)
        assert process.wait(PATIENCE) in (0, 143)


def healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{EMULATOR_PORT}/healthz", timeout=PATIENCE) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except OSError:
        return False
