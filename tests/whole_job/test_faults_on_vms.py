"""Faults on real machines: nothing is left, and the same command again makes the image. `make faults` has them all."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.waiting import PATIENCE, wait_for
from support.warm_program import ProgramOnDisk, Started, WarmProgram

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.server import Emulator

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.xdist_group("vm-faults")]  # which share a cloud

PROGRAM = str(Path(sys.executable).with_name("cos-customizer"))
RECIPE: dict[str, Any] = {
    "source": {"project": "cos-cloud", "family": "cos-stable"},
    "context": {"path": "."},
    "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
    "steps": [{"script": "preload.sh"}],
    "builder": {"project": "my-project", "zones": ["us-west1-b"]},
    "output": {"project": "my-project"},
}
SEALED: dict[str, Any] = {
    "steps": [{"script": "preload.sh"}, {"type": "seal-oem"}],
    "builder": {**RECIPE["builder"], "disk_size_gb": 11, "oem_size": "500M"},
}


class Place:
    """A real cloud, a build context, and the program."""

    def __init__(self, cloud: Emulator, directory: Path, server: dict[str, str]) -> None:
        self.cloud = cloud
        self.directory = directory
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = kept | cloud.environment() | {"HOME": str(directory)}
        environment["XDG_CACHE_HOME"] = str(default_cache_dir().parent)
        self.cold = ProgramOnDisk(environment, directory, [PROGRAM])
        self.warm = WarmProgram(environment | server, directory)

    def build(self, image: str, program: WarmProgram | ProgramOnDisk, **parts: Any) -> Started:
        """Begin to build an image of this name, with other parts of the recipe where they are given."""
        (self.directory / "preload.sh").write_text("echo it runs\nsleep 5\necho kept > /var/lib/kept\n")
        recipe = self.directory / f"{image}.yaml"
        recipe.write_text(yaml.safe_dump(RECIPE | parts | {"output": {"project": "my-project", "name": image}}))
        return program.start(["build", f"-recipe={recipe}"], {}, self.directory)

    def left(self) -> list[str]:
        """Names of VMs and disks."""
        parts = ("zones/-/instances", "zones/-/disks")
        return [thing["name"] for part in parts for thing in self.cloud.list(f"projects/my-project/{part}")]

    def images(self) -> dict[str, str]:
        """Status of each image by its name."""
        return {image["name"]: image["status"] for image in self.cloud.list("projects/my-project/global/images")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, session_server: dict[str, str]) -> Iterator[Place]:
    with Emulator(tmp_path_factory.mktemp("cloud"), "qemu", cache_dir=default_cache_dir()) as cloud:
        cloud.prepare()
        place = Place(cloud, tmp_path_factory.mktemp("place"), session_server)
        with place.warm:
            yield place


def test_a_build_that_is_terminated_while_its_vm_boots_leaves_nothing(place: Place) -> None:
    build = place.build("terminated", place.warm)
    build.wait_for("builder VM ")
    wait_for(place.left)
    build.send(signal.SIGTERM)
    assert build.wait(PATIENCE) == 143, build.err
    assert place.left() == []
    assert "terminated" not in place.images()


def test_a_build_whose_image_comes_to_nothing_says_so_and_leaves_nothing(place: Place) -> None:
    place.cloud.faults.add("operation", method="insert", path="/images/broken$", code="INTERNAL_ERROR")
    build = place.build("broken", place.warm)
    assert build.wait(PATIENCE) == 1, build.out + build.err
    assert "INTERNAL_ERROR" in build.err
    assert "Traceback" not in build.out + build.err
    assert place.left() == []
    assert "broken" not in place.images()


def test_after_a_build_that_was_killed_while_its_script_ran_the_same_command_makes_the_image(place: Place) -> None:
    killed = place.build("killed", place.cold)
    killed.wait_for("it runs")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(PATIENCE)
    (vm, _) = place.left()

    again = place.build("killed", place.warm)
    assert again.wait(PATIENCE) == 0, again.out + again.err
    assert place.images()["killed"] == "READY"
    assert set(place.left()) == {vm}, "what the killed build had is its own clock's to delete"
    place.cloud.clock.advance(3 * 3600)
    wait_for(lambda: place.left() == [])


def test_after_builds_that_were_killed_while_the_disk_was_laid_out_and_sealed_the_same_command_makes_the_image(
    place: Place,
) -> None:
    phases = ("copying the root file system", "moving OEM and STATE", "it runs", "making the hash tree")
    for phase in phases:
        place.cloud.clock.advance(3 * 3600)
        wait_for(lambda: place.left() == [])  # what was killed before, and would go on
        killed = place.build("sealed", place.cold, **SEALED)
        killed.wait_for(phase)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(PATIENCE)
        assert "sealed" not in place.images()
    left = place.left()
    assert len(left) == 2

    again = place.build("sealed", place.warm, **SEALED)
    assert again.wait(PATIENCE) == 0, again.out + again.err
    assert place.images()["sealed"] == "READY"
    assert sorted(place.left()) == sorted(left)
    place.cloud.clock.advance(3 * 3600)
    wait_for(lambda: place.left() == [])
