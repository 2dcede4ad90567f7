"""Which requests of guests are answered: those with the token of a VM whose service account may call the service."""

from flask import request

from cos_customizer.emulator.compute.engine import ComputeEngine
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.machines.metadata_server import instance_of_token
from cos_customizer.emulator.web import service

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
"""The one scope that opens Secret Manager (https://developers.google.com/identity/protocols/oauth2/scopes)."""


def check_access() -> None:
    """Refuse the present request unless it has the token of a running VM with the scope. There is no IAM here.

    Raises:
        ApiError: 401 or 403.
    """
    instance_id = instance_of_token(request.headers.get("Authorization", ""))
    instance = service(ComputeEngine).instances.running_with_id(instance_id) if instance_id else None
    accounts = instance.get("serviceAccounts", []) if instance else []
    if not accounts:
        raise ApiError(
            401,
            "required",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
    if CLOUD_PLATFORM not in accounts[0]["scopes"]:
        raise ApiError(403, "insufficientPermissions", "Request had insufficient authentication scopes.")
