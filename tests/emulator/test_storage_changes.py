"""Objects of Cloud Storage are copied, joined, moved, rewritten, and change their metadata."""

import json
import os
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud.storage import Bucket
from support.storage_clients import BUCKET, OBJECTS, ask, put, refused

from cos_customizer.emulator.server import Emulator


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
