"""Requests to Secret Manager, checked: https://cloud.google.com/secret-manager/docs/reference/rest.

No message repeats a value that may be a secret.
"""

import base64
import re
from typing import Any

import google_crc32c

from cos_customizer.emulator.errors import ApiError

Resource = dict[str, Any]
MOST_BYTES = 64 << 10
"""Of one value. Source: https://cloud.google.com/secret-manager/quotas."""
_MOST_IN_A_PAGE = 25_000
_MOST_LABELS, _MOST_ALIASES = 64, 50
_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ALIAS = re.compile(r"(?!(?:latest|NEW)$)[A-Za-z][A-Za-z0-9_-]{0,62}")
_TERM = re.compile(
    r"""(?:AND\s+)?(?P<field>[\w.-]+)\s*(?P<operator>!=|=|:)\s*(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s()"]+))\s*|\S+"""
)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LABEL = re.compile(r"[\w-]{0,63}")
_MAPPINGS = ("labels", "annotations", "versionAliases")
_CHANGEABLE = (*_MAPPINGS,)
_IGNORED = ("name", "createTime", "etag")
_ELSEWHERE = ("topics", "expireTime", "ttl", "rotation", "versionDestroyTtl", "customerManagedEncryption", "tags")
"""Fields that Google's has and this one has not."""


def failed_precondition(message: str) -> ApiError:
    """A request that does not go with the state of things; Secret Manager says so with HTTP 400."""
    return ApiError(400, "failedPrecondition", message)


def check_secret_id(secret_id: str) -> None:
    """Refuse what cannot be a secret's name.

    Raises:
        ApiError: 400.
    """
    if not _SECRET_ID.fullmatch(secret_id):
        raise _invalid(f"secret_id [{secret_id[:300]}] must match the pattern [{_SECRET_ID.pattern}]")


def check_secret(body: Resource) -> None:
    """Refuse a `Secret` that cannot be right, or asks for what there is not here.

    Raises:
        ApiError: 400 or 501.
    """
    for field, value in body.items():
        if field in _ELSEWHERE and value:
            raise ApiError(501, "notImplemented", f"The local Secret Manager does not support {field} of a secret.")
        if field not in (*_MAPPINGS, *_IGNORED, *_ELSEWHERE, "replication"):
            raise _invalid(f"Unknown name '{field[:100]}' at 'secret': Cannot find field")
        if field in _MAPPINGS and not (isinstance(value, dict) and all(isinstance(key, str) for key in value)):
            raise _invalid(f"secret.{field} must be a mapping")
    replication = body.get("replication")
    if replication is not None and not (isinstance(replication, dict) and len(replication) == 1):
        raise _invalid("secret.replication must be one of automatic and userManaged")
    labels = body.get("labels", {})
    if len(labels) > _MOST_LABELS or not all(_is_label(key, value) for key, value in labels.items()):
        raise _invalid(f"secret.labels must be at most {_MOST_LABELS}, of letters, digits, '-' and '_'")


def _is_label(key: str, value: Any) -> bool:
    return bool(key) and isinstance(value, str) and all(_LABEL.fullmatch(each) for each in (key, value))


def check_aliases(secret: Resource, versions: int) -> None:
    """Refuse aliases of versions that are not there, or that cannot be aliases; turn those that can be into texts.

    Args:
        secret: with or without `versionAliases`.
        versions: how many there are.

    Raises:
        ApiError: 400.
    """
    aliases = secret.get("versionAliases")
    if aliases is None:
        return
    if len(aliases) > _MOST_ALIASES or not all(map(_ALIAS.fullmatch, aliases)):
        raise _invalid(f"secret.version_aliases must be at most {_MOST_ALIASES}, each as [{_ALIAS.pattern}]")
    if not all(0 < version_number(number) <= versions for number in aliases.values()):
        raise failed_precondition("secret.version_aliases must lead to versions that exist")
    secret["versionAliases"] = {alias: str(number) for alias, number in aliases.items()}


def version_number(text: object) -> int:
    """Return the number of a version, as a request has it; 0 if it is none."""
    return int(str(text)) if _NUMBER.fullmatch(str(text)) else 0


def masked_fields(mask: str) -> list[str]:
    """Return the fields that an `updateMask` names, as JSON has them.

    Raises:
        ApiError: 400 or 501, one of them cannot be changed.
    """
    fields = [_camel(field.strip()) for field in mask.split(",") if field.strip()]
    if not fields:
        raise _invalid("update_mask is required")
    for field in fields:
        if field in _ELSEWHERE:
            raise ApiError(501, "notImplemented", f"The local Secret Manager does not support {field} of a secret.")
        if field not in _CHANGEABLE:
            raise _invalid(f"update_mask: '{field[:100]}' cannot be changed")
    return fields


def _camel(field: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), field)


def payload_of(body: Resource) -> tuple[bytes, bool]:
    """Return the value in a request to add a version, and whether it came with its checksum.

    Raises:
        ApiError: 400.
    """
    payload = body.get("payload")
    data = payload.get("data") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(data, str | None):
        raise _invalid("payload.data must be a text in base64")
    try:
        value = base64.b64decode((data or "").translate(str.maketrans("-_", "+/")), validate=True)
    except ValueError:
        raise _invalid("payload.data: Base64 decoding failed") from None
    if not value:
        raise _invalid("Secret Payload cannot be empty.")
    if len(value) > MOST_BYTES:
        raise _invalid(f"The size of the secret payload exceeds the limit of {MOST_BYTES} bytes.")
    given = payload.get("dataCrc32c")
    if given is not None and str(given) != str(google_crc32c.value(value)):
        raise _invalid("The checksum of the secret payload does not match its data.")
    return value, given is not None


def page_of(resources: list[Resource], size: str, token: str) -> tuple[list[Resource], str]:
    """Return a page of a list, and the token of the next one; empty if there is none.

    Args:
        resources: the whole list.
        size: `pageSize`.
        token: `pageToken`.

    Raises:
        ApiError: 400.
    """
    if not all(not text or (text.isascii() and text.isdecimal() and len(text) < 10) for text in (size, token)):
        raise _invalid("page_size must be a number, and page_token one that was given")
    begin = int(token or 0)
    end = begin + min(int(size or 0) or _MOST_IN_A_PAGE, _MOST_IN_A_PAGE)
    return resources[begin:end], str(end) if end < len(resources) else ""


def matching(resources: list[Resource], expression: str) -> list[Resource]:
    """Return the resources that a filter lets pass: comparisons of fields, all of which must hold.

    Source: https://cloud.google.com/secret-manager/docs/filtering. OR and parentheses are not known here.

    Args:
        resources: secrets, or versions of one.
        expression: the filter; empty for all.

    Raises:
        ApiError: 400, or 501 for what is not known here.
    """
    terms = []
    for term in _TERM.finditer(expression):
        if not term["field"] or term["field"] in ("AND", "OR", "NOT"):
            raise ApiError(501, "notImplemented", f"The local Secret Manager cannot read the filter '{expression}'.")
        terms.append((term["field"].split("."), term["operator"], (term["value"] or term["quoted"] or "").lower()))
    return [each for each in resources if all(_holds(each, *term) for term in terms)]


def _holds(resource: Resource, path: list[str], operator: str, wanted: str) -> bool:
    value: Any = resource
    for field in path:
        value = value.get(_camel(field)) if isinstance(value, dict) else None
    if operator == ":" and isinstance(value, dict):
        return wanted == "*" or wanted in value
    text = "" if value is None else str(value).lower()
    if operator == ":":
        return value is not None and (wanted == "*" or wanted in text)
    return (text == wanted) == (operator == "=")


def _invalid(message: str) -> ApiError:
    return ApiError(400, "badRequest", message)
