"""The lock, the package and the deployment are what pyproject.toml and the sources say."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.packages import build_wheel, tracked_files
from support.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = ("cli", "flows", "tasks", "gcp", "guest", "customizer")
"""Each imports only what stands to its right."""


def locked(name: str) -> dict[str, str]:
    """Packages and versions of a lock."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("runtime.txt", ()), ("emulator.txt", ("emulator",)), ("dev.txt", ("emulator", "dev"))],
    ids=["runtime", "emulator", "dev"],
)
def test_the_lock_satisfies_the_project(lock: str, extras: tuple[str, ...]) -> None:
    wanted = [*PROJECT["project"]["dependencies"]]
    for extra in extras:
        wanted += PROJECT["project"]["optional-dependencies"][extra]
    versions = locked(lock)
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not locked: make lock"
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}: make lock"


def test_the_locks_agree() -> None:
    runtime, dev, emulator = locked("runtime.txt"), locked("dev.txt"), locked("emulator.txt")
    assert {name: dev.get(name) for name in runtime} == runtime
    assert {name: emulator.get(name) for name in runtime} == runtime
    assert {name: dev.get(name) for name in emulator} == emulator


@pytest.mark.parametrize("lock", ["runtime.txt", "emulator.txt", "dev.txt", "build.txt"])
def test_every_locked_package_has_a_hash_and_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_runtime_has_what_the_sources_import() -> None:
    runtime = locked("runtime.txt")
    provided_by = packages_distributions()
    for room in ROOMS:
        for path in (ROOT / room).glob("*.py"):
            for name in imported(path):
                top = name.partition(".")[0]
                if top in sys.stdlib_module_names or top in ("cos_customizer", "google"):
                    continue
                distributions = {canonicalize_name(each) for each in provided_by.get(top, [])}
                assert distributions & set(runtime), f"{path.name} imports {name}, which is in no runtime package"


def imported(path: Path) -> list[str]:
    """The modules that a source imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        f"cos_customizer/{name}"
        for name in tracked_files()
        if name.partition("/")[0] in (*ROOMS, "emulator") and (ROOT / name).is_file()
    }
    assert sources <= inside, sorted(sources - inside)
    outside = {name for name in inside if not name.startswith("cos_customizer") and ".dist-info/" not in name}
    assert outside == set()


@pytest.mark.slow
def test_what_the_wheel_installs_has_its_door_and_begins_a_repository(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    program = """
import sys, cos_customizer
from cos_customizer import build_image, read_recipe
from cos_customizer.cli.main import main
assert cos_customizer.__file__.startswith(sys.argv[1]), cos_customizer.__file__
assert main(["init", "new", "-name=web"]) == 0
print(read_recipe("new/recipes/web.yaml").spec().output.name)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, str(installed)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "web"
    assert (tmp_path / "new/.github/workflows/image.yaml").exists()


FOREIGN_TEST = """
from google.cloud import compute_v1

COS = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"


def test_an_image_is_made(compute_engine):
    images = compute_engine.client(compute_v1.ImagesClient)
    image = compute_v1.Image(name="app", source_image=COS)
    images.insert(project=compute_engine.project, image_resource=image).result(timeout=60)
    assert [each["name"] for each in compute_engine.list("images")] == ["app"]
"""
UNUSING_TEST = """
import sys


def test_nothing_of_it_is_loaded(pytestconfig):
    assert pytestconfig.pluginmanager.hasplugin("cos_customizer_pytest")
    assert not [name for name in sys.modules if name.partition(".")[0] in ("cos_customizer", "google", "flask")]
"""


@pytest.mark.slow
def test_other_projects_tests_find_the_fixture_of_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own; the wheel's dependencies are those of this one."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = str(place / "bin" / "python")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-compile",
        str(wheel),
    ]
    subprocess.run(install, check=True)
    (libraries,) = place.glob("lib/python3*/site-packages")
    (libraries / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    project = tmp_path / "project"
    project.mkdir()
    (project / "test_foreign.py").write_text(FOREIGN_TEST)
    (project / "test_unusing.py").write_text(UNUSING_TEST)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    for name in ("test_foreign.py", "test_unusing.py"):
        command = [python, "-m", "pytest", "-p", "no:hypothesispytest", "-p", "no:cacheprovider", name]
        ran = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "1 passed" in ran.stdout


def test_the_deployments_are_the_flows() -> None:
    prefect: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for deployment in prefect["deployments"]:
        assert deployment["enforce_parameter_schema"] is True
        file, _, function = deployment["entrypoint"].partition(":")
        flow = next(
            node
            for node in ast.parse((ROOT / file).read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == function
        )
        assert any("flow" in ast.unparse(decorator) for decorator in flow.decorator_list)
        assert function == deployment["name"].replace("-", "_")
