"""Keys that sign, as Cloud KMS has them: https://cloud.google.com/kms/docs/algorithms#asymmetric_signing_algorithms."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

Hash = Literal["sha256", "sha384", "sha512"]
_HASHES: dict[Hash, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True)
class Algorithm:
    """How a key is made and signs.

    Attributes:
        hash: Of what is signed.
        bits: Of the modulus; 0 for elliptic curves.
        pss: Whether RSA pads by PSS, and not by PKCS #1 v1.5.
    """

    hash: Hash
    bits: int = 0
    pss: bool = False


ALGORITHMS = {
    "EC_SIGN_P256_SHA256": Algorithm("sha256"),
    "EC_SIGN_P384_SHA384": Algorithm("sha384"),
    **{f"RSA_SIGN_PSS_{bits}_SHA256": Algorithm("sha256", bits, True) for bits in (2048, 3072, 4096)},
    "RSA_SIGN_PSS_4096_SHA512": Algorithm("sha512", 4096, True),
    **{f"RSA_SIGN_PKCS1_{bits}_SHA256": Algorithm("sha256", bits) for bits in (2048, 3072, 4096)},
    "RSA_SIGN_PKCS1_4096_SHA512": Algorithm("sha512", 4096),
}

NUMBERS = {
    2: "RSA_SIGN_PSS_2048_SHA256",
    3: "RSA_SIGN_PSS_3072_SHA256",
    4: "RSA_SIGN_PSS_4096_SHA256",
    5: "RSA_SIGN_PKCS1_2048_SHA256",
    6: "RSA_SIGN_PKCS1_3072_SHA256",
    7: "RSA_SIGN_PKCS1_4096_SHA256",
    12: "EC_SIGN_P256_SHA256",
    13: "EC_SIGN_P384_SHA384",
    15: "RSA_SIGN_PSS_4096_SHA512",
    16: "RSA_SIGN_PKCS1_4096_SHA512",
}
"""What Google's client writes in an algorithm's place."""


def new_key(algorithm: Algorithm) -> str:
    """Make a key; returns it in PEM form (PKCS #8, not encrypted)."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if algorithm.bits:
        key = rsa.generate_private_key(65537, algorithm.bits)
    else:
        key = ec.generate_private_key(ec.SECP256R1() if algorithm.hash == "sha256" else ec.SECP384R1())
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public_part(pem: str) -> str:
    """Return the public key of a key, in PEM form."""
    public = _loaded(pem).public_key()
    return str(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    )


def signature(pem: str, algorithm: Algorithm, digest: bytes) -> bytes:
    """Sign a digest.

    Args:
        pem: The key.
        algorithm: Its own.
        digest: By its hash.
    """
    key, prehashed = _loaded(pem), Prehashed(_HASHES[algorithm.hash])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(prehashed))
    digest_size = hashlib.new(algorithm.hash).digest_size
    mgf = padding.MGF1(_HASHES[algorithm.hash])
    pad = padding.PSS(mgf, digest_size) if algorithm.pss else padding.PKCS1v15()
    return bytes(key.sign(digest, pad, prehashed))


def _loaded(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), None)
