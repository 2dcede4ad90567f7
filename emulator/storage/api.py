"""Which request is which method of Cloud Storage: the JSON API's by their paths, all others the XML API's."""

import errno
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.storage.buckets import Buckets
from cos_customizer.emulator.storage.names import check_target
from cos_customizer.emulator.storage.objects import Objects
from cos_customizer.emulator.storage.requests import (
    Answer,
    Request,
    Resource,
    decoded,
    error_answer,
    json_answer,
    missing,
    partial_answer,
)
from cos_customizer.emulator.storage.store import Store
from cos_customizer.emulator.storage.uploads import Uploads
from cos_customizer.emulator.storage.xml_api import XmlObjects, xml_error
from cos_customizer.emulator.storage.xml_parts import XmlParts

Method = Callable[..., Resource | Answer]

_NAME = "([^/]+)"
_BUCKET, _OBJECT = f"/b/{_NAME}", f"/b/{_NAME}/o/{_NAME}"
_IS_JSON = re.compile(
    r"(?:(?:/storage/v1)?/(?:b|projects)|(?:/resumable)?/upload/.*|/download/.*|/batch)(?:/.*)?", re.DOTALL
)
_ABSENT = {
    rf"/b/{_NAME}/(?:acl|defaultObjectAcl)(?:/.*)?|{_OBJECT}/acl(?:/.*)?": "access control lists; its buckets have "
    "uniform bucket-level access",
    rf"{_OBJECT}/(?:iam|iam/testPermissions)": "IAM policies of objects; those of buckets it keeps",
    rf"(?:{_OBJECT}|/b/{_NAME})/restore|/b/{_NAME}/o/bulkRestore": "soft deletion",
    rf"/b/{_NAME}/notificationConfigs(?:/.*)?|/b/{_NAME}/o/watch|/channels/stop": "notifications",
    rf"/b/{_NAME}/(?:folders|managedFolders)(?:/.*)?": "folders",
    rf"/b/{_NAME}/lockRetentionPolicy": "retention policies",
    rf"/b/{_NAME}/(?:anywhereCaches|operations|relocate)(?:/.*)?": "caches, and other operations that take long",
    rf"/projects/{_NAME}/hmacKeys(?:/.*)?": "HMAC keys",
}
"""What Cloud Storage has, and the local one has not, by path."""


_EMPTY = {
    f"/b/{_NAME}/managedFolders": "storage#managedFolders",
    f"/b/{_NAME}/notificationConfigs": "storage#notifications",
    f"/projects/{_NAME}/hmacKeys": "storage#hmacKeysMetadata",
}
"""Lists of what the local Cloud Storage has none of, by path."""


class StorageApi:
    """Answers requests.

    Args:
        store: what they are about.
    """

    def __init__(self, store: Store) -> None:
        uploads = Uploads(store)
        self.buckets = buckets = Buckets(store)
        objects = Objects(store, uploads)
        self._xml, self._parts = XmlObjects(store, uploads, objects), XmlParts(store, uploads)
        resume = {"PUT": uploads.insert, "POST": uploads.insert, "DELETE": uploads.insert}
        change = {"GET": objects.get, "PATCH": objects.patch, "PUT": objects.update, "DELETE": objects.delete}
        iam: dict[str, Method] = {"GET": buckets.iam_policy, "PUT": buckets.set_iam_policy}
        routes: list[tuple[str, dict[str, Method]]] = [
            ("/b/?", {"GET": buckets.list, "POST": buckets.insert}),
            (
                f"{_BUCKET}/?",
                {"GET": buckets.get, "PATCH": buckets.patch, "PUT": buckets.update, "DELETE": buckets.delete},
            ),
            (f"{_BUCKET}/storageLayout", {"GET": buckets.storage_layout}),
            (f"{_BUCKET}/iam", iam),
            (f"{_BUCKET}/iam/testPermissions", {"GET": buckets.test_iam_permissions}),
            (f"{_BUCKET}/o/?", {"GET": buckets.objects}),
            (_OBJECT, change),
            (f"{_OBJECT}/compose", {"POST": objects.compose}),
            (f"{_OBJECT}/copyTo{_OBJECT}", {"POST": objects.copy}),
            (f"{_OBJECT}/rewriteTo{_OBJECT}", {"POST": objects.rewrite}),
            (f"{_OBJECT}/moveTo/o/{_NAME}", {"POST": objects.move}),
            (f"/projects/{_NAME}/serviceAccount", {"GET": buckets.service_account}),
        ]
        for path, kind in _EMPTY.items():
            routes.append((path, {"GET": partial(_empty_list, kind)}))
        self._routes = [(re.compile(f"(?:/storage/v1)?{path}"), methods) for path, methods in routes]
        self._routes += [
            (re.compile(f"(?:/resumable)?/upload(?:/storage/v1)?{_BUCKET}/o/?"), resume),
            (re.compile(f"/download(?:/storage/v1)?{_OBJECT}"), {"GET": objects.download}),
        ]
        self._absent = [
            (re.compile(f"(?:/storage/v1)?(?:{path})", re.DOTALL), words) for path, words in _ABSENT.items()
        ]

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request, whatever it is."""
        is_json = _IS_JSON.fullmatch(request.path) is not None
        try:
            return self._answer(request, self._json_method if is_json else self._xml_method)
        except ApiError as error:
            return self._refusal(request, is_json, error)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return self._refusal(
                request, is_json, ApiError(500, "backendError", f"Cannot store this: {error.strerror}")
            )
        except Exception as error:
            LOG.exception("%s %s", request.method, request.target)
            message = f"The local Cloud Storage failed: {type(error).__name__}: {error}"
            return self._refusal(request, is_json, ApiError(500, "backendError", message))

    def _answer(self, request: Request, find: Callable[[Request], tuple[Method, list[str]]]) -> Answer:
        check_target(request.target)
        selection = request.query.get("fields", "")
        if selection:
            partial_answer({}, selection)  # before anything is changed
        method, names = find(request)
        result = method(request, *names)
        if isinstance(result, Answer):
            return result
        return json_answer(partial_answer(result, selection) if selection else result)

    def _refusal(self, request: Request, is_json: bool, error: ApiError) -> Answer:
        if not is_json:
            return xml_error(error)
        if request.method in ("GET", "HEAD") and (
            request.query.get("alt") == "media" or request.path.startswith("/download/")
        ):
            return Answer(error.code, error.message.encode(), {"Content-Type": "text/html; charset=UTF-8"})
        return error_answer(error)

    def _json_method(self, request: Request) -> tuple[Method, list[str]]:
        verb = "GET" if request.method == "HEAD" else request.method
        for pattern, methods in self._routes:
            if (found := pattern.fullmatch(request.path)) and verb in methods:
                return methods[verb], [decoded(name) for name in found.groups()]
        for pattern, words in self._absent:
            if pattern.fullmatch(request.path):
                raise missing(words)
        raise _no_method(request)

    def _xml_method(self, request: Request) -> tuple[Method, list[str]]:
        bucket, _, name = request.path[1:].partition("/")
        query, xml, parts = request.query, self._xml, self._parts
        methods: dict[str, Method]
        if not bucket:
            raise _no_method(request)
        if not name:
            list_ = parts.list_uploads if "uploads" in query else xml.list
            methods = {"GET": list_, "HEAD": xml.head_bucket}
        elif "uploadId" in query:
            methods = {"PUT": parts.put, "POST": parts.complete, "DELETE": parts.abort, "GET": parts.list_parts}
        else:
            begin = parts.begin if "uploads" in query else xml.post
            methods = {"GET": xml.get, "HEAD": xml.get, "PUT": xml.put, "DELETE": xml.delete, "POST": begin}
        if request.method not in methods:
            raise _no_method(request)
        return methods[request.method], [decoded(each) for each in (bucket, name) if each]


def _empty_list(kind: str, *_: object) -> Resource:
    return {"kind": kind}


def _no_method(request: Request) -> ApiError:
    return ApiError(404, "notFound", f"The local Cloud Storage has no {request.method} {request.path[:200]}")


def close(answer: Any) -> None:
    """Give up an answer that is not sent."""
    if answer.media is not None:
        answer.media.close()
