"""Families kept fresh: only what has changed is built, and one recipe's failure is its own."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from google.cloud import compute_v1
from prefect.client.orchestration import get_client
from prefect.client.schemas import StateType
from prefect.client.schemas.filters import (
    ArtifactCollectionFilter,
    ArtifactCollectionFilterKey,
    FlowRunFilter,
    FlowRunFilterTags,
)
from support.command_line import run
from support.family_images import built_before
from support.guest_scripts import marker, script, succeeding
from support.leftovers import leftovers
from support.time_up import CommandClock
from support.waiting import wait_for

from cos_customizer.customizer.errors import BuildFailedError, UsageError
from cos_customizer.customizer.families import build_queue
from cos_customizer.customizer.families.rebuild import Rebuild, RebuildFailedError
from cos_customizer.customizer.reporting.events import BuildBegan, BuildEnded, Event, listening
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows import deployed_builds, local_server
from cos_customizer.flows.build_image import build_image
from cos_customizer.flows.rebuild_images import HERE, rebuild_images
from cos_customizer.flows.rebuild_planning import recipe_files
from cos_customizer.gcp.clients import connect

SOURCE = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"

FAILS = (
    marker("BuildStep: 1 started run-script setup.sh"),
    marker("BuildStep: 1 failed exit 3"),
    marker("BuildFailed: step 1 exit 3"),
)

Writer = Callable[..., str]


@pytest.fixture
def write_recipe(tmp_path: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Writes a recipe whose images are in a family of its own name, and its build context beside it."""
    monkeypatch.chdir(tmp_path)
    emulator.scripts.add(succeeding("run-script setup.sh"))
    new_source_image("base-1")

    def write(name: str, script: str = "echo hello", **output: Any) -> str:
        context = tmp_path / name
        context.mkdir(exist_ok=True)
        (context / "setup.sh").write_text(f"{script}\n")
        recipe = {
            "source": {"project": "my-project", "family": "base"},
            "context": {"path": name},
            "scratch": {"bucket": "my-project_cloudbuild", "workdir": "work"},
            "steps": [{"script": "setup.sh"}],
            "builder": {"project": "my-project", "zones": ["us-west1-b"]},
            "output": {"project": "my-project", "name": name, "family": name, **output},
        }
        Path(f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        return f"{name}.yaml"

    return write


def rebuild(*recipes: str, force: bool = False) -> dict[str, Rebuild]:
    return {row.recipe: row for row in rebuild_images(list(recipes), force=force, deployment=HERE)}


def outcomes(*recipes: str, force: bool = False) -> list[str]:
    return [row.outcome for row in rebuild(*recipes, force=force).values()]


def vms_made(emulator: Emulator) -> int:
    return emulator.calls.count("compute", "POST", r"/instances(\?|$)")


def newest(family: str) -> str:
    return str(connect().images.get_from_family(project="my-project", family=family).name)


def insert_image(image: compute_v1.Image) -> None:
    operation = connect().images.insert_unary(project="my-project", image_resource=image)
    connect().global_operations.wait(project="my-project", operation=operation.name)


def new_source_image(name: str) -> None:
    insert_image(compute_v1.Image(name=name, family="base", source_image=SOURCE))


@pytest.mark.usefixtures("prefect_server")
class TestFlow:
    def test_a_second_run_builds_nothing(self, emulator: Emulator, write_recipe: Writer) -> None:
        recipe = write_recipe("web")
        first = rebuild(recipe)[recipe]
        assert (first.outcome, first.why) == ("built", "the family has no image yet")
        assert newest("web") == first.image
        second = rebuild(recipe)[recipe]
        assert (second.outcome, second.image) == ("up-to-date", first.image)
        assert vms_made(emulator) == 1
        assert leftovers(emulator) == []

    def test_a_new_source_image_makes_one_build(self, emulator: Emulator, write_recipe: Writer) -> None:
        recipe = write_recipe("web")
        built_before(Path(recipe))
        new_source_image("base-2")
        row = rebuild(recipe)[recipe]
        assert (row.outcome, row.why) == ("built", "the source image is now base-2")
        assert (vms_made(emulator), outcomes(recipe)) == (1, ["up-to-date"])

    def test_a_changed_script_makes_one_build(self, emulator: Emulator, write_recipe: Writer) -> None:
        recipe = write_recipe("web")
        built_before(Path(recipe))
        Path("web/setup.sh").write_text("echo changed\n")
        row = rebuild(recipe)[recipe]
        assert (row.outcome, row.why) == ("built", "the recipe or its build context has changed")
        assert (vms_made(emulator), outcomes(recipe)) == (1, ["up-to-date"])

    def test_force_builds_what_has_not_changed_under_a_new_name(self, write_recipe: Writer) -> None:
        recipe = write_recipe("web")
        first, second = rebuild(recipe)[recipe], rebuild(recipe, force=True)[recipe]
        assert (second.outcome, second.why) == ("built", "forced")
        assert second.image == f"{first.image}-2"
        assert newest("web") == second.image

    def test_a_recipe_that_is_broken_fails_alone(self, emulator: Emulator, write_recipe: Writer) -> None:
        good, broken = write_recipe("good"), write_recipe("broken")
        Path("broken/setup.sh").unlink()
        with pytest.raises(BuildFailedError, match=r"1 of 2 recipes failed: broken\.yaml: could not find .*setup\.sh"):
            rebuild(broken, good)
        assert newest("good").startswith("good-2")
        assert vms_made(emulator) == 1

    def test_a_build_that_fails_fails_alone(self, emulator: Emulator, write_recipe: Writer) -> None:
        failing, good = write_recipe("failing"), write_recipe("good")
        recipe = yaml.safe_load(Path(failing).read_text())
        recipe["source"] = {"project": "my-project", "name": "base-1"}
        recipe["builder"]["machine_type"] = "n1-imaginary-1"
        Path(failing).write_text(yaml.safe_dump(recipe))
        with pytest.raises(BuildFailedError, match=r"1 of 2 recipes failed: failing\.yaml: .*n1-imaginary-1"):
            rebuild(failing, good)
        assert newest("good").startswith("good-2")
        assert leftovers(emulator) == []

    def test_of_twenty_recipes_the_three_that_changed_are_built(self, emulator: Emulator, write_recipe: Writer) -> None:
        recipes = [write_recipe(f"image-{number:02}") for number in range(20)]
        for recipe in recipes:
            built_before(Path(recipe))
        changed = [recipes[number] for number in (3, 8, 17)]
        for recipe in changed:
            Path(recipe).with_suffix("").joinpath("setup.sh").write_text("echo changed\n")
        rows = rebuild("image-*.yaml")
        assert [name for name, row in rows.items() if row.outcome == "built"] == changed
        assert [row.outcome for row in rows.values()].count("up-to-date") == 17
        assert vms_made(emulator) == 3

    def test_what_was_rolled_back_is_not_built_again(self, write_recipe: Writer) -> None:
        recipe = write_recipe("web")
        built_before(Path(recipe))
        status = compute_v1.DeprecationStatus(state="DEPRECATED")
        connect().images.deprecate_unary(project="my-project", image="web-20260101", deprecation_status_resource=status)
        assert outcomes(recipe) == ["up-to-date"]

    def test_two_recipes_of_one_family_would_replace_each_other_for_ever(self, write_recipe: Writer) -> None:
        first, second = write_recipe("web"), write_recipe("again", family="web")
        with pytest.raises(
            BuildFailedError, match=r"1 of 2 recipes failed: again\.yaml: it has the family of web\.yaml"
        ):
            rebuild(first, second)
        assert newest("web").startswith("web-2")

    def test_a_pattern_that_matches_nothing_is_no_success(self, write_recipe: Writer) -> None:
        write_recipe("web")
        with pytest.raises(UsageError, match=r"no recipe matches 'recipes/\*\.yaml'"):
            rebuild("recipes/*.yaml")

    def test_a_pattern_of_the_other_suffix_is_told(self, write_recipe: Writer) -> None:
        write_recipe("web")
        with pytest.raises(UsageError) as caught:
            rebuild("*.yml")
        assert caught.value.hint == "there is web.yaml: the pattern for it ends in *.yaml."

    def test_a_recipe_whose_turn_comes_too_late_is_not_begun(
        self, emulator: Emulator, write_recipe: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = CommandClock(monkeypatch)
        first, second = write_recipe("first"), write_recipe("second")

        def end_with_the_first(event: Event) -> None:
            if isinstance(event, BuildEnded):
                clock.end_all()

        with listening(end_with_the_first), pytest.raises(RebuildFailedError) as failed:
            rebuild_images([first, second], deployment=HERE, timeout="1h")
        rows = [(row.recipe, row.outcome) for row in failed.value.rows]
        assert rows == [(first, "built"), (second, "failed")]
        assert failed.value.rows[1].why == "could not begin: the time was up"
        assert vms_made(emulator) == 1

    def test_a_build_has_no_more_time_than_is_left_of_the_whole(self, emulator: Emulator, write_recipe: Writer) -> None:
        recipe = write_recipe("web")
        emulator.faults.add("silent")
        fault = emulator.faults.add("hold", method="GET", path="/serialPort")

        def time_up() -> None:
            wait_for(lambda: any(each["held"] for each in emulator.faults.list()))
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            emulator.faults.clear(fault)

        thread = threading.Thread(target=time_up)
        thread.start()
        with pytest.raises(RebuildFailedError, match=r"within the specified timeout \((9m[0-9]+s|10m0s)\)"):
            rebuild_images([recipe], deployment=HERE, timeout="10m")
        thread.join()
        assert leftovers(emulator) == []

    def test_runs_that_are_not_done_in_time_are_cancelled(
        self, write_recipe: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = write_recipe("web")
        ahead = [0.0]

        def sleep(_seconds: float) -> None:  # until the time is up
            ahead[0] = 1e9

        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=sleep, time=time.time)
        monkeypatch.setattr(deployed_builds, "time", clock)
        with get_client(sync_client=True) as client:
            client.create_deployment(client.create_flow(build_image), "idle")  # there is no worker
            with pytest.raises(RebuildFailedError, match="not done when the time was up, and is cancelled"):
                rebuild_images([recipe], deployment="build-image/idle", timeout="1h")
            (run,) = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=["rebuild"])))
            assert run.state is not None
            assert run.state.type in (StateType.CANCELLED, StateType.CANCELLING)
            assert run.parameters["spec"]["timeout"].startswith(("59m", "1h0m0s"))

    def test_a_recipe_that_fails_again_and_again_is_left_alone_until_it_changes_or_is_forced(
        self, emulator: Emulator, write_recipe: Writer
    ) -> None:
        recipe = write_recipe("web")
        emulator.scripts.add(script(*FAILS))

        def tried() -> Rebuild:
            made = vms_made(emulator)
            try:
                row = rebuild_images([recipe], deployment=HERE, after_failures=2)[0]
            except RebuildFailedError as error:
                row = error.rows[0]
            assert (vms_made(emulator) > made) == (row.outcome in ("built", "failed"))
            return row

        first, second, third = tried(), tried(), tried()
        assert [row.outcome for row in (first, second, third)] == ["failed", "failed", "skipped"]
        assert "not tried again" not in first.why
        assert "failure 2 in a row: it is not tried again until it or its source changes" in second.why
        assert "2 failures in a row" in third.why
        dry = run("rebuild-images", "-recipe=web.yaml", "-dry-run", "-after-failures=2")
        assert dry.out.splitlines()[1].startswith("skipped")

        Path("web/setup.sh").write_text("echo changed\n")
        assert "not tried again" not in tried().why, "what has changed begins anew"
        new_source_image("base-2")
        assert "not tried again" not in tried().why, "and of another source"
        assert "failure 2 in a row" in tried().why
        emulator.scripts.clear()
        emulator.scripts.add(succeeding("run-script setup.sh"))
        rows = rebuild_images([recipe], force=True, deployment=HERE, after_failures=2)
        assert rows[0].outcome == "built"
        assert list(connect().storage.list_blobs("my-project_cloudbuild", prefix="cos-customizer")) == []

    def test_want_of_capacity_is_no_failure_of_the_recipe_and_is_tried_again_after_the_others(
        self, emulator: Emulator, write_recipe: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(build_queue, "AGAIN_AFTER", 0.0)
        first, second = write_recipe("first"), write_recipe("second")
        emulator.faults.add("operation", code="QUOTA_EXCEEDED", method="insert", path="instances/")
        begun: list[str] = []

        def note(event: Event) -> None:
            if isinstance(event, BuildBegan):
                begun.append(event.recipe)

        with listening(note):
            rows = rebuild_images([first, second], deployment=HERE, after_failures=1)
        assert begun == [first, second, first]
        assert [row.outcome for row in rows] == ["built", "built"]
        assert "capacity" in rows[0].waited
        assert leftovers(emulator) == []

    def test_sixty_recipes_are_planned_with_as_few_calls_as_there_are_things_to_ask_for(
        self, emulator: Emulator, write_recipe: Writer
    ) -> None:
        recipes = [write_recipe(f"image-{number:02}") for number in range(60)]
        for recipe in recipes:
            built_before(Path(recipe))
        emulator.calls.clear()
        assert outcomes("image-*.yaml") == ["up-to-date"] * 60
        assert emulator.calls.report()["counts"] == {"compute GET": 2}, "one source, one project"

    def test_the_report_is_left_with_the_run(self, write_recipe: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local_server, "is_throw_away", lambda: False)
        recipes = [write_recipe(f"image-{number:02}") for number in range(22)]
        for recipe in recipes[1:]:
            built_before(Path(recipe))
        rebuild(*recipes)
        with get_client(sync_client=True) as client:
            key = ArtifactCollectionFilterKey(any_=["rebuild-images-report", "rebuild-images"])
            left = {
                each.type: each.data
                for each in client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key=key))
            }
        page, table = str(left["markdown"]), json.loads(str(left["table"]))
        assert "**1 built, 21 up to date**, of 22 recipes" in page
        assert "| Source image | my-project/base-1, of 22 recipes |" in page
        assert len(table) == 2

    def test_a_deployment_s_name_has_two_parts(self, emulator: Emulator, write_recipe: Writer) -> None:
        for name in ("build-image", "build-image/", "/build-image"):
            with pytest.raises(UsageError, match="is no deployment's name"):
                rebuild_images([write_recipe("web")], deployment=name)
        assert emulator.calls.count("compute", "GET") == 0


def test_a_recipe_s_file_is_taken_once_and_may_have_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("web.yaml", "web[1].yaml"):
        Path(name).touch()
    given = ["web.yaml", "./web.yaml", str(tmp_path / "web.yaml"), "web[1].yaml", "*.yaml"]
    assert recipe_files(given) == ["web.yaml", "web[1].yaml"]


def test_a_dry_run_says_what_would_be_built_and_builds_nothing(emulator: Emulator, write_recipe: Writer) -> None:
    old, new = write_recipe("old"), write_recipe("new")
    built_before(Path(old))
    emulator.calls.clear()
    dry = run("rebuild-images", "-recipe=*.yaml", "-dry-run")
    assert (dry.code, dry.err) == (0, "")
    heading, *rows = [line.split() for line in dry.out.splitlines()]
    assert heading == ["outcome", "recipe", "family", "image", "why"]
    assert [row[:3] for row in rows] == [["to-build", new, "new"], ["up-to-date", old, "old"]]
    assert rows[0][3].startswith("new-2")
    assert emulator.calls.count("compute", "POST") == 0


REFUSED = [
    ((), 2, "no recipe was given"),
    (("-recipe=recipes/*.yaml",), 2, "no recipe matches 'recipes/*.yaml'"),
    (("-recipe=none.yaml", "-dry-run"), 1, "1 of 1 recipes failed: none.yaml: cannot read recipe 'none.yaml'"),
    (("-recipe=suffix.yaml,good.yaml", "-dry-run"), 1, "1 of 2 recipes failed: suffix.yaml: output.suffix: "),
    (("-recipe=nofamily.yaml,good.yaml", "-dry-run"), 1, "nofamily.yaml: output.family must be set"),
]


@pytest.mark.parametrize(("flags", "code", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_rebuilt_is_said(write_recipe: Writer, flags: tuple[str, ...], code: int, message: str) -> None:
    write_recipe("nofamily", family=None)
    loud = write_recipe("suffix")
    Path(loud).write_text(Path(loud).read_text().replace("  name: suffix\n", "  suffix: -Too-Loud\n"))
    write_recipe("good")
    refused = run("rebuild-images", *flags)
    assert refused.code == code
    assert message in refused.err
    assert "Traceback" not in refused.err
    assert "what they have built" not in refused.err


@pytest.mark.slow
def test_the_command_builds_here_and_tells_by_its_exit_code_that_a_recipe_has_failed(
    emulator: Emulator, write_recipe: Writer, tmp_path: Path, served_program: str
) -> None:
    write_recipe("good")
    write_recipe("broken")
    Path("broken/setup.sh").unlink()
    program = [served_program, "rebuild-images", "-recipe=*.yaml"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    ran = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "1 of 2 recipes failed: broken.yaml: could not find script setup.sh" in ran.stderr
    lines = [line for line in ran.stdout.splitlines() if "good.yaml" in line and "good-2" in line]
    assert "good-20" in lines[0]
    assert lines[0].endswith(" is there")
    assert "built" in lines[-1]
    assert newest("good").startswith("good-2")
    assert leftovers(emulator) == []
