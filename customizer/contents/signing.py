"""A statement in an envelope, and whether a key has signed it: DSSE 1.0 (https://github.com/secure-systems-lab/dsse)."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cos_customizer.customizer.errors import UsageError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
_NEITHER = "is neither an envelope nor a statement"


@dataclass(frozen=True)
class Scheme:
    """How a key signs.

    Attributes:
        name: As securesystemslib calls it.
        hash: Of what is signed.
        kind: Of the key.
    """

    name: str
    hash: Literal["sha256", "sha384", "sha512"]
    kind: Literal["ecdsa", "rsa"]


_P256, _P384 = Scheme("ecdsa-sha2-nistp256", "sha256", "ecdsa"), Scheme("ecdsa-sha2-nistp384", "sha384", "ecdsa")
_PSS_256, _PSS_512 = Scheme("rsassa-pss-sha256", "sha256", "rsa"), Scheme("rsassa-pss-sha512", "sha512", "rsa")
_PKCS1_256, _PKCS1_512 = Scheme("rsa-pkcs1v15-sha256", "sha256", "rsa"), Scheme("rsa-pkcs1v15-sha512", "sha512", "rsa")
SCHEMES = {
    "EC_SIGN_P256_SHA256": _P256,
    "EC_SIGN_P384_SHA384": _P384,
    **{f"RSA_SIGN_PSS_{bits}_SHA256": _PSS_256 for bits in (2048, 3072, 4096)},
    "RSA_SIGN_PSS_4096_SHA512": _PSS_512,
    **{f"RSA_SIGN_PKCS1_{bits}_SHA256": _PKCS1_256 for bits in (2048, 3072, 4096)},
    "RSA_SIGN_PKCS1_4096_SHA512": _PKCS1_512,
}
"""By Cloud KMS' names of algorithms: https://cloud.google.com/kms/docs/algorithms#asymmetric_signing_algorithms."""


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked by.

    Attributes:
        name: What people call it: its name in Cloud KMS, or its file.
        pem: It, in PEM form.
        schemes: How it may have signed; which one is not told by the key itself.
    """

    name: str
    pem: str
    schemes: tuple[Scheme, ...]

    @classmethod
    def from_pem(cls, pem: str, name: str) -> "PublicKey":
        """A key out of a file, which does not say how it signs.

        Args:
            pem: Of the file.
            name: Of the file.

        Raises:
            UsageError: It is no public key, or of a kind that is not known here.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise UsageError(
                f"{name} is no public key in PEM form", "it begins with -----BEGIN PUBLIC KEY-----."
            ) from None
        if isinstance(key, rsa.RSAPublicKey):
            return cls(name, pem, (_PSS_256, _PKCS1_256, _PSS_512, _PKCS1_512))
        curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else ""
        schemes = {"secp256r1": (_P256,), "secp384r1": (_P384,)}.get(curve)
        if schemes is None:
            raise UsageError(f"{name} is a key of a kind that is not known here", "take one of P-256, P-384 or RSA.")
        return cls(name, pem, schemes)


@dataclass(frozen=True)
class Sealed:
    """A statement, and who says that he has signed it.

    Attributes:
        payload: The statement's bytes, which are what is signed.
        envelope: As it was read; None for a bare statement, which nobody has signed.
        key_names: What the signatures call their keys: a hint, and no more.
    """

    payload: bytes
    envelope: Any = None
    key_names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, content: bytes) -> "Sealed":
        """Read an envelope, or a bare statement.

        Raises:
            ValueError: It is neither.
        """
        value = _object(content)
        if "payload" not in value:
            if "_type" not in value:
                raise ValueError(_NEITHER)
            return cls(content)
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import FormatError

        try:
            for text in (value["payload"], *(signature["sig"] for signature in value["signatures"])):
                _check_base64(text)
            envelope = Envelope.from_dict(value)
        except (KeyError, TypeError, AttributeError, binascii.Error, ValueError, FormatError) as error:
            raise ValueError(f"{_NEITHER}: {type(error).__name__}") from None
        if envelope.payload_type != PAYLOAD_TYPE:
            raise ValueError(f"is an envelope of {envelope.payload_type!r}, not of {PAYLOAD_TYPE}")
        if not envelope.signatures:
            raise ValueError("is an envelope that nobody has signed, which is none")
        return cls(envelope.payload, envelope, tuple(envelope.signatures))

    def is_signed_by(self, key: PublicKey) -> bool:
        """Whether one of its signatures is the key's, whatever it calls its key."""
        if self.envelope is None:
            return False
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.exceptions import VerificationError
        from securesystemslib.signer import SSlibKey

        public: Any = load_pem_public_key(key.pem.encode())
        for scheme in key.schemes:
            named = [SSlibKey.from_crypto(public, name, scheme.name) for name in self.key_names]
            for each in named:
                try:
                    self.envelope.verify([each], 1)
                except VerificationError:
                    continue
                return True
        return False


def to_be_signed(statement: bytes) -> bytes:
    """The bytes that a signature of a statement is made over (DSSE's pre-authentication encoding)."""
    from securesystemslib.dsse import Envelope

    return bytes(Envelope(statement, PAYLOAD_TYPE, {}).pae())


def enveloped(statement: bytes, signatures: Sequence[tuple[str, bytes]]) -> bytes:
    """The envelope of a statement.

    Args:
        statement: Its bytes.
        signatures: At least one: name of the key, and what it has made of `to_be_signed`.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Signature

    signed = {name: Signature(name, signature.hex()) for name, signature in signatures}
    return (json.dumps(Envelope(statement, PAYLOAD_TYPE, signed).to_dict(), indent=1) + "\n").encode()


def _check_base64(text: str) -> None:
    """Refuse what the library would pass over: other characters among those of base64, and bits that say nothing."""
    if base64.b64encode(base64.b64decode(text, validate=True)).decode() != text:
        raise ValueError("it is no base64")


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(_NEITHER) from None
    if not isinstance(value, dict):
        raise ValueError(_NEITHER)
    return value
