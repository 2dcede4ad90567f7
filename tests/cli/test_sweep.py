"""`sweep` over the real clients: what is left of builds goes, and nothing else ever does."""

import contextlib
import io
import re
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud import compute_v1
from google.cloud.storage import Bucket
from support.command_line import run
from support.compute_clients import PROJECT, ZONE, Compute
from support.family_images import OURS, changes
from support.leftovers import (
    ALIVE,
    DEAD,
    EXPIRED,
    NOW,
    RUNNING,
    STUDIED,
    UNRELEASED,
    boot_from,
    bystanders,
    everything,
    labelled,
    make_disk,
    relabel,
    store,
)
from support.storage_clients import BUCKET

from cos_customizer.cli.clean_up import clean_up
from cos_customizer.cli.removals import show_removals
from cos_customizer.customizer.families.removal import Removal
from cos_customizer.customizer.names import BuildNames
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import sweep
from cos_customizer.gcp.clients import connect

LEFT = BuildNames("1e5c0de000")
SCOPE = sweep.SweepScope(PROJECT)


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def remains_of_a_build(compute: Compute, bucket: Bucket) -> set[str]:
    """What a build that was killed leaves behind, and more: a VM in another zone, a disk that its VM has left."""
    compute.create(DEAD.builder_vm, **labelled(EXPIRED))
    compute.create(DEAD.test_vm, "us-central1-a", **labelled(EXPIRED))
    make_disk(compute, LEFT.builder_vm, LEFT.labels(NOW - 1), "us-east1-b")
    compute.image("never-released", labels={**EXPIRED, **UNRELEASED}, description=OURS)
    for name in ("context.tar.gz", "serial.log"):
        store(bucket, DEAD.scratch("work") + name, EXPIRED)
    store(bucket, DEAD.scratch("") + "context.tar.gz", EXPIRED)
    return everything(compute, bucket)


def test_what_is_left_of_a_build_goes_and_nothing_else(compute: Compute, bucket: Bucket) -> None:
    others = bystanders(compute, bucket)
    remains = remains_of_a_build(compute, bucket) - others
    assert len(remains) == 9
    clients = connect()
    decided = sweep.plan(clients, SCOPE, NOW)
    assert everything(compute, bucket) == remains | others
    removals = sweep.apply(clients, PROJECT, decided, NOW)
    assert everything(compute, bucket) == others
    deleted = [(each.kind, each.where, each.name) for each in removals if each.action == "deleted"]
    assert deleted == [
        ("VM", "us-central1-a", DEAD.test_vm),
        ("VM", ZONE, DEAD.builder_vm),
        ("disk", "us-central1-a", DEAD.test_vm),
        ("disk", "us-east1-b", LEFT.builder_vm),
        ("disk", ZONE, DEAD.builder_vm),
        ("image", PROJECT, "never-released"),
        ("object", BUCKET, "cos-customizer/dddddddddd/context.tar.gz"),
        ("object", BUCKET, "work/cos-customizer/dddddddddd/context.tar.gz"),
        ("object", BUCKET, "work/cos-customizer/dddddddddd/serial.log"),
    ]
    reasons = {each.name: each.reason for each in removals if each.action == "keep"}
    assert reasons[ALIVE.builder_vm] == "build aaaaaaaaaa expires 2027-01-15 09:00 UTC"
    assert reasons[STUDIED.builder_vm] == "attached to VM vm-of-a-curious-one"
    for name in ("production-db", "data-of-production", "vm-running-build", "cos-customizer-x"):
        assert reasons[name] == "bears our labels, but not our name"
    assert reasons["image-of-others"] == "bears our labels, but was not made by cos-customizer"
    assert reasons["cos-customizer-eeeeeeeeee"] == "label cos-customizer-expires is no time: '1'"
    assert reasons["image-in-its-family"] == "verified, and in family my-family"
    assert "vm-unlabelled" not in reasons

    again = sweep.apply(clients, PROJECT, sweep.plan(clients, SCOPE, NOW), NOW)
    assert {each.action for each in again} == {"keep"}
    assert everything(compute, bucket) == others


def test_a_look_takes_few_calls_however_much_there_is(compute: Compute, bucket: Bucket) -> None:
    for number in range(30):
        store(bucket, f"work/{number}", None)
        store(bucket, f"{BuildNames(f'{number:010}').scratch('work')}context.tar.gz", RUNNING)
        make_disk(compute, f"disk-{number}", {})
    compute.emulator.calls.clear()
    sweep.plan(connect(), SCOPE, NOW)
    assert compute.emulator.calls.count("compute") == 3
    # Besides, the storage library looks at the bucket by itself, for traces that nobody collects.
    assert compute.emulator.calls.count("storage", path="/o[?]") == 1
    assert changes(compute) == []


def test_objects_are_listed_page_by_page(compute: Compute, bucket: Bucket) -> None:
    for number in range(5):
        store(bucket, f"{BuildNames(f'{number:010}').scratch('work')}context.tar.gz", EXPIRED)
    names = [blob.name for blob in bucket.list_blobs(page_size=2)]
    assert names == sorted(names)
    assert len(names) == 5
    assert compute.emulator.calls.count("storage", "GET", "pageToken=") == 2
    mixed = bucket.list_blobs(prefix="work/", delimiter="/", page_size=1)
    assert list(mixed) == []
    assert mixed.prefixes == {"work/cos-customizer/"}


def test_what_changes_between_look_and_deed_is_looked_at_again(compute: Compute, bucket: Bucket) -> None:
    renewed, made_anew, attached, gone = (BuildNames(digit * 10) for digit in "1234")
    for build in (renewed, made_anew):
        compute.create(build.builder_vm, **labelled(build.labels(NOW - 1)))
    for build in (attached, gone):
        make_disk(compute, build.builder_vm, build.labels(NOW - 1))
    for name in ("released", "in-use"):
        compute.image(name, labels={**EXPIRED, **UNRELEASED}, description=OURS)
    for name in ("written-again", "kept-longer", "gone", "old"):
        store(bucket, DEAD.scratch("work") + name, EXPIRED)
    clients = connect()
    decided = sweep.plan(clients, SCOPE, NOW)

    relabel(compute, renewed.builder_vm, renewed.labels(NOW + 3600))
    compute.delete(made_anew.builder_vm)
    compute.create(made_anew.builder_vm, **labelled({}))
    boot_from(compute, "user", attached.builder_vm)
    compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk=gone.builder_vm))
    source = f"projects/{PROJECT}/global/images/in-use"
    compute.ok(
        compute.disks.insert_unary(
            project=PROJECT, zone=ZONE, disk_resource=compute_v1.Disk(name="user-2", source_image=source)
        )
    )
    compute.ok(
        compute.images.patch_unary(project=PROJECT, image="released", image_resource=compute_v1.Image(family="f"))
    )
    store(bucket, DEAD.scratch("work") + "written-again", EXPIRED)
    longer = bucket.blob(DEAD.scratch("work") + "kept-longer")
    longer.metadata = RUNNING
    longer.patch()
    bucket.blob(DEAD.scratch("work") + "gone").delete()

    there = everything(compute, bucket)
    removals = sweep.apply(clients, PROJECT, decided, NOW)
    assert there - everything(compute, bucket) == {"objects/work/cos-customizer/dddddddddd/old"}
    assert {(each.kind, each.name.rpartition("/")[2], each.action) for each in removals} == {
        ("VM", renewed.builder_vm, "keep"),
        ("VM", made_anew.builder_vm, "gone"),
        ("disk", renewed.builder_vm, "keep"),
        ("disk", made_anew.builder_vm, "deleted"),
        ("disk", attached.builder_vm, "keep"),
        ("disk", gone.builder_vm, "gone"),
        ("image", "released", "keep"),
        ("image", "in-use", "keep"),
        ("object", "written-again", "keep"),
        ("object", "kept-longer", "keep"),
        ("object", "gone", "gone"),
        ("object", "old", "deleted"),
    }


def test_one_that_cannot_be_deleted_stops_no_other(compute: Compute, bucket: Bucket) -> None:
    protected = LEFT.test_vm
    compute.create(protected, **labelled(LEFT.labels(NOW - 1), deletion_protection=True))
    remains_of_a_build(compute, bucket)
    compute.emulator.faults.add(kind="http", method="DELETE", path="serial.log", status=403, count=9)
    clients = connect()
    removals = sweep.apply(clients, PROJECT, sweep.plan(clients, SCOPE, NOW), NOW)
    failed = {(each.kind, each.name.rpartition("/")[2]) for each in removals if each.action == "failed"}
    assert failed == {("VM", protected), ("object", "serial.log")}
    assert everything(compute, bucket) == {
        *(f"instances/{protected}", f"disks/{protected}", "objects/work/cos-customizer/dddddddddd/serial.log")
    }


def test_a_vm_that_compute_engine_has_deleted_leaves_what_is_swept(compute: Compute, bucket: Bucket) -> None:
    limit = compute_v1.Scheduling(
        max_run_duration=compute_v1.Duration(seconds=60), instance_termination_action="DELETE"
    )
    fields = labelled(EXPIRED, scheduling=limit)
    fields["disks"][0].auto_delete = False
    compute.create(DEAD.builder_vm, **fields)
    compute.emulator.clock.advance(120)
    assert (compute.names("instances"), compute.names("disks")) == ([], [DEAD.builder_vm])
    clients = connect()
    sweep.apply(clients, PROJECT, sweep.plan(clients, SCOPE, NOW), NOW)
    assert everything(compute, bucket) == set()


def rows(out: str) -> list[list[str]]:
    return [line.split(maxsplit=4) for line in out.splitlines()[1:-1]]


def test_the_command_tells_first_and_deletes_when_told(compute: Compute, bucket: Bucket) -> None:
    labels = DEAD.labels(time.time() - 1)
    make_disk(compute, DEAD.builder_vm, labels)
    make_disk(compute, ALIVE.builder_vm, ALIVE.labels(NOW * 2))
    store(bucket, DEAD.scratch("work") + "context.tar.gz", labels)
    compute.emulator.calls.clear()
    dry = run("sweep", "-project=my-project")
    assert (dry.code, dry.err, changes(compute)) == (0, "", [])
    assert [row[:4] for row in rows(dry.out)] == [
        ["keep", "disk", ZONE, ALIVE.builder_vm],
        ["delete", "disk", ZONE, DEAD.builder_vm],
        ["delete", "object", BUCKET, "work/cos-customizer/dddddddddd/context.tar.gz"],
    ]
    assert dry.out.splitlines()[-1] == "2 to delete, 1 kept (dry run: -dry-run=false deletes)"
    done = run("sweep", "-project=my-project", "-dry-run=false")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "2 deleted, 1 kept"
    assert everything(compute, bucket) == {f"disks/{ALIVE.builder_vm}"}
    assert run("sweep", "-project=cos-cloud").out == "nothing found\n"  # it has no bucket, either


@pytest.mark.parametrize(("columns", "framed"), [(80, False), (120, True)])
def test_on_a_terminal_the_table_fits(monkeypatch: pytest.MonkeyPatch, columns: int, framed: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    name = "work/cos-customizer/dddddddddd/context.tar.gz"
    removal = Removal("object", BUCKET, name, "delete", "build dddddddddd expired 2027-01-15 07:59 UTC")
    with contextlib.redirect_stdout(Terminal()) as terminal:
        show_removals([removal, removal.ended("failed", "because\x1b[2J")], "where", dry_run=True)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in terminal.getvalue().splitlines()]
    assert max(map(len, lines)) <= columns
    assert ("─" in terminal.getvalue()) == framed
    assert any(line.endswith(name) or f"  {name}  " in line for line in lines)
    assert lines[-1] == "1 to delete, 1 failed (dry run: -dry-run=false deletes)"
    assert "\x1b[2J" not in terminal.getvalue()


def test_what_a_later_sweep_would_take_can_be_asked_and_not_done(compute: Compute) -> None:
    make_disk(compute, DEAD.builder_vm, DEAD.labels(NOW))
    later = datetime.fromtimestamp(NOW + 60, UTC).isoformat().replace("+00:00", "Z")
    assert run("sweep", "-project=my-project").out.splitlines()[-1] == "1 kept"
    ran = run("sweep", "-project=my-project", f"-as-of={later}")
    assert ran.out.splitlines()[-1] == "1 to delete (dry run: -dry-run=false deletes)"
    ran = run("sweep", "-project=my-project", f"-as-of={later}", "-dry-run=false")
    assert ran.code == 2
    assert ran.err.startswith("cos-customizer: -as-of: that time has not come yet")
    assert compute.names("disks") == [DEAD.builder_vm]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "-project must be given"),
        (("-project=P",), 2, "-project: 'P' is not a project's id"),
        (("-project=my-project", "-gcs-bucket=gs://b"), 2, "-gcs-bucket: 'gs://b' is not a bucket's name"),
        (("-project=my-project", "-as-of=tomorrow"), 2, "-as-of: 'tomorrow' is not a time"),
        (("-project=my-project", "-as-of=2020-01-01"), 2, "-as-of: '2020-01-01' is not a time"),
        (("-project=my-project", "-gcs-bucket=none"), 1, "could not list the objects of gs://none: there is no such"),
        (("-project=my-project", "-dry-run", "false"), 2, "sweep takes flags only, and does not understand 'false'"),
    ],
)
@pytest.mark.usefixtures("emulator")
def test_wrong_usage_is_told(flags: tuple[str, ...], code: int, message: str) -> None:
    ran = run("sweep", *flags)
    assert ran.code == code
    assert ran.err.startswith(f"cos-customizer: {message}")


def test_preconditions_on_objects_are_kept(bucket: Bucket) -> None:
    store(bucket, "object", {"a": "b"})
    before = bucket.get_blob("object")
    store(bucket, "object", {"a": "c"})
    with pytest.raises(NotFound):  # there is none of that generation
        before.delete(if_generation_match=before.generation)
    with pytest.raises(PreconditionFailed):
        bucket.blob("object").delete(if_generation_match=before.generation)
    blob = bucket.get_blob("object")
    blob.delete(if_generation_match=blob.generation, if_metageneration_match=blob.metageneration)
    assert not blob.exists()


def test_a_build_that_is_told_to_clean_up_deletes_what_others_have_left_in_its_zones(
    compute: Compute, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cos_customizer.cli.clean_up.time", SimpleNamespace(time=lambda: NOW))
    others = bystanders(compute, bucket)
    left = remains_of_a_build(compute, bucket) - others
    clean_up(PROJECT, [ZONE])
    gone = left - everything(compute, bucket)
    assert len(gone) == 2, gone  # the VM and its disk; objects, images and other zones are `sweep`'s
    assert f"clean-up      VM {DEAD.builder_vm} in {ZONE} deleted" in capsys.readouterr().out
    assert others <= everything(compute, bucket)


def test_a_clean_up_that_fails_is_said_and_no_reason_not_to_build(
    compute: Compute, bucket: Bucket, capsys: pytest.CaptureFixture[str]
) -> None:
    compute.emulator.faults.add("http", status=403, reason="forbidden", path="/instances", count=0)
    clean_up(PROJECT, [ZONE])
    assert "-enable-cleanup: could not " in capsys.readouterr().err
