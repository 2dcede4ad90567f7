"""The gate before every HTTP service of the emulator: programs of this machine pass, web pages do not.

Any page that a browser shows can send requests to services on loopback. Nobody asks it for a password here, so a page
is known by what browsers tell of it (https://fetch.spec.whatwg.org/, https://www.w3.org/TR/fetch-metadata/):

- `Host` is a foreign name where a page has let its own name point to 127.0.0.1 (DNS rebinding);
- `Origin` and `Sec-Fetch-Site` name the page that is behind a request;
- a page may send only a few content types without asking first (a preflight), and it is never told that it may.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from email.message import Message
from urllib.parse import urlsplit

from cos_customizer.emulator.errors import ApiError

SIMPLE_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""Content types that a page may send to anybody (https://fetch.spec.whatwg.org/#cors-safelisted-request-header)."""
_OWN_SITES = ("none", "same-origin")
"""What `Sec-Fetch-Site` says of an address that the user has typed, and of a page of the same service."""
_PORT = re.compile(r":[0-9]{1,5}$")
_UNREAD = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)
"""What Python notes of a head that it has not read to its end."""
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Gate:
    """Decides on requests by what their heads say.

    Attributes:
        names: what `Host` may be, in lower case: the service's own addresses.
        hosts: names that `Host` may have with any port: where ports are published under other numbers.
    """

    names: frozenset[str]
    hosts: frozenset[str] = frozenset()

    def check(self, method: str, target: str, headers: Message) -> None:
        """Let a request pass.

        Args:
            method: HTTP method.
            target: what is asked for, as the request line has it.
            headers: of the request.

        Raises:
            ApiError: 403, the request may be a web page's; the message says why, and what would be taken. 400, its head
                cannot be read to its end (https://www.rfc-editor.org/rfc/rfc9112#section-5.1), so more may be in it.
        """
        if any(isinstance(defect, _UNREAD) for defect in headers.defects):
            raise ApiError(400, "badRequest", "A line of the request's head is no header, such as 'Name: value'.")
        if refusal := self._refusal(method, target, headers):
            raise ApiError(403, "forbidden", f"The local cloud does not answer web pages: {refusal}")

    def _refusal(self, method: str, target: str, headers: Message) -> str:
        hosts = headers.get_all("Host", [])
        host = hosts[0].strip().lower() if len(hosts) == 1 else ""
        if host not in self.names and _PORT.sub("", host) not in self.hosts:
            known = " or ".join([*sorted(self.names), *(f"{name}, with any port" for name in sorted(self.hosts))])
            return f"Host is {', '.join(hosts) or 'missing'}, not {known}."
        if not target.startswith("/"):
            return f"{target[:100]} is not a path of this service."
        if any(not self._is_own(origin, host) for origin in headers.get_all("Origin", [])):
            return f"the request comes from a page of {headers['Origin']}."
        sites = headers.get_all("Sec-Fetch-Site", [])
        if any(site.strip().lower() not in _OWN_SITES for site in sites):
            return f"Sec-Fetch-Site is {', '.join(sites)}, so another page is behind the request."
        # A PUT is never sent unasked, and an object's bytes have the object's type. Authorization is no page's to set.
        if method in ("GET", "HEAD", "PUT") or not _has_body(headers) or "Authorization" in headers:
            return ""
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if not kind or kind in SIMPLE_TYPES:
            return f"Content-Type of a body cannot be {kind or 'left out'}; say what it is, such as application/json."
        return ""

    def _is_own(self, origin: str, host: str) -> bool:
        parts = urlsplit(origin.strip())
        return parts.scheme == "http" and parts.netloc.lower() in {host, *self.names} and not parts.path


def loopback_gate(port: int, *guest_names: str) -> Gate:
    """Return the gate of a service on loopback.

    Args:
        port: its port.
        guest_names: its other addresses, as guests have them in `Host`.
    """
    own = [f"{name}:{port}" for name in _LOOPBACK_NAMES]
    if port == 80:  # which clients leave out
        own += _LOOPBACK_NAMES
    return Gate(frozenset([*own, *(name.lower() for name in guest_names)]))


def open_gate(port: int, names: Iterable[str]) -> Gate:
    """Return the gate of a service that others than programs of this machine may reach.

    Args:
        port: its port.
        names: its names beside those of loopback, as clients have them in `Host`; all with any port.
    """
    hosts = [*_LOOPBACK_NAMES, *(name.lower() for name in names)]
    return Gate(loopback_gate(port).names, frozenset(hosts))


def _has_body(headers: Message) -> bool:
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip() != "0"
