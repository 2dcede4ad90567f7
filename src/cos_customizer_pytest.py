"""The pytest plugin: fixture `compute_engine`, a project of a local Compute Engine for each test.

pytest loads this module wherever the package is installed, so it imports nothing of ours until a test asks for the
fixture. It stands beside the package, whose import tunes Google's libraries for the program.
"""

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from cos_customizer.emulator.local_project import LocalProject
    from cos_customizer.emulator.server import Emulator

_MACHINES = "compute_engine_machines"
_SEED = "compute_engine_seed"
_KINDS = ("scripted", "qemu")
_MARKER = "compute_engine"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of pytest's configuration file."""
    kinds = "machines of the fixture compute_engine: scripted (the default), or qemu"
    parser.addini(_MACHINES, kinds, default="scripted")
    parser.addini(_SEED, "YAML file with what the emulator of compute_engine has from the beginning", type="paths")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker."""
    config.addinivalue_line(
        "markers", f'{_MARKER}(machines="qemu"): the fixture compute_engine has machines of this kind (scripted, qemu)'
    )


@pytest.fixture(scope="session")
def _compute_engines(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], "Emulator"]]:
    """Starts the session's emulator of a kind of machines, once it is asked for; stops all in the end."""
    running: dict[str, Emulator] = {}

    def get(machines: str) -> "Emulator":
        if machines not in running:
            running[machines] = _start(machines, tmp_path_factory, pytestconfig.getini(_SEED))
        return running[machines]

    yield get
    for emulator in running.values():
        emulator.stop()


@pytest.fixture
def compute_engine(
    request: pytest.FixtureRequest,
    _compute_engines: Callable[[str], "Emulator"],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator["LocalProject"]:
    """A project of a local Compute Engine, with Cloud Storage, Cloud Logging and Secret Manager.

    The environment leads gcloud and Google's libraries to it. What the test makes is removed in the end.
    """
    emulator = _compute_engines(_machines(request))
    from cos_customizer.emulator.local_project import LocalProject

    project = LocalProject(emulator, f"test-{os.urandom(6).hex()}")
    emulator.use_project(project.project)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    yield project
    project.close()


def _machines(request: pytest.FixtureRequest) -> str:
    marker = request.node.get_closest_marker(_MARKER)
    if marker is None:
        where, kind = f"{_MACHINES} in pytest's configuration", str(request.config.getini(_MACHINES))
    else:
        where, kind = f"the marker {_MARKER}", _of_marker(marker)
    if kind not in _KINDS:
        raise pytest.UsageError(f"{where}: there are no machines {kind!r}; there are {' and '.join(_KINDS)}")
    return kind


def _of_marker(marker: pytest.Mark) -> str:
    given: dict[str, Any] = dict(marker.kwargs)
    kind = str(given.pop("machines", "scripted"))
    if marker.args or given:
        raise pytest.UsageError(f"the marker {_MARKER} takes machines=…, and nothing else")
    return kind


def _start(machines: str, paths: pytest.TempPathFactory, seeds: "list[Path]") -> "Emulator":
    from cos_customizer.emulator import background
    from cos_customizer.emulator.errors import EmulatorError

    try:
        background.check_installed()
        from cos_customizer.customizer.bounded_yaml import BoundedLoader
        from cos_customizer.emulator.seed.model import read_seed
        from cos_customizer.emulator.server import Emulator

        if len(seeds) > 1:
            raise pytest.UsageError(f"{_SEED} is one file, not {len(seeds)}")
        emulator = Emulator(
            paths.mktemp("compute-engine"),
            "qemu" if machines == "qemu" else "scripted",
            projects=(),
            cache_dir=background.default_cache_dir(),
            seed=read_seed(seeds[0], BoundedLoader) if seeds else None,
        )
        try:
            emulator.prepare()
            return emulator.start()
        except BaseException:
            emulator.stop()
            raise
    except EmulatorError as error:
        pytest.fail(f"{error} ({error.hint})" if error.hint else str(error), pytrace=False)
