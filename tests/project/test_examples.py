"""Every example runs as it stands: its workflow, step by step as processes of their own, on scripted machines."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import run
from support.containers import image as container_image
from support.guest_scripts import NONCE, marker, succeeded, succeeding
from support.leftovers import leftovers
from support.paths import EXAMPLES
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.slow

PROGRAM = str(Path(sys.executable).with_name("cos-customizer"))
LEFT_OUT = 3

RunExample = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Example:
    """What comes of an example.

    Attributes:
        steps: labels of its builder VM's steps.
        images: what they are called, but for what differs from run to run.
        code: the workflow's exit code.
        disk_gb: what the builder VM's disk grows to; 0: it does not.
    """

    steps: tuple[str, ...]
    images: tuple[str, ...]
    code: int = 0
    disk_gb: int = 0


PRELOAD = ("run-script preload.sh",)
WORKFLOWS = {
    "minimal": Example(PRELOAD, ("my-custom-image",)),
    "environment": Example(("run-script directories.sh", "run-script settings.sh"), ("app-r42",)),
    "side-by-side": Example(PRELOAD, ("web-r42", "worker-r42")),
    "gpu": Example(("install-gpu default", *PRELOAD), ("my-gpu-image",), LEFT_OUT),
    "preload-containers": Example(PRELOAD, ("preloaded-",)),
    "sealed-oem": Example(
        ("run-script fill_oem.sh", "seal-oem", "run-script harden_boot.sh"), ("sealed-",), disk_gb=11
    ),
    "family": Example(PRELOAD, ("web-",)),
    "scheduled": Example(PRELOAD, ("-agent-", "-web-")),
}


@pytest.fixture
def run_example(emulator: Emulator, tmp_path: Path, served_program: str) -> RunExample:
    """Runs an example's workflow, once its machines are told what they say.

    One is run as users run it: each step starts from cold, and the last brings a Prefect server of its own. The steps
    of the others are forks, and take the session's server.
    """

    def run(name: str, *flags: str) -> "subprocess.CompletedProcess[str]":
        check = {"match": {"name": ".*-test"}, "variables": NONCE, "events": list(CHECKED)}
        emulator.scripts.add(check)
        example = WORKFLOWS[name]
        says = succeeding(*example.steps, disk_gb=example.disk_gb)
        emulator.scripts.add({**says, "match": {"name": ".*-[0-9a-f]{10}"}})
        kept = {variable: value for variable, value in os.environ.items() if not variable.startswith("PREFECT_")}
        program = PROGRAM if name == "minimal" else served_program
        environment = {**kept, "TMPDIR": str(tmp_path / "tmp")}
        (tmp_path / "tmp").mkdir(exist_ok=True)
        return subprocess.run(
            [program, "emulator", "run-cloudbuild", EXAMPLES / name / "cloudbuild.yaml", *flags],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    return run


CHECKED = (marker("BuildStep: 1 started run-script check.sh"), marker("BuildStep: 1 succeeded 0.1"), *succeeded())


def images(emulator: Emulator) -> dict[str, dict[str, Any]]:
    return {image["name"]: image for image in emulator.list("projects/my-project/global/images")}


def test_no_example_is_forgotten() -> None:
    assert {path.parent.name for path in EXAMPLES.glob("*/cloudbuild.yaml")} == set(WORKFLOWS)
    described = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.iterdir() if path.is_dir() and f"]({path.name})" not in described] == []


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if name not in ("side-by-side", "family", "scheduled")])
def test_an_example_s_workflow_makes_its_images_and_leaves_nothing_else(
    name: str, run_example: RunExample, emulator: Emulator, tmp_path: Path
) -> None:
    makes_its_images_and_leaves_nothing_else(name, run_example, emulator, tmp_path)


def makes_its_images_and_leaves_nothing_else(
    name: str, run_example: RunExample, emulator: Emulator, tmp_path: Path
) -> "subprocess.CompletedProcess[str]":
    """Run an example once; every one of them has this tried, some more."""
    before = sorted(path.name for path in (EXAMPLES / name).rglob("*"))
    ran = run_example(name)
    example = WORKFLOWS[name]
    assert ran.returncode == example.code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    made = sorted(images(emulator))
    assert len(made) == len(example.images)
    for image, part in zip(made, example.images, strict=True):
        assert part in image
        assert images(emulator)[image]["status"] == "READY"
    assert leftovers(emulator) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sorted(path.name for path in (EXAMPLES / name).rglob("*")) == before
    return ran


@pytest.mark.container
@pytest.mark.parametrize("name", ["environment", "side-by-side"])
def test_an_example_s_steps_may_be_containers(name: str, run_example: RunExample, emulator: Emulator) -> None:
    """Each a new one, which has nothing of the one before but home and workspace."""
    ran = run_example(name, "-container-tool=buildah", f"-container-image={container_image()}")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert sorted(images(emulator)) == list(WORKFLOWS[name].images)
    assert leftovers(emulator) == []


def test_builds_side_by_side_make_their_images_and_overlap(
    run_example: RunExample, emulator: Emulator, tmp_path: Path
) -> None:
    """Each step after those of its own build; neither build after the other."""
    ran = makes_its_images_and_leaves_nothing_else("side-by-side", run_example, emulator, tmp_path)
    lines = ran.stdout.splitlines()
    for build, other in (("web", "worker"), ("worker", "web")):
        own = [number for number, line in enumerate(lines) if line.startswith(("Starting", "Finished"))]
        named = [lines[number].partition('"')[2].rstrip('"') for number in own]
        assert [name for name in named if name.startswith(build)] == [
            name for step in (f"{build}-start", f"{build}-script", build) for name in (step, step)
        ]
        started = lines.index(f'Starting Step #{["web", "worker"].index(build) * 3} - "{build}-start"')
        ended = lines.index(next(line for line in lines if line.startswith("Finished") and f'"{other}-start"' in line))
        assert started < ended


def test_a_family_s_next_image_replaces_the_one_before_it(
    run_example: RunExample, emulator: Emulator, tmp_path: Path
) -> None:
    makes_its_images_and_leaves_nothing_else("family", run_example, emulator, tmp_path)
    (old,) = images(emulator)
    second = run_example("family")
    assert second.returncode == 0, second.stdout + second.stderr
    (new,) = images(emulator).keys() - {old}
    assert connect().images.get_from_family(project="my-project", family="web").name == new
    assert images(emulator)[old]["deprecated"]["state"] == "DEPRECATED"
    assert images(emulator)[old]["deprecated"]["deleted"]
    assert f"{old}" in second.stdout


@pytest.mark.usefixtures("prefect_server")
def test_a_scheduled_rebuild_finds_nothing_to_do_where_nothing_has_changed(
    run_example: RunExample, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makes_its_images_and_leaves_nothing_else("scheduled", run_example, emulator, tmp_path)
    made = images(emulator)
    workflow = yaml.safe_load((EXAMPLES / "scheduled" / "cloudbuild.yaml").read_text())
    monkeypatch.chdir(EXAMPLES / "scheduled")
    again = run(*workflow["steps"][0]["args"])
    assert (again.code, again.out.count("up-to-date")) == (0, 2), again.err
    assert images(emulator) == made


def test_the_recipes_of_the_scheduled_rebuild_are_those_it_names() -> None:
    workflow = yaml.safe_load((EXAMPLES / "scheduled" / "cloudbuild.yaml").read_text())
    (recipes,) = [arg for arg in workflow["steps"][0]["args"] if arg.startswith("-recipe=")]
    there = {path.name for path in (EXAMPLES / "scheduled").glob("*.yaml")} - {"cloudbuild.yaml"}
    assert set(recipes.partition("=")[2].split(",")) == there
