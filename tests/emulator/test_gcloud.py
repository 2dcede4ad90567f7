"""gcloud against the emulator: a client that nobody here wrote."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.archives import archive_of, put
from support.compute_clients import PROJECT, ZONE
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed"),
]
Gcloud = Callable[..., Any]


@pytest.fixture
def gcloud(emulator: Emulator, tmp_path: Path) -> Gcloud:
    """Runs `gcloud compute …`, or of another service: its decoded JSON, or with `code`, its error output."""
    token = tmp_path / "token"
    token.write_text("any")
    environment = {
        **os.environ,
        **emulator.environment(),
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_PROJECT": "my-project",
    }

    def run(*arguments: str, code: int = 0) -> Any:
        group = [] if arguments[0] in ("logging", "secrets", "storage") else ["compute"]
        command = ["gcloud", *group, *arguments, *([] if code else ["--format=json"])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr if code else json.loads(done.stdout or "null")

    return run


def test_an_image_from_a_bucket(
    gcloud: Gcloud, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.environment()["STORAGE_EMULATOR_HOST"])
    put(archive_of(tmp_path), f"{PROJECT}_cloudbuild", "image.tar.gz")
    source = f"--source-uri=gs://{PROJECT}_cloudbuild/image.tar.gz"
    (made,) = gcloud("images", "create", "brought", source, "--guest-os-features=UEFI_COMPATIBLE")
    assert (made["status"], made["diskSizeGb"]) == ("READY", "1")
    assert made["guestOsFeatures"] == [{"type": "UEFI_COMPATIBLE"}]


def test_images(gcloud: Gcloud) -> None:
    images = gcloud("images", "list", "--project=cos-cloud", "--no-standard-images")
    assert "cos-stable-68-10718-86-0" in {image["name"] for image in images}
    stable = gcloud("images", "list", "--project=cos-cloud", "--filter=family=cos-stable AND name~stable-125")
    assert [image["name"] for image in stable] == ["cos-stable-125-19216-104-25"]
    one = gcloud("images", "describe", "cos-stable-68-10718-86-0", "--project=cos-cloud")
    assert one["diskSizeGb"] == "10"
    newest = gcloud("images", "describe-from-family", "cos-125-lts", "--project=cos-cloud")
    assert newest["name"] == "cos-125-19216-532-62"
    assert "was not found" in gcloud("images", "describe", "none", code=1)


def test_the_life_of_an_instance_and_its_image(gcloud: Gcloud, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"text": "hello from port 3\n"}]})
    zone = f"--zone={ZONE}"
    created = gcloud("instances", "create", "vm", zone, "--image-project=cos-cloud", "--image-family=cos-stable")
    assert created[0]["status"] == "RUNNING"
    assert [vm["name"] for vm in gcloud("instances", "list")] == ["vm"]
    assert gcloud("instances", "describe", "vm", zone)["disks"][0]["boot"] is True
    assert gcloud("instances", "get-serial-port-output", "vm", zone, "--port=3")["contents"] == "hello from port 3\n"
    gcloud("instances", "add-labels", "vm", zone, "--labels=a=b")
    gcloud("instances", "add-metadata", "vm", zone, "--metadata=k=v")
    vm = gcloud("instances", "describe", "vm", zone)
    assert (vm["labels"], vm["metadata"]["items"]) == ({"a": "b"}, [{"key": "k", "value": "v"}])
    refused = gcloud("images", "create", "i", "--source-disk=vm", f"--source-disk-zone={ZONE}", code=1)
    assert "already being used by" in refused
    gcloud("instances", "stop", "vm", zone)
    gcloud("images", "create", "i", "--source-disk=vm", f"--source-disk-zone={ZONE}", "--family=f")
    gcloud("images", "deprecate", "i", "--state=DEPRECATED", "--replacement=j", "--delete-in=30d")
    assert gcloud("images", "list", "--no-standard-images") == []
    shown = gcloud("images", "list", "--no-standard-images", "--show-deprecated")
    assert [(image["name"], image["deprecated"]["state"]) for image in shown] == [("i", "DEPRECATED")]
    gcloud("instances", "delete", "vm", zone)
    gcloud("images", "delete", "i")
    assert gcloud("instances", "list") == gcloud("disks", "list") == []


def test_snapshots_and_disks_of_instances(gcloud: Gcloud) -> None:
    zone, image = f"--zone={ZONE}", ("--image-project=cos-cloud", "--image-family=cos-stable")
    extra = "--create-disk=name=data,size=20GB,device-name=data,auto-delete=yes"
    (vm,) = gcloud("instances", "create", "vm", zone, *image, extra)
    assert [(disk["deviceName"], disk["boot"]) for disk in vm["disks"]] == [
        ("persistent-disk-0", True),
        ("data", False),
    ]
    gcloud("disks", "create", "more", zone, "--size=10GB")
    gcloud("instances", "attach-disk", "vm", zone, "--disk=more", "--mode=ro")
    assert "already being used by" in gcloud("disks", "delete", "more", zone, code=1)
    gcloud("instances", "detach-disk", "vm", zone, "--disk=more")
    gcloud("snapshots", "create", "new", "--source-disk=data", f"--source-disk-zone={ZONE}", "--labels=a=b")
    gcloud("disks", "snapshot", "vm", zone, "--snapshot-names=old", "--description=text")
    listed = gcloud("snapshots", "list", "--sort-by=name")
    assert [(found["name"], found["status"], found["diskSizeGb"]) for found in listed] == [
        ("new", "READY", "20"),
        ("old", "READY", "10"),
    ]
    (made,) = gcloud("disks", "create", "again", zone, "--source-snapshot=new")
    assert made["sizeGb"] == "20"
    (clone,) = gcloud("disks", "create", "clone", zone, f"--source-disk=projects/{PROJECT}/zones/{ZONE}/disks/again")
    assert clone["sourceDiskId"] == made["id"]
    (made,) = gcloud("images", "create", "i", "--source-snapshot=new")
    assert (made["status"], made["diskSizeGb"]) == ("READY", "20")
    (vm,) = gcloud("instances", "create", "second", zone, "--source-snapshot=old", "--disk=name=again,device-name=d")
    assert [disk["source"].rpartition("/")[2] for disk in vm["disks"]] == ["second", "again"]
    gcloud("snapshots", "delete", "new", "old")


def test_an_instance_of_a_template_and_what_its_guest_says(gcloud: Gcloud, emulator: Emulator) -> None:
    emulator.scripts.add({"events": [{"guest_attributes": {"app/ready": "yes"}}]})
    image = ("--image-project=cos-cloud", "--image-family=cos-stable")
    made = ("--machine-type=n1-standard-2", "--metadata=enable-guest-attributes=TRUE", "--labels=a=b,c=d")
    gcloud("instance-templates", "create", "t", *image, *made, "--create-disk=size=20GB,device-name=data")
    over = ("--source-instance-template=t", "--machine-type=n1-standard-4", "--labels=a=x")
    (vm,) = gcloud("instances", "create", "vm", f"--zone={ZONE}", *over)
    assert vm["machineType"].endswith("/n1-standard-4")
    assert (vm["labels"], vm["disks"][1]["deviceName"]) == ({"a": "x", "c": "d"}, "data")
    said = gcloud("instances", "get-guest-attributes", "vm", f"--zone={ZONE}", "--query-path=app/")
    assert said == [{"namespace": "app", "key": "ready", "value": "yes"}]


def test_accelerator_types(gcloud: Gcloud) -> None:
    everywhere = gcloud("accelerator-types", "list", "--filter=name=nvidia-tesla-p4")
    assert {kind["name"] for kind in everywhere} == {"nvidia-tesla-p4"}
    assert "us-central1-a" in {kind["zone"].rpartition("/")[2] for kind in everywhere}
    here = gcloud("accelerator-types", "list", f"--filter=zone:{ZONE}")
    assert "nvidia-tesla-t4" in {kind["name"] for kind in here}
    one = gcloud("accelerator-types", "describe", "nvidia-tesla-t4", f"--zone={ZONE}")
    assert (one["description"], one["maximumCardsPerInstance"]) == ("NVIDIA T4", 4)
    refused = gcloud("accelerator-types", "describe", "nvidia-tesla-t4", "--zone=us-west1-c", code=1)
    assert "acceleratorTypes/nvidia-tesla-t4' was not found" in refused
    quotas = gcloud("regions", "describe", "us-west1")["quotas"]
    assert {"metric": "NVIDIA_T4_GPUS", "limit": 8.0, "usage": 0.0} in quotas


def test_several_requests_travel_in_one_batch(gcloud: Gcloud, emulator: Emulator) -> None:
    emulator.calls.clear()
    gcloud("zones", "list")
    gcloud("images", "list")  # of a dozen public projects at once
    assert emulator.calls.count(path="/global/images") > 5
    refused = gcloud("instances", "delete", "one", "two", f"--zone={ZONE}", code=1)
    assert refused.count("was not found") == 2


def test_log_entries(gcloud: Gcloud) -> None:
    gcloud("logging", "write", "my-log", '{"message": "hi", "step": 2}', "--payload-type=json", "--severity=ERROR")
    gcloud("logging", "write", "my-log", "only text")
    (entry,) = gcloud("logging", "read", 'log_id("my-log") AND severity>=ERROR AND jsonPayload.step=2')
    assert (entry["jsonPayload"]["message"], entry["resource"]["type"]) == ("hi", "global")
    both = gcloud("logging", "read", "--order=asc", "--limit=2")
    assert [entry.get("textPayload") for entry in both] == [None, "only text"]
    assert gcloud("logging", "read", "timestamp>=2999-01-01") == []
    assert gcloud("logging", "logs", "list") == ["projects/my-project/logs/my-log"]
    assert "Unparseable filter" in gcloud("logging", "read", "severity>=LOUD", code=1)
    gcloud("logging", "logs", "delete", "my-log")
    assert gcloud("logging", "read") == []


def test_secrets(gcloud: Gcloud, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("hunter2")
    file = f"--data-file={tmp_path / 'value'}"
    gcloud("secrets", "create", "token", "--replication-policy=automatic", "--labels=team=images", file)
    assert gcloud("secrets", "describe", "token")["labels"] == {"team": "images"}
    (tmp_path / "value").write_text("hunter3")
    assert gcloud("secrets", "versions", "add", "token", file)["name"].endswith("/versions/2")
    listed = gcloud("secrets", "versions", "list", "token")
    assert [version["name"].rpartition("/")[2] for version in listed] == ["2", "1"]
    got = gcloud("secrets", "versions", "access", "latest", "--secret=token")
    assert base64.urlsafe_b64decode(got["payload"]["data"]) == b"hunter3"
    gcloud("secrets", "versions", "disable", "2", "--secret=token")
    refused = gcloud("secrets", "versions", "access", "latest", "--secret=token", code=1)
    assert "FAILED_PRECONDITION" in refused
    assert "is in DISABLED state" in refused
    gcloud("secrets", "update", "token", "--update-version-aliases=stable=1", "--update-labels=a=b")
    assert gcloud("secrets", "versions", "access", "stable", "--secret=token")["payload"]["data"] == "aHVudGVyMg=="
    assert [secret["labels"] for secret in gcloud("secrets", "list", "--filter=name:token")] == [
        {"a": "b", "team": "images"}
    ]
    assert gcloud("secrets", "list", "--filter=name:other") == []
    gcloud("secrets", "versions", "destroy", "1", "--secret=token")
    assert "already exists" in gcloud("secrets", "create", "token", "--replication-policy=automatic", code=1)
    gcloud("secrets", "delete", "token")
    assert "not found" in gcloud("secrets", "versions", "access", "1", "--secret=token", code=1)


def test_objects_go_up_and_come_back_are_moved_listed_and_removed(gcloud: Gcloud, tmp_path: Path) -> None:
    tree, back = tmp_path / "tree", tmp_path / "back"
    (tree / "sub").mkdir(parents=True)
    (tree / "small").write_text("small\n")
    (tree / "sub" / "large").write_bytes(os.urandom(9 << 20))  # more than one request of gcloud's
    bucket = "gs://my-project_cloudbuild"
    gcloud("storage", "cp", "-r", str(tree), f"{bucket}/up")
    gcloud("storage", "mv", f"{bucket}/up/small", f"{bucket}/up/moved")
    listed = [each["name"] for each in gcloud("storage", "objects", "list", f"{bucket}/up/**")]
    assert listed == ["up/moved", "up/sub/large"]
    back.mkdir()
    gcloud("storage", "cp", "-r", f"{bucket}/up/*", str(back))
    assert (back / "moved").read_text() == "small\n"
    assert (back / "sub" / "large").read_bytes() == (tree / "sub" / "large").read_bytes()
    gcloud("storage", "rm", "-r", f"{bucket}/up")
    assert "matched no objects" in gcloud("storage", "ls", f"{bucket}/up", code=1)


def test_metadata_of_a_project_and_operations_of_all_places(gcloud: Gcloud) -> None:
    gcloud("project-info", "add-metadata", "--metadata=storage-endpoint=http://x")
    (item,) = gcloud("project-info", "describe")["commonInstanceMetadata"]["items"]
    assert item == {"key": "storage-endpoint", "value": "http://x"}
    assert [each["operationType"] for each in gcloud("operations", "list")] == ["setCommonInstanceMetadata"]
    assert gcloud("firewall-rules", "list") == []
