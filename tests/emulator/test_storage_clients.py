"""Cloud Storage over what its clients do: Google's library, its resumable and parted uploads, the XML API, curl."""

import base64
import datetime
import gzip
import hashlib
import http.client
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed, RequestRangeNotSatisfiable
from google.cloud.storage import Bucket, Client, transfer_manager
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator

BUCKET = "my-project_cloudbuild"
OBJECTS = f"/storage/v1/b/{BUCKET}/o"
QUARTER = 256 << 10


@pytest.fixture
def bucket(emulator: Emulator) -> Bucket:
    return Client.create_anonymous_client().bucket(BUCKET)


Answer = tuple[int, bytes, http.client.HTTPMessage]


def ask(emulator: Emulator, method: str, path: str, content: bytes | str | None = None, **headers: str) -> Answer:
    """A request to Cloud Storage: status, body and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.storage_port, timeout=PATIENCE)
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        connection.request(method, path, content, {"Content-Type": "application/json"} | named)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.msg
    finally:
        connection.close()


def put(bucket: Bucket, **contents: str) -> None:
    for name, text in contents.items():
        bucket.blob(name).upload_from_string(text)


def refused(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


def test_conditions_hold_before_anything_changes(bucket: Bucket) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("a", if_generation_match=0)
    for chunk_size in (None, QUARTER):
        again = bucket.blob("x", chunk_size=chunk_size)
        refused(PreconditionFailed, lambda: again.upload_from_file(io.BytesIO(b"b"), if_generation_match=0))  # noqa: B023
    assert (blob.download_as_bytes(), blob.metageneration) == (b"a", 1)
    blob.metadata = {"k": "v"}
    refused(PreconditionFailed, lambda: blob.patch(if_metageneration_match=5))
    blob.patch(if_metageneration_match=1)
    refused(PreconditionFailed, lambda: blob.delete(if_generation_match=1))
    refused(PreconditionFailed, lambda: bucket.copy_blob(blob, bucket, "y", if_source_generation_match=1))
    refused(PreconditionFailed, lambda: bucket.blob("none").upload_from_string("a", if_generation_match=7))
    bucket.copy_blob(blob, bucket, "y", if_generation_match=0, if_source_generation_match=blob.generation)
    assert refused(Exception, lambda: blob.reload(if_generation_not_match=blob.generation)).startswith("304")
    blob.delete(if_generation_match=blob.generation)
    assert [each.name for each in bucket.list_blobs()] == ["y"]


LISTS: list[tuple[dict[str, Any], list[str], set[str]]] = [
    ({}, ["a", "a/", "a/b", "a/c/d", "b.txt", "c/e.txt"], set()),
    ({"start_offset": "a/b", "end_offset": "b.txt"}, ["a/b", "a/c/d"], set()),
    ({"prefix": "a/", "delimiter": "/"}, ["a/", "a/b"], {"a/c/"}),
    ({"delimiter": "/"}, ["a", "b.txt"], {"a/", "c/"}),
    ({"delimiter": "/", "include_trailing_delimiter": True}, ["a", "a/", "b.txt"], {"a/", "c/"}),
    ({"delimiter": "/", "start_offset": "b"}, ["b.txt"], {"c/"}),
    ({"match_glob": "*.txt"}, ["b.txt"], set()),
    ({"match_glob": "**.txt"}, ["b.txt", "c/e.txt"], set()),
    ({"match_glob": "**/{b,e}.t?t"}, ["b.txt", "c/e.txt"], set()),
    ({"match_glob": "[!a]*"}, ["b.txt"], set()),
    ({"versions": True, "prefix": "b"}, ["b.txt"], set()),
    ({"soft_deleted": True}, [], set()),
]


@pytest.mark.parametrize(("wish", "names", "prefixes"), LISTS, ids=[str(row[0]) for row in LISTS])
@pytest.mark.parametrize("page_size", [1, 2, None])
def test_a_list_has_what_was_asked_for_in_pages_of_any_size(
    bucket: Bucket, wish: dict[str, Any], names: list[str], prefixes: set[str], page_size: int | None
) -> None:
    put(bucket, **dict.fromkeys(["c/e.txt", "a/c/d", "a/b", "a", "b.txt", "a/"], ""))
    pages = bucket.list_blobs(page_size=page_size, **wish)
    assert ([blob.name for blob in pages], pages.prefixes) == (names, prefixes)


def test_what_is_stored_compressed_is_unpacked_for_who_does_not_take_it(emulator: Emulator, bucket: Bucket) -> None:
    text, blob = b"plain " * 300_000, bucket.blob("x")
    packed, blob.content_encoding = gzip.compress(text), "gzip"
    blob.upload_from_string(packed, content_type="text/plain")
    assert bucket.blob("x").download_as_bytes() == text
    assert bucket.blob("x").download_as_bytes(raw_download=True) == packed
    status, content, headers = ask(emulator, "GET", f"{OBJECTS}/x?alt=media", Range="bytes=0-3")
    assert (status, content, headers["Content-Encoding"], headers["Content-Length"]) == (200, text, None, None)
    status, content, headers = ask(emulator, "GET", f"/{BUCKET}/x", Accept_Encoding="gzip", Range="bytes=0-3")
    assert (status, content, headers["Content-Encoding"]) == (206, packed[:4], "gzip")
    blob.cache_control = "no-transform"
    blob.patch()
    assert ask(emulator, "GET", f"/{BUCKET}/x")[1] == packed
    wrong = bucket.blob("wrong")
    wrong.content_encoding = "gzip"
    wrong.upload_from_string("is not")
    assert ask(emulator, "GET", f"/{BUCKET}/wrong")[1] == b"is not"


RANGES = [
    ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
    ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    ("bytes=-30", 206, b"0123456789", "bytes 0-9/10"),
    ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
    ("bytes=10-", 416, None, None),
    ("bytes=-0", 416, None, None),
    ("bytes=4-2", 200, b"0123456789", None),
    ("lines=1-2", 200, b"0123456789", None),
]


@pytest.mark.parametrize(("header", "status", "content", "told"), RANGES, ids=[row[0] for row in RANGES])
def test_a_part_of_an_object(
    emulator: Emulator, bucket: Bucket, header: str, status: int, content: bytes | None, told: str | None
) -> None:
    put(bucket, x="0123456789")
    for path in (f"{OBJECTS}/x?alt=media", f"/download{OBJECTS}/x", f"/{BUCKET}/x"):
        got = ask(emulator, "GET", path, Range=header)
        assert (got[0], got[2]["Content-Range"]) == (status, told)
        assert content in (None, got[1])
        head = ask(emulator, "HEAD", path, Range=header)
        assert (head[0], head[1], head[2]["Content-Length"]) == (status, b"", got[2]["Content-Length"])


def test_an_empty_object_has_no_part(bucket: Bucket) -> None:
    put(bucket, x="")
    assert bucket.blob("x").download_as_bytes() == b""
    refused(RequestRangeNotSatisfiable, lambda: bucket.blob("x").download_as_bytes(start=0, end=1, checksum=None))


def test_a_resumable_upload_goes_on_where_it_was_cut_off_even_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(QUARTER + 1000)
    with Emulator(tmp_path) as emulator:
        path = f"/resumable/upload{OBJECTS}?uploadType=resumable&name=x"
        status, _, headers = ask(emulator, "POST", path, b'{"metadata": {"k": "v"}}', X_Upload_Content_Type="text/x")
        assert status == 200
        place = "/" + headers["Location"].split("/", 3)[3]
        assert ask(emulator, "PUT", place, Content_Range="bytes */*")[2]["Range"] is None
        got = ask(emulator, "PUT", place, content[:QUARTER], Content_Range=f"bytes 0-{QUARTER - 1}/*")
        assert (got[0], got[2]["Range"]) == (308, f"bytes=0-{QUARTER - 1}")
        ask(emulator, "PUT", f"{place}&left=1", None, Content_Range="bytes */*")
    with Emulator(tmp_path) as emulator:
        got = ask(emulator, "PUT", place, Content_Range=f"bytes */{len(content)}")
        assert (got[0], got[2]["Range"]) == (308, f"bytes=0-{QUARTER - 1}")
        assert ask(emulator, "PUT", place, b"x", Content_Range=f"bytes {QUARTER + 9}-{QUARTER + 9}/*")[0] == 400
        assert ask(emulator, "PUT", place, b"x", Content_Range=f"bytes {QUARTER}-{QUARTER}/*")[0] == 400  # too little
        # What is there already may come again.
        told = f"bytes {QUARTER - 10}-{len(content) - 1}/{len(content)}"
        status, answer, _ = ask(emulator, "PUT", place, content[QUARTER - 10 :], Content_Range=told)
        assert (status, json.loads(answer)["metadata"]) == (200, {"k": "v"})
        assert ask(emulator, "GET", f"/{BUCKET}/x")[1] == content
        status, again, _ = ask(emulator, "PUT", place, Content_Range="bytes */*")
        assert (status, json.loads(again)["generation"]) == (200, json.loads(answer)["generation"])


def test_an_upload_that_was_cancelled_is_gone(emulator: Emulator, bucket: Bucket, tmp_path: Path) -> None:
    place = bucket.blob("x").create_resumable_upload_session().split(str(emulator.storage_port))[1]
    ask(emulator, "PUT", place, b"a" * QUARTER, Content_Range=f"bytes 0-{QUARTER - 1}/*")
    assert ask(emulator, "DELETE", place)[0] == 499
    assert ask(emulator, "PUT", place, b"x")[0] == 404
    assert list((tmp_path / "emulator/storage/drafts").iterdir()) == []
    assert not bucket.blob("x").exists()


SUMS = {"crc32c": "AAAAAA==", "md5Hash": base64.b64encode(hashlib.md5(b"other").digest()).decode(), "bad": "no sum"}


@pytest.mark.parametrize("kind", ["multipart", "resumable", "media", "xml"])
@pytest.mark.parametrize("sum_", SUMS)
def test_bytes_that_are_not_those_meant_make_no_object(
    emulator: Emulator, bucket: Bucket, kind: str, sum_: str
) -> None:
    field = "crc32c" if sum_ == "bad" else sum_
    hashes = f"{'md5' if field == 'md5Hash' else field}={SUMS[sum_]}"
    upload, sent = f"/upload{OBJECTS}?name=x&uploadType={kind}", json.dumps({field: SUMS[sum_]})
    if kind == "multipart":
        body = f"--b\r\n\r\n{sent}\r\n--b\r\n\r\ntext\r\n--b--"
        status = ask(emulator, "POST", upload, body, Content_Type="multipart/related; boundary=b")[0]
    elif kind == "resumable":
        place = "/" + ask(emulator, "POST", upload, sent)[2]["Location"].split("/", 3)[3]
        status = ask(emulator, "PUT", place, b"text")[0]
    elif kind == "media":
        status = ask(emulator, "POST", upload, b"text", X_Goog_Hash=hashes)[0]
    else:
        status = ask(emulator, "PUT", f"/{BUCKET}/x", b"text", X_Goog_Hash=hashes)[0]
    assert status == 400
    assert not bucket.blob("x").exists()


BOUNDARIES = [("b", "b"), ('"b=="', "b=="), ("'===1=='", "===1==")]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize(("told", "boundary"), BOUNDARIES, ids=[row[0] for row in BOUNDARIES])
def test_metadata_and_content_in_one_body_however_its_boundary_is_written(
    emulator: Emulator, bucket: Bucket, told: str, boundary: str, end: str
) -> None:
    for content in ("", "text", f"a{end}--not", "\r\n\r\n--" + boundary[:-1], "x" * (1 << 20)):
        lines = [
            "preamble",
            f"--{boundary}",
            "Content-Type: application/json",
            "",
            '{"name": "x", "cacheControl": "c"}',
        ]
        lines += [f"--{boundary}", "Content-Type: text/x", "", content, f"--{boundary}--", "epilogue"]
        path, kind = f"/upload{OBJECTS}?uploadType=multipart", f"multipart/related; boundary={told}"
        status, answer, _ = ask(emulator, "POST", path, end.join(lines).encode(), Content_Type=kind)
        assert status == 200, answer
        blob = bucket.get_blob("x")
        assert (blob.cache_control, blob.content_type, blob.download_as_text()) == ("c", "text/x", content)
        assert ask(emulator, "POST", path, end.join(lines[:-2]).encode(), Content_Type=kind)[0] == 400


def test_parts_make_an_object(emulator: Emulator, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(content := os.urandom(11 << 20))
    blob = bucket.blob("x y")
    transfer_manager.upload_chunks_concurrently(str(tmp_path / "up"), blob, chunk_size=5 << 20, worker_type="thread")
    blob = bucket.get_blob("x y")
    assert (blob.md5_hash, blob.size) == (None, len(content))
    down = str(tmp_path / "down")
    transfer_manager.download_chunks_concurrently(blob, down, chunk_size=3 << 20, worker_type="thread")
    assert Path(down).read_bytes() == content
    begun = ask(emulator, "POST", f"/{BUCKET}/y?uploads")[1].decode()
    upload_id = begun.partition("<UploadId>")[2].partition("<")[0]
    part = f"/{BUCKET}/y?uploadId={upload_id}"
    assert ask(emulator, "PUT", f"{part}&partNumber=1", b"abc")[0] == 200
    assert b"<PartNumber>1</PartNumber>" in ask(emulator, "GET", part)[1]
    assert upload_id.encode() in ask(emulator, "GET", f"/{BUCKET}?uploads")[1]
    order = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>"
    for wrong in (order.format("none"), "<", "<!DOCTYPE x>" + order, "<x/>"):
        assert ask(emulator, "POST", part, wrong, Content_Type="application/xml")[0] == 400
    assert ask(emulator, "DELETE", part)[0] == 204
    assert ask(emulator, "PUT", f"{part}&partNumber=2", b"abc")[0] == 404
    assert list((tmp_path / "emulator/storage/drafts").iterdir()) == []


def test_objects_are_copied_joined_and_renamed(bucket: Bucket) -> None:
    put(bucket, a="one", b="two")
    source = bucket.blob("a")
    source.metadata = {"k": "v"}
    source.patch()
    copied = bucket.copy_blob(source, bucket, "copy")
    assert (copied.metadata, bucket.blob("copy").download_as_bytes()) == ({"k": "v"}, b"one")
    joined = bucket.blob("joined")
    joined.compose([bucket.blob("a"), bucket.blob("b")])
    joined.reload()
    assert (joined.component_count, joined.md5_hash, joined.download_as_bytes()) == (2, None, b"onetwo")
    bucket.rename_blob(joined, "renamed")
    bucket.move_blob(bucket.blob("b"), "moved")
    assert [blob.name for blob in bucket.list_blobs()] == ["a", "copy", "moved", "renamed"]
    source.update_storage_class("NEARLINE")
    assert (source.storage_class, source.metadata) == ("NEARLINE", {"k": "v"})
    source.delete()
    assert bucket.blob("copy").download_as_bytes() == b"one"
    refused(NotFound, lambda: joined.compose([bucket.blob("none")]))


def test_a_rewrite_in_steps_ends_with_the_whole_object(emulator: Emulator, bucket: Bucket) -> None:
    bucket.blob("a").upload_from_string(content := os.urandom((2 << 20) + 5))
    path, token, steps = f"{OBJECTS}/a/rewriteTo/b/{BUCKET}/o/b?maxBytesRewrittenPerCall=1048576", "", []
    while True:
        answer = json.loads(ask(emulator, "POST", f"{path}&rewriteToken={token}" if token else path, "{}")[1])
        steps.append(int(answer["totalBytesRewritten"]))
        assert bucket.blob("b").exists() is answer["done"]
        if answer["done"]:
            break
        token = answer["rewriteToken"]
    assert steps == [1 << 20, 2 << 20, len(content)]
    assert bucket.blob("b").download_as_bytes() == content
    assert ask(emulator, "POST", f"{path.replace('/o/b', '/o/c')}&rewriteToken={token}", "{}")[0] == 400


def test_metadata_is_merged_replaced_or_removed(emulator: Emulator, bucket: Bucket) -> None:
    put(bucket, x="text")
    steps: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("PATCH", {"metadata": {"a": "1", "b": "2"}, "cacheControl": "c"}, {"a": "1", "b": "2"}),
        ("PATCH", {"metadata": {"a": None}}, {"b": "2"}),
        ("PUT", {"metadata": {"z": "0"}}, {"z": "0"}),
        ("PATCH", {"metadata": None}, {}),
    ]
    for number, (method, sent, metadata) in enumerate(steps, 2):
        status, answer, _ = ask(emulator, method, f"{OBJECTS}/x", json.dumps(sent))
        changed = json.loads(answer)
        assert (status, changed.get("metadata", {}), changed["metageneration"]) == (200, metadata, str(number))
        assert changed.get("cacheControl") == ("c" if number < 4 else None)
    for wrong in ({"metadata": {"a": 1}}, {"contentType": 5}, {"kmsKeyName": "k"}, {"storageClass": "ARCHIVE"}):
        assert ask(emulator, "PATCH", f"{OBJECTS}/x", json.dumps(wrong))[0] == 400
    held = bucket.get_blob("x")
    held.temporary_hold = True
    held.patch()
    assert "hold" in refused(Exception, held.delete)


def test_a_batch_carries_out_its_parts(emulator: Emulator, bucket: Bucket) -> None:
    put(bucket, a="", b="")
    emulator.calls.clear()
    with bucket.client.batch():
        bucket.blob("a").delete()
        bucket.blob("b").delete()
    assert [(call.method, call.status) for call in emulator.calls.list(service="storage")] == [("DELETE", 204)] * 2

    def delete_none() -> None:
        with bucket.client.batch():
            bucket.blob("none").delete()

    assert "No such object" in refused(NotFound, delete_none)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ("items(name,size),nextPageToken", {"name", "size"}),
        ("items/name", {"name"}),
        ("items(metadata/k)", {"metadata"}),
        ("*", None),
    ],
)
def test_a_partial_answer(emulator: Emulator, bucket: Bucket, fields: str, keys: set[str] | None) -> None:
    blob = bucket.blob("x")
    blob.metadata = {"k": "v", "l": "w"}
    blob.upload_from_string("")
    answer = json.loads(ask(emulator, "GET", f"{OBJECTS}?fields={fields}")[1])
    assert set(answer) == ({"kind", "items"} if keys is None else {"items"})
    assert keys in (None, set(answer["items"][0]))
    if "metadata" in fields:
        assert answer["items"][0]["metadata"] == {"k": "v"}
    for wrong in ("items(", ")", ",", "a/" * 50):
        assert ask(emulator, "GET", f"{OBJECTS}?fields={wrong}")[0] == 400


ABSENT = [
    ("PATCH", f"/storage/v1/b/{BUCKET}", {"versioning": {"enabled": True}}, "versions of objects"),
    ("PATCH", f"/storage/v1/b/{BUCKET}", {"retentionPolicy": {"retentionPeriod": "5"}}, "retention"),
    ("POST", "/storage/v1/b?project=p", {"name": "abc", "softDeletePolicy": {"retentionDurationSeconds": 9}}, "soft"),
    ("GET", f"{OBJECTS}/x/acl", None, "access control lists"),
    ("POST", f"{OBJECTS}/x/restore?generation=1", {}, "soft deletion"),
    ("POST", f"/storage/v1/b/{BUCKET}/notificationConfigs", {}, "notifications"),
    ("POST", f"/upload{OBJECTS}?uploadType=media&name=x&predefinedAcl=publicRead", {}, "access control lists"),
]


@pytest.mark.parametrize(("method", "path", "content", "words"), ABSENT, ids=[f"{row[0]} {row[1]}" for row in ABSENT])
def test_what_is_not_there_says_so(emulator: Emulator, method: str, path: str, content: Any, words: str) -> None:
    status, answer, _ = ask(emulator, method, path, None if content is None else json.dumps(content))
    assert (status, json.loads(answer)["error"]["errors"][0]["reason"]) == (400, "notSupported")
    assert words in json.loads(answer)["error"]["message"]


def test_buckets_are_their_projects(emulator: Emulator) -> None:
    client = Client(project="my-project", credentials=Client.create_anonymous_client()._credentials)
    made = client.create_bucket("a-bucket-of-mine", location="us-west1")
    assert (made.location, made.location_type) == ("US-WEST1", "region")
    made.labels = {"team": "images"}
    made.patch()
    assert client.get_bucket(made.name).labels == {"team": "images"}
    refused(Conflict, lambda: client.create_bucket(made.name))
    assert [each.name for each in client.list_buckets()] == [made.name, BUCKET]
    assert list(client.list_buckets(project="other-project")) == []
    policy = made.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allUsers"}})
    made.set_iam_policy(policy)
    assert {"allUsers"} in [binding["members"] for binding in made.get_iam_policy().bindings]
    assert made.test_iam_permissions(["storage.objects.get"]) == ["storage.objects.get"]
    assert client.get_service_account_email().endswith("@gs-project-accounts.iam.gserviceaccount.com")
    made.blob("x").upload_from_string("")
    assert "not empty" in refused(Conflict, made.delete)
    made.delete(force=True)
    refused(BadRequest, lambda: client.create_bucket("goog-mine"))


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
