"""Builds whose builder VM lays out its disk anew: the disk grows when the guest asks, and not before."""

from typing import Any

import pytest
from support.builds import failing, images
from support.guest_scripts import marker, script, succeeded, succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import BuildFailedError, CustomizerError, UsageError
from cos_customizer.customizer.reporting.events import Event, Note, PhaseChange, listening
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image

pytestmark = pytest.mark.usefixtures("prefect_server")

LABELS = ("run-script first.sh", "run-script second.sh")
GROWS = {"disk_size_gb": 12, "oem_size": "1G"}
SEALED = ("run-script first.sh", "seal-oem")


def sealing(make_spec: SpecMaker, **builder: Any) -> BuildSpec:
    spec = make_spec(builder=builder).model_dump(mode="json")
    return parse_spec({**spec, "steps": [{"script": "first.sh"}, {"type": "seal-oem"}]})


def test_the_disk_is_the_source_image_s_until_the_guest_asks_for_more(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS, disk_gb=12))
    told: list[Event] = []
    with listening(told.append):
        result = build_image(make_spec(builder=GROWS))
    assert result.outcome == "built"
    assert images(emulator)["my-image"]["diskSizeGb"] == "12"
    assert [event.text for event in told if isinstance(event, Note) and event.topic == "disk"] == [
        "the builder VM waits until it has 12 GB",
        "OEM has its new size",
    ]
    begun = [event.phase for event in told if isinstance(event, PhaseChange) and event.state == "started"]
    assert begun[begun.index("boot") :][:3] == ["boot", "disk", "steps"]
    assert "disk" in result.durations
    assert leftovers(emulator) == []


def test_a_disk_that_does_not_grow_has_its_size_from_the_start(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*SEALED))
    assert build_image(sealing(make_spec)).outcome == "built"
    assert emulator.calls.count(path="/resize") == 0


@pytest.mark.parametrize("oem_size", ["1025M", "1G"])
def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(
    emulator: Emulator, make_spec: SpecMaker, oem_size: str
) -> None:
    emulator.calls.clear()
    error, result = failing(sealing(make_spec, oem_size=oem_size), UsageError, "needs builder.disk_size_gb: 11")
    assert f"twice {oem_size}" in str(error)
    assert [call.path for call in emulator.calls.list() if call.method != "GET"] == []
    assert result.outcome == "failed"


FAILURES = {
    "the guest begins without asking": (
        succeeding(*LABELS),
        "the builder VM has begun its steps without asking for a larger disk",
    ),
    "the disk is not that of COS": (
        script(marker("BuildFailed: partition 8 of the boot disk is not OEM")),
        "partition 8 of the boot disk is not OEM",
    ),
    "the guest gives up waiting": (
        script(
            marker("BuildDisk: moving STATE"),
            marker(f"BuildDisk: wants {12 << 30}"),
            {"disk_gb": 12, **marker("BuildFailed: the file system of OEM is damaged")},
        ),
        "the file system of OEM is damaged",
    ),
    "the guest asks for another size": (
        script(marker(f"BuildDisk: wants {13 << 30}"), marker(f"BuildStep: 1 started {LABELS[0]}"), *succeeded()),
        "without asking for a larger disk",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_layout_that_fails_fails_the_build_and_leaves_nothing(
    emulator: Emulator, make_spec: SpecMaker, case: str
) -> None:
    play, message = FAILURES[case]
    emulator.scripts.add(play)
    failing(make_spec(builder=GROWS), BuildFailedError, message)
    assert images(emulator) == {}
    assert leftovers(emulator) == []


def test_a_disk_that_cannot_grow_fails_the_build(emulator: Emulator, make_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(*LABELS, disk_gb=12))
    emulator.faults.add(kind="operation", method="resize", path="/disks/", code="QUOTA_EXCEEDED")
    failing(make_spec(builder=GROWS), CustomizerError, "grow disk cos-customizer-.* to 12 GB|QUOTA|quota")
    assert images(emulator) == {}
    assert leftovers(emulator) == []


UNDONE = [
    ({"remove": "systemd.mask"}, "systemd.mask=update-engine.service"),
    ({"remove": "systemd.mask=usr-share-oem.mount"}, "systemd.mask=usr-share-oem.mount"),
    ({"replace": "systemd.mask=other.service"}, "systemd.mask=update-engine.service"),
]


@pytest.mark.parametrize(("change", "argument"), UNDONE)
def test_a_step_that_would_undo_a_seal_is_refused(make_spec: SpecMaker, change: dict[str, str], argument: str) -> None:
    spec = make_spec().model_dump(mode="json")
    changes = {"type": "kernel-args", **change}
    with pytest.raises(UsageError, match=rf"step 2 \(kernel-args .*\) would remove {argument} again, which step 1"):
        parse_spec({**spec, "steps": [{"type": "seal-oem"}, changes]})
    parse_spec({**spec, "steps": [changes, {"type": "seal-oem"}]})
    with pytest.raises(UsageError, match="seal-oem can be given once"):
        parse_spec({**spec, "steps": [{"type": "seal-oem"}, {"type": "disable-auto-update"}, {"type": "seal-oem"}]})
