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
    scopes = scopes_of(service(ComputeEngine), request.headers.get("Authorization", ""))
    if scopes is None:
        raise ApiError(
            401,
            "required",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
            "valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        )
    if CLOUD_PLATFORM not in scopes:
        raise ApiError(403, "insufficientPermissions", "Request had insufficient authentication scopes.")


def scopes_of(engine: ComputeEngine, authorization: str) -> frozenset[str] | None:
    """Return the scopes of the service account of a running VM; None: the token is none's.

    Args:
        engine: has the VMs.
        authorization: a request's header `Authorization`.
    """
    instance_id = instance_of_token(authorization)
    instance = engine.instances.running_with_id(instance_id) if instance_id else None
    accounts = instance.get("serviceAccounts", []) if instance else []
    return frozenset(accounts[0]["scopes"]) if accounts else None
