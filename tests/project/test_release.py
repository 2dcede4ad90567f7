"""A release is one thing: tag, version and changelog agree."""

import os
import re
import subprocess
from typing import Any

import pytest
import yaml
from release import disagreement, opened, released
from support.command_line import run
from support.paths import ROOT

from cos_customizer.emulator.cloud_build.workflow import WorkflowError, parse_workflow

PYPROJECT, CHANGELOG = (ROOT / "pyproject.toml").read_text(), (ROOT / "CHANGELOG.md").read_text()


def test_this_commit_is_a_release_or_says_that_it_is_none() -> None:
    tag = os.environ.get("TAG_NAME", "")
    assert disagreement(tag, PYPROJECT, CHANGELOG) == ""


def test_the_program_tells_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE)
    assert version
    assert version[1] in run("version").out


RELEASED = ('version = "20261201"\n', "# Changelog\n\n## v20261201\n\n- a\n")
DEVELOPED = ('version = "20261201.dev0"\n', "# Changelog\n\n## Unreleased\n\n- a\n")
CASES = [
    ("v20261201", *RELEASED, ""),
    ("", *RELEASED, ""),
    ("", *DEVELOPED, ""),
    ("v20261201", *DEVELOPED, "CHANGELOG.md begins with Unreleased, not with v20261201"),
    ("v20261202", *RELEASED, "the version is 20261201, and the tag v20261202"),
    ("v1.0", *RELEASED, "'v1.0' is no tag of a release: vYYYYMMDD"),
    ("v20261301", *RELEASED, "'v20261301' is no tag of a release: vYYYYMMDD"),
    ("", RELEASED[0], DEVELOPED[1], "the version 20261201 is not that of something unreleased: YYYYMMDD.dev0"),
    ("", DEVELOPED[0], RELEASED[1], "CHANGELOG.md begins with v20261201, and the version is 20261201.dev0"),
]


@pytest.mark.parametrize(("tag", "pyproject", "changelog", "why"), CASES)
def test_what_does_not_agree_is_said(tag: str, pyproject: str, changelog: str, why: str) -> None:
    assert disagreement(tag, pyproject, changelog) == why


def test_a_release_is_made_and_the_next_one_opened() -> None:
    release = released("20261201", *DEVELOPED)
    assert disagreement("v20261201", *release) == ""
    following = opened("20270101", *release)
    assert disagreement("", *following) == ""
    assert "## Unreleased\n\nNothing yet.\n\n## v20261201\n\n- a\n" in following[1]


def test_the_workflow_of_a_release_uses_what_there_is() -> None:
    workflow: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    assert [step["id"] for step in workflow["steps"]] == ["test", "build", "sign", "latest"]
    text = " ".join(word for step in workflow["steps"] for word in step["args"])
    text += "".join(step["name"] for step in workflow["steps"])
    given = {"_DOCKER_DIGEST", "_GCLOUD_DIGEST", "PROJECT_ID", "TAG_NAME", "COMMIT_SHA", *workflow["substitutions"]}
    used = set(re.findall(r"(?<!\$)\$\{?([A-Z_]+)", text + workflow["substitutions"]["_IMAGE"]))
    assert used <= given
    for file in re.findall(r"\bmake/\w+\.py|\.ci/run", text):
        assert (ROOT / file).is_file()
    arguments = set(re.findall(r"--build-arg (\w+)=", text))
    assert arguments <= set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))


def test_cloud_build_would_take_it() -> None:
    built_in = {"PROJECT_ID": "my-project", "BUILD_ID": "1", "TAG_NAME": "v20261201", "COMMIT_SHA": "abc"}
    text = (ROOT / "cloudbuild.yaml").read_text()
    digests = dict.fromkeys(("_DOCKER_DIGEST", "_GCLOUD_DIGEST"), f"sha256:{'0' * 64}")
    with pytest.raises(WorkflowError, match="_DOCKER_DIGEST"):
        parse_workflow(text, "cloudbuild.yaml", {}, built_in)
    workflow = parse_workflow(text, "cloudbuild.yaml", digests, built_in)
    assert all(re.fullmatch(r".+@sha256:[0-9a-f]{64}", step.name) for step in workflow.steps)
    assert workflow.steps[3].args[-2:] == (
        "gcr.io/my-project/cos-customizer:latest",
        "gcr.io/my-project/cos-customizer:v20261201",
    )
    assert "token=$(gcloud auth print-identity-token" in workflow.steps[2].args[1]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_its_shell_scripts_can_be_read(step: int) -> None:
    workflow = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    script = workflow["steps"][step]["args"][1].replace("$$", "$")
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_whatever_runs_with_rights_is_named_by_its_digest() -> None:
    workflow = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
    images = {
        key: value for key, value in workflow["substitutions"].items() if key in ("_BINFMT", "_BUILDKIT", "_COSIGN")
    }
    assert len(images) == 3
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in images.values())
    scripts = " ".join(" ".join(step["args"]) for step in workflow["steps"])
    for started in re.findall(r"docker run((?:\\\n|[^\n])+)", scripts):
        assert re.search(r'"\$(\{_BINFMT\}|\{_COSIGN\}|\$base)"', started), started
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", dockerfile, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile, re.MULTILINE)
    assert {base for base, _ in stages} - {name for _, name in stages} == {"$BASE"}
    ci = (ROOT / ".github/workflows/ci.yaml").read_text()
    assert re.findall(r"image: (\S+)", ci) == re.findall(r"^ARG BASE=(\S+)", dockerfile, re.MULTILINE)
    workflows = [path.read_text() for path in (ROOT / ".github/workflows").iterdir()]
    actions = [action for workflow in workflows for action in re.findall(r"uses: (\S+)", workflow)]
    assert actions
    assert all(re.search(r"@[0-9a-f]{40}$", action) for action in actions)
    lock = (ROOT / "make/lock.sh").read_text()
    assert re.findall(r"pip\" install .*", lock) == [
        'pip" install --quiet --no-deps --require-hashes --requirement requirements/lock.txt'
    ]
    assert re.search(r"^uv==[0-9.]+ \\$", (ROOT / "requirements/lock.txt").read_text(), re.MULTILINE)
