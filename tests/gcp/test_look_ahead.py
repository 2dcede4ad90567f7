"""Mistakes that files and the cloud alone know of are found by reads, before anything is made, and told by field."""

from pathlib import Path
from typing import Any

import pytest
from support.compute_clients import Compute
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import CustomizerError, NotFoundError, UsageError
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.look_ahead import look_ahead


@pytest.mark.parametrize(
    ("parts", "error", "message", "hint"),
    [
        (
            {"builder": {"zones": ["us-west1"]}},
            UsageError,
            "builder.zones: us-west1 is a region, not a zone",
            "zones of it: us-west1-a, us-west1-b, us-west1-c.",
        ),
        (
            {"builder": {"zones": ["us-west1-z"]}},
            UsageError,
            "builder.zones: there is no zone us-west1-z",
            "did you mean us-west1-",
        ),
        ({"builder": {"machine_type": "n1-x"}}, UsageError, "builder.machine_type: n1-x: there is none", "lists the"),
        ({"builder": {"disk_size_gb": 5}}, UsageError, "builder.disk_size_gb: 5: the source image", "leave"),
        ({"scratch": {"bucket": "nobodys"}}, UsageError, "scratch.bucket: there is no bucket nobodys", "create gs://"),
        (
            {"source": {"name": None, "family": "cos-stabel"}},
            NotFoundError,
            "there is no family cos-stabel in project cos-cloud",
            "did you mean cos-stable",
        ),
        (
            {"source": {"name": "cos-stable-68-10718-86-1"}},
            NotFoundError,
            "could not find source image cos-stable-68-10718-86-1 in project cos-cloud",
            "did you mean cos-stable-68-10718-86-0",
        ),
        (
            {"source": {"project": "cos-clod", "name": None, "family": "cos-stable"}},
            NotFoundError,
            "project cos-clod offers no image, or is not there",
            "did you mean cos-cloud? source.project names it.",
        ),
    ],
)
def test_a_mistake_is_told_by_field_with_what_to_do(
    emulator: Emulator,
    make_spec: SpecMaker,
    parts: dict[str, Any],
    error: type[CustomizerError],
    message: str,
    hint: str,
) -> None:
    with pytest.raises(error) as caught:
        look_ahead(connect(), make_spec(**parts))
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint
    assert [call for call in emulator.calls.list() if call.method != "GET"] == []


def test_a_family_whose_images_are_all_deprecated_is_not_taken_for_a_misspelt_one(
    emulator: Emulator, make_spec: SpecMaker
) -> None:
    Compute(emulator).image("old", family="mine", deprecated={"state": "DEPRECATED"})
    with pytest.raises(NotFoundError, match="all images of family mine of project my-project are deprecated"):
        look_ahead(connect(), make_spec(source={"project": "my-project", "name": None, "family": "mine"}))


def test_a_project_that_may_not_be_read_points_at_its_field(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.faults.add("http", status=404, reason="notFound", path="/cos-clod/", count=0)
    with pytest.raises(NotFoundError) as caught:
        look_ahead(connect(), make_spec(source={"project": "cos-clod"}))
    assert "project cos-clod offers no image, or is not there: could not list" in caught.value.message
    assert "source.project names it" in caught.value.hint


def test_what_may_not_be_read_is_no_mistake(emulator: Emulator, make_spec: SpecMaker) -> None:
    for path in ("/b/my-project_cloudbuild", "/machineTypes/"):
        emulator.faults.add("http", status=403, reason="forbidden", path=path, count=0)
    look_ahead(connect(), make_spec())


def test_where_the_image_is_there_nothing_else_matters(emulator: Emulator, make_spec: SpecMaker) -> None:
    Compute(emulator).image("my-image")
    look_ahead(connect(), make_spec(builder={"zones": ["mars1-a"]}))
    with pytest.raises(UsageError, match="mars1-a"):
        look_ahead(connect(), make_spec(builder={"zones": ["mars1-a"]}, output={"on_existing": "replace"}))


def test_scripts_are_looked_for_in_a_directory(emulator: Emulator, make_spec: SpecMaker, tmp_path: Path) -> None:
    directory = tmp_path / "scripts"
    directory.mkdir()
    for name in ("firts.sh", "second.sh"):
        (directory / name).write_text("true\n")
    spec = make_spec(context={"path": str(directory)})
    with pytest.raises(UsageError, match=r"could not find script first\.sh") as caught:
        look_ahead(connect(), spec)
    assert caught.value.hint == "did you mean firts.sh?"
    Compute(emulator).image("my-image")
    look_ahead(connect(), spec)
