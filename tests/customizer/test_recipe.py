"""Recipes: what YAML means in them, where their contexts are, what settings change, how faults are named."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.specifications import FAULTS, RECIPE

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.model import parse_spec
from cos_customizer.customizer.spec.recipe import Recipe, apply_settings, parse_recipe, read_recipe
from cos_customizer.customizer.spec.steps.kinds import STEP_KINDS


def recipe(text: str = RECIPE, more: str = "", name: str = "r.yaml") -> Recipe:
    return parse_recipe(text + more, name, Path())


def test_a_recipe_is_a_specification() -> None:
    expected: dict[str, Any] = yaml.safe_load(RECIPE)
    expected["output"]["labels"]["cos_image"] = "true"
    assert recipe().spec() == parse_spec(expected)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("65", "65"),
        ("0042", "0042"),  # to YAML 1.1, thirty-four
        ("1_000", "1_000"),
        ("true", "true"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        ("390.40", "390.40"),
        ("1:30", "1:30"),
        ("'null'", "null"),
        ("''", ""),
        ("ü", "ü"),
    ],
)
def test_a_scalar_is_what_is_written(written: str, value: str) -> None:
    (step,) = recipe(RECIPE.partition("steps:")[0], f"steps: [{{script: a.sh, env: {{X: {written}}}}}]\n").spec().steps
    assert step.model_dump()["env"] == {"X": value}


def test_numbers_booleans_and_nothing_are_what_their_fields_are() -> None:
    text = RECIPE.replace("zones: [us-west1-b]}", "zones: [us-west1-b], disk_size_gb: 50, external_ip: no, gpu_type: }")
    spec = recipe(text).spec()
    assert (spec.builder.disk_size_gb, spec.builder.external_ip, spec.builder.gpu_type) == (50, False, None)


def test_the_first_document_counts() -> None:
    assert recipe(more="---\n{not: one}\n---\n* nor YAML\n").spec() == recipe().spec()
    assert recipe("# a comment\n---\n" + RECIPE).spec() == recipe().spec()


def test_anchors_and_merge_keys_are_yaml_too() -> None:
    head = RECIPE.partition("steps:")[0]
    steps = (
        "steps:\n- {script: a.sh, env: &e {A: 1}}\n- {script: b.sh, env: *e}\n- {script: c.sh, env: {<<: *e, B: 2}}\n"
    )
    spec = recipe(head, steps).spec()
    assert [step.model_dump()["env"] for step in spec.steps] == [{"A": "1"}, {"A": "1"}, {"A": "1", "B": "2"}]
    changed = recipe(head, steps).with_settings(["steps.0.env.A=9"]).spec()
    assert [step.model_dump()["env"]["A"] for step in changed.steps] == ["9", "1", "1"]


def test_merges_that_multiply_are_refused_at_once() -> None:
    levels = "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
    with pytest.raises(UsageError, match="merge"):
        recipe("a0: &a0 {b: 1, c: 2}\n" + levels + RECIPE)


CONTEXTS = [
    ("", "recipes"),
    ("context: {path: ..}\n", "recipes/.."),
    ("context: {path: ./files}\n", "recipes/files"),
    ("context: {path: /srv/files}\n", "/srv/files"),
    ("context: {path: 'gs://bucket/a.tar.gz'}\n", "gs://bucket/a.tar.gz"),
    ("context: {sha256: " + "0" * 64 + "}\n", "recipes"),
]


@pytest.mark.parametrize(("context", "path"), CONTEXTS, ids=[path for _, path in CONTEXTS])
def test_the_context_is_relative_to_the_recipe(
    context: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text(RECIPE + context)
    monkeypatch.chdir(tmp_path)
    read = read_recipe(Path("recipes/r.yaml"))
    assert read.spec().context.path == path
    assert read.with_settings(["context.path=here"]).spec().context.path == "here"
    absolute = read_recipe(tmp_path / "recipes" / "r.yaml").spec().context.path
    assert absolute == (path if ":" in path else str(tmp_path / path))


SETTINGS: list[tuple[str, list[Any], Any]] = [
    ("output.name=x", ["output", "name"], "x"),
    ("output.name=a=b", ["output", "name"], "a=b"),
    ("output.labels.team=", ["output", "labels", "team"], ""),
    ("steps.0.env.FOO=a: b # c", ["steps", 0, "env", "FOO"], "a: b # c"),
    ("steps.1.env.NEW=0042", ["steps", 1, "env", "NEW"], "0042"),
    ("steps.2.script=third.sh", ["steps", 2], {"script": "third.sh"}),
    ("verify.scripts.0=check.sh", ["verify"], {"scripts": ["check.sh"]}),
    ("builder.zones=[a, b]", ["builder", "zones"], ["a", "b"]),
    ('builder.zones.0="c"', ["builder", "zones"], ["c"]),
    ("output.labels={a: 1}", ["output", "labels"], {"a": "1"}),
    ("steps.0.env.FOO='{\"a\": 1}'", ["steps", 0, "env", "FOO"], '{"a": 1}'),
    ("timeout=30m", ["timeout"], "30m"),
]


@pytest.mark.parametrize(("setting", "place", "value"), SETTINGS, ids=[setting for setting, _, _ in SETTINGS])
def test_a_setting_changes_one_place(setting: str, place: list[Any], value: Any) -> None:
    before = recipe()
    found: Any = apply_settings(before.data, [setting])
    for part in place:
        found = found[part]
    assert found == value
    assert before.data == recipe().data


def test_null_takes_a_field_out_and_a_list_closes_up() -> None:
    data = apply_settings(recipe().data, ["output.labels=null", "steps.0=null", "verify.boot=null", "no.such=null"])
    assert "labels" not in data["output"]
    assert data["steps"] == [{"type": "run-script", "script": "second.sh"}]
    assert "boot" not in data["verify"]


BAD_SETTINGS = [
    ("output", "of the form key=value"),
    ("=x", "of the form key=value"),
    ("output..name=hunter2", "setting output..name: a part of the key is empty"),
    ("steps.3.env.A=hunter2", "steps is a list of 2 items, and '3' is none of them"),
    ("steps.one=hunter2", "'one' is none of them"),
    ("steps.-1=hunter2", "'-1' is none of them"),
    ("output.name.x=hunter2", "output.name is a single value"),
    ("output.labels=[hunter2", "setting output.labels: the value is not YAML"),
    ("output.labels={a: *hunter2}", "setting output.labels: the value is not YAML"),
]


@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS, ids=[setting for setting, _ in BAD_SETTINGS])
def test_a_setting_that_leads_nowhere_is_refused_by_its_key(setting: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe().with_settings([setting])
    assert message in caught.value.message
    if "*" not in setting:
        assert "hunter2" not in caught.value.message + caught.value.hint


UNREADABLE = [
    (b"", "r.yaml: the recipe is empty"),
    (b"# nothing\n", "r.yaml: the recipe is empty"),
    (b"\n- a\n", "r.yaml:2: a recipe is a mapping of fields to values, not a list"),
    (b"hello", "r.yaml:1: a recipe is a mapping of fields to values, not a single value"),
    (b"null", "not a single value"),
    (b"a: [1\nb: 2\n", "r.yaml:2: this is not YAML"),
    (b"a: 1\n\ta: 2\n", "r.yaml:2: this is not YAML"),
    (b"a: 1\nb: {c: 1, d: 2,\n c: 3}\n", "r.yaml:3: b.c is given twice, first in line 2"),
    (b"a: 1\n[1]: 2\n", "r.yaml:2: a key must be a text"),
    (b"~: 2\n", "r.yaml:1: a key must be a text"),
    (b"a: !!python/object/apply:os.system [id]\n", "r.yaml:1: this is not YAML"),
    (b"a: *b\n", "r.yaml:1: this is not YAML"),
    (b"a: \xff\n", "r.yaml: the recipe is not UTF-8 text"),
    (b"a: \x00\n", "r.yaml: this is not YAML"),
    (b"a: !!bool maybe\n", "r.yaml:1: this is not YAML that a recipe can be: it is no value of !!bool"),
    (b"a: !!int ''\n", "it is no value of !!int"),
    (b"a: !!timestamp x\n", "it is no value of !!timestamp"),
    (b"a: " + b"[" * 5000, "r.yaml"),
    (rb'a: "\ud800"', "r.yaml:1: this is not YAML that a recipe can be: it is no value of !!str"),
]


@pytest.mark.parametrize(("text", "message"), UNREADABLE, ids=[message for _, message in UNREADABLE])
def test_what_is_no_recipe_is_refused_with_its_line(text: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(text, "r.yaml", Path())
    assert message in caught.value.message


def test_a_recipe_that_multiplies_itself_is_refused_at_once() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 40))
    with pytest.raises(UsageError, match="l0 is not a field"):
        recipe(RECIPE, "l0: &l0 x\n" + levels).spec()
    with pytest.raises(UsageError, match="must be a single value"):
        recipe(RECIPE, "context: {path: &t [*t]}\n").spec()


@pytest.mark.parametrize(("old", "new", "message", "hint"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_a_fault_is_named_by_file_line_and_field(old: str, new: str, message: str, hint: str) -> None:
    assert old in RECIPE
    with pytest.raises(UsageError) as caught:
        recipe(RECIPE.replace(old, new)).spec()
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "-image" not in caught.value.message


def test_every_fault_has_its_line() -> None:
    text = RECIPE.replace("us-west1-b", "B").replace("my-image", "My")
    with pytest.raises(UsageError) as caught:
        recipe(text, "verify: {scripts: [a.sh, {scrip: b.sh}]}\n").spec()
    first, second, *rest = caught.value.message.splitlines()
    assert first.startswith("r.yaml:3: builder.zones.0: 'B' is not a valid name")
    assert second.startswith("r.yaml:6: output.name: 'My' is not a valid name")
    assert rest == [
        "r.yaml:14: verify.scripts.1.script must be set",
        "r.yaml:14: verify.scripts.1.scrip is not a field of a recipe",
    ]


def test_a_fault_of_a_setting_is_named_by_the_setting() -> None:
    settings = ["output.name=My", "steps.0.env={A: '***'}", "steps.0.scrip=x"]
    with pytest.raises(UsageError) as caught:
        recipe().with_settings(settings).spec()
    assert "setting output.name: output.name: 'My' is not a valid name" in caught.value.message
    assert "setting steps.0.scrip: steps.0.scrip is not a field" in caught.value.message
    with pytest.raises(UsageError, match=r"setting steps.0.env: steps.0.env.A is masked"):
        recipe().with_settings(settings[1:2]).spec()
    filled = recipe(RECIPE.replace("bar", "'***'")).with_settings(["steps.0.env.FOO=bar"])
    assert filled.spec() == recipe().spec()


def test_a_setting_answers_for_what_it_has_made() -> None:
    with pytest.raises(UsageError) as caught:
        recipe().with_settings(["labels.team=web", "steps.0.type=run-scirpt"]).spec()
    assert caught.value.message.splitlines() == [
        f"setting steps.0.type: steps.0.type must be one of {', '.join(STEP_KINDS)}",
        "setting labels.team: labels is not a field of a recipe",
    ]
    without = "".join(line for line in RECIPE.splitlines(keepends=True) if "scratch" not in line)
    with pytest.raises(UsageError, match=r"r\.yaml:1: scratch\.workdir must be set"):
        recipe(without).with_settings(["scratch.bucket=bucket"]).spec()


def test_a_field_in_the_wrong_place_is_pointed_to_where_it_is() -> None:
    with pytest.raises(UsageError) as caught:
        recipe(more="labels: {team: web}\n").spec()
    assert caught.value.hint == "did you mean builder.labels or output.labels?"
    with pytest.raises(UsageError) as caught:
        recipe().with_settings(["steps.0.type=run-scirpt"]).spec()
    assert caught.value.hint == "did you mean run-script?"


def test_a_tab_is_explained() -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe("source:\n\tproject: p\n", "r.yaml", Path())
    assert caught.value.hint == "YAML is indented by spaces: there is a tab."


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match="cannot read recipe"):
            read_recipe(path)


def test_a_file_of_prefect_is_told_for_what_it_is() -> None:
    recipe = parse_recipe("name: images\ndeployments: [{name: build-image}]\n", "prefect.yaml", Path())
    with pytest.raises(UsageError, match="this is no recipe: it has `deployments`, so it is Prefect's"):
        recipe.spec()


@pytest.mark.parametrize(
    ("written", "seconds"), [("30d", 2592000), ("1h30m", 5400), ("86400", 86400), ("1d12h", 129600)]
)
def test_a_time_to_live_is_a_number_of_seconds_or_a_duration(written: str, seconds: int) -> None:
    settings = ["output.family=f", "output.deprecate_old_images=true", f"output.old_image_ttl={written}"]
    recipe = parse_recipe(RECIPE, "r.yaml", Path()).with_settings(settings)
    assert recipe.spec().output.old_image_ttl == seconds


@pytest.mark.parametrize("written", ["30 days", "1.5s", "-1h", "d", "month"])
def test_what_is_no_time_to_live_is_refused(written: str) -> None:
    with pytest.raises(UsageError, match=r"output\.old_image_ttl: "):
        parse_recipe(RECIPE, "r.yaml", Path()).with_settings([f"output.old_image_ttl={written}"]).spec()
