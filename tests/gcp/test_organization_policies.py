"""Hints about organization policies: what each constraint asks for, or that nothing here answers it."""

import pytest

from cos_customizer.cli.commands.finish_image_build import FLAGS
from cos_customizer.cli.commands.start_image_build import FLAGS as FIRST_FLAGS
from cos_customizer.cli.flags import flag_names
from cos_customizer.customizer.fields import named
from cos_customizer.gcp.organization_policies import hint_for

HINTS = {
    "compute.requireShieldedVm": "-shielded-secure-boot changes what it is about",
    "compute.vmExternalIpAccess": "-no-external-ip changes",
    "compute.managed.vmExternalIpAccess": "-no-external-ip changes",
    "compute.restrictSharedVpcSubnetworks": "-subnet changes",
    "compute.trustedImageProjects": "-image-project and -image-project",
    "gcp.resourceLocations": "-zone, -storage-location and -gcs-bucket change",
    "gcp.restrictNonCmekServices": "-kms-key changes",
    "compute.restrictNonConfidentialComputing": "the project needs an exemption",
    "custom.noLargeVms": "the organization policy custom.noLargeVms forbids this; -no-external-ip, -network, -subnet",
    "compute.ofTomorrow": "the organization policy compute.ofTomorrow forbids this; -no-external-ip",
}


@pytest.mark.parametrize(("constraint", "hint"), HINTS.items())
def test_a_constraint_has_the_hint_that_answers_it(constraint: str, hint: str) -> None:
    text = f"could not create VM x: Constraint constraints/{constraint} violated for project p. (CONDITION_NOT_MET)"
    assert hint in named(hint_for(text), flag_names([*FLAGS, *FIRST_FLAGS]))


def test_without_a_constraint_the_likely_fields_are_named() -> None:
    hint = hint_for("something is not allowed")
    assert hint.startswith("an organization policy forbids this; builder.external_ip: false, builder.network, ")
