"""Workflows of Cloud Build: what is refused, what substitutions become, which step waits for which."""

from typing import Any

import pytest
import yaml

from cos_customizer.emulator.cloud_build.workflow import Workflow, WorkflowError, parse_workflow, wait_graph

BUILT_IN = {"PROJECT_ID": "my-project", "BUILD_ID": "b-1"}
OURS = "gcr.io/$PROJECT_ID/cos-customizer"


def parse(text: str, **given: str) -> Workflow:
    return parse_workflow(text, "w.yaml", given, BUILT_IN)


def step(**fields: Any) -> str:
    return yaml.safe_dump({"steps": [{"name": OURS, **fields}]})


SUBSTITUTED = [
    ("$PROJECT_ID", "my-project"),
    ("${PROJECT_ID}_cloudbuild", "my-project_cloudbuild"),
    ("$PROJECT_ID-x", "my-project-x"),
    ("a$BUILD_ID$BUILD_ID", "ab-1b-1"),
    ("$_ZONE/${_ZONE}", "here/here"),
    ("$$PROJECT_ID $$$PROJECT_ID", "$PROJECT_ID $my-project"),
    ("$$(date) $$$$", "$(date) $$"),
    ("$(date) ${x} $1 100$ $lower", "$(date) ${x} $1 100$ $lower"),  # not of a substitution's form: left alone
    ("[$COMMIT_SHA$TAG_NAME]", "[]"),  # there is no trigger
]


@pytest.mark.parametrize(("written", "becomes"), SUBSTITUTED, ids=[written for written, _ in SUBSTITUTED])
def test_substitutions_are_replaced_as_cloud_build_replaces_them(written: str, becomes: str) -> None:
    options = "options: {substitutionOption: ALLOW_LOOSE}\nsubstitutions: {_ZONE: here}\n"
    fields = {"args": [written], "env": [f"A={written}"], "dir": written, "entrypoint": written}
    (found,) = parse(step(**fields) + options).steps
    assert (found.args, found.env, found.dir, found.entrypoint) == ((becomes,), (f"A={becomes}",), becomes, becomes)
    assert found.name == "gcr.io/my-project/cos-customizer"


def test_what_the_user_gives_wins_over_the_workflow_and_a_trigger_s_may_be_given() -> None:
    text = step(args=["$_ZONE", "$TAG_NAME"]) + "substitutions: {_ZONE: here}\n"
    assert parse(text).steps[0].args == ("here", "")
    assert parse(text, _ZONE="there", TAG_NAME="v1").steps[0].args == ("there", "v1")


def test_substitutions_may_name_others_if_the_workflow_says_so() -> None:
    text = step(args=["$_IMAGE"]) + "substitutions: {_IMAGE: '${_NAME}-$PROJECT_ID', _NAME: web}\n"
    loose = "options: {substitutionOption: ALLOW_LOOSE}"
    assert parse(text + loose).steps[0].args == ("${_NAME}-$PROJECT_ID",)
    dynamic = "options: {dynamicSubstitutions: true}"
    assert parse(text + dynamic).steps[0].args == ("web-my-project",)
    with pytest.raises(WorkflowError, match="in a circle"):
        parse(step(args=["$_A"]) + "substitutions: {_A: $_B, _B: $_A}\n" + dynamic)
    with pytest.raises(WorkflowError, match="bash's expansions"):
        parse(step(args=["${_A%.git}"]) + "substitutions: {_A: x}\n" + dynamic)


def test_environment_of_all_steps_comes_before_that_of_one() -> None:
    (found,) = parse(step(env=["A=2"]) + "options: {env: ['A=1', 'B=$BUILD_ID']}\n").steps
    assert found.env == ("A=1", "B=b-1", "A=2")


REFUSED = [
    ("a: [", "w.yaml is not YAML", ""),
    ("- a", "w.yaml is no workflow", "steps"),
    ("steps: []", "w.yaml is no workflow", "steps"),
    ("steps: [{args: [a]}]", "steps.0.name: Field required", ""),
    (step(arg=["a"]), "steps.0.arg: unknown field", "did you mean args?"),
    (step(waitfor=["a"]), "steps.0.waitfor: unknown field", "did you mean waitFor?"),
    (step() + "timeuot: 5s", "timeuot: unknown field", "did you mean timeout?"),
    (step() + "options: {env: [A=1], substitution: x}", "options.substitution: unknown", "substitutionOption"),
    (step(args=[5]), "steps.0.args.0: 5 is no text", "quotes"),
    (step(env=["A"]), "steps.0.env: 'A' is not of the form NAME=VALUE", ""),
    (step(dir="../x"), "steps.0.dir: '../x' leads out", ""),
    (step() + "timeout: 10m", "timeout: '10m' is no duration", ""),
    (step(timeout="0s"), "steps.0.timeout: no time at all", ""),
    (step() + "timeout: 90000s", "timeout: longer than a day", ""),
    (step(timeout="601s") + "timeout: 600s", "steps.0.timeout: longer than the build's own, 600s", ""),
    (step(waitFor=["x"]), "steps.0.waitFor: no step before this one has the id 'x'", "ids before it: none"),
    (step(id="-"), "steps.0.id: '-' is taken", ""),
    ("steps: [{name: a, id: x}, {name: a, id: x}]", "steps.1.id: 'x' is taken", "unique"),
    ("steps: [{name: a, waitFor: [x]}, {name: a, id: x}]", "steps.0.waitFor: no step before", ""),
    (step(args=["$_ZONE"]), "substitution _ZONE has no value", "-substitutions=_ZONE="),
    (step(args=["$ZONE"]), "$ZONE is not a substitution that is built in", "$$ZONE"),
    (step(args=["$ZONE"]) + "options: {substitutionOption: ALLOW_LOOSE}", "$ZONE is not a substitution", ""),
    (step() + "substitutions: {_ZONE: x}", "_ZONE is given, but not used", "ALLOW_LOOSE"),
    (step() + "substitutions: {ZONE: x}", "substitution ZONE cannot be set", "begin with _"),
    (step() + "substitutions: {PROJECT_ID: x}", "substitution PROJECT_ID cannot be set", "TAG_NAME"),
    (step() + "substitutions: {_ZONE: 5}", "substitutions._ZONE: 5 is no text", "quotes"),
]


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_what_cloud_build_refuses_is_refused_and_says_where(text: str, message: str, hint: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert hint in caught.value.hint


def test_allow_loose_lets_unknown_and_unused_substitutions_pass() -> None:
    loose = "options: {substitutionOption: ALLOW_LOOSE}\nsubstitutions: {_UNUSED: x}"
    assert parse(step(args=["[$_ZONE]"]) + loose).steps[0].args == ("[]",)


WAITS = [
    ([{}, {}, {}], [set(), {0}, {0, 1}]),
    ([{}, {"waitFor": ["-"]}, {}], [set(), set(), {0, 1}]),
    ([{"id": "a"}, {"id": "b", "waitFor": ["-"]}, {"waitFor": ["a"]}, {}], [set(), set(), {0}, {0, 1, 2}]),
    ([{"id": "a"}, {"waitFor": ["-", "a"]}, {"waitFor": []}], [set(), {0}, {0, 1}]),
]


@pytest.mark.parametrize(("steps", "graph"), WAITS)
def test_a_step_waits_for_all_before_it_or_for_those_it_names(
    steps: list[dict[str, Any]], graph: list[set[int]]
) -> None:
    workflow = parse(yaml.safe_dump({"steps": [{"name": "x", **fields} for fields in steps]}))
    assert list(wait_graph(workflow.steps).values()) == graph


CODES = [
    ({}, {0: True, 1: False}),
    ({"allowFailure": True}, {0: True, 1: True, 137: True}),
    ({"allowExitCodes": [3]}, {0: True, 3: True, 1: False}),
    ({"allowExitCodes": ["3"], "allowFailure": True}, {0: True, 3: True, 1: False}),
]


@pytest.mark.parametrize(("fields", "codes"), CODES)
def test_exit_codes_that_a_build_goes_on_after(fields: dict[str, Any], codes: dict[int, bool]) -> None:
    (found,) = parse(step(**fields)).steps
    assert {code: found.may_end_with(code) for code in codes} == codes


IMAGES = {
    "cos-customizer": "cos-customizer",
    "gcr.io/my-project/cos-customizer": "cos-customizer",
    "europe-docker.pkg.dev/p/r/cos-customizer:v20261124": "cos-customizer",
    "localhost:5000/cos-customizer@sha256:0a": "cos-customizer",
    "gcr.io/cloud-builders/gcloud": "gcloud",
    "gcr.io/cos-customizer/other": "other",
    "my-cos-customizer": "my-cos-customizer",
}


@pytest.mark.parametrize(("name", "image"), IMAGES.items())
def test_the_image_s_bare_name(name: str, image: str) -> None:
    assert parse(f"steps: [{{name: '{name}'}}]").steps[0].image() == image


def test_json_and_names_with_underscores_are_taken_as_gcloud_takes_them() -> None:
    (_, found) = parse('{"steps": [{"name": "x", "id": "a"}, {"name": "x", "wait_for": ["-"]}]}').steps
    assert found.wait_for == ("-",)


def test_what_means_nothing_here_is_named() -> None:
    text = (
        step(script="date", volumes=[{}])
        + "images: [a]\navailableSecrets: {x: y}\noptions: {secretEnv: [A]}\ntags: [t]"
    )
    workflow = parse(text)
    assert workflow.ignored_fields() == ["images", "availableSecrets", "options.secretEnv"]
    assert workflow.steps[0].ignored_fields() == ["script", "volumes"]
