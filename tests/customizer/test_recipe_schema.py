"""The schema of recipes says what recipes may be: the same that the specification takes and refuses, where it can."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from support.paths import ROOT
from support.specifications import FAULTS, RECIPE, REFUSED, TAKEN, changed

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.recipe import parse_recipe, read_recipe
from cos_customizer.customizer.spec.recipe_schema import recipe_schema, schema_text

RULES = recipe_schema()
EXAMPLES = ROOT / "examples" / "recipes"
RECIPES = sorted(EXAMPLES.glob("*.yaml"))


def accepts(data: Any) -> bool:
    """Whether an editor would find nothing wrong."""
    return jsonschema.Draft202012Validator(RULES).is_valid(data)


def test_the_schema_is_sound() -> None:
    jsonschema.Draft202012Validator.check_schema(RULES)
    assert RULES["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_field_is_explained() -> None:
    for name, part in {"BuildSpec": RULES, **RULES["$defs"]}.items():
        assert part["description"]
        assert part["additionalProperties"] is False
        for field, schema in part["properties"].items():
            assert {"description", "$ref"} & schema.keys() or field == "type", f"{name}.{field}"
            assert name != "BuildSpec" or schema["description"], field
            assert not {"title", "flag"} & schema.keys()


@pytest.mark.parametrize("changes", TAKEN, ids=str)
def test_what_can_be_built_is_accepted(changes: dict[str, Any]) -> None:
    assert accepts(changed(changes))


WRITTEN = [
    "steps: [{script: a.sh, env: {A: 1, B: true, C: 1.10}}]",
    "steps: [{type: run-script, script: a.sh}, {type: install-gpu, version: 390.40}]",
    "verify: {scripts: [a.sh, {script: b.sh, env: {A: b}}], keep_failed_image: true}",
    "verify: {boot: true, keep_failed_image: true}",
    "verify: {require_approval: true, approval_timeout: 3d, keep_failed_image: true}",
    "context: {path: 'gs://bucket/a.tar.gz'}",
    "output: {project: p1-images, name: i, inherit_labels: yes}",
    "output: {project: p1-images, name: i, inherit_labels: true, guest_os_features: [GVNIC], description: 5}",
    "output: {project: p1-images, name: i, inherit_labels: [team]}",
    "builder: {project: my-project, zones: [us-west1-b], spot: true, confidential_vm: SEV, metadata: {a: 1, b: true}}",
    "builder: {project: my-project, zones: [us-west1-b], gpu_type: , labels: {team: 7}}",
    "scratch: {bucket: my-project_cloudbuild, workdir: 42}",
]


@pytest.mark.parametrize("more", WRITTEN)
def test_what_may_be_written_is_accepted_and_read(more: str) -> None:
    data = {**yaml.safe_load(RECIPE), **yaml.safe_load(more)}
    assert accepts(data)
    (field,) = yaml.safe_load(more)
    parse_recipe(yaml.safe_dump({**data, field: "~"}).replace(f"{field}: '~'", more), "r.yaml", Path()).spec()


BEYOND = {
    "builder.machine_type: n4-standard-2 does not boot from",
    "builder.machine_type: c3-highcpu-8 does not boot from",
    "builder.machine_type: e2-medium does not boot from",
    "builder.shielded_integrity_monitoring needs",
    "builder.oem_size: '16'",
    "scratch.workdir: 'a\\nb'",
    "builder.machine_type: n1-standard-1 does not run as",
    "builder.machine_type: n2d-standard-2 does not run as",
    "builder.confidential_vm: SEV: no machine",
    "builder.scopes:",
    "builder.metadata: 'user-data' is set by the build",
    "builder.metadata: 'Storage-Endpoint' is set by the build",
    "builder.metadata.a: input should be a valid string",  # of YAML it is one
    "builder.metadata: the value of a",
    "builder.metadata: metadata of",
    "output.inherit_labels: 1 is",  # of YAML it is a text
    "builder.labels: a builder VM can have at most 62",
    "output.labels.a: input should be a valid string",  # of YAML it is one
    "steps.0.env.A: input should be a valid string",
    "output.licenses",
    "output.uefi_",
    "steps.1.script: '/b' is absolute",
    "verify.scripts.0.script: '../a.sh' is outside",
    "output.labels: an image that is verified has room for 61",
    "output.labels: 'cos-customizer-state' is cos-customizer's own",
    "builder.service_account",
    "builder.keep_on_failure: input should be less",
    "steps.0.env: the environment has",
    "steps.0.env_secrets: UID cannot be set",
    "A is in both steps.0.env and",
    "builder.machine_type: n1-standard-4 cannot hold",
    "verify.changes needs output.record_contents",
    "verify.approval_timeout: input should be",
    "timeout: '90'",  # of YAML it is a number
    "timeout: a build needs some time",
    "timeout: '2880h0m1s'",
}
"""What the specification refuses beyond the schema."""


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_the_specification_refuses_is_refused(changes: dict[str, Any], message: str) -> None:
    assert accepts(changed(changes)) == message.startswith(tuple(BEYOND))


@pytest.mark.parametrize("fault", FAULTS, ids=[fault[2] for fault in FAULTS])
def test_what_a_recipe_cannot_be_is_refused(fault: tuple[str, str, str, str]) -> None:
    old, new, message, _ = fault
    beyond = ("is absolute", "steps.1.version", "cannot be used with")
    data = yaml.safe_load(RECIPE.replace(old, new))
    assert accepts(data) == any(words in message for words in beyond)


MORE_FAULTS = [
    "steps: [{version: 390.40}]",
    "steps: [{type: install-gpu, version: 390.40}, {type: install-gpu, version: 390.40}]",
    "verify: {scripts: [{type: install-gpu, version: 390.40}]}",
    "verify: {scripts: a.sh}",
    "verify: {keep_failed_image: true}",
    "verify: {keep_failed_image: true, scripts: []}",
    "output: {project: p1, name: x, family: f, old_image_ttl: 5}",
    "output: {project: p1, name: , suffix: }",
]


@pytest.mark.parametrize("more", MORE_FAULTS)
def test_both_refuse_the_same(more: str) -> None:
    data = {**yaml.safe_load(RECIPE), **yaml.safe_load(more)}
    assert not accepts(data)
    with pytest.raises(UsageError):
        parse_recipe(yaml.safe_dump(data), "r.yaml", Path()).spec()


def test_every_part_of_a_recipe_is_in_the_documents() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert [name for name in RULES["properties"] if f"`{name}" not in text] == []


def test_the_schema_beside_the_examples_is_this_one() -> None:
    assert (EXAMPLES / "recipe.schema.json").read_text() == schema_text(), "`make docs` brings it up to date"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_examples_are_recipes_that_editors_understand(path: Path) -> None:
    assert accepts(yaml.safe_load(path.read_text()))
    assert read_recipe(path).spec().output.project
    first = path.read_text().partition("\n")[0]
    _, _, schema = first.partition("yaml-language-server: $schema=")
    assert (path.parent / schema).name == "recipe.schema.json"
    assert (path.parent / schema).exists()


def test_a_name_beside_a_suffix_is_told_at_the_suffix() -> None:
    faults = jsonschema.Draft202012Validator(RULES).iter_errors(changed({"output.suffix": "-x"}))
    (fault,) = faults
    assert (list(fault.path), fault.message) == (["output", "suffix"], "'-x' is not of type 'null'")


@pytest.mark.parametrize(("ttl", "is_one"), [("30d", True), (86400, True), ("1h30m", True), ("a month", False)])
def test_a_time_to_live_may_be_a_duration(ttl: Any, is_one: bool) -> None:
    output = {"output.family": "f", "output.deprecate_old_images": True, "output.old_image_ttl": ttl}
    assert accepts(changed(output)) == is_one
