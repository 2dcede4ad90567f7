"""Google's client of Cloud Storage, and plain HTTP for what it would not send."""

import http.client
from collections.abc import Callable
from typing import Any

import pytest
from google.cloud.storage import Bucket, Client
from support.compute_clients import PROJECT
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator

BUCKET = f"{PROJECT}_cloudbuild"
OBJECTS = f"/storage/v1/b/{BUCKET}/o"
QUARTER = 256 << 10
"""Bytes that pieces of resumable uploads are multiples of."""

Answer = tuple[int, bytes, http.client.HTTPMessage]


def anonymous_bucket() -> Bucket:
    """The project's bucket, where the environment leads."""
    return Client.create_anonymous_client().bucket(BUCKET)


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
    """Make objects."""
    for name, text in contents.items():
        bucket.blob(name).upload_from_string(text)


def refused(kind: type[Exception], call: Callable[[], Any]) -> str:
    """What the error says that a call raises."""
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)
