"""An image that is there already: this recipe's is a success, another's is told apart, refused, or replaced."""

from typing import Any

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import compute_v1
from support.builds import failing, images, make_image
from support.guest_scripts import succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import AlreadyExistsError
from cos_customizer.customizer.reporting.events import Event, Note, listening
from cos_customizer.customizer.reporting.result import BuildResult
from cos_customizer.customizer.spec.model import BuildSpec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
OTHER = ("second.sh", "first.sh")


@pytest.fixture(autouse=True)
def _machines(emulator: Emulator) -> None:
    emulator.scripts.add(succeeding(*LABELS))


def built(spec: BuildSpec) -> tuple[BuildResult, list[Note]]:
    """Build; what it has come to, and what was warned of."""
    warnings: list[Note] = []

    def note(event: Event) -> None:
        if isinstance(event, Note) and event.level != "info":
            warnings.append(event)

    with listening(note):
        return build_image(spec), warnings


def states(emulator: Emulator) -> dict[str, tuple[str, str]]:
    """By name of each image, its deprecation and what replaces it."""
    return {
        name: (state.get("state", ""), state.get("replacement", "").rpartition("/")[2])
        for name, image in images(emulator).items()
        for state in [image.get("deprecated", {})]
    }


def only_new(emulator: Emulator, *old: str) -> str:
    """The name of the one image beside some that were there."""
    (name,) = images(emulator).keys() - {*old}
    return name


def given_by_family() -> str:
    try:
        return str(connect().images.get_from_family(project="my-project", family="my-family").name)
    except NotFound:
        return ""


def test_the_same_recipe_again_is_a_success_without_a_warning(emulator: Emulator, make_spec: SpecMaker) -> None:
    assert built(make_spec())[0].made_by is None
    for on_existing in ("skip", "fail", "replace"):
        result, warnings = built(make_spec(output={"on_existing": on_existing}))
        assert (result.outcome, result.made_by, result.image, warnings) == ("exists", "this-recipe", "my-image", [])
    assert leftovers(emulator) == []


def test_an_image_of_another_recipe_is_warned_of_with_what_to_do(emulator: Emulator, make_spec: SpecMaker) -> None:
    build_image(make_spec())
    emulator.calls.clear()
    result, (warning,) = built(make_spec(scripts=OTHER))
    assert (result.outcome, result.made_by) == ("exists", "another-recipe")
    assert warning.level == "warning"
    assert warning.text.startswith("my-image is there since 2")
    assert "UTC, made by another recipe: nothing was built; delete it (gcloud compute images delete" in warning.text
    assert [call for call in emulator.calls.list() if call.method != "GET"] == []


@pytest.mark.parametrize(
    ("parts", "maker"),
    [({"source": {"name": "cos-125-19216-532-62"}}, "another-source"), ({"scripts": ("gone.sh",)}, "unknown")],
)
def test_what_cannot_be_this_recipes_work_is_named_for_what_it_is(
    emulator: Emulator, make_spec: SpecMaker, parts: dict[str, Any], maker: str
) -> None:
    build_image(make_spec())
    result, warnings = built(make_spec(**parts))
    assert (result.outcome, result.made_by, len(warnings)) == ("exists", maker, 1)


def test_an_image_that_something_else_has_made_is_told_apart_without_a_look_at_the_context(
    make_spec: SpecMaker,
) -> None:
    make_image("my-image")
    result, (warning,) = built(make_spec(context={"path": "/nowhere"}))
    assert (result.outcome, result.made_by) == ("exists", "other-means")
    assert "not made by cos-customizer" in warning.text


def test_fail_ends_the_build_before_anything_is_made(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("my-image")
    emulator.calls.clear()
    error, result = failing(make_spec(output={"on_existing": "fail"}), AlreadyExistsError, "not made by cos-customizer")
    assert error.exit_code == 1
    assert "output.on_existing: replace" in error.hint
    assert (result.outcome, result.made_by, result.zone) == ("failed", "other-means", "")
    assert [call for call in emulator.calls.list() if call.method != "GET"] == []


@pytest.mark.parametrize("verify", [{}, {"boot": True}])
def test_replace_builds_under_a_dated_name_and_then_deprecates_the_old_one(
    emulator: Emulator, make_spec: SpecMaker, verify: dict[str, Any]
) -> None:
    output = {"on_existing": "replace", "family": "my-family"}
    build_image(make_spec(output=output))
    given = [given_by_family()]

    def look(event: Event) -> None:
        given.append(given_by_family())

    with listening(look):
        result = build_image(make_spec(scripts=OTHER, output=output, verify=verify))
    new = only_new(emulator, "my-image")
    assert (result.outcome, result.image, result.deprecated) == ("built", new, ("my-image",))
    assert new.startswith("my-image-2")
    assert set(given) == {"my-image", new}, "the family gives an image at every moment"
    assert states(emulator) == {"my-image": ("DEPRECATED", new), new: ("", "")}

    again, warnings = built(make_spec(scripts=OTHER, output=output, verify=verify))
    assert (again.outcome, again.image, again.made_by, warnings) == ("exists", new, "this-recipe", [])

    third = build_image(make_spec(scripts=("first.sh",), output=output))
    assert third.image == f"{new}-2"
    assert states(emulator) == {
        "my-image": ("DEPRECATED", new),
        new: ("DEPRECATED", third.image),
        third.image: ("", ""),
    }
    assert leftovers(emulator) == []


def test_replace_of_an_image_that_is_in_no_family(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("my-image")
    result = build_image(make_spec(output={"on_existing": "replace"}))
    assert states(emulator) == {"my-image": ("DEPRECATED", result.image), result.image: ("", "")}


def test_replace_where_the_name_is_free_is_an_ordinary_build(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("my-image-20200101")
    result = build_image(make_spec(output={"on_existing": "replace"}))
    assert (result.image, result.deprecated) == ("my-image", ())
    assert states(emulator) == {"my-image": ("", ""), "my-image-20200101": ("", "")}


def test_replace_leaves_the_images_of_others_alone(emulator: Emulator, make_spec: SpecMaker) -> None:
    make_image("my-image", family="theirs")
    make_image("my-image-20200101")
    make_image("my-image-dev")
    result, warnings = built(make_spec(output={"on_existing": "replace", "family": "my-family"}))
    assert set(states(emulator).values()) == {("", "")}
    assert [warning.text for warning in warnings] == [
        f"my-image is not deprecated: its family would give no image without it, for {result.image} is not in that"
    ]


def test_after_a_rollback_the_same_recipe_does_not_come_back(emulator: Emulator, make_spec: SpecMaker) -> None:
    output = {"on_existing": "replace", "family": "my-family"}
    build_image(make_spec(output=output))
    new = build_image(make_spec(scripts=OTHER, output=output)).image
    for name, state in (("my-image", {}), (new, {"state": "DEPRECATED"})):
        operation = connect().images.deprecate_unary(
            project="my-project", image=name, deprecation_status_resource=compute_v1.DeprecationStatus(**state)
        )
        connect().global_operations.wait(project="my-project", operation=operation.name)
    result, _ = built(make_spec(scripts=OTHER, output=output))
    assert (result.outcome, result.image) == ("exists", new)
    assert given_by_family() == "my-image"


def test_replace_takes_up_what_a_killed_build_of_this_recipe_has_left(emulator: Emulator, make_spec: SpecMaker) -> None:
    output = {"on_existing": "replace", "family": "my-family"}
    make_image("my-image", family="my-family")
    spec = make_spec(output=output, verify={"boot": True})
    emulator.faults.add("operation", method="patch", path="/images/my-image-", code="INTERNAL_ERROR")
    emulator.faults.add("http", method="DELETE", path="/global/images/", status=403, reason="forbidden", count=0)
    failing(spec, Exception)
    left = only_new(emulator, "my-image")
    emulator.faults.clear()
    result = build_image(spec)
    assert (result.outcome, result.image) == ("built", left)
    assert states(emulator) == {"my-image": ("DEPRECATED", left), left: ("", "")}
