"""Several requests in one (https://cloud.google.com/storage/docs/batch)."""

import http
import io
import re
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser

from cos_customizer.emulator.request_body import read_all
from cos_customizer.emulator.storage.requests import LONGEST_JSON, Answer, Request, invalid, missing

_PATH = re.compile(r"/batch(?:/storage/v1)?/?")
_BOUNDARY = "batch_emulator"
_MOST = 100


def is_batch(path: str) -> bool:
    """Return whether this is the path of a batch."""
    return _PATH.fullmatch(path) is not None


def answer_batch(request: Request, perform: Callable[[Request], Answer]) -> Answer:
    """Return the answer to a batch.

    Args:
        request: the batch.
        perform: answers one request of it.

    Raises:
        ApiError: 400, it is none.
    """
    header = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode()
    message = BytesParser().parsebytes(header + read_all(request.body, LONGEST_JSON))
    payload = message.get_payload()
    if request.method != "POST" or not message.is_multipart() or not isinstance(payload, list):
        raise invalid("Failed to parse batch request: it must be a POST of multipart/mixed.")
    if len(payload) > _MOST:
        raise invalid(f"The batch request could not be processed: it has more than {_MOST} calls.")
    parts = [part for part in payload if isinstance(part, Message)]
    calls = [_call(part, request) for part in parts]  # all are read before one is carried out
    body = b"".join(_answered(part, perform(call)) for part, call in zip(parts, calls, strict=True))
    body += f"--{_BOUNDARY}--\r\n".encode()
    return Answer(200, body, {"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"})


def _call(part: Message, batch: Request) -> Request:
    payload = part.get_payload(decode=True)
    line, _, rest = (payload if isinstance(payload, bytes) else b"").lstrip().partition(b"\n")
    inner = BytesParser().parsebytes(rest)
    words = line.decode("utf-8", "replace").split()
    if len(words) not in (2, 3) or is_batch(words[1].partition("?")[0]):
        raise invalid("Failed to parse batch request: a part of it is no request.")
    target = re.sub(r"^https?://[^/]*", "", words[1])
    del inner["Host"]
    inner["Host"] = batch.headers.get("Host", "")
    content = inner.get_payload(decode=True)
    body = io.BytesIO(content if isinstance(content, bytes) else b"")
    if "/upload/" in target:
        raise missing("uploads in a batch")
    return Request(words[0], target, inner, body, LONGEST_JSON)


def _answered(part: Message, answer: Answer) -> bytes:
    if answer.media is not None:
        answer.media.close()
        answer = Answer(400, b"A batch cannot have the contents of objects.", {"Content-Type": "text/plain"})
    try:
        phrase = http.HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    name = re.sub(r"[^\x21-\x7e ]|^<", "", str(part.get("Content-ID", ">")))
    lines = ["--" + _BOUNDARY, "Content-Type: application/http", f"Content-ID: <response-{name}", ""]
    lines += [f"HTTP/1.1 {answer.status} {phrase}", *(f"{key}: {text}" for key, text in answer.headers.items())]
    lines += [f"Content-Length: {len(answer.content)}", "", ""]
    return "\r\n".join(lines).encode() + answer.content + b"\r\n"
