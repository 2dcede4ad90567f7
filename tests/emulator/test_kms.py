"""The emulator's Cloud KMS: keys that sign, by Google's client and by REST, checked by others' programs."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
from google.cloud.kms_v1 import CryptoKey, KeyManagementServiceClient, KeyRing
from support.compute_clients import PROJECT, call
from support.waiting import PATIENCE

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.kms.signing import ALGORITHMS
from cos_customizer.emulator.kms.store import Keys
from cos_customizer.emulator.local_project import LocalProject
from cos_customizer.emulator.server import Emulator

PLACE = f"projects/{PROJECT}/locations/global"
RING = f"{PLACE}/keyRings/images"
KEY = f"{RING}/cryptoKeys/signing"
VERSION = f"{KEY}/cryptoKeyVersions/1"
TEXT = b"what is signed"


def create(emulator: Emulator, algorithm: str = "EC_SIGN_P256_SHA256", **more: Any) -> None:
    assert call(emulator, "POST", f"/v1/{PLACE}/keyRings?keyRingId=images", {})[0] == 200
    body = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": algorithm}, **more}
    status, answer = call(emulator, "POST", f"/v1/{RING}/cryptoKeys?cryptoKeyId=signing", body)
    assert status == 200, answer


def signed(emulator: Emulator, version: str = VERSION, hash_name: str = "sha256") -> tuple[int, Any]:
    digest = hashlib.new(hash_name, TEXT).digest()
    body = {"digest": {hash_name: base64.b64encode(digest).decode()}}
    return call(emulator, "POST", f"/v1/{version}:asymmetricSign", body)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if "4096" not in name])
def test_openssl_takes_a_signature(emulator: Emulator, tmp_path: Path, algorithm: str) -> None:
    create(emulator, algorithm)
    hash_name = ALGORITHMS[algorithm].hash
    status, answer = signed(emulator, hash_name=hash_name)
    assert status == 200
    signature = base64.b64decode(answer["signature"])
    assert answer["signatureCrc32c"] == str(google_crc32c.value(signature))
    key = call(emulator, "GET", f"/v1/{VERSION}/publicKey")[1]
    assert (key["algorithm"], key["name"]) == (algorithm, VERSION)
    assert key["pemCrc32c"] == str(google_crc32c.value(key["pem"].encode()))
    for name, content in (("key", key["pem"].encode()), ("signature", signature), ("text", TEXT), ("other", b"x")):
        (tmp_path / name).write_bytes(content)
    padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if "PSS" in algorithm else []
    verify = ["openssl", "dgst", f"-{hash_name}", "-verify", "key", *padding, "-signature", "signature"]
    for name, word in (("text", "Verified OK"), ("other", "erification")):
        done = subprocess.run([*verify, name], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert word in done.stdout + done.stderr
        assert (done.returncode == 0) is (name == "text")


def test_google_s_client_makes_a_key_and_signs_with_it(emulator: Emulator) -> None:
    client = LocalProject(emulator, PROJECT).client(KeyManagementServiceClient)
    ring = client.create_key_ring(parent=PLACE, key_ring_id="images", key_ring=KeyRing())
    assert ring.name == RING
    template = {"algorithm": "EC_SIGN_P256_SHA256"}
    key = client.create_crypto_key(
        parent=RING,
        crypto_key_id="signing",
        crypto_key=CryptoKey({"purpose": "ASYMMETRIC_SIGN", "version_template": template}),
    )
    assert key.name == KEY
    version = client.get_crypto_key_version(name=VERSION)
    assert version.state.name == "ENABLED"
    assert [each.name for each in client.list_crypto_keys(parent=RING)] == [KEY]
    digest = hashlib.sha256(TEXT).digest()
    request = {"name": VERSION, "digest": {"sha256": digest}, "digest_crc32c": google_crc32c.value(digest)}
    answer = client.asymmetric_sign(request=request)
    assert answer.verified_digest_crc32c
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public: Any = load_pem_public_key(client.get_public_key(name=VERSION).pem.encode())
    public.verify(answer.signature, TEXT, ECDSA(hashes.SHA256()))


def test_a_version_through_its_states(emulator: Emulator) -> None:
    create(emulator)
    change = f"/v1/{VERSION}?updateMask=state"
    assert call(emulator, "PATCH", change, {"state": "DISABLED"})[1]["state"] == "DISABLED"
    for status, answer in (signed(emulator), call(emulator, "GET", f"/v1/{VERSION}/publicKey")):
        assert status == 400
        assert "is not enabled, current state is: DISABLED" in answer["error"]["message"]
    assert call(emulator, "PATCH", change, {"state": "ENABLED"})[0] == 200
    assert signed(emulator)[0] == 200
    assert call(emulator, "POST", f"/v1/{VERSION}:destroy", {})[1]["state"] == "DESTROY_SCHEDULED"
    assert call(emulator, "PATCH", change, {"state": "ENABLED"})[0] == 400
    assert call(emulator, "POST", f"/v1/{VERSION}:restore", {})[1]["state"] == "DISABLED"
    assert call(emulator, "POST", f"/v1/{KEY}/cryptoKeyVersions", {})[1]["name"] == f"{KEY}/cryptoKeyVersions/2"
    states = [each["state"] for each in call(emulator, "GET", f"/v1/{KEY}/cryptoKeyVersions")[1]["cryptoKeyVersions"]]
    assert states == ["DISABLED", "ENABLED"]


GOOD = {"purpose": "ASYMMETRIC_SIGN", "versionTemplate": {"algorithm": "EC_SIGN_P256_SHA256"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", f"/v1/{RING}x", None, 404, "KeyRing"),
        ("GET", f"/v1/{KEY}x", None, 404, "CryptoKey"),
        ("GET", f"/v1/{KEY}/cryptoKeyVersions/2", None, 404, "CryptoKeyVersion"),
        ("POST", f"/v1/{PLACE}/keyRings?keyRingId=images", {}, 409, "already exists"),
        ("POST", f"/v1/{PLACE}/keyRings?keyRingId=a/b", {}, 400, "must match the pattern"),
        ("POST", f"/v1/{RING}/cryptoKeys?cryptoKeyId=signing", GOOD, 409, "already exists"),
        ("POST", f"/v1/{RING}x/cryptoKeys?cryptoKeyId=a", GOOD, 404, "KeyRing"),
        ("POST", f"/v1/{RING}/cryptoKeys?cryptoKeyId=a", {"purpose": "ENCRYPT_DECRYPT"}, 501, "ASYMMETRIC_SIGN only"),
        ("POST", f"/v1/{RING}/cryptoKeys?cryptoKeyId=a", {"purpose": "ASYMMETRIC_SIGN"}, 400, "algorithm is required"),
        (
            "POST",
            f"/v1/{RING}/cryptoKeys?cryptoKeyId=a",
            {**GOOD, "versionTemplate": {"algorithm": "EC_SIGN_ED25519"}},
            501,
            "EC_SIGN_ED25519",
        ),
        ("POST", f"/v1/{VERSION}:asymmetricSign", {}, 400, "Exactly one of digest and data"),
        ("POST", f"/v1/{VERSION}:asymmetricSign", {"digest": {"sha384": "AAAA"}}, 400, "the digest must be sha256"),
        ("POST", f"/v1/{VERSION}:asymmetricSign", {"digest": {"sha256": "AAAA"}}, 400, "has 3 bytes"),
        ("POST", f"/v1/{VERSION}:asymmetricSign", {"digest": {"sha256": "?"}}, 400, "Base64 decoding failed"),
        ("POST", f"/v1/{VERSION}:asymmetricSign", {"data": "AAAA", "dataCrc32c": "1"}, 400, "does not match"),
        ("GET", f"/v1/{KEY}:getIamPolicy", None, 501, "has no"),
    ],
)
def test_what_cannot_be_is_refused(
    emulator: Emulator, method: str, path: str, body: Any, status: int, message: str
) -> None:
    create(emulator)
    found, answer = call(emulator, method, path, body)
    assert (found, message in answer["error"]["message"]) == (status, True), answer


def test_everybody_may_sign_here(emulator: Emulator) -> None:
    create(emulator)
    asked = {"permissions": ["cloudkms.cryptoKeyVersions.useToSign"]}
    assert call(emulator, "POST", f"/v1/{KEY}:testIamPermissions", asked) == (200, asked)


def test_keys_stay_when_the_emulator_is_started_again(tmp_path: Path) -> None:
    with Emulator(tmp_path / "state") as emulator:
        create(emulator)
        before = call(emulator, "GET", f"/v1/{VERSION}/publicKey")
    assert (tmp_path / "state" / "keys.json").stat().st_mode & 0o077 == 0
    with Emulator(tmp_path / "state") as emulator:
        assert call(emulator, "GET", f"/v1/{VERSION}/publicKey") == before
        assert signed(emulator)[0] == 200
        with emulator.saved() as saved:
            emulator.reset()
            assert call(emulator, "GET", f"/v1/{VERSION}")[0] == 404
            emulator.load(saved)
        assert call(emulator, "GET", f"/v1/{VERSION}/publicKey") == before
        emulator.remove_project(PROJECT, PATIENCE)
        assert call(emulator, "GET", f"/v1/{VERSION}")[0] == 404


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rings": 1}', json.dumps({"rings": {}, "keys": {}})])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(EmulatorError, match=r"keys\.json is not the emulator's"):
        Keys(tmp_path, Clock())
