"""The specification: what it takes, what it refuses, and that every refusal names the field and its flag."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec import BuildSpec, parse_spec
from cos_customizer.customizer.spec_steps import Model

MINIMAL: dict[str, Any] = {
    "source": {"project": "cos-cloud", "name": "cos-stable-68-10718-86-0"},
    "scratch": {"bucket": "my-project_cloudbuild", "workdir": "image-build-42"},
    "builder": {"project": "my-project", "zones": ["us-west1-b"]},
    "output": {"project": "my-project", "name": "my-custom-image"},
}
ABSENT = "(absent)"  # a text, so that the ids of tests are the same in every process


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """MINIMAL with values at dotted paths put in, or taken out where they are ABSENT."""
    data = copy.deepcopy(MINIMAL)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return data


def test_the_smallest_specification_has_the_documented_defaults() -> None:
    spec = parse_spec(MINIMAL)
    assert spec.source.architecture == "X86_64"
    assert spec.context.path == "."
    assert spec.steps == []
    assert (spec.timeout, spec.timeout_seconds) == ("1h0m0s", 3600)
    assert (spec.builder.disk_type, spec.builder.disk_size_gb, spec.builder.network) == (None, 0, "default")
    assert spec.builder.external_ip
    assert not spec.output.deprecate_old_images
    assert not spec.output.inherit_labels


def test_a_specification_survives_its_json_form() -> None:
    steps = [{"type": "run-script", "script": "./a.sh", "env": {"A": "ü\n'\"$x"}}, {"script": "b/../c"}]
    spec = parse_spec(
        changed({"steps": steps, "timeout": "1.5h", "output.licenses": ["", "projects/a/global/licenses/b"]})
    )
    assert BuildSpec.model_validate_json(spec.model_dump_json()) == spec
    assert [step.label for step in spec.steps] == ["run-script a.sh", "run-script c"]
    assert spec.output.licenses == ["projects/a/global/licenses/b"]
    assert spec.timeout == "1h30m0s"


@pytest.mark.parametrize("model", Model.__subclasses__(), ids=lambda model: model.__name__)
def test_every_field_has_a_description_and_its_flag_is_one(model: type[Model]) -> None:
    assert model.model_config["extra"] == "forbid"
    for name, field in model.model_fields.items():
        assert field.description or name == "type", name
        extra = field.json_schema_extra
        assert extra is None or (isinstance(extra, dict) and str(extra["flag"]).startswith("-")), name


TAKEN: list[dict[str, Any]] = [
    {"source.name": ABSENT, "source.milestone": 125},
    {"source.name": ABSENT, "source.family": "cos-stable"},
    {"source.project": "example.com:images"},
    {"output.name": ABSENT, "output.suffix": "-custom"},
    {"output.family": "f", "output.deprecate_old_images": True, "output.old_image_ttl": 3600},
    {"builder.zones": ["us-west1-b", "us-west1-a"]},
    {"builder.subnet": "projects/host/regions/us-west1/subnetworks/s"},
    {"builder.labels": {f"l{number}": "" for number in range(62)}},
    {"builder.labels": {"cos-customizer-build": "x"} | {f"l{number}": "" for number in range(62)}},
    {"output.labels": {f"l{number}": "" for number in range(64)}},
    {"context.sha256": "0" * 64},
    {"builder.service_account": "builder@my-project.iam.gserviceaccount.com"},
    {"builder.kms_key": "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3"},
    {"output.labels": {f"l{number}": "" for number in range(61)}, "verify.boot": True},
    {"timeout": "1ns"},
    {"timeout": "2880h"},
    {"steps": [{"script": "a.sh"}] * 200},
]


@pytest.mark.parametrize("changes", TAKEN, ids=str)
def test_what_can_be_built_is_taken(changes: dict[str, Any]) -> None:
    parse_spec(changed(changes))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"scratch": ABSENT}, "scratch must be set"),
    ({"scratch.bucket": ABSENT}, "-gcs-bucket (scratch.bucket) must be set"),
    ({"scratch.bucket": "gs://b"}, "-gcs-bucket (scratch.bucket): 'gs://b' is not a bucket's name (no gs://"),
    ({"scratch.workdir": ""}, "-gcs-workdir (scratch.workdir): String should have at least 1 character"),
    ({"scratch.workdir": "a\nb"}, "-gcs-workdir (scratch.workdir): 'a\\nb' cannot be part of an object's name"),
    ({"colour": "blue"}, "colour is not a field of a build's specification"),
    ({"builder.colour": "blue"}, "builder.colour is not a field of a build's specification"),
    ({"source.name": ABSENT}, "exactly one of -image-name, -image-milestone and -image-family must be set"),
    ({"source.family": "f"}, "exactly one of -image-name, -image-milestone and -image-family must be set"),
    ({"source.name": ""}, "-image-name (source.name): '' is not a valid name"),
    ({"source.name": "a/b"}, "-image-name (source.name): 'a/b' is not a valid name"),
    ({"source.name": ABSENT, "source.family": "a/b"}, "-image-family (source.family): 'a/b' is not a valid name"),
    ({"source.name": ABSENT, "source.milestone": 0}, "-image-milestone (source.milestone): Input should be greater"),
    ({"source.name": ABSENT, "source.milestone": "x"}, "-image-milestone (source.milestone): Input should be a valid"),
    (
        {"source.name": ABSENT, "source.milestone": 125, "source.project": "mine"},
        "-image-milestone needs -image-project=cos-cloud, not 'mine'",
    ),
    ({"source.project": "a b"}, "-image-project (source.project): 'a b' is not a project's id"),
    (
        {"source.architecture": "RISCV"},
        "-image-architecture (source.architecture): Input should be 'X86_64' or 'ARM64'",
    ),
    ({"builder.zones": []}, "-zone (builder.zones): List should have at least 1 item"),
    ({"builder.zones": ["us west"]}, "-zone (builder.zones.0): 'us west' is not a valid name"),
    ({"builder.zones": "us-west1-b"}, "-zone (builder.zones): Input should be a valid list"),
    ({"builder.project": ""}, "-project (builder.project): '' is not a project's id"),
    ({"builder.disk_size_gb": -1}, "-disk-size-gb (builder.disk_size_gb): Input should be greater than or equal to 0"),
    ({"builder.disk_size_gb": 10**30}, "-disk-size-gb (builder.disk_size_gb): Input should be less than or equal to"),
    ({"builder.network_tags": ["ok", "No"]}, "-network-tags (builder.network_tags.1): 'No' is not a valid name"),
    ({"builder.kms_key": "my-key"}, "-kms-key (builder.kms_key): 'my-key' is not a key's name: write projects/"),
    ({"builder.service_account": "me"}, "-service-account (builder.service_account): 'me' is not the e-mail address"),
    ({"verify.keep_failed_image": True}, "-keep-failed-image needs -verify-script or -verify-boot"),
    (
        {"verify.scripts": ["../a.sh"]},
        "-verify-script (verify.scripts.0.script): '../a.sh' is outside the build context",
    ),
    (
        {"output.labels": {f"l{number}": "" for number in range(62)}, "verify.boot": True},
        "-labels: an image that is verified has room for 61 until it is released",
    ),
    (
        {"output.labels": {"cos-customizer-state": "unreleased"}},
        "-labels (output.labels): 'cos-customizer-state' is cos-customizer's own",
    ),
    ({"builder.labels": {"A": "b"}}, "-builder-labels (builder.labels): 'A' is not a valid label key"),
    (
        {"builder.labels": {f"l{number}": "" for number in range(63)}},
        "-builder-labels (builder.labels): a builder VM can have at most 62 labels beside the build's own, not 63",
    ),
    (
        {"output.labels": {f"l{number}": "" for number in range(65)}},
        "-labels (output.labels): a resource can have at most 64 labels, not 65",
    ),
    ({"output.labels": {"a": 1}}, "-labels (output.labels.a): Input should be a valid string"),
    ({"output.name": "My image"}, "-image-name (output.name): 'My image' is not a valid name"),
    ({"output.name": ABSENT}, "exactly one of -image-name and -image-suffix must be set"),
    ({"output.suffix": "-x"}, "exactly one of -image-name and -image-suffix must be set"),
    ({"output.deprecate_old_images": True}, "-deprecate-old-images needs -image-family"),
    ({"output.old_image_ttl": 1}, "-old-image-ttl needs -deprecate-old-images"),
    ({"output.old_image_ttl": -1}, "-old-image-ttl (output.old_image_ttl): Input should be greater than or equal"),
    ({"output.old_image_ttl": 10**12}, "-old-image-ttl (output.old_image_ttl): Input should be less than or equal"),
    ({"output.licenses": ["cos"]}, "-licenses (output.licenses): 'cos' is not a licence"),
    ({"context.path": ""}, "-build-context (context.path): String should have at least 1 character"),
    ({"context.sha256": "x"}, "context.sha256: String should match pattern"),
    ({"steps": [{"script": "a"}, {"script": "/b"}]}, "-script (steps.1.script): '/b' is absolute"),
    ({"steps": [{}]}, "-script (steps.0.script) must be set"),
    ({"steps": [{"type": "fly", "script": "a"}]}, "steps.0.type must be one of run-script, install-gpu"),
    ({"steps": [{"script": "a", "env": {"1": ""}}]}, "-env (steps.0.env): '1' is not a valid environment variable"),
    ({"steps": [{"script": "a", "env": {"A": 1}}]}, "-env (steps.0.env.A): Input should be a valid string"),
    ({"steps": [{"script": "a", "env": {"A": "x" * 131072}}]}, "-env (steps.0.env): the environment has 131,074 bytes"),
    (
        {"builder.machine_type": "n1-standard-4", "builder.gpu_type": "nvidia-l4"},
        "-machine-type=n1-standard-4 cannot hold -gpu-type=nvidia-l4: g2 can",
    ),
    ({"timeout": "1d"}, "-timeout (timeout): '1d' is not a duration: 'd' is not one of the units"),
    ({"timeout": 90}, "-timeout (timeout): '90' is not a duration: a unit is missing"),
    ({"timeout": "0s"}, "-timeout (timeout): a build needs some time; '0s' is none"),
    ({"timeout": "-1h"}, "-timeout (timeout): a build needs some time; '-1h' is none"),
    ({"timeout": "0.5ns"}, "-timeout (timeout): a build needs some time"),
    ({"timeout": "2880h0m1s"}, "-timeout (timeout): '2880h0m1s' is longer than Compute Engine lets a builder VM run"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_cannot_be_right_is_refused_by_field_and_flag(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(changed(changes))
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("data", [None, [], "text", 1])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match="the specification of a build must be a mapping"):
        parse_spec(data)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(changed({"scratch.bucket": "B", "builder.zones": [], "timeout": "x"}))
    assert [part.partition(" ")[0] for part in caught.value.message.split("; ")] == ["-gcs-bucket", "-zone", "-timeout"]


def test_no_value_of_an_environment_variable_is_in_a_message() -> None:
    envs: list[Any] = [
        {"A-B": "hunter2"},
        {"A": ["hunter2"]},
        ["hunter2"],
        {"A": "hunter2" * 20000},
        {"A": "hunter2\0"},
    ]
    for env in envs:
        with pytest.raises(UsageError) as caught:
            parse_spec(changed({"steps": [{"script": "a", "env": env}]}))
        assert "hunter2" not in caught.value.message


def test_a_specification_cannot_be_changed() -> None:
    spec = parse_spec(MINIMAL)
    with pytest.raises(ValidationError):
        setattr(spec, "timeout", "1h")  # noqa: B010 - the type checker would see it too


@pytest.mark.parametrize(
    ("suffix", "name"),
    [("-custom", "cos-stable-68-10718-86-0-custom"), ("_custom", None), ("-", None), ("-" + "x" * 60, None)],
)
def test_a_suffix_makes_a_name_or_is_refused(suffix: str, name: str | None) -> None:
    spec = parse_spec(changed({"output.name": ABSENT, "output.suffix": suffix}))
    source = MINIMAL["source"]["name"]
    if name is not None:
        assert spec.output.name_for(source) == name
        return
    with pytest.raises(ValueError, match="is not a valid name"):
        spec.output.name_for(source)
