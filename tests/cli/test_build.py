"""build as a program: a recipe's image in one command, and that finish-image-build would make the same one."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import run
from support.dry_runs import IMAGES, INSTANCES, read_dry_run
from support.guest_scripts import NONCE, succeeding
from support.paths import ROOT

from cos_customizer.customizer.contents import places
from cos_customizer.customizer.context import archive_context
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect

RECIPES = ROOT / "examples" / "recipes"
BUCKET = "my-project_cloudbuild"
START = ("start-image-build", "-image-name=cos-stable-68-10718-86-0", "-image-project=cos-cloud")
Build = Callable[..., "subprocess.CompletedProcess[str]"]
FINISH = ("finish-image-build", "-zone=us-west1-b", "-project=my-project", "-image-name=my-image")


@pytest.fixture
def workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emulator: Emulator, session_server: dict[str, str]
) -> Iterator[Path]:
    """A working directory with the example's recipes; temporary files go to a directory that ends empty."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for name in ("home", "workspace", "temporary"):
        (tmp_path / name).mkdir()
    shutil.copytree(RECIPES, tmp_path / "workspace" / "recipes")
    shutil.copytree(RECIPES.parent / "gpu", tmp_path / "workspace" / "gpu")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "workspace")
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in session_server.items():
        monkeypatch.setenv(name, value)
    yield tmp_path / "workspace"
    assert list((tmp_path / "temporary").iterdir()) == []


def play(emulator: Emulator, recipe: Path, *settings: str) -> None:
    """Builder and test VM say that all steps of this recipe have succeeded."""
    spec = read_recipe(recipe).with_settings(settings).spec()
    on_test_vm = succeeding(*(script.label for script in spec.verify.scripts))
    emulator.scripts.add({**on_test_vm, "match": {"name": "cos-customizer-[0-9a-f]{10}-test"}})
    on_builder_vm = succeeding(*(step.label for step in spec.steps))
    emulator.scripts.add({**on_builder_vm, "match": {"name": "cos-customizer-[0-9a-f]{10}"}, "variables": NONCE})


@pytest.fixture
def build(warm_program: str) -> Build:
    def build(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        command = [warm_program, "build", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)

    return build


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


def planned(*arguments: str) -> list[Any]:
    ran = run("build", *arguments, "-dry-run")
    assert (ran.code, ran.err) == (0, "")
    return documents(ran.out)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_example_builds(recipe: str, workspace: Path, emulator: Emulator) -> None:
    path = Path("recipes", f"{recipe}.yaml")
    play(emulator, path)
    ran = run("build", f"-recipe={path}", "-output-file=out.json")
    assert (ran.code, ran.err) == (0, "")
    spec = read_recipe(path).spec()
    result = json.loads(Path("out.json").read_text())
    assert result["outcome"] == "built"
    assert [step["label"] for step in result["steps"]] == [step.label for step in spec.steps]
    assert any(line.startswith(f"{result['image']} built in ") for line in ran.out.splitlines())
    (image,) = emulator.list("projects/my-project/global/images")
    assert image["name"] == result["image"]
    assert image["name"].endswith(spec.output.suffix or "?")
    assert image.get("family") == spec.output.family
    assert spec.output.labels.items() <= image.get("labels", {}).items()
    assert emulator.list("projects/my-project/zones/-/instances") == []
    assert not Path("~/.cos-customizer-workdir").expanduser().exists()

    again = run("build", f"-recipe={path}")
    assert (again.code, again.err) == (0, "")
    assert again.out.splitlines()[-3].startswith(f"{image['name']} was there already")


@pytest.mark.slow
def test_a_context_in_cloud_storage_and_a_recipe_from_standard_input(
    workspace: Path, emulator: Emulator, build: Build
) -> None:
    archive_context(Path("recipes/hello"), Path("a.tar.gz"))
    connect().storage.bucket(BUCKET).blob("contexts/a.tar.gz").upload_from_filename("a.tar.gz")
    settings = [f"context.path=gs://{BUCKET}/contexts/a.tar.gz", "output.suffix=null", "output.name=from-archive"]
    recipe = Path("recipes/hello.yaml")
    play(emulator, recipe, *settings)
    text = recipe.read_text()
    shutil.rmtree("recipes")
    ran = build("-recipe", "-", *(word for setting in settings for word in ("-set", setting)), stdin=text)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-3].startswith("from-archive built in ")
    left = [blob.name for blob in connect().storage.list_blobs(BUCKET)]
    assert [name for name in left if not name.endswith("serial.log")] == ["contexts/a.tar.gz"]


@pytest.mark.slow
def test_a_step_that_fails_ends_the_command_as_it_ends_finish_image_build(
    workspace: Path, emulator: Emulator, build: Build
) -> None:
    from support.guest_scripts import marker, script

    emulator.scripts.add(
        script(
            marker("BuildStep: 1 started run-script preload.sh"),
            marker("BuildStep: 1 failed exit 3"),
            marker("BuildFailed: step 1 exit 3"),
        )
    )
    ran = build("-recipe=recipes/hello.yaml", "-output-file=out.json")
    assert ran.returncode == 1
    assert ran.stderr.startswith("cos-customizer: step 1/1 failed: run-script preload.sh exited with 3")
    assert "cleaned up   1 VM, 1 disk, 1 object" in ran.stdout
    assert json.loads(Path("out.json").read_text())["outcome"] == "failed"
    missing = build("-recipe=recipes/hello.yaml", "-set", "steps.0.script=prelaod.sh")
    assert missing.returncode == 2
    assert "could not find script prelaod.sh in build context recipes/hello" in missing.stderr
    assert "did you mean preload.sh?" in missing.stderr


@pytest.fixture
def finish(workspace: Path) -> list[str]:
    """What finish-image-build prints on a dry run, as text and nothing else."""
    Path("preload.sh").write_text("echo Hello\n")
    assert run(*START, f"-gcs-bucket={BUCKET}", "-gcs-workdir=work").code == 0
    assert run("run-script", "-script=preload.sh", "-env=TOKEN=hunter2,EMPTY=,NUMBER=007,WORD=null").code == 0
    more = ("-labels=on=true,milestone=65", "-image-family=f", "-deprecate-old-images", "-disk-size-gb=30")
    ran = run(*FINISH, *more, "-timeout=90m", "-verify-script=preload.sh", "-dry-run")
    assert (ran.code, ran.err) == (0, "")
    return [ran.out]


def test_what_finish_image_build_prints_is_a_recipe_of_the_same_image(finish: list[str], workspace: Path) -> None:
    (text,) = finish
    assert "hunter2" not in text
    (workspace.parent / "printed.yaml").write_text(text)  # not into the build context, which it would change
    for place in (Path("../printed.yaml"), workspace.parent / "printed.yaml"):
        values = ("TOKEN=hunter2", "EMPTY=", "NUMBER=007", "WORD='null'")
        filled = [word for value in values for word in ("-set", f"steps.0.env.{value}")]
        again = planned(f"-recipe={place}", *filled)
        assert len(again) > 3
        assert [changing(document) for document in again] == [changing(document) for document in documents(text)]


def changing(document: Any) -> Any:
    """A request without what is different in every second: times, and sums of documents that have the time in them."""
    text = re.sub(r'("(?:cos-customizer-expires|customTime)": )"[^"]*"', r'\1"TIME"', json.dumps(document))
    dated = re.search(rf'/(?:{"|".join(map(re.escape, places.DOCUMENTS))})"', text)
    return json.loads(re.sub(r'("crc32c": )"[^"]*"', r'\1"SUM"', text) if dated else text)


def test_masked_values_are_not_built_with(finish: list[str]) -> None:
    Path("printed.yaml").write_text(finish[0])
    refused = run("build", "-recipe=printed.yaml")
    assert refused.code == 2
    lines = refused.err.splitlines()
    assert lines[0].startswith("cos-customizer: printed.yaml:")
    assert lines[0].endswith("steps.0.env.TOKEN is masked (***)")
    assert "-set steps.0.env.TOKEN=VALUE" in lines[-1]


def test_a_context_that_has_changed_since_is_refused(finish: list[str]) -> None:
    Path("../printed.yaml").write_text(finish[0].replace("'***'", "x"))
    assert planned("-recipe=../printed.yaml")
    Path("preload.sh").write_text("echo Goodbye\n")
    refused = run("build", "-recipe=../printed.yaml", "-dry-run")
    assert refused.code == 2
    assert "it has changed since the specification was written" in refused.err
    assert planned("-recipe=../printed.yaml", "-set", "context.sha256=null")[0]["steps"][0]["env"]["TOKEN"] == "***"


def test_a_dry_run_looks_at_the_context_and_says_where_it_is(workspace: Path) -> None:
    ran = run("build", "-recipe=recipes/hello.yaml", "-set=output.labels={a: 1}", "-set", "timeout=1h", "-dry-run-full")
    printed = read_dry_run(ran.out)
    recipe, (vm,), (image,) = printed.recipe, printed.bodies(f"POST {INSTANCES}"), printed.bodies(f"POST {IMAGES}")
    (labels,) = printed.bodies(f"POST {IMAGES}/{image['name']}/setLabels")
    made = archive_context(Path("recipes/hello"), workspace.parent / "a.tar.gz")
    assert recipe["context"] == {"path": str(workspace / "recipes" / "hello"), "sha256": made.sha256}
    assert made.sha256 in json.dumps(vm)
    assert labels["labels"] == {"a": "1"}
    refused = run("build", "-recipe=recipes/hello.yaml", "-set=steps.0.script=x.sh", "-dry-run")
    assert refused.code == 2
    assert "could not find script x.sh" in refused.err
    long = run("build", "-recipe=recipes/hello.yaml", f"-set=output.suffix=-{'x' * 60}", "-dry-run")
    assert long.code == 2
    assert long.err.startswith("cos-customizer: output.suffix: ")
    assert "is not a valid name" in long.err
    assert "-image-suffix" not in long.err


WRONG = [
    ((), "-recipe must be set"),
    (("-recipe=none.yaml",), "cannot read recipe 'none.yaml': No such file"),
    (("-recipe=recipes",), "cannot read recipe 'recipes': Is a directory"),
    (("-recipe=recipes/hello/preload.sh",), "a recipe is a mapping of fields to values"),
    (("-recipe=recipes/hello.yaml", "-set", "output.nam=x"), "-set output.nam: output.nam is not a field of a recipe"),
    (("-recipe=recipes/hello.yaml", "-set"), "-set needs a value"),
    (("-recipe=recipes/hello.yaml", "-set", "x"), "-set: a setting is of the form key=value"),
    (("-recipe=recipes/hello.yaml", "-output-file=/no/such/x"), "-output-file: there is no directory"),
    (("recipes/hello.yaml",), "build takes flags only"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_usage_is_told_before_anything_is_done(arguments: tuple[str, ...], message: str, workspace: Path) -> None:
    ran = run("build", *arguments)
    assert ran.code == 2
    assert message in ran.err.splitlines()[0]
    assert "Traceback" not in ran.err


def test_the_same_flag_again_adds_a_setting_and_commas_are_no_matter(workspace: Path) -> None:
    values = ("-set=steps.0.env.A=a,b=c,d", "-set", "steps.0.env.B= x ", "--set=output.labels={x: 1, y: 2}")
    recipe, *_ = planned("-recipe=recipes/hello.yaml", *values, "-set=output.labels.z=3")
    assert recipe["output"]["labels"] == {"x": "1", "y": "2", "z": "3"}
    assert list(recipe["steps"][0]["env"]) == ["A", "B"]


@pytest.mark.slow
def test_the_example_for_gke_nodes_builds_from_an_image_that_is_there(workspace: Path, emulator: Emulator) -> None:
    """GKE's own images are not on the emulator; with one of COS the recipe is what it is."""
    recipe = RECIPES.parent / "gke-nodes" / "gke-nodes.yaml"
    missing = run("build", f"-recipe={recipe}")
    assert missing.code != 0
    assert "gke-node-images" in missing.err
    settings = ["source.project=cos-cloud", "source.name=cos-125-19216-104-25"]
    play(emulator, recipe, *settings)
    ran = run("build", f"-recipe={recipe}", *(word for setting in settings for word in ("-set", setting)))
    assert (ran.code, ran.err) == (0, "")
    (image,) = emulator.list("projects/my-project/global/images")
    assert "cos" in image["name"]
    assert {"gke-golden-image", "gke-custom-version"} <= image["labels"].keys()
