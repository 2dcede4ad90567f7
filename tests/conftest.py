"""What tests share: an emulator each, one Prefect server for a session, a specification to start from."""

import fcntl
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.guest_machines import Storage
from support.rotation import that_wait
from support.specifications import SpecMaker
from support.warm_environment import make_environment, stand_by

from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.machines.backend import Backend
from cos_customizer.emulator.server import Emulator, make_backend
from cos_customizer.quick_imports import uncollected

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell lets its background jobs ignore Ctrl-C, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # of nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Google's client reads a bucket's metadata in a thread of its own: at any moment, whatever a test looks at; again and
# again if the test's cloud has gone meanwhile, by whatever clock another test has turned.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Modules and tests stay until the end: no search for garbage goes through all of them again and again."""
    with uncollected():
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that take long come first, so that at the end all cores have something to do; HALF leaves some VMs out."""
    if waiting := that_wait(items, "HALF", 2):
        config.hook.pytest_deselected(items=waiting)
        items[:] = [item for item in items if item not in set(waiting)]
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores, for many tests wait for something; but each has a Prefect server to bring up."""
    return min(os.cpu_count() or 1, 4) + 2


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A local Compute Engine whose machines play scripts; the environment points every client at it."""
    with Emulator(tmp_path / "emulator", "scripted", projects=("my-project",)) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("cos_customizer.gcp.console_pace.FASTEST_POLL", 0.05)  # the emulator has no quota
        yield running


@pytest.fixture
def real_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A local Compute Engine with real machines; the environment points every client at it."""
    with Emulator(tmp_path / "cloud", "qemu", cache_dir=default_cache_dir()) as running:
        running.prepare()
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def bucket(emulator: Emulator) -> "Bucket":
    """The bucket of the emulator's project, by Google's client."""
    from support.storage_clients import anonymous_bucket

    return anonymous_bucket()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Real machines, without a Compute Engine around them."""
    backend = make_backend("qemu", tmp_path_factory.mktemp("qemu"), default_cache_dir())
    backend.prepare()
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """As much of Cloud Storage as a guest needs."""
    storage = Storage({})
    storage.serve()
    yield storage
    storage.stop()


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of a session have in common."""
    place = tmp_path_factory.getbasetemp()
    return place.parent if "PYTEST_XDIST_WORKER" in os.environ else place


@pytest.fixture(scope="session")
def warm_server(shared_place: Path) -> Path:
    """Address of the process that stands by for warm programs, one for all processes of a session."""
    return stand_by(shared_place, os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid())


@pytest.fixture(scope="session")
def warm_program(warm_server: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a `cos-customizer` that has no start to pay for: for tests of anything but that."""
    return make_environment(tmp_path_factory.mktemp("warm"), warm_server)


@pytest.fixture(scope="session")
def served_program(warm_server: Path, session_server: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same; where no Prefect server is configured, the session's is, also for the steps of a workflow."""
    return make_environment(tmp_path_factory.mktemp("served"), warm_server, session_server)


@pytest.fixture(scope="session")
def prefect_template(shared_place: Path) -> Path:
    """A migrated Prefect database, as a container image brings one along, made once in a session."""
    file = shared_place / "prefect.db"
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            subprocess.run([sys.executable, "-m", "cos_customizer.flows.local_server", str(file)], check=True)
    return file


@pytest.fixture(autouse=True)
def _programs_start_their_servers_warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the container image. Tests of a cold start say so."""
    if request.node.get_closest_marker("slow"):
        from cos_customizer.flows import database_template

        monkeypatch.setenv(database_template.VARIABLE, str(request.getfixturevalue("prefect_template")))


@pytest.fixture(scope="session")
def session_server(prefect_template: Path) -> Iterator[dict[str, str]]:
    """A Prefect server for the builds of this session, in this process and others; gives the environment of those."""
    from cos_customizer.flows import database_template
    from cos_customizer.flows.local_server import LocalServer

    before = dict(os.environ)
    os.environ[database_template.VARIABLE] = str(prefect_template)
    with LocalServer():
        # Prefect read its settings when a test module imported it.
        from prefect.context import refresh_global_settings_context
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        refresh_global_settings_context()
        environment = dict(os.environ.items() - before.items())
        os.environ.clear()
        os.environ.update(before)  # tests that do not ask for the server know nothing of it
        # Prefect joins the heartbeat's thread at the end of each flow run, which sleeps for whole seconds.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield environment


@pytest.fixture
def prefect_server(session_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The session's Prefect server is the one that is configured; for flows in this process it is as their own."""
    for name, value in session_server.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def make_spec(tmp_path: Path) -> SpecMaker:
    """Makes a specification of two scripts; keyword arguments replace fields of its parts (`output={"name": …}`)."""
    context = tmp_path / "context"
    context.mkdir()
    for name in ("first.sh", "second.sh"):
        (context / name).write_text(f"echo {name}\n")

    def make(timeout: str = "1h", scripts: tuple[str, ...] = ("first.sh", "second.sh"), **parts: Any) -> BuildSpec:
        defaults: dict[str, dict[str, Any]] = {
            "source": {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0"},
            "context": {"path": str(context)},
            "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
            "builder": {"project": "my-project", "zones": ["us-west1-b"]},
            "output": {"project": "my-project", "name": "my-image"},
        }
        filled = {name: {**fields, **parts.get(name, {})} for name, fields in defaults.items()}
        more = {name: fields for name, fields in parts.items() if name not in defaults}
        steps = [{"script": script} for script in scripts]
        return parse_spec({**filled, **more, "steps": steps, "timeout": timeout})

    return make
