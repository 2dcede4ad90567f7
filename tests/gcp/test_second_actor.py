"""Somebody else changes families, templates, deprecations and labels between any two calls of what deletes."""

import itertools
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.cloud import compute_v1
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from support.compute_clients import COS, PROJECT, ZONE, Compute, call
from support.family_images import DAY, OURS, add_images, given_by, rfc3339
from support.leftovers import DEAD, NOW, labelled, relabel

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.image_expiry import Retention
from cos_customizer.customizer.names import STATE_LABEL, BuildNames
from cos_customizer.customizer.references import ImageRef
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import deprecation, fresh_reading, image_expiry, images, release, rollback, sweep
from cos_customizer.gcp.clients import Clients, connect

RETENTION = Retention(PROJECT, ["my-family"], keep_last=1)
Act = Callable[[Compute], None]


class Actor(HTTPAdapter):
    """Acts once, before a request of Google's clients.

    Args:
        act: What it does.
        turn: Before which request, counted from 0.

    Attributes:
        seen: Method and path of each request.
    """

    def __init__(self, act: Callable[[], None], turn: int) -> None:
        super().__init__()
        self._act, self._turn = act, turn
        self.seen: list[str] = []

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        if len(self.seen) == self._turn:
            self._act()
        self.seen.append(f"{request.method} {request.path_url}")
        return super().send(request, *args, **kwargs)

    def last(self, path: str, before: str) -> int:
        """Number of the last request of a path before the first one of another; -1 if there is none."""
        end = next((n for n, seen in enumerate(self.seen) if re.search(before, seen)), len(self.seen))
        return max((n for n, seen in enumerate(self.seen[:end]) if re.search(path, seen)), default=-1)


def with_actor(act: Callable[[], None], turn: int) -> tuple[Clients, Actor]:
    actor = Actor(act, turn)
    return replace(connect(), adapter=actor), actor


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def deprecate(compute: Compute, image: str, **status: str) -> None:
    resource = compute_v1.DeprecationStatus(**status)
    compute.ok(compute.images.deprecate_unary(project=PROJECT, image=image, deprecation_status_resource=resource))


def roll_back(compute: Compute) -> None:
    deprecate(compute, "old-1")
    deprecate(compute, "now", state="DEPRECATED")


def renew(compute: Compute) -> None:
    deprecate(compute, "old-1", state="DEPRECATED", deleted=rfc3339(time.time() + DAY))


def name_in_template(compute: Compute) -> None:
    disk = {"initializeParams": {"sourceImage": "global/images/old-1"}}
    where = f"/compute/v1/projects/{PROJECT}/regions/us-west1/instanceTemplates"
    assert call(compute.emulator, "POST", where, {"name": "t", "properties": {"disks": [disk]}})[0] == 200


def make_disk_of(compute: Compute) -> None:
    disk = compute_v1.Disk(name="d", source_image=f"projects/{PROJECT}/global/images/old-1")
    compute.ok(compute.disks.insert_unary(project=PROJECT, zone=ZONE, disk_resource=disk))


def make_image_of(compute: Compute) -> None:
    compute.image("copy", source_image="global/images/old-1")


def give_another_family(compute: Compute) -> None:
    family = compute_v1.Image(family="other")
    compute.ok(compute.images.patch_unary(project=PROJECT, image="old-1", image_resource=family))


def label_as_failed(compute: Compute) -> None:
    fingerprint = compute.images.get(project=PROJECT, image="old-1").label_fingerprint
    labels = compute_v1.GlobalSetLabelsRequest(labels={STATE_LABEL: "failed"}, label_fingerprint=fingerprint)
    request = compute_v1.SetLabelsImageRequest(
        project=PROJECT, resource="old-1", global_set_labels_request_resource=labels
    )
    compute.ok(compute.images.set_labels_unary(request))


def make_anew(compute: Compute) -> None:
    compute.ok(compute.images.delete_unary(project=PROJECT, image="old-1"))
    compute.image("old-1", family="my-family", description=OURS)


FAMILY = "GET .*/images[?].*filter="


@pytest.mark.parametrize(
    ("act", "read"),
    [
        (roll_back, FAMILY),
        (renew, FAMILY),
        (give_another_family, FAMILY),
        (label_as_failed, FAMILY),
        (make_anew, "DELETE"),
        (name_in_template, "GET .*/aggregated/instanceTemplates"),
        (make_disk_of, "GET .*/aggregated/disks"),
        (make_image_of, "GET .*/images[?]maxResults=500$"),
    ],
)
def test_no_image_is_expired_that_somebody_has_come_to_need(
    compute: Compute, act: Act, read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each turn up to the last read that can show it; after that the request is on its way."""
    monkeypatch.setattr(fresh_reading, "FRESH", math.inf)  # on a busy machine, too
    for turn in itertools.count():
        for name in ("copy", "old-0", "old-1", "now"):
            if name in compute.names("images"):
                compute.ok(compute.images.delete_unary(project=PROJECT, image=name))
        if "d" in compute.names("disks"):
            compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d"))
        call(compute.emulator, "DELETE", f"/compute/v1/projects/{PROJECT}/regions/us-west1/instanceTemplates/t")
        past = time.time() - DAY
        add_images(compute, {"old-1": {"deleted": past}, "old-0": {"deleted": past}, "now": {}})
        old = str(compute.images.get(project=PROJECT, image="old-1").id)

        decided = image_expiry.plan(connect(), RETENTION, time.time())
        assert [removal.action for _, removal in decided] == ["keep", "delete", "delete"]
        clients, actor = with_actor(lambda: act(compute), turn)
        image_expiry.apply(clients, RETENTION, decided, time.time())
        deletion = f"DELETE .*/{old}\\b"
        last = actor.last(".", "wait$") if read == "DELETE" else actor.last(read, deletion)
        if turn > last:
            assert turn > 0
            break
        assert "old-1" in compute.names("images"), f"acted at {turn}, of {actor.seen}"
        assert given_by(compute)
        assert "old-0" not in compute.names("images") or act is make_anew


def test_nothing_is_swept_that_somebody_has_renewed(compute: Compute) -> None:
    for turn in itertools.count():
        if DEAD.builder_vm in compute.names("instances"):
            compute.delete(DEAD.builder_vm)
        compute.create(DEAD.builder_vm, **labelled(DEAD.labels(NOW - 1)))
        decided = sweep.plan(connect(), sweep.SweepScope(PROJECT), NOW)
        clients, actor = with_actor(lambda: relabel(compute, DEAD.builder_vm, DEAD.labels(NOW + 60)), turn)
        sweep.apply(clients, PROJECT, decided, NOW)
        if turn > actor.last(f"GET .*/instances/{DEAD.builder_vm}", "DELETE"):
            assert turn > 0
            break
        assert compute.names("instances") == [DEAD.builder_vm]


@pytest.mark.parametrize("act", ["deprecate", "delete"])
def test_a_rollback_leaves_no_family_without_an_image(compute: Compute, act: str) -> None:
    def interfere() -> None:
        if act == "delete":
            compute.ok(compute.images.delete_unary(project=PROJECT, image="old"))
        else:
            deprecate(compute, "old", state="DEPRECATED")

    for turn in itertools.count():
        for name in compute.names("images"):
            compute.ok(compute.images.delete_unary(project=PROJECT, image=name))
        add_images(compute, {"old": {"deleted": None}, "now": {}})
        now = str(compute.images.get(project=PROJECT, image="now").id)
        plan = rollback.plan(connect(), PROJECT, "my-family", time.time())
        clients, actor = with_actor(interfere, turn)
        try:
            rollback.apply(clients, PROJECT, "my-family", plan, lambda *_: None)
        except CustomizerError:
            told = True
        else:
            told = False
        replaces = f"POST .*/{now}/deprecate"
        if turn > actor.last(FAMILY, replaces) and any(re.search(replaces, seen) for seen in actor.seen):
            assert turn > 2
            break
        assert given_by(compute) == ("old" if not told else "now")


def test_older_images_are_not_deprecated_for_one_that_is_gone(compute: Compute) -> None:
    add_images(compute, {"old-0": {}, "old-1": {}, "new": {}})
    new = images.find_image(connect(), ImageRef(PROJECT, "new"))
    assert new
    clients, _ = with_actor(lambda: deprecate(compute, "new", state="DEPRECATED"), 1)
    build, body = BuildNames("0123456789"), {"state": "DEPRECATED"}
    assert deprecation.deprecate_older(clients, "my-family", new, body, build) == []
    assert given_by(compute) == "old-1"


def test_an_image_that_has_got_the_name_is_neither_deprecated_nor_released_nor_deleted(compute: Compute) -> None:
    build = BuildNames("0123456789")
    add_images(compute, {"old-1": {}, "new": {}})
    new, old = (images.find_image(connect(), ImageRef(PROJECT, name)) for name in ("new", "old-1"))
    assert new
    assert old

    def replace_old() -> None:
        compute.ok(compute.images.delete_unary(project=PROJECT, image="old-1"))
        compute.image("old-1", description="of others", labels={"team": "others"})

    clients, _ = with_actor(replace_old, 1)
    assert deprecation.deprecate_older(clients, "my-family", new, {"state": "DEPRECATED"}, build) == []
    with pytest.raises(CustomizerError):
        release.release(connect(), old, "other-family", {"a": "b"}, build)
    with pytest.raises(CustomizerError):
        release.set_labels(connect(), old, {"a": "b"})
    theirs = compute.images.get(project=PROJECT, image="old-1")
    assert (theirs.family, dict(theirs.labels), theirs.deprecated.state) == ("", {"team": "others"}, "")


def test_an_image_that_has_been_finished_meanwhile_is_not_undone(compute: Compute) -> None:
    build = BuildNames("0123456789")
    compute.image("new", description=OURS, labels={STATE_LABEL: "unreleased"}, source_image=COS)

    def finish() -> None:
        compute.ok(
            compute.images.patch_unary(project=PROJECT, image="new", image_resource=compute_v1.Image(family="f"))
        )

    clients, _ = with_actor(finish, 1)
    (removal,) = images.delete_unfinished_image(clients, ImageRef(PROJECT, "new"), build)
    assert (removal.action, removal.reason) == ("keep", "somebody has finished it")
    assert compute.names("images") == ["new"]
