"""Cloud Storage over what its clients ask: conditions, lists, partial answers, batches, buckets, what is not there."""

import io
import json
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud.storage import Bucket, Client
from support.storage_clients import BUCKET, OBJECTS, QUARTER, ask, put, refused

from cos_customizer.emulator.server import Emulator


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
    ("PATCH", f"/storage/v1/b/{BUCKET}", {"iamConfiguration": {"bucketPolicyOnly": {"enabled": False}}}, "uniform"),
    ("PATCH", f"{OBJECTS}/x", {"acl": [{"entity": "allUsers", "role": "READER"}]}, "access control lists"),
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
