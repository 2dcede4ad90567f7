"""`expire-images` over the real clients: the right ones are gone, with few calls, and the table says why."""

import re
import time
from collections import Counter

import pytest
from google.cloud import compute_v1
from support.command_line import run
from support.compute_clients import DISKS, IMAGES, PROJECT, Compute, call
from support.family_images import DAY, OURS, add_images, changes, given_by

from cos_customizer.customizer.families.image_expiry import Retention
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import image_expiry
from cos_customizer.gcp.clients import connect

FAILED, UNRELEASED = {"cos-customizer-state": "failed"}, {"cos-customizer-state": "unreleased"}
FLAGS = ("expire-images", "-project=my-project", "-image-family=my-family")


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def rows(out: str) -> dict[str, tuple[str, str]]:
    """Action and reason, by name, of a table that is not on a terminal."""
    lines = [re.split(r"  +", line, maxsplit=4) for line in out.splitlines()]
    return {line[3]: (line[0], line[4]) for line in lines if len(line) == 5 and line[0] != "action"}


def test_what_a_family_gives_is_asked_for_where_something_is_to_go(compute: Compute) -> None:
    old = {"deleted": time.time() - DAY}
    names = [f"family-{number}" for number in range(5)]
    for name in names:
        expired = {f"{name}-a": old, f"{name}-b": old} if name == names[2] else {}
        add_images(compute, {**expired, f"{name}-c": {}, f"{name}-d": {}}, name)
    asked = Retention(PROJECT, names)
    compute.emulator.calls.clear()
    decided = image_expiry.plan(connect(), asked, time.time())
    told = {removal.name: (removal.action, removal.reason) for _, removal in decided}
    assert [name for name, (action, _) in told.items() if action == "delete"] == [f"{names[2]}-b", f"{names[2]}-a"]
    assert {told[f"{name}-d"] for name in names} == {("keep", "the family's current image")}
    assert {told[f"{name}-c"] for name in names} == {("keep", "not deprecated")}
    paths = [call.path for call in compute.emulator.calls.list()]
    assert [path.rpartition("/")[2] for path in paths if "/family/" in path] == [names[2]]


def test_three_hundred_images(compute: Compute) -> None:
    now = time.time()
    old: dict[str, dict[str, float | str | None]] = {f"old-{n:03}": {"deleted": now - DAY} for n in range(12)}
    for n in range(0, 12, 10):  # not ours
        old[f"old-{n:03}"]["description"] = "made by hand"
    later = {f"later-{n:03}": {"deleted": now + DAY} for n in range(30)}
    undated = {f"undated-{n:03}": {"deleted": None} for n in range(256)}
    add_images(compute, {**old, **later, **undated, "previous": {"deleted": now - DAY}, "current": {}})
    for n in (7, 8):
        path = f"projects/{PROJECT}/global/images/old-{n:03}"
        compute.ok(
            compute.disks.insert_unary(
                project=PROJECT,
                zone=f"us-west1-{'ab'[n - 7]}",
                disk_resource=compute_v1.Disk(name=f"d{n}", source_image=path),
            )
        )
    before = set(compute.names("images"))
    assert len(before) == 300
    compute.emulator.calls.clear()

    dry = run(*FLAGS)
    assert (dry.code, dry.err) == (0, "")
    assert changes(compute) == []
    # The family's images, what it gives; then disks, instances, instance templates, all images.
    assert compute.emulator.calls.count() == 6
    planned = rows(dry.out)
    assert len(planned) == 300
    assert dry.out.splitlines()[-1] == "8 to delete, 292 kept (dry run: -dry-run=false deletes)"
    assert planned["old-001"] == ("delete", planned["old-002"][1])
    assert planned["old-010"] == ("keep", "not made by cos-customizer")
    assert planned["old-007"] == ("keep", "in use by disk d7 in us-west1-a")
    assert planned["old-008"] == ("keep", "in use by disk d8 in us-west1-b")
    assert planned["undated-000"] == ("keep", "deprecated without a date of deletion")
    assert planned["previous"] == ("keep", "among the newest 2")
    assert planned["current"] == ("keep", "the family's current image")

    compute.emulator.calls.clear()
    done = run(*FLAGS, "-dry-run=false")
    assert (done.code, done.err) == (0, "")
    expected = {f"old-{n:03}" for n in range(12) if n % 10 and n not in (7, 8)}
    assert before - set(compute.names("images")) == expected
    assert {name for name, (action, _) in rows(done.out).items() if action == "deleted"} == expected
    assert done.out.splitlines()[-1] == "8 deleted, 292 kept"
    calls = Counter(call.method for call in compute.emulator.calls.list())
    # POST: to wait for the operation. All are judged again by all that they were judged by, read once more for all.
    assert calls == {"GET": 6 + 6, "DELETE": 8, "POST": 8}

    compute.emulator.calls.clear()
    assert run(*FLAGS, "-dry-run=false").out.splitlines()[-1] == "292 kept"
    assert changes(compute) == []


def test_where_nothing_is_to_go_one_list_is_all_that_is_asked_for(compute: Compute) -> None:
    add_images(compute, {"one": {"deleted": None}, "two": {}})
    compute.emulator.calls.clear()
    assert run(*FLAGS).out.splitlines()[-1] == "2 kept"
    assert compute.emulator.calls.count() == 1
    assert compute.emulator.calls.count(path="disks") == 0


def test_several_families_and_those_that_are_not_there(compute: Compute) -> None:
    past = time.time() - DAY
    for family in ("first", "second"):
        add_images(compute, {f"{family}-{n}": {"deleted": past} for n in range(3)}, family)
        add_images(compute, {f"{family}-now": {}}, family)
    add_images(compute, {"else-0": {"deleted": past}, "else-1": {}}, "else")
    ran = run(
        "expire-images", "-project=my-project", "-image-family=first,second", "-image-family=none", "-dry-run=false"
    )
    assert ran.code == 0
    assert "no image of my-project is in family none" in ran.out
    assert sorted(compute.names("images")) == [
        *("else-0", "else-1", "first-2", "first-now", "second-2", "second-now"),
    ]


def test_others_images_and_fewer_to_keep_are_asked_for(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"theirs": {"deleted": past, "description": ""}, "ours": {"deleted": past}, "now": {}})
    assert rows(run(*FLAGS, "-keep-last=0").out)["ours"][0] == "delete"
    assert run(*FLAGS, "-include-others", "-keep-last=1", "-dry-run=false").code == 0
    assert compute.names("images") == ["now"]


def test_disks_of_another_project_count_if_it_is_named(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"used": {"deleted": past}, "previous": {"deleted": past}, "now": {}})
    body = {"name": "d", "sourceImage": f"projects/{PROJECT}/global/images/used"}
    status, operation = call(compute.emulator, "POST", DISKS.replace(PROJECT, "fleet"), body)
    assert status == 200, operation
    assert rows(run(*FLAGS).out)["used"][0] == "delete"
    kept = rows(run(*FLAGS, "-disk-project=my-project,fleet").out)["used"]
    assert kept == ("keep", "in use by disk d in fleet/us-west1-b")


def test_what_an_instance_template_names_is_kept(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {**{f"old-{n}": {"deleted": past} for n in range(3)}, "previous": {"deleted": past}, "now": {}})
    templates = f"/compute/v1/projects/{PROJECT}/global/instanceTemplates"
    for name, image in (("web", "images/old-1"), ("other", "images/family/my-family")):
        disk = {"boot": True, "initializeParams": {"sourceImage": f"global/{image}"}}
        body = {"name": name, "properties": {"machineType": "n1-standard-1", "disks": [disk, {"source": "data"}]}}
        assert call(compute.emulator, "POST", templates, body)[0] == 200
    decided = rows(run(*FLAGS).out)
    assert decided["old-1"] == ("keep", "in use by instance template web")
    assert [name for name, (action, _) in decided.items() if action == "delete"] == ["old-2", "old-0"]
    assert call(compute.emulator, "POST", templates, {"name": "web", "properties": {"description": "x"}})[0] == 409
    assert call(compute.emulator, "POST", templates, {"name": "bare"})[0] == 400
    assert call(compute.emulator, "GET", f"{templates}/web")[1]["name"] == "web"
    assert [each["name"] for each in call(compute.emulator, "GET", templates)[1]["items"]] == ["other", "web"]
    assert call(compute.emulator, "DELETE", f"{templates}/web")[0] == 200
    assert rows(run(*FLAGS).out)["old-1"][0] == "delete"


def test_one_that_cannot_be_deleted_is_named_and_stops_no_other(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {**{f"old-{n}": {"deleted": past} for n in range(6)}, "previous": {"deleted": past}, "now": {}})
    ids = {image["name"]: image["id"] for image in compute.emulator.list(f"projects/{PROJECT}/global/images")}
    compute.emulator.faults.add(kind="http", method="DELETE", path=f"/{ids['old-1']}", status=403, reason="forbidden")
    compute.emulator.faults.add(kind="operation", method="delete", path="/old-2", code="INTERNAL_ERROR", message="oops")
    compute.emulator.faults.add(kind="operation", method="delete", path="/old-3", code="RESOURCE_NOT_FOUND")
    ran = run(*FLAGS, "-dry-run=false")
    assert ran.code == 1
    assert ran.err.startswith("cos-customizer: 2 could not be deleted: image old-2: could not delete image old-2: oops")
    assert "image old-1: could not delete image old-1" in ran.err
    assert rows(ran.out)["old-3"] == ("gone", "somebody else has deleted it")
    assert ran.out.splitlines()[-1] == "3 deleted, 1 gone already, 2 kept, 2 failed"
    assert {"old-1", "old-2", "previous", "now"} <= set(compute.names("images"))


def test_an_image_that_has_got_the_name_meanwhile_is_not_deleted(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"old": {"deleted": past}, "previous": {"deleted": past}, "now": {}})
    clients = connect()
    retention, moment = Retention(PROJECT, ["my-family"]), time.time()
    decided = image_expiry.plan(clients, retention, moment)
    compute.ok(compute.images.delete_unary(project=PROJECT, image="old"))
    compute.image("old")
    removals = {each.name: each.action for each in image_expiry.apply(clients, retention, decided, moment)}
    assert removals == {"old": "gone", "previous": "keep", "now": "keep"}
    assert "old" in compute.names("images")


def test_an_image_that_has_failed_stays_whatever_its_date(compute: Compute) -> None:
    past = time.time() - DAY
    add_images(compute, {"failed": {"deleted": past, "labels": FAILED}, "old": {"deleted": past}, "now": {}})
    assert run(*FLAGS, "-keep-last=1", "-dry-run=false").code == 0
    assert sorted(compute.names("images")) == ["failed", "now"]
    assert given_by(compute) == "now"


def test_an_image_that_is_in_its_family_was_released_whatever_its_label_says(compute: Compute) -> None:
    """Its build was killed before it could take the label off; sweep leaves it alone, so it goes in its time here."""
    add_images(compute, {"old": {"deleted": time.time() - DAY, "labels": UNRELEASED}, "now": {"labels": UNRELEASED}})
    assert run(*FLAGS, "-keep-last=1", "-dry-run=false").code == 0
    assert compute.names("images") == ["now"]


def test_a_date_that_no_calendar_has_is_none(compute: Compute) -> None:
    for number, date in enumerate(("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00")):
        status = compute_v1.DeprecationStatus(state="DEPRECATED", deleted=date)
        compute.ok(compute.insert_image(f"odd-{number}", family="my-family", description=OURS, deprecated=status))
    dry = run(*FLAGS, "-keep-last=0")
    assert (dry.code, dry.err) == (0, "")
    assert {why for _, why in rows(dry.out).values()} == {"deprecated without a date of deletion"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "-project and -image-family must be given"),
        (("-project=my-project",), "-image-family must be given"),
        (("-project=My Project", "-image-family=f"), "-project: 'My Project' is not a project's id"),
        (("-project=my-project", "-image-family=F"), "-image-family: 'F' is not a valid name"),
        (("-project=my-project", "-image-family=f", "-keep-last=-1"), "-keep-last: -1 is less than 0"),
        (("-project=my-project", "-image-family=f", "-disk-project=-"), "-disk-project: '-' is not a project's id"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(emulator: Emulator, flags: tuple[str, ...], message: str) -> None:
    ran = run("expire-images", *flags)
    assert (ran.code, emulator.calls.count()) == (2, 0)
    assert ran.err.startswith(f"cos-customizer: {message}")


def test_an_image_answers_to_its_id(compute: Compute) -> None:
    made = compute.image("by-id")
    assert compute.images.get(project=PROJECT, image=str(made.id)).name == "by-id"
    assert call(compute.emulator, "GET", f"{IMAGES}/123456789")[0] == 404
    compute.ok(compute.images.delete_unary(project=PROJECT, image=str(made.id)))
    assert compute.names("images") == []
