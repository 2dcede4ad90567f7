"""The registries of the internet, where this machine reaches them: what they have passes through and is kept."""

import contextlib
import http.client
import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from cos_customizer.emulator import LOG
from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.registry.errors import RegistryError
from cos_customizer.emulator.registry.names import HUB, is_digest, is_host
from cos_customizer.emulator.registry.store import LONGEST_MANIFEST, Manifest, Store

_CONNECT_SECONDS, _SILENCE_SECONDS = 5.0, 60.0
_AWAY_SECONDS = 30.0
"""How long a registry that did not answer is not asked again."""
_MOST_REDIRECTS = 5
_MOST_REMEMBERED = 1000
_HUB_HOST = "registry-1.docker.io"
_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        *("docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2"),
        *("oci.image.index.v1", "oci.image.manifest.v1"),
    )
)
_REDIRECTS = (301, 302, 303, 307, 308)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
MayReach = Callable[[str], bool]
"""Returns whether guests may reach an address of IPv4."""


MIRRORS = "COS_CUSTOMIZER_EMULATOR_REGISTRY_MIRRORS"
"""Environment variable: `HOST=ADDRESS,…`, which addresses are asked in the place of registries."""


def mirrors_of(text: str) -> dict[str, str]:
    """Return the mirrors that the environment variable names.

    Args:
        text: its value, such as `docker.io=https://mirror.example.com,*=`.

    Raises:
        EmulatorError: it cannot be understood.
    """
    found = {}
    for each in filter(None, map(str.strip, text.split(","))):
        host, separator, address = each.partition("=")
        if not separator or not (host == "*" or is_host(host)):
            raise EmulatorError(
                f"{MIRRORS}: {each[:100]!r} is no mirror", "it is a list of HOST=ADDRESS; nothing: none"
            )
        if address and urlsplit(address).scheme not in ("http", "https"):
            raise EmulatorError(f"{MIRRORS}: {address[:100]!r} is no address", "it begins with http:// or https://")
        found[host] = address
    return found


class _AwayError(Exception):
    """A registry does not answer."""


class Upstream:
    """Where images come from that the store does not have.

    Args:
        store: keeps what comes.
        may_reach: decides on addresses; whoever asks is a guest, which is to reach no more by this than by itself.
        mirrors: addresses (`http://127.0.0.1:5000`) to be asked in a registry's place, by its host, whatever
            `may_reach` says; an empty address: it is never asked; of the host `*`: all others.
    """

    def __init__(self, store: Store, may_reach: MayReach, mirrors: Mapping[str, str]) -> None:
        self._store, self._may_reach, self._mirrors = store, may_reach, dict(mirrors)
        self._away: dict[str, float] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def manifest(self, name: str, version: str, accept: str) -> Manifest | None:
        """Fetch a manifest and keep it; None: it is not to be had."""
        try:
            with self._open(name, f"manifests/{version}", accept or _MANIFESTS) as answer:
                if answer.status != 200:
                    return None
                content = answer.read(LONGEST_MANIFEST + 1)
                found = Manifest((answer.getheader("Content-Type") or "").partition(";")[0].strip(), content)
            if len(content) > LONGEST_MANIFEST or (is_digest(version) and found.digest != version):
                raise RegistryError(502, "MANIFEST_INVALID", f"the registry of {name} answers with another manifest")
            self._store.put_manifest(name, found, "" if is_digest(version) else version, pulled=True)
        except _AwayError as error:
            LOG.debug("%s:%s does not come through: %s", name, version, error)
            return None
        return found

    def fetch_blob(self, name: str, digest: str) -> None:
        """Fetch a blob into the store, if it can be had. Whoever asks for it meanwhile waits.

        Raises:
            RegistryError: the store is full, or the blob came damaged.
        """
        with self._lock:
            lock = self._fetching.setdefault(digest, threading.Lock())
        try:
            with lock:
                if self._store.blob(digest) is None:
                    with self._open(name, f"blobs/{digest}", "*/*") as answer:
                        if answer.status == 200:
                            self._store.add(digest, answer)
        except RegistryError as error:
            if error.status != 507:
                raise RegistryError(502, "UNKNOWN", f"{name}'s registry sends something else: {error}") from error
            raise
        except (_AwayError, OSError, http.client.HTTPException) as error:
            LOG.debug("%s of %s does not come through: %s", digest, name, error)
        finally:
            with self._lock:
                self._fetching.pop(digest, None)

    @contextmanager
    def _open(self, name: str, rest: str, accept: str) -> Iterator[http.client.HTTPResponse]:
        """Ask a repository's registry.

        Raises:
            _AwayError: it is not to be asked, or does not answer.
        """
        host, _, path = name.partition("/")
        mirror = self._mirrors.get(host, self._mirrors.get("*"))
        base = f"https://{_HUB_HOST if host == HUB else host}" if mirror is None else mirror
        if not base:
            raise _AwayError("it is not to be asked")
        if self._away.get(host, 0.0) > time.monotonic():
            raise _AwayError("it did not answer a while ago")
        url, trusted = f"{base.rstrip('/')}/v2/{quote(path)}/{rest}", mirror is not None
        headers = {"Accept": accept}
        if token := self._tokens.get((base, path)):
            headers["Authorization"] = f"Bearer {token}"
        try:
            answer = self._get(url, headers, trusted)
            if answer.status == 401 and (token := self._fetch_token(answer, path, trusted)):
                answer.close()
                _remember(self._tokens, (base, path), token)
                answer = self._get(url, {**headers, "Authorization": f"Bearer {token}"}, trusted)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _remember(self._away, host, time.monotonic() + _AWAY_SECONDS)
            raise _AwayError(str(error)) from error
        with contextlib.closing(answer):
            yield answer

    def _get(self, url: str, headers: Mapping[str, str], trusted: bool) -> http.client.HTTPResponse:
        """Ask for an address, and follow where it leads."""
        first = urlsplit(url).netloc
        for _ in range(_MOST_REDIRECTS):
            own = urlsplit(url).netloc == first
            sent = {key: value for key, value in headers.items() if own or key != "Authorization"}
            answer = self._ask(url, sent, trusted and own)
            if answer.status not in _REDIRECTS:
                return answer
            url = urljoin(url, answer.getheader("Location") or "")
            answer.close()
        raise _AwayError("it leads in circles")

    def _ask(self, url: str, headers: Mapping[str, str], trusted: bool) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        if parts.scheme not in (("http", "https") if trusted else ("https",)) or not parts.hostname:
            raise _AwayError(f"{url[:200]} is no address of a registry")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(parts.hostname, port, timeout=_SILENCE_SECONDS)
        connection.sock = self._connect(parts.hostname, port, trusted)
        if parts.scheme == "https":
            # The address was looked at: a name that is looked up again may lead somewhere else.
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=parts.hostname)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc, "User-Agent": "cos-customizer", **headers})
        return connection.getresponse()

    def _connect(self, host: str, port: int, trusted: bool) -> socket.socket:
        found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
        address = str(found[0][4][0])
        if not trusted and not (ipaddress.ip_address(address).version == 4 and self._may_reach(address)):
            raise _AwayError(f"guests do not reach {address}")
        made = socket.create_connection((address, port), _CONNECT_SECONDS)
        made.settimeout(_SILENCE_SECONDS)
        return made

    def _fetch_token(self, answer: http.client.HTTPResponse, path: str, trusted: bool) -> str:
        """Get the token for everybody that a registry asks for; empty: it has none."""
        asked = answer.getheader("WWW-Authenticate") or ""
        values = dict(re.findall(r'(\w+)="([^"]*)"', asked))
        if not asked.lower().startswith("bearer") or "realm" not in values:
            return ""
        query = {"service": values.get("service", ""), "scope": f"repository:{path}:pull"}
        with contextlib.closing(self._get(f"{values['realm']}?{urlencode(query)}", {}, trusted)) as given:
            content: Any = json.loads(given.read(LONGEST_MANIFEST)) if given.status == 200 else {}
        return str(content.get("token") or content.get("access_token") or "")


def _remember(remembered: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Add to what guests can make larger by asking for ever more names."""
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()
    remembered[key] = value
