"""`emulator run-cloudbuild` on the command line: what it refuses, what its exit codes say, which emulator it takes."""

import base64
from pathlib import Path

import pytest
import yaml
from support.command_line import run
from support.compute_clients import call
from support.containers import image as container_image

from cos_customizer.emulator.server import Emulator

COMMAND = ("emulator", "run-cloudbuild")
OURS = "{name: gcr.io/$PROJECT_ID/cos-customizer, args: [help]}"
SHELL = "{name: cos-customizer, entrypoint: sh, args: ['-c', 'echo $PROJECT_ID $_NAME $$HOME; exit $_CODE']}"


def keep_secret(emulator: Emulator) -> None:
    secrets = "/v1/projects/my-project/secrets"
    value = {"payload": {"data": base64.b64encode(b"s3cret").decode()}}
    assert call(emulator, "POST", f"{secrets}?secretId=token", {"replication": {"automatic": {}}})[0] == 200
    assert call(emulator, "POST", f"{secrets}/token:addVersion", value)[0] == 200


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workflow that can be run; the home is empty."""
    directory = tmp_path / "workflow"
    directory.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    path = directory / "cloudbuild.yaml"
    path.write_text(f"steps: [{SHELL}]\nsubstitutions: {{_NAME: x, _CODE: '0'}}\n")
    return path


def test_flags_may_stand_before_the_file_and_after_it(file: Path, emulator: Emulator) -> None:
    flags = ("-substitutions=_NAME=web", "-project=other-project")
    for arguments in ((*flags, str(file)), (str(file), *flags), (str(file), "--substitutions", "_NAME=web", flags[1])):
        ran = run(*COMMAND, *arguments)
        assert ran.code == 0, ran.err
        (said,) = [line for line in ran.out.splitlines() if line.startswith("Step #0: ")]
        assert said.startswith("Step #0: other-project web /")
        assert said.endswith("/builder/home")
        assert ran.out.splitlines()[-1] == "SUCCESS"


def test_the_exit_code_says_what_came_of_it(file: Path, emulator: Emulator) -> None:
    failed = run(*COMMAND, str(file), "-substitutions=_CODE=7")
    assert failed.code == 1
    assert 'build step 0 "cos-customizer" failed: step exited with non-zero status: 7' in failed.err
    assert "FAILURE" in failed.out
    file.write_text(f"steps: [{OURS}, {{name: ubuntu}}, {OURS}]\nimages: [a]")
    left_out = run(*COMMAND, str(file))
    assert left_out.code == 3
    assert "Step #1: left out: ubuntu" in left_out.out
    assert "images: left out" in left_out.out
    assert "steps of other images were left out: #1" in left_out.err
    file.write_text("steps: [{name: cos-customizer, entrypoint: sleep, args: ['1000']}]")
    late = run(*COMMAND, str(file), "-timeout=500ms")
    assert late.code == 1
    assert "build timed out after 0.5 s" in late.err
    assert late.out.splitlines()[-1] == "TIMEOUT"


REFUSED = [
    ("steps: [{name: cos-customizer, arg: [x]}]", "steps.0.arg: unknown field", "did you mean args?"),
    (f"steps: [{OURS}]\ntimeout: 5m", "'5m' is no duration", ""),
    (
        "steps: [{name: cos-customizer, volumes: [{name: a, path: /a}]}]",
        "steps.0.volumes: a process has none",
        "-container-tool",
    ),
    (
        "steps: [{name: cos-customizer, secretEnv: [A]}]\nsecrets: [{kmsKeyName: k, secretEnv: {A: x}}]",
        "steps.0.secretEnv: A is encrypted by Cloud KMS",
        "availableSecrets.secretManager",
    ),
    ("steps: [{name: ubuntu, script: date}]", "no step is of an image cos-customizer", "-image=IMAGE"),
]


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_what_cannot_be_run_is_refused_before_anything_runs(
    file: Path, emulator: Emulator, text: str, message: str, hint: str
) -> None:
    file.write_text(text)
    ran = run(*COMMAND, str(file))
    assert ran.code == 2
    assert message in ran.err
    assert hint in ran.err
    assert "Step #0" not in ran.out


def test_images_of_other_names_are_run_where_they_are_said_to_be_ours(file: Path, emulator: Emulator) -> None:
    other = "{name: 'bazel:cos_customizer', entrypoint: echo, args: [here]}"
    file.write_text(f"steps: [{other}, {{name: ubuntu, script: date}}]")
    for image in ("bazel:cos_customizer", "other,bazel"):
        ran = run(*COMMAND, str(file), f"-image={image}")
        assert ran.code == 3, ran.err
        assert "Step #0: here" in ran.out.splitlines()


def test_a_substitution_may_hold_commas_behind_another_delimiter(file: Path, emulator: Emulator) -> None:
    file.write_text(f"steps: [{SHELL}]")
    ran = run(*COMMAND, str(file), "-substitutions=^;^_NAME=a=1,b=2;_CODE=0")
    assert ran.code == 0, ran.err
    assert "Step #0: my-project a=1,b=2 /" in ran.out
    refused = run(*COMMAND, str(file), "-substitutions=_NAME=a,b")
    assert refused.code == 2
    assert "-substitutions='^;^KEY=a,b;KEY=c'" in refused.err


def test_a_step_s_secrets_are_those_of_the_emulator_s_secret_manager(file: Path, emulator: Emulator) -> None:
    step = {"name": "cos-customizer", "script": "echo $TOKEN", "secretEnv": ["TOKEN"]}
    version = {"versionName": "projects/$PROJECT_ID/secrets/token/versions/latest", "env": "TOKEN"}
    file.write_text(yaml.safe_dump({"steps": [step], "availableSecrets": {"secretManager": [version]}}))
    missing = run(*COMMAND, str(file))
    assert missing.code == 1
    assert "secretEnv: TOKEN cannot be read: " in missing.err
    assert "gcloud secrets create" in missing.err
    assert "Step #0" not in missing.out
    keep_secret(emulator)
    ran = run(*COMMAND, str(file))
    assert ran.code == 0, ran.err
    assert "Step #0: s3cret" in ran.out.splitlines()


@pytest.mark.container
def test_a_step_s_container_has_its_script_its_volumes_and_its_secrets(file: Path, emulator: Emulator) -> None:
    keep_secret(emulator)
    volumes = [{"name": "shared", "path": "/shared"}]
    script = '#!/usr/bin/env bash\necho "$PROJECT_ID $TOKEN" > /shared/file; pwd'
    first = {"name": "cos-customizer", "script": script, "secretEnv": "TOKEN", "volumes": volumes, "dir": "sub"}
    second = {"name": "cos-customizer", "entrypoint": "cat", "args": "/shared/file", "volumes": volumes}
    version = {"versionName": "projects/$PROJECT_ID/secrets/token/versions/1", "env": "TOKEN"}
    workflow = {"steps": [first, second], "availableSecrets": {"secretManager": [version]}}
    file.write_text(yaml.safe_dump({**workflow, "options": {"automapSubstitutions": True}}))
    ran = run(*COMMAND, str(file), "-container-tool=buildah", f"-container-image={container_image()}")
    assert ran.code == 0, ran.out + ran.err
    assert [line for line in ran.out.splitlines() if line.startswith("Step")] == [
        "Step #0: /workspace/sub",
        "Step #1: my-project s3cret",
    ]


def test_files_and_directories_that_are_not_there_are_named(file: Path, emulator: Emulator) -> None:
    for arguments, message in (
        ((str(file.with_name("other.yaml")),), "other.yaml cannot be read: No such file or directory"),
        ((str(file), f"-source={file.parent}/none"), "none is not a directory"),
        ((), "Missing argument 'FILE'"),
        ((str(file), "-grace=5"), "-grace: '5' is not a duration"),
        ((str(file), "-timeout=-5m"), "-timeout: -5m0s is less than nothing"),
        ((str(file), "-container-image=x"), "-container-image needs -container-tool"),
        ((str(file), str(file)), "unexpected extra argument"),
    ):
        ran = run(*COMMAND, *arguments)
        assert ran.code == 2, ran.err
        assert message in ran.err


def test_without_an_emulator_nothing_is_run(file: Path, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all in Google Cloud."""
    name = "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"
    monkeypatch.setenv(name, "https://compute.example.com/compute/v1/")
    assert "is not this machine" in run(*COMMAND, str(file)).err
    monkeypatch.setenv(name, "http://127.0.0.1:1/compute/v1/")
    assert "no emulator answers at http://127.0.0.1:1/" in run(*COMMAND, str(file)).err
    monkeypatch.delenv(name)
    ran = run(*COMMAND, str(file))
    assert ran.code == 1
    assert "the emulator does not run" in ran.err
    assert "emulator start" in ran.err
    elsewhere = run(*COMMAND, str(file), f"-state-dir={file.parent}")
    assert f"the emulator does not run on {file.parent}" in elsewhere.err
    assert "Step #0" not in ran.out + elsewhere.out
