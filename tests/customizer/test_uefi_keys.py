"""UEFI keys of the output image: files of the build context in, the API's `InitialStateConfig` out."""

from base64 import b64decode

import pytest

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.uefi_keys import MOST_BYTES, check_key_files, initial_state, key_files

CERTIFICATE = b"\x30\x82\x01\x0a" + bytes(266)
SIGNATURES = b"\x26\x16\xc4\xc1" + bytes(40)
PEM = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "output.uefi_platform_key: pk.der of the build context is empty", ""),
    "PEM": (PEM, "output.uefi_platform_key: pk.der of the build context is PEM text", "openssl x509"),
    "PEM after blank lines": (b"\n\n" + PEM, "is PEM text", "openssl x509"),
    "a private key": (b"-----BEGIN RSA PRIVATE KEY-----\n", "is a private key", "keep the private key to yourself"),
    "another private key": (b"-----BEGIN PRIVATE KEY-----\n", "is a private key", "certificates"),
    "a disk image": (bytes(MOST_BYTES + 1), "has more than 65,536 bytes", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_firmware_does_not_take_is_refused(name: str) -> None:
    content, message, hint = REFUSED[name]
    with pytest.raises(UsageError, match=message) as caught:
        initial_state(key_files("pk.der", [], [], []), {"pk.der": content})
    assert hint in caught.value.hint


def test_keys_go_where_the_api_has_them_as_what_they_are() -> None:
    keys = key_files("pk.der", ["kek.der"], ["db.bin", "db.der"], ["dbx.bin"])
    contents = {"pk.der": CERTIFICATE, "kek.der": CERTIFICATE, "db.bin": SIGNATURES, "db.der": CERTIFICATE}
    state = initial_state(keys, {**contents, "dbx.bin": bytes(MOST_BYTES)})
    assert list(state) == ["pk", "keks", "dbs", "dbxs"]
    assert b64decode(state["pk"]["content"]) == CERTIFICATE
    assert [key["fileType"] for key in (state["pk"], *state["keks"], *state["dbs"], *state["dbxs"])] == [
        "X509",
        "X509",
        "BIN",
        "X509",
        "BIN",
    ]


def test_without_keys_there_is_no_state() -> None:
    assert initial_state(key_files(None, [], [], []), {}) == {}


def test_a_file_that_is_not_in_the_build_context_is_named_with_its_field() -> None:
    keys = key_files(None, ["keys/kek.der"], [], [])
    check_key_files(keys, ["keys/kek.der"], "context")
    with pytest.raises(
        UsageError, match=r"output\.uefi_key_exchange_keys: there is no 'keys/kek.der' in build"
    ) as caught:
        check_key_files(keys, ["keys/kek.dir", "a.sh"], "context")
    assert "keys/kek.dir" in caught.value.hint
