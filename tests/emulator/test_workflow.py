"""Workflows of Cloud Build: what is refused, what substitutions become, which step waits for which."""

import shlex
import subprocess
from typing import Any

import pytest
import yaml

from cos_customizer.emulator.cloud_build.model import Workflow
from cos_customizer.emulator.cloud_build.workflow import WorkflowError, parse_workflow, wait_graph

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


EXPANDED = [
    ("${_URL}", "git@host:team/web.git"),
    ("${#_SHA}", "8"),
    ("${_SHA:0:4} ${_SHA:6} ${_SHA: -3} ${_SHA: -3:2} ${_SHA:2:-3} ${_SHA:9}", "0a1b fG bfG bf 1b2 "),
    ("${_URL#*:} ${_URL##*/} ${_URL%.git} ${_URL%%[:@]*}", "team/web.git web.git git@host:team/web git"),
    ("${_URL/t/T} ${_URL//t/T}", "giT@host:team/web.git giT@hosT:Team/web.giT"),
    ("${_URL/#git/svn} ${_URL/%git/svn}", "svn@host:team/web.git git@host:team/web.svn"),
    ("${_BRANCH//[^a-zA-Z0-9]/-} ${_BRANCH//[[:upper:]_]} ${_BRANCH//\\//-}", "feature-A-b feature/b feature-A_b"),
    ("${_SHA^^} ${_SHA,,} ${_WORD^} ${_WORD^^[ao]} ${_SHA,}", "0A1B2BFG 0a1b2bfg Tomato tOmAtO 0a1b2bfG"),
    ("${_EMPTY:-none} ${_EMPTY-none} ${_NONE-none} ${_NONE:=x} ${_WORD:-x}", "none  none x tomato"),
    ("${_EMPTY:+there}${_WORD:+there} ${_NONE+x}${_EMPTY+set}", "there set"),
    ("${_NONE:-${_WORD%o}} ${_NONE:-$PROJECT_ID}", "tomat my-project"),
    ("$${_WORD%o} $$_WORD $${L[@]}", "${_WORD%o} $_WORD ${L[@]}"),
    ("${_WORD", "${_WORD"),
]


@pytest.mark.parametrize(("written", "becomes"), EXPANDED, ids=[written for written, _ in EXPANDED])
def test_bash_s_expansions_are_bash_s_where_the_workflow_has_them(written: str, becomes: str) -> None:
    words = {"_URL": "git@host:team/web.git", "_SHA": "0a1b2bfG", "_BRANCH": "feature/A_b", "_WORD": "tomato"}
    values = {**words, "_EMPTY": ""}
    options = {"dynamicSubstitutions": True, "substitutionOption": "ALLOW_LOOSE"}
    steps = [{"name": OURS, "args": [written]}]
    (found,) = parse(yaml.safe_dump({"steps": steps, "substitutions": values, "options": options})).steps
    assert found.args == (becomes,)
    script = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    script += f"PROJECT_ID=my-project\ncat << END\n{written}\nEND\n"
    if "$$" not in written and written.count("{") == written.count("}"):
        bash = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
        assert bash.stdout == f"{becomes}\n"


def test_without_dynamic_substitutions_an_expansion_is_the_step_s_own() -> None:
    assert parse(step(args=["${BUILD_ID:0:2}"])).steps[0].args == ("${BUILD_ID:0:2}",)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${_A[0]}", r"\$\{_A\[0\]\}: no expansion that Cloud Build knows"),
        ("${_A:x}", "offset and length are whole numbers"),
        ("${_A:2:-3}", "its end is before its beginning"),
        ("${_NONE:?say it}", "say it"),
        ("${_NONE?}", "_NONE has no value"),
    ],
)
def test_expansions_that_fail_are_named(written: str, message: str) -> None:
    options = "substitutions: {_A: abc}\noptions: {dynamicSubstitutions: true, substitutionOption: ALLOW_LOOSE}"
    with pytest.raises(WorkflowError, match=message):
        parse(step(args=[written]) + options)


def test_a_pull_request_s_substitutions_are_built_in_and_a_service_account_can_be_given() -> None:
    names = "[$_PR_NUMBER$_HEAD_BRANCH$_BASE_BRANCH$_HEAD_REPO_URL]"
    assert parse(step(args=[names])).steps[0].args == ("[]",)
    assert parse(step(args=["$_PR_NUMBER"]), _PR_NUMBER="5").steps[0].args == ("5",)
    given = parse(step(args=["$SERVICE_ACCOUNT_EMAIL"]), SERVICE_ACCOUNT_EMAIL="a@b")
    assert given.steps[0].args == ("a@b",)


def test_one_text_where_a_list_stands_is_a_list_of_one() -> None:
    text = step(id="a", args="version", env="A=$BUILD_ID") + "- {name: x, waitFor: a, secretEnv: B}\n"
    first, second = parse(text + "availableSecrets: {secretManager: [{versionName: v, env: B}]}").steps
    assert (first.args, first.env, second.wait_for, second.secret_env) == (("version",), ("A=b-1",), ("a",), ("B",))


def test_a_script_is_left_as_it_is_and_may_have_substitutions_in_its_environment() -> None:
    script = "#!/bin/bash\necho $BASE_IMAGE ${x%y} $$\n"
    assert parse(step(script=script)).steps[0].script == script
    text = step(script=script, env=["PROJECT_ID=mine"]) + "substitutions: {_ZONE: here}\n"
    with pytest.raises(WorkflowError, match="_ZONE is given, but not used"):
        parse(text)
    env = parse(text + "options: {automapSubstitutions: true}").steps[0].env
    assert {"_ZONE=here", "BUILD_ID=b-1"} <= set(env)
    assert env[-1] == "PROJECT_ID=mine"
    own = yaml.safe_dump({"steps": [{"name": OURS, "automapSubstitutions": False}, {"name": "x"}]})
    first, second = parse(own + "options: {automapSubstitutions: true}").steps
    assert (first.env, "BUILD_ID=b-1" in second.env) == ((), True)


def test_secrets_and_volumes_of_all_steps_are_those_of_each() -> None:
    text = yaml.safe_dump(
        {
            "steps": [{"name": "a", "secretEnv": ["A"]}, {"name": "b", "volumes": [{"name": "v", "path": "/b"}]}],
            "availableSecrets": {
                "secretManager": [
                    {"versionName": "projects/$PROJECT_ID/secrets/a/versions/1", "env": "A"},
                    {"versionName": "projects/p/secrets/b/versions/1", "env": "B"},
                ]
            },
            "options": {"secretEnv": ["A"], "volumes": [{"name": "v", "path": "/v"}]},
        }
    )
    workflow = parse(text)
    assert [found.secret_env for found in workflow.steps] == [("A",), ("A",)]
    assert [[(each.name, each.path) for each in found.volumes] for found in workflow.steps] == [
        [("v", "/v")],
        [("v", "/b")],
    ]
    assert workflow.secret_versions(workflow.steps) == {"A": "projects/my-project/secrets/a/versions/1"}


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
    (step(script="date", args=["a"]), "steps.0: a step with a script has neither args nor", ""),
    (step(secretEnv=["A"]), "steps.0.secretEnv: there is no secret for A", "availableSecrets has: none"),
    (step(volumes=[{"name": "a", "path": "/workspace"}]), "steps.0.volumes: '/workspace' is taken", ""),
    (
        step(volumes=[{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}]),
        "steps.0.volumes: two have the name 'a'",
        "",
    ),
    (step(volumes=[{"name": "a", "path": "a"}]), "steps.0.volumes.0.path: String should match", ""),
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
    assert parse(step() + "images: [a]\ndependencies: [x]\ntags: [t]").ignored_fields() == ["images", "dependencies"]
