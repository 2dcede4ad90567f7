"""Cloud KMS: a key that signs, looked at and used. Source: https://cloud.google.com/kms/docs/reference/rest."""

import base64
import hashlib
from typing import Any

from google.api_core import exceptions

from cos_customizer.customizer.contents.signing import SCHEMES, PublicKey
from cos_customizer.customizer.errors import CustomizerError, PermissionDeniedError, UsageError
from cos_customizer.customizer.fields import Message
from cos_customizer.customizer.spec.options import ATTESTATION_KEY
from cos_customizer.gcp import calls
from cos_customizer.gcp.clients import Clients

_MAY_SIGN = "cloudkms.cryptoKeyVersions.useToSign"


def public_key(clients: Clients, name: str) -> PublicKey:
    """The public part of a key's version.

    Args:
        clients: Google's clients.
        name: `projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}/cryptoKeyVersions/{version}`.

    Raises:
        NotFoundError: There is no such version.
        CustomizerError: It is not to be had: it is disabled, say; or it signs as nobody here can check.
    """
    answer = _call(clients, "GET", f"{name}/publicKey", None, f"read the public key of {name}")
    algorithm = str(answer.get("algorithm", ""))
    if algorithm not in SCHEMES:
        raise CustomizerError(
            f"{name} is of the algorithm {algorithm or '(none)'}, which is not known here",
            f"take a key that signs by one of {', '.join(SCHEMES)}.",
        )
    return PublicKey(name, str(answer["pem"]), (SCHEMES[algorithm],))


def check(clients: Clients, name: str) -> PublicKey:
    """Find out whether a key's version is there, is enabled and may sign, before it has to.

    Args:
        clients: Google's clients.
        name: As for `public_key`.

    Raises:
        UsageError: It is not enabled.
        PermissionDeniedError: The credentials in use may not sign with it.
        NotFoundError: There is no such version.
        CustomizerError: Its public part is not to be had, or it signs as nobody here can check.
    """
    version = _call(clients, "GET", name, None, f"read key {name}")
    if version.get("state") != "ENABLED":
        raise UsageError(
            Message("{}: {} is not enabled: its state is {}", ATTESTATION_KEY, name, version.get("state")),
            f"`gcloud kms keys versions enable {name}` enables it.",
        )
    key = name.partition("/cryptoKeyVersions/")[0]
    body = {"permissions": [_MAY_SIGN]}
    allowed = _call(clients, "POST", f"{key}:testIamPermissions", body, f"ask for permissions on {key}")
    if _MAY_SIGN not in allowed.get("permissions", []):
        raise PermissionDeniedError(
            Message("{}: the credentials in use may not sign with {}", ATTESTATION_KEY, key),
            "role roles/cloudkms.signerVerifier on the key allows it.",
        )
    return public_key(clients, name)


def sign(clients: Clients, key: PublicKey, content: bytes) -> bytes:
    """Sign content. Only its digest leaves this machine.

    Args:
        clients: Google's clients.
        key: Of Cloud KMS; see `check`.
        content: To be signed.

    Raises:
        CustomizerError: It could not be signed.
    """
    (scheme,) = key.schemes
    digest = hashlib.new(scheme.hash, content).digest()
    body = {"digest": {scheme.hash: base64.b64encode(digest).decode()}}
    doing = f"sign with {key.name}"
    answer = _call(clients, "POST", f"{key.name}:asymmetricSign", body, doing)
    if answer.get("name", key.name) != key.name:
        raise CustomizerError(f"could not {doing}: {answer['name']} has answered")
    return base64.b64decode(str(answer["signature"]))


def _call(clients: Clients, method: str, path: str, body: dict[str, Any] | None, doing: str) -> dict[str, Any]:
    url = f"{clients.endpoints.kms_url()}/v1/{path}"

    def call(request: Any, retry: Any, timeout: float) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            response = clients.kms.request(method, url, json=request, timeout=timeout)
            if response.status_code >= 400:
                raise exceptions.from_http_response(response)  # type: ignore[no-untyped-call]
            answer: dict[str, Any] = response.json()
            return answer

        found: dict[str, Any] = retry(once)()
        return found

    answer: dict[str, Any] = calls.call(call, body, doing)
    return answer
