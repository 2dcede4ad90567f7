"""The specification: what it takes, what it refuses, and that every refusal names the field."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.specifications import ABSENT, MINIMAL, REFUSED, SECRET, TAKEN, changed

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.base import Model
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec


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


def models(base: type[Model]) -> list[type[Model]]:
    """All models below one."""
    return [model for child in base.__subclasses__() for model in (child, *models(child))]


@pytest.mark.parametrize("model", models(Model), ids=lambda model: model.__name__)
def test_every_field_has_a_description(model: type[Model]) -> None:
    assert model.model_config["extra"] == "forbid"
    for name, field in model.model_fields.items():
        assert field.description or name == "type", name


@pytest.mark.parametrize("changes", TAKEN, ids=str)
def test_what_can_be_built_is_taken(changes: dict[str, Any]) -> None:
    parse_spec(changed(changes))


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_what_cannot_be_right_is_refused_by_field(changes: dict[str, Any], message: str) -> None:
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
    fields = [part.partition(":")[0] for part in caught.value.message.split("; ")]
    assert fields == ["scratch.bucket", "builder.zones", "timeout"]


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


def test_what_a_secret_must_not_be_is_in_no_message_for_it_may_be_the_secret() -> None:
    steps: list[Any] = [
        {"env_secrets": {"A": "hunter2"}},
        {"env_secrets": {"A": ["hunter2"]}},
        {"env_secrets": {"A": "projects/p/secrets/s/versions/hunter2/x"}},
        {"env_secrets": ["hunter2"]},
        {"env": {"A": "hunter2"}, "env_secrets": {"A": SECRET}},
    ]
    for step in steps:
        for place in ({"steps": [{"script": "a", **step}]}, {"verify.scripts": [{"script": "a", **step}]}):
            with pytest.raises(UsageError) as caught:
                parse_spec(changed(place))
            assert "hunter2" not in caught.value.message


def test_secrets_of_steps_and_of_verification_are_known_to_the_specification() -> None:
    given = {"script": "a", "env_secrets": {"A": SECRET}}
    assert not parse_spec(changed({"steps": [{"script": "a"}]})).has_secrets
    for place in ({"steps": [given]}, {"verify.scripts": [given]}):
        spec = parse_spec(changed(place))
        assert spec.has_secrets
        assert parse_spec(spec.masked().model_dump(mode="json")) == spec, "a reference is no secret"


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
    with pytest.raises(UsageError, match=r"output\.suffix: .* is not a valid name"):
        spec.output.name_for(source)


def test_a_form_s_sections_are_called_as_people_call_them() -> None:
    titles = {name: each["title"] for name, each in BuildSpec.model_json_schema()["$defs"].items()}
    assert titles["BuilderVm"] == "Builder VM"
    assert titles["SourceImage"] == "Source image"
    assert titles["RunScript"] == "run-script"
