"""Cloud Storage: names are Google's, and each wrong request gets an answer."""

import http.client
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from google.cloud.storage import Client
from support.compute_clients import INSTANCES, call
from support.waiting import PATIENCE

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.server import Emulator
from cos_customizer.emulator.storage.names import is_bucket_name

BUCKET = "my-project_cloudbuild"


def ask(
    emulator: Emulator, method: str, path: str, content: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any], http.client.HTTPMessage]:
    """A request to Cloud Storage: status, JSON and headers of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", emulator.storage_port, timeout=PATIENCE)
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    try:
        connection.request(method, path, content, named)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text[:1] == b"{" else {}, answer.msg
    finally:
        connection.close()


@pytest.mark.parametrize(
    "path", ["/wipe", "/wipe?keep-buckets=1", "/wipe;x", "/wipe#x", "//wipe", "/", "/%77ipe", "/storage/v1/wipe"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_nothing_empties_the_storage(emulator: Emulator, method: str, path: str) -> None:
    bucket = Client.create_anonymous_client().bucket(BUCKET)
    bucket.blob("kept").upload_from_string("text")
    assert ask(emulator, method, path)[0] == 404  # each is no method, or could be a bucket or an object
    assert bucket.blob("kept").download_as_bytes() == b"text"


def test_a_bucket_that_is_gone_is_made_again_when_its_project_is_used(emulator: Emulator) -> None:
    bucket = Client.create_anonymous_client().bucket(BUCKET)
    assert ask(emulator, "DELETE", f"/storage/v1/b/{BUCKET}")[0] == 204
    assert not bucket.exists()
    call(emulator, "GET", INSTANCES)
    assert bucket.exists()
    bucket.blob("x").upload_from_string("x")


@pytest.mark.parametrize(
    ("project", "status"),
    [
        ("A" * 5000, 400),
        ("a" * 5000, 400),
        ("Upper", 400),
        ("a_b", 400),
        ("..", 400),
        ("%2E%2E", 400),
        ("a%00b", 400),
        ("a%0Ab", 400),
        ("%C3%BC", 400),
        ("trailing-", 400),
        ("x", 200),  # the API takes it, although no project can have the id
        ("123456789012", 200),
        ("example.com:my-project", 200),
        ("a" * 31, 200),
    ],
)
def test_what_is_no_project_gets_no_bucket(emulator: Emulator, project: str, status: int) -> None:
    before = emulator._storage.store.buckets()
    for path in (INSTANCES.replace("my-project", project), f"/v2/projects/{project}/logs"):
        got, answer = call(emulator, "GET", path)
        assert got == status, answer
        if status == 400:
            assert answer["error"]["message"].startswith("Invalid value for field 'project'")
    assert emulator._storage.store.buckets() == before


def test_an_emulator_does_not_start_for_what_is_no_project(tmp_path: Any) -> None:
    with pytest.raises(EmulatorError, match="'Mine' is no project id"):
        Emulator(tmp_path, projects=("my-project", "Mine"))
    with Emulator(tmp_path):  # nothing of it holds the directory
        pass


NAMES = [
    ("my-bucket", True),
    ("my_bucket.of-1", True),
    ("1a2", True),
    ("a" * 63, True),
    (".".join(["a" * 60] * 3), True),
    ("a" * 64, False),
    (".".join(["a" * 60] * 4), False),
    ("ab", False),
    ("", False),
    ("-ab", False),
    ("ab-", False),
    ("a..b", False),
    ("Upper", False),
    ("ümlaut", False),
    ("a/b", False),
    ("../../../evilbucket", False),
    ("_resumable", False),
    ("192.168.5.4", False),
    ("goog-mine", False),
    ("my-google-bucket", False),
    ("abc\n", False),
]


@pytest.mark.parametrize(("name", "is_right"), NAMES)
def test_a_bucket_has_a_name_that_google_takes(emulator: Emulator, name: str, is_right: bool) -> None:
    assert is_bucket_name(name) is is_right
    for path, expected in (("/storage/v1/b", 200), ("/b", 409)):
        status, answer, _ = ask(emulator, "POST", f"{path}?project=my-project", json.dumps({"name": name}).encode())
        assert status == (expected if is_right else 400), answer
    listed = Client.create_anonymous_client().list_buckets(project="my-project")
    assert (name in {bucket.name for bucket in listed}) is is_right


OBJECT = f"/storage/v1/b/{BUCKET}/o"
UPLOAD = f"/upload{OBJECT}"
BAD = [
    # method, path, body, status
    ("POST", "/storage/v1/b", b"", 400),
    ("POST", "/storage/v1/b", b"{", 400),
    ("POST", "/storage/v1/b", b"[]", 400),
    ("POST", "/storage/v1/b", b"\xff", 400),
    ("POST", "/storage/v1/b", b'{"name": 5}', 400),
    ("POST", UPLOAD + "?uploadType=media", b"x", 400),
    ("POST", UPLOAD + "?uploadType=multipart&name=x", b"x", 400),
    ("POST", UPLOAD + "?uploadType=resumable", b"[1]", 400),
    ("PUT", UPLOAD, b"x", 400),
    ("PUT", UPLOAD + "?upload_id=none", b"x", 404),
    ("PATCH", OBJECT + "/none", b"{", 400),
    ("POST", OBJECT + "/none/compose", b"{}", 400),
    ("POST", OBJECT + "/none/restore?generation=x", b"", 400),
    ("POST", "/batch/storage/v1", b"x", 400),
    ("GET", "/_resumable/x", None, 404),
    ("GET", f"/{BUCKET}/..%2F..%2Fcompute.sqlite", None, 404),
    ("GET", "/../x/y", None, 404),
    ("GET", f"{OBJECT}/{quote('ü' * 513)}", None, 400),
    ("PUT", f"/{BUCKET}/{'a' * 1025}", b"x", 400),
    ("GET", "/" + "a/" * 4200, None, 400),
    ("GET", OBJECT + "?maxResults=many", None, 400),
    ("GET", "/storage/v2/b", None, 404),
]


@pytest.mark.parametrize(("method", "path", "content", "status"), BAD, ids=[f"{row[0]} {row[1][:60]}" for row in BAD])
def test_a_wrong_request_gets_an_answer(
    emulator: Emulator, method: str, path: str, content: bytes | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(emulator, method, path, content)[0] == status
    assert not [record for record in caplog.records if record.exc_info and record.levelname != "DEBUG"]
    assert path.startswith("/batch") or emulator.calls.list()[-1].status == status


def test_an_upload_whose_end_is_never_told_is_no_object(emulator: Emulator) -> None:
    status, _, headers = ask(emulator, "POST", UPLOAD + "?uploadType=resumable&name=x", b"{}")
    assert status == 200
    path = "/" + headers["Location"].split("/", 3)[3]
    assert ask(emulator, "PUT", path, b"abc", Content_Range="bytes 5-7/*")[0] == 400
    assert ask(emulator, "GET", OBJECT + "/x")[0] == 404


@pytest.mark.parametrize("glob", ["*a" * 30 + "b", "**/" * 30 + "b", "[!b]*" * 30 + "b", "{a,b}" * 30])
def test_no_pattern_takes_for_ever(emulator: Emulator, glob: str) -> None:
    bucket = Client.create_anonymous_client().bucket(BUCKET)
    bucket.blob("a" * 1000).upload_from_string("x")
    bucket.blob("a/" * 300).upload_from_string("x")
    status, answer, _ = ask(emulator, "GET", f"{OBJECT}?matchGlob={quote(glob)}")
    assert (status, answer.get("items", [])) == (200, []) or status == 400


def test_no_path_takes_for_ever(emulator: Emulator) -> None:
    began = time.process_time()
    assert ask(emulator, "POST", f"{OBJECT}/" + "a" * 1024 + "/acl" * 1500, b"{}")[0] in (400, 404)
    assert time.process_time() - began < PATIENCE


@pytest.mark.parametrize("override", ["DELETE", "PATCH", "WIPE", ""])
def test_nobody_changes_the_given_bucket_by_a_detour(emulator: Emulator, override: str) -> None:
    drivers = "nvidia-drivers-us-public"
    client = Client.create_anonymous_client()
    before = [blob.name for blob in client.list_blobs(drivers)]
    path = f"/storage/v1/b/{drivers}/o/license.txt"
    for method in ("GET", "POST"):
        content = None if method == "GET" else b'{"metadata": {"a": "b"}}'
        ask(emulator, method, path, content, X_HTTP_Method_Override=override)
    part = f"--x\r\nContent-Type: application/http\r\n\r\n{override or 'DELETE'} {path} HTTP/1.1\r\n\r\n\r\n--x--\r\n"
    ask(emulator, "POST", "/batch/storage/v1", part.encode(), Content_Type="multipart/mixed; boundary=x")
    assert [blob.name for blob in client.list_blobs(drivers)] == before
    assert client.bucket(drivers).get_blob("license.txt").metadata is None


def test_metadata_of_an_object_cannot_forge_headers(emulator: Emulator) -> None:
    bucket = Client.create_anonymous_client().bucket(BUCKET)
    blob = bucket.blob("x")
    forging = "a\r\nAccess-Control-Allow-Origin: *\r\n\r\n<html>"
    blob.metadata = {"note": forging, "ü": "ß", "two words": "x", "a:b": "c"}
    blob.upload_from_string("text")
    status, _, headers = ask(emulator, "GET", f"{OBJECT}/x?alt=media")
    assert status == 200
    assert headers["Content-Length"] == "4"
    assert headers["Access-Control-Allow-Origin"] is None
    own = {name for name in headers if name.lower().startswith("x-goog-meta-")}
    assert own == {"X-Goog-Meta-note"}, "what no header can be named is left out"
    assert blob.download_as_bytes() == b"text"


@pytest.mark.parametrize("name", ["n", "\ud800"], ids=["plain", "surrogate"])
def test_metadata_of_an_object_has_a_largest_size(emulator: Emulator, name: str) -> None:
    for size, wanted in ((1000, 200), (9000, 400)):
        body = json.dumps({"name": "x", "metadata": {name: "v" * size}}).encode()
        status, _, _ = ask(emulator, "POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable", body)
        assert status == wanted
