"""`rollback` over the real clients: back, further back, and forward again, seen through what the family gives."""

import time
from datetime import datetime
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from support.command_line import run
from support.compute_clients import PROJECT, Compute
from support.event_feed import arriving, related
from support.family_images import DAY, add_images, changes, given_by
from support.waiting import PATIENCE

from cos_customizer.emulator.faults import Faults
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import rollback
from cos_customizer.gcp.clients import connect

FLAGS = ("rollback", "-project=my-project", "-image-family=my-family")


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    """A family of three, of which the newest is in use, as builds with -deprecate-old-images leave it."""
    compute = Compute(emulator)
    later = time.time() + DAY
    add_images(compute, {"image-1": {"deleted": later}, "image-2": {"deleted": later}, "image-3": {}})
    emulator.calls.clear()
    return compute


def deprecation(compute: Compute, name: str) -> dict[str, Any]:
    return dict(compute.emulator.get(f"projects/{PROJECT}/global/images/{name}").get("deprecated", {}))


def test_back_and_forward_again(compute: Compute) -> None:
    ran = run(*FLAGS)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "undeprecated  image-2\ndeprecated    image-3\nfamily my-family gives image-2\n"
    assert given_by(compute) == "image-2"
    assert deprecation(compute, "image-2") == {}  # the date of deletion is gone with it
    replacement = f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/images/image-2"
    assert deprecation(compute, "image-3") == {"state": "DEPRECATED", "replacement": replacement}

    assert run(*FLAGS, "-to=image-3").out.splitlines()[-1] == "family my-family gives image-3"
    assert given_by(compute) == "image-3"
    assert deprecation(compute, "image-3") == {}
    assert deprecation(compute, "image-2")["state"] == "DEPRECATED"
    assert deprecation(compute, "image-1")["deleted"]  # untouched


def test_a_second_rollback_goes_further_back_and_a_third_has_nowhere_to_go(compute: Compute) -> None:
    assert run(*FLAGS).code == run(*FLAGS).code == 0
    assert given_by(compute) == "image-1"
    ran = run(*FLAGS)
    assert ran.code == 1
    assert ran.err.startswith("cos-customizer: there is no image to go back to: image-1 is the oldest")
    assert given_by(compute) == "image-1"


def test_only_deprecations_are_set_each_with_a_request_id(compute: Compute) -> None:
    run(*FLAGS)
    made = [change for change in changes(compute) if "/operations/" not in change]
    assert len(made) == 2
    assert all("/deprecate?requestId=" in change for change in made)


def test_a_dry_run_tells_and_changes_nothing(compute: Compute) -> None:
    ran = run(*FLAGS, "-dry-run")
    assert ran.out == "undeprecate   image-2\ndeprecate     image-3\nfamily my-family would give image-2\n"
    assert changes(compute) == []
    assert given_by(compute) == "image-3"


def test_it_is_there_already(compute: Compute) -> None:
    assert run(*FLAGS, "-to=image-3").out == "family my-family already gives image-3\n"
    assert changes(compute) == []


def test_the_family_gives_the_one_or_the_other_at_any_time(compute: Compute) -> None:
    add_images(compute, {"image-4": {}, "image-5": {}})
    seen = [given_by(compute)]
    clients = connect()
    plan = rollback.plan(clients, PROJECT, "my-family", time.time(), "image-2")
    rollback.apply(clients, PROJECT, "my-family", plan, lambda *_: seen.append(given_by(compute)))
    assert seen == ["image-5"] * 4 + ["image-2"]


def test_a_rollback_cut_short_says_so_and_can_be_run_again(compute: Compute) -> None:
    faults: Faults = compute.emulator.faults
    image_id = compute.images.get(project=PROJECT, image="image-3").id
    faults.add(kind="http", method="POST", path=f"/{image_id}/deprecate", status=403, reason="forbidden")
    ran = run(*FLAGS)
    assert ran.code == 1
    assert ran.err.startswith(
        "cos-customizer: the rollback to image-2 is not complete, family my-family may still give image-3: could not "
    )
    assert given_by(compute) == "image-3"
    assert run(*FLAGS).out == "deprecated    image-3\nfamily my-family gives image-2\n"


def test_a_newer_image_that_comes_meanwhile_is_told(compute: Compute) -> None:
    clients = connect()
    plan = rollback.plan(clients, PROJECT, "my-family", time.time())
    add_images(compute, {"image-4": {}})
    with pytest.raises(Exception, match="does not give image-2: a newer image has come"):
        rollback.apply(clients, PROJECT, "my-family", plan, lambda *_: None)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("-image-family=none",), 1, "-image-family: project my-project has no image in family none"),
        (("-image-family=my-family", "-to=image-9"), 1, "-to: the family has no image image-9"),
        (("-image-family=my-family", "-to=Image"), 2, "-to: 'Image' is not a valid name"),
        (("-image-family=f", "-project="), 2, "-project must be given"),
        ((), 2, "-image-family must be given"),
    ],
)
@pytest.mark.usefixtures("compute")
def test_what_cannot_be_done_is_told(flags: tuple[str, ...], code: int, message: str) -> None:
    ran = run("rollback", "-project=my-project", *flags)
    assert ran.code == code
    assert ran.err.startswith(f"cos-customizer: {message}")


def test_one_past_its_date_is_taken_only_by_name(emulator: Emulator) -> None:
    compute = Compute(emulator)
    add_images(compute, {"old": {"deleted": time.time() - DAY}, "new": {}})
    ran = run(*FLAGS)
    assert ran.code == 1
    assert "the previous image old is to be deleted since" in ran.err
    assert run(*FLAGS, "-to=old").code == 0
    assert given_by(compute) == "old"
    assert deprecation(compute, "old") == {}


def test_what_is_rolled_back_can_be_given_a_date(compute: Compute) -> None:
    before = time.time()
    assert run(*FLAGS, "-delete-in=30d").code == 0
    deleted = datetime.fromisoformat(deprecation(compute, "image-3")["deleted"]).timestamp()
    assert before + 29 * DAY < deleted < time.time() + 31 * DAY
    refused = run(*FLAGS, "-delete-in=30 days")
    assert (refused.code, "hint: write a duration as 30d" in refused.err) == (2, True)


@pytest.mark.usefixtures("prefect_server")
def test_the_configured_prefect_server_is_told_of_what_was_changed(compute: Compute) -> None:
    with arriving() as events:
        assert run(*FLAGS, "-to=image-3").code == 0  # which it gives already
        assert run(*FLAGS, "-dry-run").code == 0
        ran = run(*FLAGS)
        assert (ran.code, ran.err) == (0, "")
        told = events.get(timeout=PATIENCE)
        assert run(*FLAGS, "-to=image-3").code == 0
        back = events.get(timeout=PATIENCE)
        assert events.empty()
    assert told.event == "cos-customizer.image.rolled-back"
    assert told.resource.id == "gce://my-project/my-family"
    (image_2,) = [image for image in compute.images.list(project=PROJECT) if image.name == "image-2"]
    assert told.payload == {
        "project": "my-project",
        "family": "my-family",
        "image": "image-2",
        "image_id": str(image_2.id),
        "deprecated": ["image-3"],
    }
    assert related(told) == {
        "image": "gce://my-project/global/images/image-2",
        "deprecated-image": "gce://my-project/global/images/image-3",
    }
    assert (back.payload["image"], back.payload["deprecated"]) == ("image-3", ["image-2"])


def test_a_prefect_server_that_is_away_costs_a_warning(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:1/api"
    monkeypatch.setenv("PREFECT_API_URL", nowhere)
    with temporary_settings({PREFECT_API_URL: nowhere}):  # which this process has read already
        ran = run(*FLAGS)
    assert ran.code == 0
    assert ran.out.endswith("family my-family gives image-2\n")
    assert ran.err.startswith("cos-customizer: warning: Prefect was not told of it: ")
    assert given_by(compute) == "image-2"
