"""The house's import rule: cli → flows → tasks → gcp → guest → customizer, only to the right; the emulator alone.

Read from the source by its syntax tree, imports inside of functions included; and what light commands really import.
"""

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.imports import EMULATOR, MODULES, PACKAGE, ROOMS, imports
from support.paths import ROOT

DOOR = "cli.commands.emulator"
"""The package outside the emulator whose modules may import it."""

DOORSTEP = "quick_imports"
"""The module beside the rooms: whoever enters one of them comes by it."""

OUTSIDE = {
    # Heavy packages, and the rooms that may use them.
    "prefect": ("cli", "flows", "tasks"),
    "google": ("gcp", "emulator"),  # the emulator checks request bodies against Google's types
    "requests": ("gcp",),
    "flask": ("emulator",),
    "click": ("cli",),
    "rich": ("cli",),
}


def may_import(importer: str, target: str) -> bool:
    """Whether the rule allows one of our modules to import another."""
    room, wanted = importer.partition(".")[0], target.partition(".")[0]
    if wanted in (room, DOORSTEP):
        return True
    if EMULATOR in (room, wanted):
        return f"{importer}.".startswith(f"{DOOR}.")
    return ROOMS.index(wanted) > ROOMS.index(room)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_its_own_room_and_those_to_its_right(name: str) -> None:
    wrong = [f"line {found.line}: {found.target}" for found in imports(name) if found.ours]
    wrong = [line for line in wrong if not may_import(name, line.rpartition(" ")[2])]
    assert wrong == []


@pytest.mark.parametrize("name", MODULES)
def test_heavy_packages_stay_in_their_rooms(name: str) -> None:
    room = name.partition(".")[0]
    wrong = [
        f"line {found.line}: {found.target}"
        for found in imports(name)
        if not found.ours and room not in OUTSIDE.get(found.target.partition(".")[0], (room,))
    ]
    assert wrong == []


def test_a_kind_of_step_is_asked_and_not_known_by_its_class() -> None:
    """Who adds a kind has nothing to change elsewhere. Verification is by scripts: it alone names one."""
    kinds = {name for name in MODULES if name.startswith("customizer.spec.steps.") and not name.endswith(".kinds")}
    assert {name for name in MODULES if any(found.target in kinds for found in imports(name))} == {
        "customizer.spec.verification"
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {
        name: {found.target for found in imports(name) if found.ours and not found.deferred and found.target in MODULES}
        for name in MODULES
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize(
    ("importer", "target", "allowed"),
    [
        ("cli.main", "gcp.images", True),
        ("cli.commands.emulator", "emulator.server", True),
        ("cli.commands.emulator.start", "emulator.server", True),
        ("cli.commands.emulators", "emulator.server", False),
        ("cli.main", "emulator.server", False),
        ("gcp.images", "tasks.images", False),
        ("customizer.spec.model", "guest.protocol", False),
        ("emulator.server", "customizer.names", False),
        ("flows.build_image", "flows.undoing", True),
    ],
)
def test_the_rule_itself(importer: str, target: str, allowed: bool) -> None:
    assert may_import(importer, target) is allowed


def test_every_kind_of_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "odd.py"
    file.write_text(
        "import prefect.flows\n"
        "from typing import TYPE_CHECKING\n"
        "from cos_customizer.gcp import images, no_module\n"
        "from . import main\n"
        "from ..emulator.server import Emulator\n"
        "if TYPE_CHECKING:\n    import click\n"
        "def f():\n    try:\n        import google.auth\n    finally:\n        pass\n"
    )
    monkeypatch.setitem(MODULES, "cli.odd", file)
    assert [(found.target, found.ours, found.deferred) for found in imports("cli.odd")] == [
        ("prefect.flows", False, False),
        ("typing", False, False),
        ("gcp.images", True, False),
        ("gcp", True, False),
        ("cli.main", True, False),
        ("emulator.server", True, False),
        ("click", False, True),
        ("google.auth", False, True),
    ]


TESTS = ROOT / "tests"
SUPPORT = {path.stem: path for path in sorted((TESTS / "support").glob("*.py"))}
TOOLS = {path.stem for path in (ROOT / "make").glob("*.py")}
OF_ALL_ROOMS = {"project", "whole_job"}
"""Folders of tests that may import everything."""


@cache
def needs(path: Path) -> frozenset[str]:
    """The rooms that a test file imports, itself or by way of support, and the tools of make/."""
    found: set[str] = set()
    for name in _imported(path):
        top, _, rest = name.partition(".")
        module = rest.partition(".")[0]
        if top == PACKAGE and module:
            found.add(module)
        elif top == "support" and module in SUPPORT:
            found |= needs(SUPPORT[module])
        elif top in TOOLS:
            found.add("make")
    return frozenset(found)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_be_tested_with(room: str) -> set[str]:
    """What tests of a room may import: itself, the rooms to its right, the emulator as their cloud, the doorstep."""
    return {DOORSTEP, EMULATOR, *(() if room == EMULATOR else ROOMS[ROOMS.index(room) :])}


@pytest.mark.parametrize("path", sorted(TESTS.glob("*/test_*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_test_imports_its_own_room_and_those_to_its_right(path: Path) -> None:
    room = path.parent.name
    assert room in OF_ALL_ROOMS or needs(path) <= may_be_tested_with(room)


def test_what_a_test_needs_is_seen_through_support(tmp_path: Path) -> None:
    file = tmp_path / "test_odd.py"
    file.write_text(
        "def f():\n    from support.builds import failing\nimport release\nfrom cos_customizer import guest\n"
    )
    assert needs(file) == {"customizer", "emulator", "flows", "gcp", "guest", "make"}


LIGHT = {
    "the program and its help": ("cos_customizer.cli.main", ("prefect", "google", "pydantic", "rich", "yaml")),
    "checks of run-script": ("cos_customizer.customizer.spec.script_checks", ("prefect", "google", "pydantic", "yaml")),
    "the build context": ("cos_customizer.customizer.context", ("prefect", "google", "pydantic", "yaml")),
    "the specification": ("cos_customizer.customizer.spec.model", ("prefect", "google")),
}


@pytest.mark.parametrize(("module", "heavy"), LIGHT.values(), ids=LIGHT)
def test_light_commands_import_nothing_heavy(module: str, heavy: tuple[str, ...]) -> None:
    assert imported_by(f"import {module}") & set(heavy) == set()


@pytest.mark.parametrize("arguments", [["help", "run-script"], ["--version"], ["run-script", "-script=missing.sh"]])
def test_light_commands_import_nothing_heavy_when_they_run(tmp_path: Path, arguments: list[str]) -> None:
    arguments = [f"-local-state-workdir={tmp_path / 'none'}", *arguments]
    heavy = imported_by(f"from cos_customizer.cli.main import main; main({arguments!r})")
    assert heavy & {"prefect", "google", "pydantic", "rich", "yaml"} == set()


def test_compute_engine_s_library_is_imported_by_parts_and_has_all_that_it_had() -> None:
    program = """
import sys
import cos_customizer
from google.cloud import compute_v1
def services(): return sum(name.startswith("google.cloud.compute_v1.services.") for name in sys.modules)
assert compute_v1.Image(name="a").name == "a"
assert services() == 0
assert compute_v1.ImagesClient.__module__ == "google.cloud.compute_v1.services.images.client"
assert services() < 20
try:
    compute_v1.Nonsense
except AttributeError as error:
    assert str(error) == "module 'google.cloud.compute_v1' has no attribute 'Nonsense'"
images_client = compute_v1.ImagesClient
assert {"ZonesClient", "Image"} < set(dir(compute_v1))
from google.cloud.compute_v1 import *
assert ZonesClient is compute_v1.ZonesClient and ImagesClient is images_client
assert compute_v1.__version__
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_library_that_every_process_would_pay_for_is_not_there() -> None:
    """jsonschema, which Prefect imports, would load a grammar with it, for a second; pyproject.toml leaves it out."""
    assert "lark" not in imported_by("import prefect.serializers")


def test_start_image_build_imports_no_prefect(tmp_path: Path) -> None:
    (tmp_path / "preload.sh").touch()
    nowhere = "http://127.0.0.1:1"
    program = f"""
import os
os.environ.update(CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE={nowhere!r}, STORAGE_EMULATOR_HOST={nowhere!r})
from cos_customizer.cli.main import main
main(["start-image-build", "-local-state-workdir={tmp_path / "state"}", "-build-context={tmp_path / "preload.sh"}",
      "-image-project=cos-cloud", "-image-family=cos-stable", "-gcs-bucket=my-bucket", "-gcs-workdir=w"])
"""
    imported = imported_by(program)
    assert "google" in imported  # it has come as far as looking for the source image
    assert "prefect" not in imported


def imported_by(program: str) -> set[str]:
    """Names of the packages that a program has imported in the end, in an interpreter of its own."""
    # Namespace packages of Google's may be in sys.modules from the start (.pth files): only those with code count.
    program += (
        "\nimport json, sys\nwith_code = [n for n, m in list(sys.modules.items()) if getattr(m, '__file__', None)]"
        "\nprint(json.dumps(with_code), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
