"""Cloud Storage's XML API over curl, and over signed URLs of Google's library."""

import datetime
import hashlib
import subprocess
from pathlib import Path

from google.cloud.storage import Bucket
from support.storage_clients import BUCKET, ask
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator


def test_the_xml_api(emulator: Emulator, bucket: Bucket, tmp_path: Path) -> None:
    endpoint = emulator.environment()["STORAGE_EMULATOR_HOST"]
    (tmp_path / "up").write_text("text")

    def curl(*arguments: str) -> str:
        command = ["curl", "-sS", *arguments]
        return subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, text=True).stdout

    headers = ["-H", "x-goog-meta-k: ü", "-H", "Content-Type: text/x", "-H", "x-goog-if-generation-match: 0"]
    assert curl("-T", str(tmp_path / "up"), *headers, f"{endpoint}/{BUCKET}/a/b%20c") == ""
    blob = bucket.get_blob("a/b c")
    assert (blob.metadata, blob.content_type, blob.download_as_bytes()) == ({"k": "ü"}, "text/x", b"text")
    assert "PreconditionFailed" in curl("-T", str(tmp_path / "up"), *headers, f"{endpoint}/{BUCKET}/a/b%20c")
    head = curl("-I", f"{endpoint}/{BUCKET}/a/b%20c").lower()
    assert f'etag: "{hashlib.md5(b"text").hexdigest()}"' in head
    assert "content-length: 4" in head
    listed = curl(f"{endpoint}/{BUCKET}?prefix=a/&max-keys=1")
    assert "<Key>a/b c</Key>" in listed
    assert "<IsTruncated>false</IsTruncated>" in listed
    assert curl("-X", "DELETE", f"{endpoint}/{BUCKET}/a/b%20c") == ""
    assert "<Code>NoSuchKey</Code>" in curl(f"{endpoint}/{BUCKET}/a/b%20c")
    assert "<Code>NoSuchBucket</Code>" in curl(f"{endpoint}/none-such/x")


def test_a_signed_url_is_taken(emulator: Emulator, bucket: Bucket) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from google.oauth2.service_account import Credentials

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = {"client_email": "a@b.example", "private_key": key.decode(), "token_uri": "http://x.example"}
    how = {
        "expiration": datetime.timedelta(minutes=5),
        "credentials": Credentials.from_service_account_info(info),
        "api_access_endpoint": emulator.environment()["STORAGE_EMULATOR_HOST"],
    }
    blob = bucket.blob("a b/ü")

    def signed(version: str, method: str) -> str:
        url: str = blob.generate_signed_url(version=version, method=method, **how)
        return "/" + url.split("/", 3)[3]

    for version in ("v2", "v4"):
        assert ask(emulator, "PUT", signed(version, "PUT"), version)[0] == 200
        assert ask(emulator, "GET", signed(version, "GET"))[1] == version.encode()
    status, _, headers = ask(emulator, "POST", signed("v4", "RESUMABLE"), x_goog_resumable="start")
    assert status == 201
    assert ask(emulator, "PUT", "/" + headers["Location"].split("/", 3)[3], b"resumed")[0] == 200
    assert blob.download_as_bytes() == b"resumed"
