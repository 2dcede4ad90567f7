"""Errors as registries report them.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes has the codes.
"""

from typing import Any


class RegistryError(Exception):
    """A request that the registry refuses.

    Attributes:
        status: of the HTTP answer.
        code: the machine-readable reason, for example `MANIFEST_UNKNOWN`.
        message: the text for people.
        challenge: how to authenticate (`WWW-Authenticate`); empty: not by this request's answer.
    """

    def __init__(self, status: int, code: str, message: str, challenge: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.challenge = challenge
        self.code = code
        self.message = message

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer."""
        return {"errors": [{"code": self.code, "message": self.message, "detail": None}]}


def unknown_manifest(repository: str, version: str) -> RegistryError:
    """Return the error for an image that is not there."""
    return RegistryError(404, "MANIFEST_UNKNOWN", f"manifest unknown: {repository} has no {version} in the emulator")


def unknown_blob(digest: str) -> RegistryError:
    """Return the error for a blob that is not there."""
    return RegistryError(404, "BLOB_UNKNOWN", f"blob unknown: {digest}")
