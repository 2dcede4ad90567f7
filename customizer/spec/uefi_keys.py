"""The keys that the firmware of VMs of the output image begins with, instead of Google's: files of the build context.

Sources: https://cloud.google.com/compute/shielded-vm/docs/creating-shielded-images#adding-shielded-image;
https://cloud.google.com/compute/docs/reference/rest/v1/images, `shieldedInstanceInitialState`.
"""

from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.fields import FieldPath, Message
from cos_customizer.customizer.spelling import did_you_mean, quoted

MOST_BYTES = 64 << 10
"""Of one file: a variable of UEFI firmware, which keys and databases are, has no room for more."""

_DER = b"\x30\x82"
"""What a certificate of more than 255 bytes begins with, in DER: a sequence. gcloud tells it by that too."""
_PEM = b"-----BEGIN "
_TO_DER = "`openssl x509 -in KEY.pem -outform der -out KEY.der` converts a certificate."


@dataclass(frozen=True)
class KeyFile:
    """One file of keys.

    Attributes:
        field: that names it.
        path: in the build context, normalized.
        part: of the API's `InitialStateConfig` that it belongs to.
        many: whether that part is a list.
    """

    field: FieldPath
    path: str
    part: str
    many: bool


def key_files(
    platform_key: str | None, exchange_keys: Sequence[str], signatures: Sequence[str], forbidden: Sequence[str]
) -> list[KeyFile]:
    """The files of keys of an output image.

    Args:
        platform_key: file of the platform key (PK).
        exchange_keys: files of key exchange keys (KEK).
        signatures: files of the database of signatures that may boot (db).
        forbidden: files of the database of those that may not (dbx).
    """
    given = [KeyFile(FieldPath("output.uefi_platform_key"), platform_key, "pk", False)] if platform_key else []
    for name, part, paths in (
        ("key_exchange_keys", "keks", exchange_keys),
        ("signature_database", "dbs", signatures),
        ("forbidden_database", "dbxs", forbidden),
    ):
        given += [KeyFile(FieldPath(f"output.uefi_{name}"), path, part, True) for path in paths]
    return given


def check_key_files(keys: Collection[KeyFile], files: Collection[str], context: str) -> None:
    """Check that files of keys are in the build context.

    Args:
        keys: of the output image.
        files: of the build context.
        context: what to call that.

    Raises:
        UsageError: one is not.
    """
    for key in keys:
        if key.path not in files:
            raise UsageError(
                Message("{}: there is no {} in build context {}", key.field, quoted(key.path), context),
                did_you_mean(key.path, files) or "paths are relative to the build context's root.",
            )


def initial_state(keys: Collection[KeyFile], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The API's `InitialStateConfig`, in its JSON form; empty if there are no keys.

    Args:
        keys: of the output image.
        contents: by path; the first `MOST_BYTES` + 1 bytes of each.

    Raises:
        UsageError: a file is none that firmware takes.
    """
    state: dict[str, Any] = {}
    for key in keys:
        buffer = _buffer(key, contents.get(key.path, b""))
        if key.many:
            state.setdefault(key.part, []).append(buffer)
        else:
            state[key.part] = buffer
    return state


def _buffer(key: KeyFile, content: bytes) -> dict[str, str]:
    where = f"{key.path} of the build context"
    if not content:
        raise UsageError(Message("{}: {} is empty, or cannot be read", key.field, where))
    if content.lstrip().startswith(_PEM):
        kind = content.lstrip().removeprefix(_PEM).partition(b"-----")[0]
        if b"PRIVATE" in kind:
            raise UsageError(
                Message("{}: {} is a private key", key.field, where),
                "an image is given certificates, which everybody may read; keep the private key to yourself.",
            )
        raise UsageError(Message("{}: {} is PEM text; firmware takes DER", key.field, where), _TO_DER)
    if len(content) > MOST_BYTES:
        raise UsageError(Message("{}: {} has more than {:,} bytes", key.field, where, MOST_BYTES))
    return {
        "content": b64encode(content).decode(),
        "fileType": "X509" if content.startswith(_DER) else "BIN",
    }
