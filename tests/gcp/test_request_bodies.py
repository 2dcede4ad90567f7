"""Request bodies: a specification and a source image in, the API's JSON out, compared with `data/requests/*.yaml`."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.families.provenance import Provenance
from cos_customizer.customizer.names import BuildNames
from cos_customizer.customizer.references import VmRef
from cos_customizer.customizer.spec.instance_metadata import OURS
from cos_customizer.customizer.spec.model import BuildSpec, OutputImage, parse_spec
from cos_customizer.customizer.spec.values import GUEST_OS_FEATURES
from cos_customizer.gcp import image_bodies, request_bodies
from cos_customizer.gcp.images import ResolvedImage
from cos_customizer.gcp.request_bodies import VmRequest

CASES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parent.glob("data/requests/*"))}
MINIMAL: dict[str, Any] = CASES["minimal"]["spec"]
BUILD = BuildNames("0123456789")
PROVENANCE = Provenance(BUILD.id, "42", "f" * 32)
ZONE = "us-west1-b"
NOW = 1_700_000_000.0


def bodies(case: dict[str, Any]) -> dict[str, Any]:
    spec, source = parse_spec(case["spec"]), case["source"]
    image = ResolvedImage(spec.source.project, str(spec.source.name), labels=source["labels"])
    name = spec.output.name_for(image.name)
    replacement = f"projects/{spec.output.project}/global/images/{name}"
    request = VmRequest(spec, BUILD, image.path, source["architecture"], "the plan")
    vm = VmRef(spec.builder.project, ZONE, BUILD.builder_vm)
    return {
        "builder_vm": request_bodies.builder_vm(request, ZONE, NOW),
        "output_image": image_bodies.image(spec, PROVENANCE, vm, image, name, NOW),
        "deprecation": image_bodies.deprecation(replacement, spec.output.old_image_ttl, NOW),
    }


def builder_vm(architecture: str = "X86_64", timeout: str = "1h", **builder: Any) -> dict[str, Any]:
    data = copy.deepcopy(MINIMAL)
    data["builder"].update(builder)
    spec = parse_spec({**data, "timeout": timeout})
    image = ResolvedImage(spec.source.project, str(spec.source.name))
    return request_bodies.builder_vm(VmRequest(spec, BUILD, image.path, architecture, "the plan"), ZONE, NOW)


SOURCE = ResolvedImage("cos-cloud", "cos-stable-68-10718-86-0", disk_size_gb=10, architecture="X86_64")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["builder_vm", "output_image", "deprecation"])
def test_a_specification_gives_these_bodies(name: str, kind: str) -> None:
    assert bodies(CASES[name])[kind] == CASES[name][kind]


def test_a_vm_is_told_where_secret_manager_is_if_it_is_elsewhere() -> None:
    here, there = (
        VmRequest(parse_spec(MINIMAL), BUILD, "projects/p/global/images/i", "X86_64", "the plan", endpoint)
        for endpoint in (None, "https://psc.p.googleapis.com")
    )
    for body in (request_bodies.builder_vm, request_bodies.test_vm):
        items = body(there, ZONE, NOW)["metadata"]["items"]
        assert items.pop() == {"key": "secretmanager-endpoint", "value": "https://psc.p.googleapis.com"}
        assert items == body(here, ZONE, NOW)["metadata"]["items"]


@pytest.mark.parametrize("name", CASES)
def test_google_s_own_types_know_every_field(name: str) -> None:
    from google.cloud import compute_v1

    from cos_customizer.gcp.images import message

    kinds = {
        "builder_vm": compute_v1.Instance,
        "output_image": compute_v1.Image,
        "deprecation": compute_v1.DeprecationStatus,
    }
    for kind, body in bodies(CASES[name]).items():
        message(kinds[kind], body)
        with pytest.raises(Exception, match="no field named"):
            message(kinds[kind], {**body, "colour": "blue"})


@pytest.mark.parametrize(
    ("builder", "architecture", "machine_type", "count"),
    [
        ({}, "X86_64", "n1-standard-1", None),
        ({}, "ARM64", "t2a-standard-1", None),
        ({"machine_type": "e2-medium"}, "X86_64", "e2-medium", None),
        ({"machine_type": "c4a-standard-1"}, "ARM64", "c4a-standard-1", None),
        ({"gpu_type": "nvidia-tesla-t4"}, "X86_64", "n1-standard-1", 1),
        ({"gpu_type": "nvidia-l4"}, "X86_64", "g2-standard-4", 0),  # these have their GPUs by themselves
        ({"gpu_type": "nvidia-tesla-a100"}, "X86_64", "a2-highgpu-1g", 0),
        ({"gpu_type": "nvidia-h200-141gb"}, "X86_64", "a3-ultragpu-8g", 0),
        ({"gpu_type": "nvidia-of-tomorrow"}, "X86_64", "n1-standard-1", 1),
        ({"gpu_type": "nvidia-tesla-t4", "machine_type": "n1-standard-8"}, "X86_64", "n1-standard-8", 1),
        ({"gpu_type": "nvidia-h100-80gb", "confidential_vm": "TDX"}, "X86_64", "a3-highgpu-1g", 0),
    ],
)
def test_a_gpu_and_an_architecture_bring_the_machine_type_that_fits(
    builder: dict[str, Any], architecture: str, machine_type: str, count: int | None
) -> None:
    body = builder_vm(architecture, **builder)
    assert body["machineType"] == f"zones/{ZONE}/machineTypes/{machine_type}"
    gpu = f"zones/{ZONE}/acceleratorTypes/{builder.get('gpu_type')}"
    expected = [{"acceleratorType": gpu, "acceleratorCount": count}] if count else None
    assert body.get("guestAccelerators") == expected
    assert body["scheduling"].get("onHostMaintenance") == (None if count is None else "TERMINATE")


@pytest.mark.parametrize(
    ("machine_type", "disk_type"),
    [
        ("n1-standard-1", "pd-standard"),
        ("custom-2-4096", "pd-standard"),
        ("e2-medium", "pd-standard"),
        ("n2-custom-4-8192", "pd-standard"),
        ("n4-standard-2", "hyperdisk-balanced"),
        ("n4-custom-4-8192", "hyperdisk-balanced"),
        ("c4-standard-2", "hyperdisk-balanced"),
        ("c3-highcpu-8", "pd-balanced"),
        ("c3-standard-192-metal", "hyperdisk-balanced"),
        ("a3-highgpu-1g", "pd-balanced"),
        ("a3-ultragpu-8g", "hyperdisk-balanced"),
        ("g2-standard-4", "pd-balanced"),
        ("m1-ultramem-40", "pd-balanced"),
        ("m3-ultramem-32", "pd-balanced"),
        ("m4-megamem-28", "hyperdisk-balanced"),
        ("c4a-standard-1", "hyperdisk-balanced"),
        ("n4d-standard-2", "hyperdisk-balanced"),
        ("n99-standard-2", None),
    ],
)
def test_the_disk_is_one_that_the_machine_boots_from(machine_type: str, disk_type: str | None) -> None:
    parameters = builder_vm(machine_type=machine_type)["disks"][0]["initializeParams"]
    assert parameters.get("diskType") == (f"zones/{ZONE}/diskTypes/{disk_type}" if disk_type else None)
    asked = builder_vm(machine_type=machine_type, disk_type="hyperdisk-extreme")["disks"][0]["initializeParams"]
    assert asked["diskType"] == f"zones/{ZONE}/diskTypes/hyperdisk-extreme"  # nothing is said against it


def test_the_arm_machine_boots_from_a_disk_of_its_own() -> None:
    assert builder_vm("ARM64")["disks"][0]["initializeParams"]["diskType"].endswith("/pd-standard")
    body = builder_vm("ARM64", machine_type="c4a-standard-1")
    assert body["disks"][0]["initializeParams"]["diskType"].endswith("/hyperdisk-balanced")


@pytest.mark.parametrize(
    ("builder", "architecture", "message"),
    [
        ({"disk_size_gb": 9}, "X86_64", "builder.disk_size_gb: 9: the source image cos needs 10 GB"),
        ({"machine_type": "c4a-standard-1"}, "X86_64", "it runs arm64 images, and the source image cos is one for x86"),
        ({"confidential_vm": "SEV"}, "ARM64", "builder.confidential_vm: SEV: the source image cos is one for arm64"),
        ({"machine_type": "n1-standard-1"}, "ARM64", "it runs x86_64 images, and the source image cos is one for arm"),
    ],
)
def test_what_the_source_image_does_not_fit_is_refused(
    builder: dict[str, Any], architecture: str, message: str
) -> None:
    spec = parse_spec({**MINIMAL, "builder": {**MINIMAL["builder"], **builder}})
    with pytest.raises(UsageError) as caught:
        request_bodies.check_source(spec, ResolvedImage("cos-cloud", "cos", disk_size_gb=10, architecture=architecture))
    assert message in caught.value.message


@pytest.mark.parametrize("builder", [{"disk_size_gb": 10}, {"disk_size_gb": 11}, {}, {"machine_type": "n99-large-1"}])
def test_what_fits_the_source_image_or_is_not_known_is_taken(builder: dict[str, Any]) -> None:
    spec = parse_spec({**MINIMAL, "builder": {**MINIMAL["builder"], **builder}})
    request_bodies.check_source(spec, ResolvedImage("cos-cloud", "cos", disk_size_gb=10))


def test_shielded_options_are_sent_where_they_are_not_what_compute_engine_does_anyway() -> None:
    assert "shieldedInstanceConfig" not in builder_vm()
    assert builder_vm(shielded_secure_boot=True)["shieldedInstanceConfig"] == {
        "enableSecureBoot": True,
        "enableVtpm": True,
        "enableIntegrityMonitoring": True,
    }
    off = builder_vm(shielded_vtpm=False, shielded_integrity_monitoring=False)["shieldedInstanceConfig"]
    assert off == {"enableSecureBoot": False, "enableVtpm": False, "enableIntegrityMonitoring": False}


@pytest.mark.parametrize(
    ("technology", "machine_type", "platform"),
    [
        ("SEV", "n2d-standard-2", None),
        ("SEV_SNP", "n2d-standard-2", "AMD Milan"),
        ("TDX", "c3-standard-4", None),
    ],
)
def test_a_confidential_vm_is_a_machine_that_can_and_is_not_migrated(
    technology: str, machine_type: str, platform: str | None
) -> None:
    body = builder_vm(confidential_vm=technology)
    assert body["confidentialInstanceConfig"] == {"confidentialInstanceType": technology}
    assert body["machineType"] == f"zones/{ZONE}/machineTypes/{machine_type}"
    assert body.get("minCpuPlatform") == platform
    assert body["scheduling"]["onHostMaintenance"] == "TERMINATE"
    assert builder_vm(confidential_vm=technology, machine_type="n99-big-1")["machineType"].endswith("/n99-big-1")


@pytest.mark.parametrize("more", [{}, {"gpu_type": "nvidia-tesla-t4"}, {"confidential_vm": "SEV"}])
def test_a_spot_vm_is_deleted_when_it_is_taken_back_and_says_nothing_of_maintenance(more: dict[str, Any]) -> None:
    assert builder_vm(spot=True, **more)["scheduling"] == {
        "maxRunDuration": {"seconds": "3900"},
        "instanceTerminationAction": "DELETE",
        "provisioningModel": "SPOT",
    }


def test_whatever_key_of_metadata_the_build_sets_is_its_own() -> None:
    request = VmRequest(
        parse_spec(MINIMAL),
        BUILD,
        "projects/p/global/images/i",
        "X86_64",
        "the plan",
        "https://psc",
        contents_address="/upload?upload_id=1",
    )
    items = request_bodies.builder_vm(request, ZONE, NOW)["metadata"]["items"]
    assert {item["key"] for item in items} | {"storage-endpoint"} == set(OURS)


def test_every_feature_that_google_s_types_know_is_known() -> None:
    from google.cloud import compute_v1

    there = set(compute_v1.GuestOsFeature.Type.__members__) - {"UNDEFINED_TYPE", "FEATURE_TYPE_UNSPECIFIED"}
    assert there <= set(GUEST_OS_FEATURES)


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [
        (False, {"team": "web"}),
        (True, {"a": "1", "b": "2", "team": "web"}),
        (["b", "team", "none"], {"b": "2", "team": "web"}),
        (["cos-customizer-build"], {"team": "web"}),
        ([], {"team": "web"}),
    ],
)
def test_labels_are_inherited_as_asked_for(wanted: bool | list[str], labels: dict[str, str]) -> None:
    output = OutputImage(project="my-project", name="my-image", inherit_labels=wanted, labels={"team": "web"})
    source = {"a": "1", "b": "2", "team": "cos", "cos-customizer-build": "x"}
    assert image_bodies.labels_of(output, source) == labels


DEFAULT_NETWORK = {"network": "global/networks/default"}
IN_THE_REGION = {"subnetwork": "regions/us-west1/subnetworks/s"}
SHARED = "projects/host/regions/us-west1/subnetworks/s"


@pytest.mark.parametrize(
    ("builder", "interface"),
    [
        ({}, DEFAULT_NETWORK),
        ({"network": "n"}, {"network": "global/networks/n"}),
        ({"network": "projects/host/global/networks/n"}, {"network": "projects/host/global/networks/n"}),
        ({"subnet": "s"}, IN_THE_REGION),  # the network follows from the subnet
        ({"subnet": SHARED}, {"subnetwork": SHARED}),
        ({"subnet": "s", "network": "n"}, {"network": "global/networks/n", **IN_THE_REGION}),
    ],
)
@pytest.mark.parametrize("external_ip", [True, False])
def test_network_and_subnet_are_asked_for_as_given(
    builder: dict[str, Any], interface: dict[str, str], external_ip: bool
) -> None:
    access = {"accessConfigs": [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}]} if external_ip else {}
    assert builder_vm(external_ip=external_ip, **builder)["networkInterfaces"] == [{**interface, **access}]


@pytest.mark.parametrize(
    ("timeout", "seconds"),
    [("1ns", 300), ("1s", 301), ("1h", 3900), ("90m", 5700), ("2879h", 10364700), ("2880h", 10368000)],
)
def test_a_builder_vm_lives_a_little_longer_than_the_build_and_as_long_as_compute_engine_lets_it(
    timeout: str, seconds: int
) -> None:
    body = builder_vm(timeout=timeout)
    assert body["scheduling"]["maxRunDuration"] == {"seconds": str(seconds)}
    assert int(body["labels"]["cos-customizer-expires"]) > NOW + seconds
    assert request_bodies.SHORTEST_LIFE <= seconds <= request_bodies.LONGEST_LIFE


def test_a_time_to_live_may_be_as_long_as_the_specification_allows() -> None:
    field = BuildSpec.model_fields["output"].annotation
    longest = next(rule.le for rule in field.model_fields["old_image_ttl"].metadata if hasattr(rule, "le"))  # type: ignore[union-attr]
    assert image_bodies.deprecation("new", longest, NOW)["deleted"].startswith("2123-")


def test_the_user_data_carries_the_steps_and_where_the_context_is() -> None:
    spec = parse_spec({**MINIMAL, "steps": [{"script": "./lib/../a b.sh", "env": {"A": "it's"}}]})
    plan = next(
        file["content"]
        for file in yaml.safe_load(request_bodies.user_data(spec, BUILD, "5f" * 32, SOURCE))["write_files"]
        if file["path"].endswith("/plan.sh")
    )
    assert "step 1 run-script 'run-script a b.sh' 'script=a b.sh'" in plan
    for said in ("5f" * 32, "my-project_cloudbuild", "image-build-42%2Fcos-customizer%2F0123456789%2Fcontext.tar.gz"):
        assert said in plan
    assert BUILD.nonce in plan


def test_steps_that_each_fit_and_together_do_not_are_refused() -> None:
    step = {"script": "a.sh", "env": {"BIG": "x" * 130_000}}
    spec = parse_spec({**MINIMAL, "steps": [step, step]})
    with pytest.raises(UsageError, match="environment variables"):
        request_bodies.user_data(spec, BUILD, "0" * 64, SOURCE)


def test_what_a_source_image_says_of_its_release_is_not_inherited() -> None:
    """With it, sweep would take the new image for one that was never released."""
    output = OutputImage(project="my-project", name="my-image", inherit_labels=True, labels={"team": "web"})
    ours = {"cos-customizer-state": "unreleased", "cos-customizer-expires": "1", "cos-customizer-build": "x"}
    assert image_bodies.labels_of(output, {**ours, "a": "b"}) == {"a": "b", "team": "web"}
