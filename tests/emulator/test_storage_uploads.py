"""Uploads to Cloud Storage: resumable ones, bodies of several parts, uploads in parts, checksums."""

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest
from google.cloud.storage import Bucket, transfer_manager
from support.storage_clients import BUCKET, OBJECTS, QUARTER, ask

from cos_customizer.emulator.server import Emulator


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
