"""Whatever refers to an image keeps it, in whichever form it names it; whoever cannot tell keeps it."""

import time

import pytest
from google.cloud import compute_v1
from support.compute_clients import PROJECT, Compute, call
from support.family_images import DAY, add_images

from cos_customizer.customizer.families.image_expiry import Retention
from cos_customizer.emulator.projects import project_number
from cos_customizer.emulator.server import Emulator
from cos_customizer.gcp import image_expiry
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.image_users import images_in_use

NUMBER = str(project_number(PROJECT))
TEMPLATES = f"/compute/v1/projects/{PROJECT}/global/instanceTemplates"
REGIONAL = f"/compute/v1/projects/{PROJECT}/regions/us-west1/instanceTemplates"


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    compute = Compute(emulator)
    past = time.time() - DAY
    add_images(compute, {"old": {"deleted": past}, "previous": {"deleted": past}, "now": {}})
    return compute


def template(compute: Compute, image: str, where: str = TEMPLATES) -> None:
    disk = {"boot": True, "initializeParams": {"sourceImage": image}}
    body = {"name": "web", "properties": {"machineType": "n1-standard-1", "disks": [disk]}}
    status, answer = call(compute.emulator, "POST", where, body)
    assert status == 200, answer
    kept = call(compute.emulator, "GET", f"{where}/web")[1]["properties"]["disks"][0]["initializeParams"]
    assert kept == {"sourceImage": image}  # as it was given


def expired(compute: Compute, *projects: str) -> tuple[str, str]:
    """What becomes of the old image, and why."""
    clients, retention = connect(), Retention(PROJECT, ["my-family"], disk_projects=projects)
    removals = image_expiry.apply(clients, retention, image_expiry.plan(clients, retention, time.time()), time.time())
    (old,) = [removal for removal in removals if removal.name == "old"]
    assert ("old" in compute.names("images")) == (old.action == "keep")
    return old.action, old.reason


@pytest.mark.parametrize("where", [TEMPLATES, REGIONAL])
@pytest.mark.parametrize(
    "link",
    [
        f"projects/{PROJECT}/global/images/old",
        f"projects/{NUMBER}/global/images/old",
        f"https://compute.googleapis.com/compute/beta/projects/{NUMBER}/global/images/old",
        f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/images/old",
        "global/images/old",
    ],
)
def test_an_instance_template_keeps_the_image_however_it_names_it(compute: Compute, link: str, where: str) -> None:
    template(compute, link, where)
    assert expired(compute) == ("keep", "in use by instance template web")


def test_an_instance_template_keeps_the_image_that_it_names_by_id(compute: Compute) -> None:
    image_id = compute.images.get(project=PROJECT, image="old").id
    template(compute, f"projects/{NUMBER}/global/images/{image_id}")
    assert expired(compute) == ("keep", "in use by instance template web")


def test_a_project_that_cannot_be_looked_up_keeps_the_image(compute: Compute) -> None:
    template(compute, "projects/123456789012/global/images/old")
    action, why = expired(compute)
    assert (action, "123456789012 could not be looked up" in why) == ("keep", True)


def test_an_image_of_another_project_or_another_name_is_another_image(compute: Compute) -> None:
    template(compute, "projects/cos-cloud/global/images/old")
    template(compute, "global/images/older", REGIONAL)
    assert expired(compute)[0] == "deleted"


def test_a_copy_keeps_the_image_that_it_was_made_from(compute: Compute) -> None:
    compute.image("copy", source_image="global/images/old")
    assert expired(compute) == ("keep", "in use by image copy")


def test_a_vm_keeps_the_image_of_its_disk(compute: Compute) -> None:
    parameters = compute_v1.AttachedDiskInitializeParams(source_image=f"projects/{NUMBER}/global/images/old")
    compute.create("vm", disks=[compute_v1.AttachedDisk(boot=True, initialize_params=parameters)])
    assert expired(compute) == ("keep", "in use by disk vm in us-west1-b")


def test_another_project_is_asked_where_it_is_named(compute: Compute) -> None:
    template(compute, f"projects/{NUMBER}/global/images/old", TEMPLATES.replace(PROJECT, "fleet"))
    assert expired(compute, PROJECT, "fleet") == ("keep", "in use by instance template fleet/web")


def test_the_project_of_the_images_may_be_named_by_its_number(compute: Compute) -> None:
    template(compute, f"projects/{PROJECT}/global/images/old")
    assert images_in_use(connect(), NUMBER, {"old": "1"}, [PROJECT]) == {"1": "instance template my-project/web"}
