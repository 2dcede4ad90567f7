"""What `init` writes, where it writes nothing, and that all of it is what the programs that read it take."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_line import run
from support.paths import ROOT

from cos_customizer.cli.main import program
from cos_customizer.cli.new_repository import NAME, TEMPLATES, NewRepository, name_from
from cos_customizer.cli.reference import commands, version
from cos_customizer.customizer.spec.recipe import read_recipe
from cos_customizer.emulator.cloud_build.workflow import parse_workflow

FILES = {
    ".gitattributes",
    ".github/workflows/image.yaml",
    "cloudbuild.yaml",
    "prefect.yaml",
    "recipes/web.yaml",
    "recipes/web/check.sh",
    "recipes/web/preload.sh",
    "requirements.txt",
}


def files(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A new one, about nothing that the templates name."""
    ran = run("init", str(tmp_path / "new"), "-name=web", "-project=acme", "-zone=europe-west6-a,europe-west6-b")
    assert ran.code == 0, ran.err
    return tmp_path / "new"


def test_it_writes_what_a_team_needs_and_nothing_more_and_names_no_other_image(repository: Path) -> None:
    assert set(files(repository)) == FILES
    for name, text in files(repository).items():
        for word in ("my-image", "my-project", "us-west1"):
            assert word not in text.replace("my-image-", ""), name


def test_the_recipe_is_one_and_its_files_are_there(repository: Path) -> None:
    spec = read_recipe(repository / "recipes/web.yaml").spec()
    assert (spec.output.name, spec.output.family, spec.output.project) == ("web", "web", "acme")
    assert spec.builder.zones == ["europe-west6-a", "europe-west6-b"]
    assert spec.scratch.bucket == "acme_cloudbuild"
    context = Path(spec.context.path)
    scripts = [*spec.steps, *spec.verify.scripts]
    assert len(scripts) == 2
    for step in scripts:
        script = context / step.label.partition(" ")[2]
        subprocess.run(["bash", "-n", script], check=True)


def test_the_workflow_of_cloud_build_is_one_and_knows_its_flags(repository: Path) -> None:
    workflow = parse_workflow(
        (repository / "cloudbuild.yaml").read_text(), "cloudbuild.yaml", {}, {"PROJECT_ID": "acme"}
    )
    known = {command.name: {flag.name for flag in command.flags} for command in commands(program)}
    for step in workflow.steps:
        name, *flags = step.args
        assert {flag.partition("=")[0] for flag in flags} <= known[name]


def test_the_deployments_name_flows_of_the_package(repository: Path) -> None:
    deployments: list[dict[str, Any]] = yaml.safe_load((repository / "prefect.yaml").read_text())["deployments"]
    ours = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [each["name"] for each in deployments] == [each["name"] for each in ours]
    for deployment, other in zip(deployments, ours, strict=True):
        function = deployment["name"].replace("-", "_")
        assert deployment["entrypoint"] == f"cos_customizer.flows.{function}.{function}"
        assert all(not schedule["active"] for schedule in deployment.get("schedules", []))
        for field in ("description", "tags", "concurrency_limit", "schedules", "work_pool", "enforce_parameter_schema"):
            assert deployment.get(field) == other.get(field), (deployment["name"], field)


def test_scripts_have_the_line_ends_that_bash_reads(repository: Path) -> None:
    assert all("\r" not in text for text in files(repository).values())
    subprocess.run(["git", "init", "-q", repository], check=True)
    asked = subprocess.run(
        ["git", "check-attr", "eol", "recipes/web/preload.sh"], cwd=repository, check=True, capture_output=True
    )
    assert asked.stdout.strip().endswith(b"eol: lf")


def test_what_ci_installs_is_this_version_or_what_was_said(tmp_path: Path) -> None:
    assert run("init", str(tmp_path / "a")).code == 0
    wanted = f"cos-customizer[emulator]=={version().partition(' ')[2]}\n"
    assert (tmp_path / "a/requirements.txt").read_text() == wanted
    requirement = "cos-customizer[emulator] @ git+https://example.com/cos-customizer@v1"
    assert run("init", f"-requirement={requirement}", str(tmp_path / "b")).code == 0
    assert (tmp_path / "b/requirements.txt").read_text() == requirement + "\n"


@pytest.mark.parametrize("there", ["prefect.yaml", ".github/workflows/image.yaml", "recipes/web.yaml"])
def test_nothing_is_written_where_a_file_is_there_already(there: str, tmp_path: Path) -> None:
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine")
    ran = run("init", str(tmp_path), "-name=web")
    assert ran.code == 2
    assert f"{there} is there already" in ran.err
    assert "-skip-existing" in ran.err
    assert files(tmp_path) == {there: "mine"}

    ran = run("init", str(tmp_path), "-name=web", "-skip-existing")
    assert ran.code == 0
    assert there not in ran.out.partition("\n\n")[0].replace(f"{there}/", "")
    assert set(files(tmp_path)) == FILES
    assert (tmp_path / there).read_text() == "mine"


def test_a_link_that_leads_nowhere_is_something_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "prefect.yaml").symlink_to("nowhere")
    assert run("init", str(tmp_path), "-name=web").code == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_second_image_gets_a_recipe_of_its_own(repository: Path) -> None:
    before = files(repository)
    ran = run("init", str(repository), "-name=worker", "-skip-existing")
    assert ran.code == 0
    after = files(repository)
    assert set(after) - set(before) == {"recipes/worker.yaml", "recipes/worker/check.sh", "recipes/worker/preload.sh"}
    assert {name: after[name] for name in before} == before


def test_without_a_directory_it_is_the_working_directory_and_gives_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Web Server").mkdir()
    monkeypatch.chdir(tmp_path / "Web Server")
    ran = run("init")
    assert ran.code == 0, ran.err
    assert Path("recipes/web-server.yaml").exists()
    assert "cd " not in ran.out


@pytest.mark.parametrize(
    ("directory", "name"),
    [("web", "web"), ("My_Images", "my-images"), ("42", NAME), ("true", NAME), ("ü", NAME), ("x" * 80, "x" * 54)],
)
def test_a_directory_s_name_is_the_image_s_as_far_as_one_can_have_it(directory: str, name: str) -> None:
    assert name_from(Path("/home", directory)) == name
    NewRepository(name=name).check()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("-name=My Image", "-name: 'My Image' is not a valid name"),
        ("-name=null", "YAML does not read 'null' as a text"),
        ("-name=" + "x" * 55, "leaves no room for a date"),
        ("-project=my project", "-project: 'my project' is not a project's id"),
        ("-project=123456", "YAML does not read '123456' as a text"),
        ("-project=0x1f", "YAML does not read '0x1f' as a text"),
        ("-project=example.com:acme", "-gcs-bucket: 'example.com:acme_cloudbuild' is not a bucket's name"),
        ("-gcs-bucket=gs://mine", "-gcs-bucket: 'gs://mine' is not a bucket's name"),
        ("-zone=us west", "-zone: 'us west' is not a zone's name"),
        ("-requirement=a\nb", "-requirement"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_before_anything_is_written(
    flag: str, said: str, tmp_path: Path
) -> None:
    ran = run("init", str(tmp_path / "new"), flag)
    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "new").exists()


def test_a_directory_that_is_a_file_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = run("init", str(tmp_path / "file"))
    assert (ran.code, "is not a directory" in ran.err) == (2, True)
    (tmp_path / "recipes").touch()
    ran = run("init", str(tmp_path))
    assert (ran.code, "recipes' is not a directory" in ran.err) == (2, True)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "recipes"}
    ran = run("init", str(tmp_path / "file" / "below"))
    assert (ran.code, "Traceback" in ran.err) == (1, False)
    assert "Not a directory" in ran.err


def test_the_templates_are_complete_as_they_stand(tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "copy")
    assert files(tmp_path / "copy") == NewRepository().files()
    assert read_recipe(tmp_path / "copy/recipes/my-image.yaml").spec().output.name == NAME
