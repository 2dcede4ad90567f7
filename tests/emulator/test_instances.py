"""Instances over Google's client: their life, their disks, their console, and the clock that ends them."""

import threading
import uuid
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, MethodNotImplemented, NotFound, PreconditionFailed
from google.cloud import compute_v1
from support.compute_clients import COS, INSTANCES, PROJECT, ZONE, Compute, body, call, instance
from support.waiting import wait_for

from cos_customizer.emulator.machines.backend import MachineSpec
from cos_customizer.emulator.server import Emulator

LIMITED = {"max_run_duration": compute_v1.Duration(seconds=3600), "instance_termination_action": "DELETE"}


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


def get(compute: Compute, name: str = "vm") -> compute_v1.Instance:
    return compute.instances.get(project=PROJECT, zone=ZONE, instance=name)


def test_from_insert_to_delete(compute: Compute) -> None:
    inserted = compute.insert("vm", labels={"a": "b"}, tags=compute_v1.Tags(items=["web"]))
    assert inserted.operation_type == "insert"
    assert inserted.target_link.endswith(f"/projects/{PROJECT}/zones/{ZONE}/instances/vm")
    done = compute.ok(inserted)
    assert (done.progress, bool(done.end_time), done.target_id) == (100, True, get(compute).id)
    vm = get(compute)
    assert (vm.status, dict(vm.labels), list(vm.tags.items)) == ("RUNNING", {"a": "b"}, ["web"])
    disk = compute.disks.get(project=PROJECT, zone=ZONE, disk="vm")
    assert disk.users == [vm.self_link]
    assert vm.disks[0].source == disk.self_link
    assert (disk.status, disk.size_gb, disk.source_image.endswith(COS)) == ("READY", 10, True)
    assert disk.type_.endswith("/diskTypes/pd-standard")
    compute.stop()
    assert get(compute).status == "TERMINATED"
    assert get(compute).last_stop_timestamp
    compute.ok(compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm"))
    assert get(compute).status == "RUNNING"
    compute.delete()
    assert compute.names("instances") == compute.names("disks") == []
    with pytest.raises(NotFound):
        get(compute)


def test_a_boot_disk_is_made_as_asked(compute: Compute) -> None:
    parameters = compute_v1.AttachedDiskInitializeParams(
        source_image="projects/cos-cloud/global/images/family/cos-125-lts",
        disk_size_gb=30,
        disk_type=f"zones/{ZONE}/diskTypes/pd-ssd",
        disk_name="root-disk",
        labels={"k": "v"},
    )
    key = compute_v1.CustomerEncryptionKey(kms_key_name="projects/p/locations/l/keyRings/r/cryptoKeys/k")
    attached = compute_v1.AttachedDisk(boot=True, initialize_params=parameters, disk_encryption_key=key)
    compute.create(disks=[attached])
    disk = compute.disks.get(project=PROJECT, zone=ZONE, disk="root-disk")
    assert (disk.size_gb, dict(disk.labels)) == (30, {"k": "v"})
    assert disk.type_.endswith("/pd-ssd")
    assert disk.source_image.endswith("/cos-125-19216-532-62")
    assert disk.disk_encryption_key.kms_key_name == key.kms_key_name
    compute.delete()
    assert compute.names("disks") == ["root-disk"]  # autoDelete was not asked for
    assert not compute.disks.get(project=PROJECT, zone=ZONE, disk="root-disk").users
    source = compute_v1.AttachedDisk(boot=True, auto_delete=True, source=f"zones/{ZONE}/disks/root-disk")
    compute.create("second", disks=[source])
    with pytest.raises(BadRequest, match="already being used by"):
        compute.insert("third", disks=[source])
    with pytest.raises(BadRequest, match="already being used by"):
        compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="root-disk")
    compute.delete("second")
    assert compute.names("disks") == []


def test_a_taken_name_is_refused(compute: Compute) -> None:
    compute.create()
    with pytest.raises(Conflict, match="already exists"):
        compute.insert()


def test_a_disk_that_stands_alone(compute: Compute) -> None:
    compute.ok(
        compute.disks.insert_unary(
            project=PROJECT, zone=ZONE, disk_resource=compute_v1.Disk(name="d", source_image=COS, size_gb=20)
        )
    )
    disk = compute.disks.get(project=PROJECT, zone=ZONE, disk="d")
    labels = compute_v1.ZoneSetLabelsRequest(labels={"a": "b"}, label_fingerprint=disk.label_fingerprint)
    compute.ok(
        compute.disks.set_labels_unary(
            project=PROJECT, zone=ZONE, resource="d", zone_set_labels_request_resource=labels
        )
    )
    assert [d.labels["a"] for d in compute.disks.list(project=PROJECT, zone=ZONE)] == ["b"]
    compute.ok(compute.disks.delete_unary(project=PROJECT, zone=ZONE, disk="d"))
    assert compute.names("disks") == []


def test_gpus_bring_their_conditions(compute: Compute) -> None:
    gpu = compute_v1.AcceleratorConfig(
        accelerator_type=f"zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4", accelerator_count=2
    )
    vm = compute.create(guest_accelerators=[gpu], scheduling=compute_v1.Scheduling(on_host_maintenance="TERMINATE"))
    assert vm.guest_accelerators[0].accelerator_count == 2
    included = compute.create(
        "vm2",
        machine_type=f"zones/{ZONE}/machineTypes/a2-highgpu-1g",
        scheduling=compute_v1.Scheduling(on_host_maintenance="TERMINATE"),
    )
    assert included.guest_accelerators[0].accelerator_type.endswith("/nvidia-tesla-a100")


def test_a_deprecated_image_is_used_with_a_warning(compute: Compute) -> None:
    old = COS.replace("cos-stable-68-10718-86-0", "cos-69-10895-385-0")
    parameters = compute_v1.AttachedDiskInitializeParams(source_image=old)
    done = compute.ok(compute.insert(disks=[compute_v1.AttachedDisk(boot=True, initialize_params=parameters)]))
    assert done.warnings[0].code == "DEPRECATED_RESOURCE_USED"


def test_the_guest_sees_its_metadata_and_where_its_services_are(compute: Compute) -> None:
    seen: list[MachineSpec] = []
    compute.emulator.scripts.add(lambda spec: seen.append(spec) or [])  # type: ignore[func-returns-value]
    items = [compute_v1.Items(key="user-data", value="#cloud-config"), compute_v1.Items(key="a", value="b")]
    account = compute_v1.ServiceAccount(email="default", scopes=["s"])
    vm = compute.create(metadata=compute_v1.Metadata(items=items), service_accounts=[account])
    assert {item.key for item in vm.metadata.items} == {"user-data", "a"}
    given = {
        "storage-endpoint": f"http://169.254.169.1:{compute.emulator.storage_port}",
        "secretmanager-endpoint": f"http://169.254.169.1:{compute.emulator.guest_port}",
        "registry-endpoint": f"http://169.254.169.1:{compute.emulator.registry_guest_port}",
    }
    assert seen[0].attributes == {"user-data": "#cloud-config", "a": "b", **given}
    assert (seen[0].instance_id, seen[0].name, seen[0].zone, seen[0].scopes) == (str(vm.id), "vm", ZONE, ["s"])
    assert str(seen[0].service_account).endswith("@developer.gserviceaccount.com")
    mine = compute_v1.Metadata(items=[compute_v1.Items(key="storage-endpoint", value="http://mine")])
    compute.create("vm2", metadata=mine)
    assert seen[1].attributes == {**given, "storage-endpoint": "http://mine"}


def test_labels_and_metadata_need_the_fingerprint_of_what_they_replace(compute: Compute) -> None:
    vm = compute.create(labels={"a": "b"})
    where: dict[str, Any] = {"project": PROJECT, "zone": ZONE, "instance": "vm"}
    request = compute_v1.InstancesSetLabelsRequest(labels={"c": "d"}, label_fingerprint=vm.label_fingerprint)
    compute.ok(compute.instances.set_labels_unary(**where, instances_set_labels_request_resource=request))
    assert dict(get(compute).labels) == {"c": "d"}
    with pytest.raises(PreconditionFailed):
        compute.instances.set_labels_unary(**where, instances_set_labels_request_resource=request)
    items = [compute_v1.Items(key="k", value="v")]
    metadata = compute_v1.Metadata(items=items, fingerprint=vm.metadata.fingerprint)
    compute.ok(compute.instances.set_metadata_unary(**where, metadata_resource=metadata))
    assert get(compute).metadata.items[0].value == "v"
    with pytest.raises(PreconditionFailed):
        compute.instances.set_metadata_unary(**where, metadata_resource=metadata)


def test_instances_are_listed_by_zone_and_in_all(compute: Compute) -> None:
    compute.create("a", labels={"mine": ""})
    compute.create("b")
    compute.create("c", zone="europe-west1-b", labels={"mine": ""})
    assert [vm.name for vm in compute.instances.list(project=PROJECT, zone=ZONE)] == ["a", "b"]
    request = compute_v1.AggregatedListInstancesRequest(project=PROJECT, filter="labels.mine:*", max_results=1)
    found: dict[str, list[str]] = {}
    for zone, scope in compute.instances.aggregated_list(request):
        found.setdefault(zone, []).extend(vm.name for vm in scope.instances)
    assert {zone: names for zone, names in found.items() if names} == {
        "zones/us-west1-b": ["a"],
        "zones/europe-west1-b": ["c"],
    }
    assert "zones/us-east1-b" in found
    assert compute.emulator.calls.count(path="aggregated") == 2


def test_the_same_request_twice_makes_one_instance(compute: Compute) -> None:
    request = compute_v1.InsertInstanceRequest(
        project=PROJECT, zone=ZONE, instance_resource=instance("vm"), request_id=str(uuid.uuid4())
    )
    first = compute.instances.insert_unary(request)
    compute.ok(first)
    assert compute.instances.insert_unary(request).name == first.name
    compute.delete()
    request.request_id = str(uuid.uuid4())
    assert compute.instances.insert_unary(request).name != first.name


def test_many_equal_requests_at_once_make_one_instance(emulator: Emulator) -> None:
    path, names = f"{INSTANCES}?requestId={uuid.uuid4()}", []

    def ask() -> None:
        names.append(call(emulator, "POST", path, body())[1]["name"])

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 10
    assert len(set(names)) == 1
    assert Compute(emulator).names("instances") == ["vm"]


def test_a_zone_without_capacity_says_so_in_the_operation(compute: Compute) -> None:
    compute.emulator.stock_out(ZONE)
    done = compute.wait(compute.insert())
    assert done.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert done.http_error_status_code == 503
    assert compute.names("instances") == compute.names("disks") == []
    compute.create("elsewhere", zone="us-west1-a")
    compute.emulator.stock_out(ZONE, on=False)
    compute.create()
    compute.stop()
    compute.emulator.stock_out(ZONE)
    done = compute.wait(compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm"))
    assert done.error.errors[0].code == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert get(compute).status == "TERMINATED"


def test_output_is_read_from_an_offset(compute: Compute) -> None:
    events = [{"text": "one\n"}, {"text": "login: ", "port": 1}, {"after": 60, "text": "two ü\n"}, {"base64": "/wo="}]
    compute.emulator.scripts.add({"events": events})
    compute.create()
    first = compute.serial()
    assert (first.contents, first.start, first.next_) == ("one\n", 0, 4)
    assert compute.serial(port=1).contents == "login: "
    assert compute.serial(port=2).contents == ""
    assert (compute.serial(start=4).contents, compute.serial(start=4).next_) == ("", 4)
    compute.emulator.clock.advance(60)
    rest = compute.serial(start=4)
    assert (rest.contents, rest.start, rest.next_) == ("two ü\n\ufffd\n", 4, 13)
    assert compute.serial(start=-2).contents == "\ufffd\n"
    with pytest.raises(BadRequest, match="between 1 and 4"):
        compute.serial(port=5)


def test_what_the_ring_lost_shows_in_the_start(compute: Compute) -> None:
    compute.emulator.scripts.add({"events": [{"text": "x" * (1 << 20)}, {"text": "end"}]})
    compute.create()
    output = compute.serial()
    assert (output.start, output.next_) == (3, (1 << 20) + 3)
    assert output.contents.endswith("xend")


def test_a_hundred_readers_at_once(emulator: Emulator) -> None:
    compute = Compute(emulator)
    emulator.scripts.add({"events": [{"text": "hello"}]})
    compute.create()
    answers: list[Any] = []

    def read() -> None:
        answers.append(call(emulator, "GET", f"{INSTANCES}/vm/serialPort?port=3"))

    threads = [threading.Thread(target=read) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["contents"] for status, answer in answers if status == 200] == ["hello"] * 100


def test_a_machine_that_powers_off_is_terminated_and_can_start_again(compute: Compute) -> None:
    compute.emulator.scripts.add({"events": [{"text": "bye\n"}, {"after": 0.05, "power_off": True}]})
    compute.create(scheduling=compute_v1.Scheduling(**LIMITED))
    wait_for(lambda: get(compute).status == "TERMINATED")
    assert compute.serial().contents == "bye\n"
    compute.emulator.clock.advance(7200)  # the limit is on running, and it does not run
    assert get(compute).status == "TERMINATED"
    compute.ok(compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm"))
    wait_for(lambda: compute.serial().contents == "bye\nbye\n")


@pytest.mark.parametrize(
    ("action", "limit", "left"),
    [
        ("DELETE", {"max_run_duration": compute_v1.Duration(seconds=3600)}, None),
        ("STOP", {"max_run_duration": compute_v1.Duration(seconds=3600)}, "TERMINATED"),
        ("DELETE", {"termination_time": "2100-01-01T00:00:00Z"}, None),
    ],
)
def test_a_machine_whose_time_is_over_is_taken_away(
    compute: Compute, action: str, limit: dict[str, Any], left: str | None
) -> None:
    compute.create(scheduling=compute_v1.Scheduling(instance_termination_action=action, **limit))
    compute.emulator.clock.advance(3590)
    assert get(compute).status == "RUNNING"
    compute.emulator.clock.advance(100 * 366 * 86400 if "termination_time" in limit else 11)
    assert compute.names("disks") == ([] if left is None else ["vm"])
    if left is None:
        assert compute.names("instances") == []
    else:
        assert get(compute).status == left


def test_time_runs_out_without_anybody_turning_the_clock(compute: Compute) -> None:
    compute.create(scheduling=compute_v1.Scheduling(**LIMITED))
    compute.emulator.clock.advance(3599.5)
    wait_for(lambda: compute.names("instances") == [])


def test_a_machine_that_somebody_deletes_just_then_is_in_nobody_s_way(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock that a test turns, and the one that ticks, find the same machines whose time is over."""
    for name in ("vm-1", "vm-2"):
        compute.create(name, scheduling=compute_v1.Scheduling(**LIMITED))
    instances = compute.emulator._engine.instances
    end, ended = instances._end, []

    def end_late(path: str, instance_id: str) -> None:
        end(path, instance_id)
        ended.append(path)
        end(path, instance_id)

    monkeypatch.setattr(instances, "_end", end_late)
    compute.emulator.clock.advance(3601)
    assert compute.names("instances") == []
    assert len(ended) == 2


def test_the_clock_begins_anew_with_each_start(compute: Compute) -> None:
    compute.create(scheduling=compute_v1.Scheduling(**LIMITED))
    compute.emulator.clock.advance(3000)
    compute.stop()
    compute.emulator.clock.advance(3000)
    compute.ok(compute.instances.start_unary(project=PROJECT, zone=ZONE, instance="vm"))
    compute.emulator.clock.advance(3000)
    assert get(compute).status == "RUNNING"


def test_a_machine_that_hears_no_power_button_is_cut_off(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cos_customizer.emulator.compute.power.STOP_SECONDS", 0.2)
    pressed: list[str] = []
    monkeypatch.setattr(
        "cos_customizer.emulator.machines.scripted.ScriptedMachine.press_power_button",
        lambda machine: pressed.append(f"{get(compute).status}, running: {machine.running}"),
    )
    compute.create()
    compute.stop()
    assert pressed == ["STOPPING, running: True"]
    assert get(compute).status == "TERMINATED"


def test_waiting_is_a_long_poll(compute: Compute) -> None:
    compute.emulator.faults.add("operation", method="insert", seconds=0.4)
    operation = compute.insert()
    assert operation.status != compute_v1.Operation.Status.DONE
    compute.emulator.calls.clear()
    assert compute.ok(operation).progress == 100
    assert compute.emulator.calls.count(path="/wait") == 1
    listed = [o.name for o in compute.zone_operations.list(project=PROJECT, zone=ZONE)]
    assert operation.name in listed


@pytest.mark.parametrize(
    ("technology", "machine_type", "platform", "maintenance", "wrong"),
    [
        ("SEV", "n2d-standard-2", "", "TERMINATE", ""),
        ("SEV_SNP", "n2d-standard-2", "AMD Milan", "TERMINATE", ""),
        ("TDX", "c3-standard-4", "", "TERMINATE", ""),
        ("SEV", "n2d-standard-2", "AMD Milan", "MIGRATE", ""),
        ("SEV", "n2d-standard-2", "", "MIGRATE", "Instances with Confidential Computing do not support live migration"),
        ("TDX", "c3-standard-4", "", "", "Instances with Confidential Computing do not support live migration"),
        ("SEV", "n1-standard-1", "", "TERMINATE", r"\[n1-standard-1, SEV\] features are not compatible"),
        ("TDX", "n2d-standard-2", "", "TERMINATE", r"\[n2d-standard-2, TDX\] features are not compatible"),
    ],
)
def test_confidential_vms_bring_their_conditions(
    compute: Compute, technology: str, machine_type: str, platform: str, maintenance: str, wrong: str
) -> None:
    fields: dict[str, Any] = {
        "confidential_instance_config": {"confidential_instance_type": technology},
        "machine_type": f"zones/{ZONE}/machineTypes/{machine_type}",
        "scheduling": {"on_host_maintenance": maintenance} if maintenance else {},
        **({"min_cpu_platform": platform} if platform else {}),
    }
    if wrong:
        with pytest.raises(BadRequest, match=wrong):
            compute.insert(**fields)
        return
    vm = compute.create(**fields)
    assert vm.confidential_instance_config.confidential_instance_type == technology
    assert (vm.min_cpu_platform, vm.scheduling.on_host_maintenance) == (platform, maintenance)


@pytest.mark.parametrize(("action", "left"), [("DELETE", []), ("STOP", ["vm"])])
def test_a_spot_vm_is_preempted_by_a_maintenance_event(compute: Compute, action: str, left: list[str]) -> None:
    vm = compute.create(scheduling={"provisioning_model": "SPOT", "instance_termination_action": action})
    assert (vm.scheduling.preemptible, vm.scheduling.automatic_restart) == (True, False)
    names: dict[str, Any] = {"project": PROJECT, "zone": ZONE, "instance": "vm"}
    compute.ok(compute.instances.simulate_maintenance_event_unary(**names))
    query = 'operationType = "compute.instances.preempted"'
    (preemption,) = compute.zone_operations.list(
        compute_v1.ListZoneOperationsRequest(project=PROJECT, zone=ZONE, filter=query)
    )
    assert preemption.target_link.endswith(f"projects/{PROJECT}/zones/{ZONE}/instances/vm")
    compute.ok(preemption)
    assert compute.names("instances") == left
    if left:
        assert compute.instances.get(**names).status == "TERMINATED"
        with pytest.raises(BadRequest, match="is not in state RUNNING"):
            compute.instances.simulate_maintenance_event_unary(**names)


def test_what_maintenance_does_to_other_vms_is_not_there(compute: Compute) -> None:
    compute.create()
    with pytest.raises(MethodNotImplemented, match="instances that are not spot VMs"):
        compute.instances.simulate_maintenance_event_unary(project=PROJECT, zone=ZONE, instance="vm")
