"""Zones and machine types: what is not there is told by field, before anything is made."""

import pytest
from support.compute_clients import PROJECT

from cos_customizer.customizer.errors import UsageError
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.machine_zones import zones_with_machine_type


def look(machine_type: str, *zones: str) -> list[str]:
    return zones_with_machine_type(connect(), PROJECT, machine_type, zones)


@pytest.mark.usefixtures("emulator")
def test_zones_that_have_the_machine_type_are_found_in_order() -> None:
    assert look("n1-standard-1", "us-west1-c", "us-west1-b") == ["us-west1-c", "us-west1-b"]
    assert look("a2-highgpu-1g", "us-west1-c", "us-west1-b") == ["us-west1-b"]


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    ("machine_type", "zones", "message", "hint"),
    [
        ("n1-standard-1", ("us-west1",), "builder.zones: us-west1 is a region, not a zone", "us-west1-a, us-west1-b"),
        ("n1-standard-1", ("us-west1-b", "mars1-a"), "builder.zones: there is no zone mars1-a", "compute zones list"),
        (
            "n1-standrad-1",
            ("us-west1-b",),
            "builder.machine_type: n1-standrad-1: there is none in us-west1-b",
            "did you mean n1-standard-1",
        ),
        (
            "a2-highgpu-1g",
            ("us-west1-c",),
            "builder.machine_type: a2-highgpu-1g: there is none in us-west1-c",
            "lists the zones that have it, builder.zones names them",
        ),
    ],
)
def test_what_is_not_there_is_told_by_field(machine_type: str, zones: tuple[str, ...], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        look(machine_type, *zones)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_the_words_of_compute_engine_for_an_unknown_zone_are_known(emulator: Emulator) -> None:
    emulator.faults.add(
        "http", status=400, reason="invalid", path="/machineTypes/", message="Invalid value for field 'zone': 'z'."
    )
    with pytest.raises(UsageError, match=r"^builder\.zones: there is no zone us-west1-b$"):
        look("n1-standard-1", "us-west1-b")


def test_where_they_may_not_be_read_the_vm_s_own_request_will_tell(emulator: Emulator) -> None:
    emulator.faults.add("http", status=403, reason="forbidden", path="/machineTypes/", count=0)
    assert look("n1-standard-1", "us-west1-b", "mars1-a") == ["us-west1-b", "mars1-a"]
