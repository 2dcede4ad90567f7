"""Log entries, checked as the API checks them and kept with the emulator's other state.

There is one log bucket for each project, without sinks, exclusions or retention; the oldest entries are deleted when
there are too many. Limits: https://cloud.google.com/logging/quotas.
"""

import base64
import json
import re
import sqlite3
import threading
import uuid
from pathlib import Path
from typing import Any

from google.cloud.logging_v2.types import ListLogEntriesRequest, WriteLogEntriesRequest
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from cos_customizer.emulator.clock import Clock
from cos_customizer.emulator.errors import ApiError
from cos_customizer.emulator.logging.filters import nanoseconds, parse
from cos_customizer.emulator.projects import check_writable

MOST_ENTRIES = 100_000
"""How many entries are kept."""
_LARGEST_ENTRY = 256 * 1024
_LARGEST_REQUEST = 10_000_000
_MOST_LABELS = 64
_LABEL_KEY, _LABEL_VALUE = 512, 64 * 1024
_DAY = 24 * 3600 * 10**9
_MOST_IN_A_PAGE = 1000
_LOG_NAME = re.compile(r"projects/([a-z0-9.:-]+)/logs/([A-Za-z0-9._%-]{1,511})")


class RefusedEntriesError(ApiError):
    """Some entries of a request are refused; with `partialSuccess` the others are kept.

    Args:
        refused: the errors by the entries' indexes.
    """

    def __init__(self, refused: dict[int, ApiError]) -> None:
        first = next(iter(refused.values()))
        super().__init__(first.code, first.reason, first.message)
        self._refused = refused

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer, with the error of each entry."""
        body = super().body()
        codes = {403: 7}  # of google.rpc.Code
        errors = {
            str(index): {"code": codes.get(error.code, 3), "message": error.message}
            for index, error in self._refused.items()
        }
        kind = "type.googleapis.com/google.logging.v2.WriteLogEntriesPartialErrors"
        body["error"]["details"] = [{"@type": kind, "logEntryErrors": errors}]
        return body


class LogEntries:
    """The log entries of all projects. Methods may be called from any thread.

    Args:
        directory: where they are kept.
        clock: the emulator's.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._lock = threading.Lock()
        self._database = sqlite3.connect(directory / "logs.sqlite", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS entry (log TEXT, at INTEGER, id TEXT, body TEXT, PRIMARY KEY (log, at, id))"
        )

    def write(self, body: dict[str, Any], size: int) -> None:
        """Keep the entries of an `entries.write` request.

        Args:
            body: the request's.
            size: of the request in bytes.

        Raises:
            ApiError: 400 or 403; without `partialSuccess` none of the entries is kept then.
        """
        if size > _LARGEST_REQUEST:
            message = f"Request payload size exceeds the limit: {_LARGEST_REQUEST} bytes."
            raise ApiError(400, "badRequest", message)
        request = _checked(WriteLogEntriesRequest, body)
        now = int(self._clock.now() * 1e9)
        rows: list[tuple[str, int, str, str]] = []
        refused: dict[int, ApiError] = {}
        defaults = {name: request[name] for name in ("logName", "resource") if name in request}
        for index, given in enumerate(request.get("entries", [])):
            labels = {**request.get("labels", {}), **given.get("labels", {})}
            entry = {**defaults, **given, **({"labels": labels} if labels else {})}
            try:
                rows.append(_completed(entry, now))
            except ApiError as error:
                refused[index] = error
        keep = not refused or request.get("partialSuccess", False)
        if keep and not request.get("dryRun", False):
            self._keep(rows)
        if refused:
            raise RefusedEntriesError(refused)

    def _keep(self, rows: list[tuple[str, int, str, str]]) -> None:
        with self._lock:
            self._database.execute("BEGIN")
            # An entry that was sent twice (same log, time and id) is kept once.
            self._database.executemany("INSERT OR IGNORE INTO entry VALUES (?, ?, ?, ?)", rows)
            self._database.execute(
                "DELETE FROM entry WHERE rowid <= (SELECT max(rowid) FROM entry) - ?", (MOST_ENTRIES,)
            )
            self._database.execute("COMMIT")

    def page(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to an `entries.list` request.

        Raises:
            ApiError: 400.
        """
        request = _checked(ListLogEntriesRequest, body)
        names = request.get("resourceNames", [])
        projects = [match[1] for name in names if (match := re.fullmatch(r"projects/([^/]+)(/.*)?", name))]
        if not names or len(projects) != len(names):
            raise _invalid(f"resource_names must name projects (projects/my-project): {names}")
        matches = parse(request.get("filter", ""))
        order = request.get("orderBy", "timestamp asc")
        if order not in ("timestamp", "timestamp asc", "timestamp desc"):
            raise _invalid(f"order_by must be 'timestamp asc' or 'timestamp desc': {order!r}")
        down = order.endswith(" desc")
        size = request.get("pageSize", 50)
        if not 0 < size <= _MOST_IN_A_PAGE:
            raise _invalid(f"page_size must be from 1 to {_MOST_IN_A_PAGE}: {size}")
        after = _decoded(request.get("pageToken", ""))
        page: list[tuple[int, str, dict[str, Any]]] = []
        for at, key, text in self._rows(projects, down):
            if after and (((at, key) >= after) if down else ((at, key) <= after)):
                continue
            entry = json.loads(text)
            if matches(entry):
                page.append((at, key, entry))
                if len(page) > size:
                    break
        answer: dict[str, Any] = {"entries": [entry for _, _, entry in page[:size]]} if page else {}
        if len(page) > size:
            answer["nextPageToken"] = base64.urlsafe_b64encode(json.dumps(page[size - 1][:2]).encode()).decode()
        return answer

    def _rows(self, projects: list[str], down: bool) -> list[tuple[int, str, str]]:
        wanted = " OR ".join("substr(log, 1, ?) = ?" for _ in projects)
        prefixes = [f"projects/{project}/logs/" for project in projects]
        values = [value for prefix in prefixes for value in (len(prefix), prefix)]
        order = "DESC" if down else "ASC"
        query = f"SELECT at, id || log, body FROM entry WHERE {wanted} ORDER BY at {order}, id || log {order}"  # noqa: S608
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def entries(self, project: str, expression: str = "") -> list[dict[str, Any]]:
        """Return the entries of a project that match a filter, the oldest first."""
        matches = parse(expression)
        entries = [json.loads(text) for _, _, text in self._rows([project], down=False)]
        return [entry for entry in entries if matches(entry)]

    def names(self, project: str) -> list[str]:
        """Return the names of a project's logs that have entries."""
        prefix = f"projects/{project}/logs/"
        query = "SELECT DISTINCT log FROM entry WHERE substr(log, 1, ?) = ? ORDER BY log"
        with self._lock:
            return [name for (name,) in self._database.execute(query, (len(prefix), prefix))]

    def delete(self, log_name: str) -> None:
        """Delete a log with all its entries.

        Raises:
            ApiError: 404.
        """
        with self._lock:
            if not self._database.execute("DELETE FROM entry WHERE log = ?", (log_name,)).rowcount:
                raise ApiError(404, "notFound", "Requested entity was not found.")

    def saved(self) -> list[tuple[str, int, str, str]]:
        """Return all entries, the oldest first: log name, time in nanoseconds, id, and the entry as JSON."""
        with self._lock:
            return self._database.execute("SELECT log, at, id, body FROM entry ORDER BY rowid").fetchall()

    def restore(self, saved: list[tuple[str, int, str, str]]) -> None:
        """Keep entries that were saved."""
        self._keep(saved)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._database.close()


def _invalid(message: str) -> ApiError:
    return ApiError(400, "badRequest", message)


def _checked(kind: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Return a request's body in the API's own form.

    Raises:
        ApiError: 400, it does not fit Google's types.
    """
    try:
        checked: dict[str, Any] = json_format.MessageToDict(json_format.ParseDict(body, kind.pb()()))
    except json_format.ParseError as error:
        why = re.sub(r"^(Failed to parse \w+ field: )+", "", str(error)).partition("\n")[0].rstrip(".")
        unknown = re.fullmatch(r'Message type "[\w.]+" has no field named "(.*)" at "\w+\.?(.*)"', why, re.DOTALL)
        if unknown:
            where = f" at '{unknown[2]}'" if unknown[2] else ""
            why = f'Unknown name "{unknown[1]}"{where}: Cannot find field'
        raise _invalid(f"Invalid JSON payload received. {why}.") from None
    return checked


def _completed(entry: dict[str, Any], now: int) -> tuple[str, int, str, str]:
    """Check an entry and fill it in; returns log name, time in nanoseconds, id, and the entry as JSON."""
    name = _LOG_NAME.fullmatch(entry.get("logName", ""))
    if name is None:
        raise _invalid(f"Log name is not valid: '{entry.get('logName', '')}'. It is projects/PROJECT/logs/LOG.")
    check_writable(name[1])
    if not entry.get("resource", {}).get("type"):
        raise _invalid("A monitored resource must be specified for each log entry.")
    if isinstance(entry.get("severity"), int):
        raise _invalid(f"Invalid value at 'severity' (google.logging.type.LogSeverity), {entry['severity']}")
    labels = entry.get("labels", {})
    if len(labels) > _MOST_LABELS:
        raise _invalid(f"A log entry can have at most {_MOST_LABELS} labels, not {len(labels)}.")
    if labels:
        entry["labels"] = {key[:_LABEL_KEY]: value[:_LABEL_VALUE] for key, value in labels.items()}
    size = len(json.dumps(entry, ensure_ascii=False).encode())
    if size > _LARGEST_ENTRY:
        raise _invalid(f"Log entry with size {size / 1024:.1f}K exceeds maximum size of 256.0K")
    if "jsonPayload" in entry:
        entry["jsonPayload"] = _whole(entry["jsonPayload"])
    entry.setdefault("timestamp", _rfc3339(now))
    at = nanoseconds(entry["timestamp"])
    if at > now + _DAY:
        raise _invalid("Log entry timestamp is more than 24 hours in the future.")
    entry.setdefault("insertId", uuid.uuid4().hex[:16])
    entry["receiveTimestamp"] = _rfc3339(now)
    entry["resource"].setdefault("labels", {})
    # The project is a label of every monitored resource of one.
    entry["resource"]["labels"].setdefault("project_id", name[1])
    return entry["logName"], at, entry["insertId"], json.dumps(entry)


def _whole(value: Any) -> Any:
    """Return a payload with whole numbers as such: protobuf's Struct has made floats of them."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rfc3339(nanos: int) -> str:
    when = Timestamp()
    when.FromNanoseconds(nanos)
    return str(when.ToJsonString())


def _decoded(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    try:
        at, key = json.loads(base64.urlsafe_b64decode(token))
        return int(at), str(key)
    except (ValueError, TypeError):
        raise _invalid(f"page_token is not valid: {token!r}") from None
