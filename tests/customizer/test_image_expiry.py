"""Which images are kept and why, where a rollback leads, what a sweep may take: the rules, without a cloud."""

from dataclasses import replace
from typing import Any

import pytest

from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.customizer.families.image_expiry import FamilyImage, Retention, plan_expiry
from cos_customizer.customizer.families.removal import Removal, raise_failures, summary
from cos_customizer.customizer.families.rollback import plan_rollback
from cos_customizer.customizer.families.sweep import Leftover, decide, plan_sweep

NOW = 1_800_000_000.0
DAY = 86400.0


def image(number: int, **facts: Any) -> FamilyImage:
    """Image `i<number>`, a day newer than the one before, and id 1000 + number."""
    return FamilyImage(f"i{number}", str(1000 + number), "f", NOW - 100 * DAY + number * DAY, **facts)


def expired(number: int, **facts: Any) -> FamilyImage:
    """An image that nothing keeps, unless `facts` do."""
    return image(number, **{"deprecation": "DEPRECATED", "deleted": NOW - DAY, **facts})


NEW = (image(9), expired(8))
"""The current image and the one before: what `keep_last` of 2 keeps."""

KEPT = [
    # image, what else is told to the plan, why it is kept
    pytest.param(image(1), {}, "not deprecated", id="active"),
    pytest.param(image(1, deleted=NOW - DAY), {}, "not deprecated", id="active with a date"),
    pytest.param(image(1, deprecation="DEPRECATED"), {}, "deprecated without a date of deletion", id="no date"),
    pytest.param(image(1, deprecation="DELETED"), {}, "deleted without a date of deletion", id="only called deleted"),
    pytest.param(expired(1, deleted=NOW + 60), {}, "to be deleted on 2027-01-15 08:01 UTC", id="a minute too early"),
    pytest.param(expired(1), {"current": {"f": "1001"}}, "the family's current image", id="current"),
    pytest.param(expired(1), {"keep_last": 3}, "among the newest 3", id="new enough"),
    pytest.param(expired(1, ours=False), {}, "not made by cos-customizer", id="of others"),
    pytest.param(expired(1), {"in_use": {"1001": "disk web-1 in z"}}, "in use by disk web-1 in z", id="in use"),
    pytest.param(expired(1, state="unreleased"), {}, "its state is unreleased", id="unreleased"),
    pytest.param(expired(1, state="failed"), {}, "its state is failed", id="failed verification"),
    pytest.param(expired(1, status="PENDING"), {}, "its status is PENDING", id="being made"),
    pytest.param(expired(1, status="FAILED"), {}, "its status is FAILED", id="not made"),
]


def plan(images: tuple[FamilyImage, ...], **told: Any) -> dict[str, Removal]:
    facts: dict[str, Any] = {"current": {"f": "1009"}, "in_use": {}, "now": NOW, **told}
    kept = {name: facts.pop(name) for name in ("keep_last", "include_others") if name in facts}
    return {
        each.name: removal for each, removal in plan_expiry(images, retention=Retention("p", ["f"], **kept), **facts)
    }


@pytest.mark.parametrize(("kept", "told", "reason"), KEPT)
def test_an_image_is_kept_for_a_reason(kept: FamilyImage, told: dict[str, Any], reason: str) -> None:
    decided = plan((*NEW, kept, expired(0)), **told)[kept.name]
    assert (decided.action, decided.reason) == ("keep", reason)


@pytest.mark.parametrize(
    ("going", "told"),
    [
        (expired(1), {}),
        (expired(1, deleted=NOW), {}),
        (expired(1, deprecation="OBSOLETE"), {}),
        (expired(1, deprecation="DELETED"), {}),
        (expired(1, ours=False), {"include_others": True}),
        (expired(1), {"in_use": {"1002": "disk of another image"}}),
        (expired(8), {"keep_last": 1}),
    ],
)
def test_an_image_past_its_date_goes_if_nothing_keeps_it(going: FamilyImage, told: dict[str, Any]) -> None:
    images = tuple(each for each in NEW if each.name != going.name)
    assert plan((*images, going), **told)[going.name].action == "delete"


def test_the_newest_are_counted_over_what_can_be_used_and_in_each_family() -> None:
    unusable = (expired(7, state="failed"), expired(6, status="FAILED"), expired(5, state="unreleased"))
    other = replace(expired(2), name="other", family="g", id="2002")
    decided = plan((expired(3), expired(4), *unusable, *NEW, other), keep_last=3)
    assert decided["i4"].reason == decided["other"].reason == "among the newest 3"
    assert decided["i3"].action == "delete"
    assert list(decided) == ["i9", "i8", "i7", "i6", "i5", "i4", "i3", "other"]


def test_all_go_but_the_current_one_if_none_is_to_be_kept() -> None:
    decided = plan((*NEW, expired(1)), keep_last=0)
    assert [name for name, each in decided.items() if each.action == "delete"] == ["i8", "i1"]
    assert plan((expired(9), expired(8)), keep_last=0)["i9"].reason == "the family's current image"


def deprecated(number: int, **facts: Any) -> FamilyImage:
    return image(number, **{"deprecation": "DEPRECATED", **facts})


ROLLBACKS = [
    # images, current, to; then the target, whether its deprecation is cleared, what is deprecated in which order
    pytest.param((deprecated(1), deprecated(2), image(3)), 3, "", ("i2", True, ["i3"]), id="one back"),
    pytest.param((deprecated(1), image(2), deprecated(3)), 2, "", ("i1", True, ["i2"]), id="one further back"),
    pytest.param((image(1), image(2), image(3)), 3, "", ("i2", False, ["i3"]), id="it was never deprecated"),
    pytest.param((image(1, deleted=NOW + 9), image(3)), 3, "", ("i1", True, ["i3"]), id="active, with a date"),
    pytest.param((deprecated(1, deleted=NOW + 9), image(3)), 3, "", ("i1", True, ["i3"]), id="a date to come"),
    pytest.param(
        (deprecated(1), deprecated(2, state="failed"), deprecated(3, status="FAILED"), image(4)),
        *(4, "", ("i1", True, ["i4"])),
        id="over what cannot be used",
    ),
    pytest.param(
        (deprecated(1), deprecated(2, deprecation="OBSOLETE"), image(3)),
        3,
        "",
        ("i1", True, ["i3"]),
        id="over obsolete",
    ),
    pytest.param((image(1), deprecated(2), deprecated(3)), 1, "i3", ("i3", True, ["i1"]), id="forward"),
    pytest.param((deprecated(1), image(2), image(3), image(4)), 4, "i1", ("i1", True, ["i2", "i3", "i4"]), id="far"),
    pytest.param((image(1), image(2), deprecated(3), image(4)), 4, "i2", ("i2", False, ["i4"]), id="others stay"),
    pytest.param((deprecated(1), image(2)), 2, "i2", ("i2", False, []), id="it is there already"),
    pytest.param((deprecated(1), deprecated(2)), 0, "i1", ("i1", True, []), id="a family that gives nothing"),
    pytest.param(
        (deprecated(1, deprecation="DELETED", deleted=NOW - DAY), image(2)), 2, "i1", ("i1", True, ["i2"]), id="by name"
    ),
]


@pytest.mark.parametrize(("images", "current", "to", "expected"), ROLLBACKS)
def test_where_a_rollback_leads(
    images: tuple[FamilyImage, ...], current: int, to: str, expected: tuple[str, bool, list[str]]
) -> None:
    found = plan_rollback(images, str(1000 + current) if current else "", NOW, to)
    assert (found.target.name, found.undeprecate, [each.name for each in found.deprecate]) == expected


@pytest.mark.parametrize(
    ("images", "current", "to", "message", "hint"),
    [
        ((image(1),), 1, "", "no image to go back to: i1 is the oldest", "expire-images keeps"),
        ((deprecated(1, deprecation="OBSOLETE"), image(2)), 2, "", "no image to go back to", "i1 is obsolete; to: i1"),
        ((deprecated(1), deprecated(2)), 0, "", "gives no image now", "to names the one"),
        ((expired(1), image(2)), 2, "", "i1 is to be deleted since 2027-01-14", "to: i1 takes it all the same"),
        ((deprecated(1), image(2)), 2, "i7", "to: the family has no image i7", "it has i2, i1."),
        ((deprecated(1, state="failed"), image(2)), 2, "i1", "to: image i1 was never released", "verified"),
        ((deprecated(1, status="PENDING"), image(2)), 2, "i1", "to: image i1 is not ready", ""),
    ],
)
def test_why_a_rollback_is_refused(
    images: tuple[FamilyImage, ...], current: int, to: str, message: str, hint: str
) -> None:
    with pytest.raises(CustomizerError) as caught:
        plan_rollback(images, str(1000 + current) if current else "", NOW, to)
    assert message in caught.value.message
    assert hint in caught.value.hint


BUILD = "0123456789"
PAST = str(int(NOW) - 1)


def left(
    kind: Any = "VM", name: str = "cos-customizer-0123456789", expiry: str | None = PAST, **facts: Any
) -> Leftover:
    labels = {"cos-customizer-build": BUILD, **({} if expiry is None else {"cos-customizer-expires": expiry})}
    return Leftover(kind, "z", name, "7", {**labels, **facts.pop("labels", {})}, **facts)


UNRELEASED = {"cos-customizer-state": "unreleased"}
SPARED = [
    (left(labels={"cos-customizer-build": ""}), "no label cos-customizer-build"),
    (Leftover("disk", "z", "d", "7", {"cos-customizer-expires": PAST}), "no label cos-customizer-build"),
    (left(expiry=None), "no label cos-customizer-expires"),
    (left(expiry="soon"), "label cos-customizer-expires is no time: 'soon'"),
    (left(expiry="-5"), "label cos-customizer-expires is no time: '-5'"),
    (left(expiry="١٢٣"), "label cos-customizer-expires is no time: '١٢٣'"),
    (left(expiry=""), "label cos-customizer-expires is no time: ''"),
    (left(expiry="1" * 40), f"label cos-customizer-expires is no time: '{'1' * 40}'"),
    (left(expiry=str(int(NOW))), f"build {BUILD} expires 2027-01-15 08:00 UTC"),
    (left(expiry=str(int(NOW) + 3600)), f"build {BUILD} expires 2027-01-15 09:00 UTC"),
    (left(name="production-db"), "bears our labels, but not our name"),
    (left(name="cos-customizer-9876543210"), "bears our labels, but not our name"),
    (left("disk", "cos-customizer-x", labels={"cos-customizer-build": "x"}), "bears our labels, but not our name"),
    (left(takes=("cos-customizer-0123456789", "data")), "disk data, which is not ours, would be deleted with it"),
    (left(expiry="1"), "label cos-customizer-expires is no time: '1'"),
    (left("image", labels=UNRELEASED), "bears our labels, but was not made by cos-customizer"),
    (left("object", "cos-customizer/x/a", labels={"cos-customizer-build": "x"}), "not where a build keeps its objects"),
    (left("image", ours=True), "not labelled cos-customizer-state=unreleased"),
    (
        left("image", labels={"cos-customizer-state": "failed"}, ours=True),
        "not labelled cos-customizer-state=unreleased",
    ),
    (left("image", labels=UNRELEASED, family="f", ours=True), "verified, and in family f"),
    (left("object", "other/0123456789/context.tar.gz"), "not where a build keeps its objects"),
    (left("object", "my-cos-customizer/0123456789/context.tar.gz"), "not where a build keeps its objects"),
    (left("object", "cos-customizer/9876543210/context.tar.gz"), "not where a build keeps its objects"),
]


@pytest.mark.parametrize(("thing", "reason"), SPARED)
def test_what_is_swept_never(thing: Leftover, reason: str) -> None:
    assert (decide(thing, NOW).action, decide(thing, NOW).reason) == ("keep", reason)


@pytest.mark.parametrize(
    "thing",
    [
        left(),
        left("disk"),
        left("disk", "cos-customizer-0123456789-test"),
        left(takes=("cos-customizer-0123456789",)),
        left("image", "any-name", labels=UNRELEASED, ours=True),
        left("object", "cos-customizer/0123456789/context.tar.gz"),
        left("object", "work/dir/cos-customizer/0123456789/a/serial.log"),
        left(expiry="1000000000"),
    ],
)
def test_what_is_past_its_expiry_is_swept(thing: Leftover) -> None:
    decided = decide(thing, NOW)
    assert decided.action == "delete"
    assert decided.reason.startswith("build 0123456789 expired ")


def of(build: str, kind: Any, **facts: Any) -> Leftover:
    return left(kind, f"cos-customizer-{build}", labels={"cos-customizer-build": build}, **facts)


def test_a_disk_goes_only_if_the_vms_that_use_it_do() -> None:
    vm, running, later = "cos-customizer-0123456789", "cos-customizer-aaaaaaaaaa", str(int(NOW) + 9)
    things = [
        of("0000000001", "disk", users=(vm,)),
        of("0000000002", "disk", users=(vm, "mine")),
        of("0000000003", "disk", users=(vm,), expiry=later),
        of("0000000004", "disk"),
        left("VM", vm),
        of("aaaaaaaaaa", "VM", expiry=later),
        of("0000000005", "disk", users=(running,)),
    ]
    decided = plan_sweep(things, NOW)
    going = [removal.name[-1] for _, removal in decided if removal.action == "delete"]
    assert going == ["9", "1", "4"]
    reasons = {removal.name[-1]: removal.reason for _, removal in decided}
    assert reasons["2"] == "attached to VM mine"
    assert reasons["5"] == f"attached to VM {running}"


def test_an_image_that_something_uses_is_not_swept() -> None:
    used = left("image", "i", labels=UNRELEASED, ours=True, users=("disk d in z",))
    assert [removal.reason for _, removal in plan_sweep([used], NOW)] == ["in use by disk d in z"]


def test_the_outcome_is_counted_and_failures_are_named() -> None:
    one = Removal("image", "f", "i1", "delete", "why")
    several = [one, one.ended("failed", "could not delete image p/i1: in use"), one.ended("keep"), one.ended("gone")]
    assert summary(several) == "1 to delete, 1 gone already, 1 kept, 1 failed"
    assert summary([]) == "nothing found"
    raise_failures([one])
    with pytest.raises(
        CustomizerError, match=r"1 could not be deleted: image i1: could not delete image p/i1: in use"
    ) as caught:
        raise_failures(several)
    assert caught.value.hint == "the others were; run it again when the cause is gone."
    with pytest.raises(CustomizerError) as caught:
        raise_failures([*several, one.ended("failed", "forbidden", "ask for the role.")])
    assert caught.value.hint == "ask for the role."
