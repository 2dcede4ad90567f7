"""What to do about an organization policy that forbids what a build asks for.

The constraints' names and what they restrict: stored copies of Google's documentation that mention them, read on
2026-11-25; the list itself is https://cloud.google.com/resource-manager/docs/organization-policy/org-policy-constraints.
"""

import re
from collections.abc import Sequence

from cos_customizer.customizer.fields import FieldPath, Message, joined

_CONSTRAINT = re.compile(r"constraints/((?:compute|gcp|iam|storage)\.(?:managed\.)?\w+|custom\.\w+)", re.IGNORECASE)

_ZONES = FieldPath("builder.zones")
_NO_EXTERNAL_IP = FieldPath("builder.external_ip", False)
_SUBNET, _NETWORK = FieldPath("builder.subnet"), FieldPath("builder.network")
_KEY, _ACCOUNT = FieldPath("builder.kms_key"), FieldPath("builder.service_account")
_SOURCE, _OUTPUT = FieldPath("source.project"), FieldPath("output.project")
_BUCKET, _LOCATION = FieldPath("scratch.bucket"), FieldPath("output.storage_location")
_SHIELDED = FieldPath("builder.shielded_secure_boot", True)
_CONFIDENTIAL = FieldPath("builder.confidential_vm")

_ANSWERS: dict[str, Sequence[FieldPath]] = {
    "compute.requireShieldedVm": (_SHIELDED,),
    "compute.vmExternalIpAccess": (_NO_EXTERNAL_IP,),
    "compute.restrictNonConfidentialComputing": (_CONFIDENTIAL,),
    "compute.restrictSharedVpcSubnetworks": (_SUBNET,),
    "compute.restrictSharedVpcHostProjects": (_NETWORK, _SUBNET),
    "compute.trustedImageProjects": (_SOURCE, _OUTPUT),
    "compute.storageResourceUseRestrictions": (_SOURCE, _OUTPUT),
    "gcp.resourceLocations": (_ZONES, _LOCATION, _BUCKET),
    "gcp.restrictNonCmekServices": (_KEY,),
    "gcp.restrictCmekCryptoKeyProjects": (_KEY,),
    "iam.disableCrossProjectServiceAccountUsage": (_ACCOUNT,),
}
"""Constraints, and the fields that change what they are about."""

_WITHOUT_ANSWER = {
    "compute.disableSerialPortAccess": "a build reads its VMs' serial consoles; the project needs an exemption.",
}
"""Constraints that no field answers."""

_LIKELY = (_NO_EXTERNAL_IP, _NETWORK, _SUBNET, _ACCOUNT, _KEY, _SHIELDED, _CONFIDENTIAL)
"""Fields that change what the builder VM asks for, where the constraint is not known."""


def hint_for(text: str) -> str:
    """What to do about an error that says that a policy's constraint was violated.

    Args:
        text: the API's words, which name the constraint: `… Constraint constraints/compute.requireShieldedVm violated`.
    """
    found = _CONSTRAINT.search(text)
    name = found[1].replace(".managed.", ".") if found else ""
    by_name = {constraint.lower(): constraint for constraint in (*_ANSWERS, *_WITHOUT_ANSWER)}
    known = by_name.get(name.lower(), "")
    if known in _WITHOUT_ANSWER:
        return f"the organization policy {known} forbids this: {_WITHOUT_ANSWER[known]}"
    if known:
        return Message(
            "the organization policy {} forbids this; {} {} what it is about.",
            known,
            _listed(_ANSWERS[known]),
            "changes" if len(_ANSWERS[known]) == 1 else "change",
        )
    policy = f"the organization policy {name}" if name else "an organization policy"
    return Message("{} forbids this; {} change what the builder VM asks for.", policy, _listed(_LIKELY))


def _listed(fields: Sequence[FieldPath]) -> Message:
    texts = [Message("{}", field) for field in fields]
    return Message("{} and {}", joined(", ", texts[:-1]), texts[-1]) if len(texts) > 1 else texts[0]
