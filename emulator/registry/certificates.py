"""A certificate authority that lives as long as the emulator, for the names of registries.

Only guests trust it, and they get its certificate when docker starts. Its key is in memory alone.
"""

import functools
import os
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=365)
_MOST_CONTEXTS = 64


class Authority:
    """Signs certificates.

    Attributes:
        certificate: its own, as PEM.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry of the local Compute Engine")])
        made = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate: bytes = made.public_bytes(serialization.Encoding.PEM)
        # One key for all names: the authority's and theirs are in one process anyway.
        self._server_key = ec.generate_private_key(ec.SECP256R1())
        self.context = functools.lru_cache(_MOST_CONTEXTS)(self._context)

    def _context(self, host: str) -> ssl.SSLContext:
        """Return the settings of a TLS server that is a host.

        Args:
            host: its name, without a port.
        """
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
        made = (
            self._builder(name, self._server_key.public_key())
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key = self._server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # OpenSSL reads nothing but files: this one is in memory.
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(made.public_bytes(serialization.Encoding.PEM) + key)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))  # a guest's clock may be behind
            .not_valid_after(now + _LIFE)
        )
