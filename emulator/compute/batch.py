"""Batch requests: several calls in one HTTP request (https://cloud.google.com/compute/docs/api/how-tos/batch).

gcloud sends its lists that way.
"""

import time
from email.message import Message
from email.parser import BytesParser

from flask import Blueprint, Response, current_app, request
from werkzeug.test import Client

from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.web import context

_BOUNDARY = "batch_emulator"

batch_api = Blueprint("batch", __name__)


@batch_api.post("/batch/compute/v1")
def _batch() -> Response:
    header = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(header + request.get_data())
    if not message.is_multipart():
        raise ApiError(400, "badRequest", "A batch request must be multipart/mixed.")
    parts = [_part(part) for part in message.get_payload() if isinstance(part, Message)]
    body = b"".join(b"--" + _BOUNDARY.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    body += f"--{_BOUNDARY}--\r\n".encode()
    return Response(body, content_type=f"multipart/mixed; boundary={_BOUNDARY}")


def _part(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    line, _, rest = (payload if isinstance(payload, bytes) else b"").partition(b"\n")
    inner = BytesParser().parsebytes(rest)
    try:
        method, target, _ = line.decode().split(" ", 2)
    except ValueError:
        raise ApiError(400, "badRequest", "A part of the batch has no request line.") from None
    began = time.monotonic()
    client = Client(context().wsgi(current_app), Response)
    answer = client.open(target, method=method, data=inner.get_payload(decode=True))
    context().request_log.record("compute", method, target, answer.status_code, time.monotonic() - began)
    content_id = part.get("Content-ID", "<>").lstrip("<")
    head = (
        f"Content-Type: application/http\r\nContent-ID: <response-{content_id}\r\n\r\n"
        f"HTTP/1.1 {answer.status}\r\nContent-Type: {answer.content_type}\r\n\r\n"
    )
    return head.encode() + answer.get_data()
