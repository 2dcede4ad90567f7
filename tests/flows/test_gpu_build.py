"""Builds with a GPU driver, on scripted machines: what is checked before a VM is paid for, what the VM gets."""

import logging
from typing import Any

import pytest
from support.guest_scripts import succeeding
from support.leftovers import leftovers
from support.specifications import SpecMaker

from cos_customizer.customizer.errors import CustomizerError, QuotaError, UsageError
from cos_customizer.customizer.reporting.events import Event, Note, listening
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image

pytestmark = pytest.mark.usefixtures("prefect_server")

LABEL = "install-gpu 535.104.05"


@pytest.fixture
def make_gpu_spec(make_spec: SpecMaker) -> SpecMaker:
    """A specification with one driver; keyword arguments replace settings of the step."""

    def make(zones: tuple[str, ...] = ("us-west1-b",), **step: Any) -> BuildSpec:
        data = make_spec(builder={"zones": list(zones)}).model_dump(mode="json")
        driver = {"type": "install-gpu", "version": "535.104.05", "gpu_type": "nvidia-tesla-t4", **step}
        return parse_spec({**data, "steps": [driver]})

    return make


def test_lookup_check_and_installation_are_tasks_of_their_own(
    emulator: Emulator, make_gpu_spec: SpecMaker, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(succeeding(LABEL))
    with caplog.at_level(logging.DEBUG, "prefect.task_runs"):
        result = build_image(make_gpu_spec())
    assert result.outcome == "built"
    assert [(step.label, step.state) for step in result.steps] == [(LABEL, "succeeded")]
    ends = [record for record in caplog.records if record.getMessage().startswith("Finished in state")]
    runs = [getattr(record, "task_run_name", "") for record in ends]
    assert [name for name in dict.fromkeys(runs) if "GPU" in name or "gpu" in name or "tesla" in name] == [
        *("look up GPU drivers", "check GPU driver 535.104.05", "look for nvidia-tesla-t4", LABEL)
    ]
    assert leftovers(emulator) == []


def test_aliases_are_the_installer_s_to_look_up(
    emulator: Emulator, make_gpu_spec: SpecMaker, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.scripts.add(succeeding("install-gpu latest"))
    with caplog.at_level(logging.DEBUG, "prefect.task_runs"):
        assert build_image(make_gpu_spec(version="latest")).outcome == "built"
    assert "look up GPU drivers" not in [getattr(record, "task_run_name", "") for record in caplog.records]


def test_zones_without_the_gpu_are_left_out(emulator: Emulator, make_gpu_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(LABEL))
    told: list[Event] = []
    with listening(told.append):
        result = build_image(make_gpu_spec(zones=("us-west1-c", "us-west1-b"), gpu_type="nvidia-tesla-p100"))
    assert result.zone == "us-west1-b"
    assert Note("zones", "us-west1-c left out: no nvidia-tesla-p100 there", "warning") in told


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"version": "535.104.06"}, "there is no driver 535.104.06", "535.104.05"),
    (
        {"md5sum": "0" * 32},
        f"steps.install-gpu.md5sum: {'0' * 32} is the sum of no file of driver",
        "NVIDIA-Linux-x86_64-535.104.05.run",
    ),
    ({"gpu_type": "nvidia-tesla-k80"}, "builder.gpu_type: no zone has nvidia-tesla-k80", "accelerator-types list"),
    (
        {"gpu_type": "nvidia-tesla-p100", "zones": ("us-west1-c",)},
        "builder.zones: us-west1-c has no nvidia-tesla-p100",
        "zones that have it: us-west1-",
    ),
    ({"deps_dir": "gpu"}, "steps.install-gpu.deps_dir: there are no files in 'gpu'", "the build context"),
]


@pytest.mark.parametrize(("step", "message", "hint"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_what_cannot_be_built_is_found_out_before_a_vm_is_paid_for(
    emulator: Emulator, make_gpu_spec: SpecMaker, step: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build_image(make_gpu_spec(**step))
    assert hint in caught.value.hint
    assert emulator.calls.count(method="POST", path="/instances$") == 0
    assert leftovers(emulator) == []


def test_a_quota_that_is_used_up_is_explained_and_nothing_is_left(emulator: Emulator, make_gpu_spec: SpecMaker) -> None:
    emulator.quotas.set_limit("us-west1", "NVIDIA_T4_GPUS", 0)
    with pytest.raises(QuotaError, match="NVIDIA_T4_GPUS") as caught:
        build_image(make_gpu_spec())
    assert "attach_gpu: false builds without a GPU" in caught.value.hint
    assert leftovers(emulator) == []


def test_without_a_gpu_no_zone_is_asked_for_one(emulator: Emulator, make_gpu_spec: SpecMaker) -> None:
    emulator.scripts.add(succeeding(LABEL))
    assert build_image(make_gpu_spec(zones=("us-west1-c",), gpu_type="nvidia-tesla-p100", attach_gpu=False)).zone
    assert emulator.calls.count(path="/acceleratorTypes") == 0


def test_an_arm64_image_that_a_family_leads_to_is_refused(emulator: Emulator, make_gpu_spec: SpecMaker) -> None:
    data = make_gpu_spec().model_dump(mode="json")
    data["source"] = {"project": "cos-cloud", "family": "cos-arm64-stable"}
    with pytest.raises(CustomizerError, match="install-gpu needs an x86_64 source image, not arm64"):
        build_image(parse_spec(data))
