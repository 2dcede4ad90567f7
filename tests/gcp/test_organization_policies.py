"""Hints about organization policies: what each constraint asks for, or that nothing here answers it."""

import pytest

from cos_customizer.gcp.organization_policies import hint_for

HINTS = {
    "compute.requireShieldedVm": "builder.shielded_secure_boot: true changes what it is about",
    "compute.vmExternalIpAccess": "builder.external_ip: false changes",
    "compute.managed.vmExternalIpAccess": "builder.external_ip: false changes",
    "compute.restrictSharedVpcSubnetworks": "builder.subnet changes",
    "compute.trustedImageProjects": "source.project and output.project",
    "gcp.resourceLocations": "builder.zones, output.storage_location and scratch.bucket change",
    "gcp.restrictNonCmekServices": "builder.kms_key changes",
    "gcp.restrictCmekCryptoKeyProjects": "builder.kms_key changes",
    "compute.storageResourceUseRestrictions": "source.project and output.project",
    "compute.restrictSharedVpcHostProjects": "builder.network and builder.subnet change",
    "iam.disableCrossProjectServiceAccountUsage": "builder.service_account changes",
    "compute.disableSerialPortAccess": "the project needs an exemption",
    "compute.restrictNonConfidentialComputing": "builder.confidential_vm changes what it is about",
    "custom.noLargeVms": "the organization policy custom.noLargeVms forbids this; builder.external_ip: false",
    "compute.ofTomorrow": "the organization policy compute.ofTomorrow forbids this; builder.external_ip: false",
}


@pytest.mark.parametrize(("constraint", "hint"), HINTS.items())
def test_a_constraint_has_the_hint_that_answers_it(constraint: str, hint: str) -> None:
    text = f"could not create VM x: Constraint constraints/{constraint} violated for project p. (CONDITION_NOT_MET)"
    assert hint in hint_for(text)


def test_without_a_constraint_the_likely_fields_are_named() -> None:
    hint = hint_for("something is not allowed")
    assert hint.startswith("an organization policy forbids this; builder.external_ip: false, builder.network, ")
