"""Pulls that pass through the emulator's registry to others, and are kept."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.container_images import config, digest
from support.registry_clients import KIND, ask, ask_as_guest, code, push
from support.waiting import PATIENCE

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.registry.upstream import MIRRORS, mirrors_of
from cos_customizer.emulator.server import Emulator


def test_pulls_pass_through_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tmp_path / "upstream") as upstream:
        push(upstream.registry_port, "library/ubuntu", "1", b"old")
        push(upstream.registry_port, "library/ubuntu", "mine", b"theirs")
        monkeypatch.setenv(MIRRORS, f"docker.io=http://127.0.0.1:{upstream.registry_port},*=")
        with Emulator(tmp_path / "here") as here:
            push(here.registry_port, "ubuntu", "mine", b"mine")
            assert pulled(here, "1") == b"old"
            push(upstream.registry_port, "library/ubuntu", "1", b"new")
            assert pulled(here, "1") == b"new", "the tag has moved"
            assert pulled(here, "mine") == b"mine", "what was put in is not asked for"
            status, answer, _ = ask_as_guest(here, "registry-1.docker.io", "/v2/library/ubuntu/manifests/2")
            assert (status, code(answer)) == (404, "MANIFEST_UNKNOWN")
            upstream.stop()
            assert pulled(here, "1") == b"new", "it is kept"
    with Emulator(tmp_path / "here") as again:
        assert pulled(again, "1") == b"new"


@dataclass
class Hub:
    """A registry as those of the internet are: it gives everybody a token, and leads elsewhere for blobs."""

    manifest: bytes
    blobs: dict[str, bytes]
    elsewhere: str = ""
    asked: list[str] = field(default_factory=list)

    @contextmanager
    def serve(self) -> Iterator[str]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path)
                path, _, query = self.path.partition("?")
                if path == "/token":
                    wanted = "service=hub&scope=repository%3Alibrary%2Fubuntu%3Apull"
                    self.answer(200 if query == wanted else 400, b'{"token": "everybody"}')
                elif path.startswith("/store/"):
                    self.answer(400 if self.headers["Authorization"] else 200, hub.blobs[path.removeprefix("/store/")])
                elif self.headers["Authorization"] != "Bearer everybody":
                    realm = f"http://127.0.0.1:{self.server.server_port}/token"  # type: ignore[attr-defined]
                    self.answer(401, b"{}", ("WWW-Authenticate", f'Bearer realm="{realm}",service="hub"'))
                elif "/blobs/" in path:
                    self.answer(307, b"", ("Location", f"{hub.elsewhere}/store/{path.rpartition('/')[2]}"))
                else:
                    self.answer(200, hub.manifest, ("Content-Type", KIND))

            def answer(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                for name, value in (*headers, ("Content-Length", str(len(content)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()


def hub_of(content: bytes) -> Hub:
    blobs = {digest(blob): blob for blob in (config(content), content)}
    described = [{"mediaType": "x/y", "digest": name, "size": len(blob)} for name, blob in blobs.items()]
    manifest = {"schemaVersion": 2, "mediaType": KIND, "config": described[0], "layers": described[1:]}
    return Hub(json.dumps(manifest).encode(), blobs)


def test_a_registry_that_wants_a_token_of_everybody_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_of(b"layer")
    with hub.serve() as address:
        hub.elsewhere = ""  # another path of the same host; the token is not for it
        monkeypatch.setenv(MIRRORS, f"docker.io={address}")
        with Emulator(tmp_path / "here") as here:
            status, manifest, _ = ask_as_guest(here, "registry-1.docker.io", "/v2/library/ubuntu/manifests/1")
            assert (status, manifest) == (200, hub.manifest)
    assert [path.partition("?")[0] for path in hub.asked] == [
        "/v2/library/ubuntu/manifests/1",
        "/token",
        "/v2/library/ubuntu/manifests/1",
    ]


def test_no_registry_leads_to_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But a mirror that the user has named to itself."""
    hub, other = hub_of(b"layer"), hub_of(b"layer")
    with hub.serve() as address, other.serve() as elsewhere:
        hub.elsewhere = elsewhere
        monkeypatch.setenv(MIRRORS, f"docker.io={address}")
        with Emulator(tmp_path / "here") as here:
            path = f"/v2/library/ubuntu/blobs/{digest(b'layer')}"
            assert ask_as_guest(here, "registry-1.docker.io", path)[0] == 404
    assert other.asked == []


def test_a_blob_that_comes_damaged_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tmp_path / "upstream") as upstream:
        push(upstream.registry_port, "library/ubuntu", "1", b"layer")
        (tmp_path / "upstream/registry/blobs" / digest(b"layer")).write_bytes(b"other")
        monkeypatch.setenv(MIRRORS, f"docker.io=http://127.0.0.1:{upstream.registry_port}")
        with Emulator(tmp_path / "here") as here:
            path = f"/v2/library/ubuntu/blobs/{digest(b'layer')}"
            status, answer, _ = ask_as_guest(here, "registry-1.docker.io", path)
            assert (status, b"something else" in answer) == (502, True)
            assert here.status()["containerImages"]["bytes"] == 0


def pulled(emulator: Emulator, tag: str) -> bytes:
    """The layer of the image `ubuntu`, as a guest gets it."""
    host, name = "registry-1.docker.io", "/v2/library/ubuntu"
    status, manifest, _ = ask_as_guest(emulator, host, f"{name}/manifests/{tag}")
    assert status == 200, manifest
    status, content, _ = ask_as_guest(emulator, host, f"{name}/blobs/{json.loads(manifest)['layers'][0]['digest']}")
    assert status == 200, content
    return content


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_guest_reaches_nothing_of_this_machine_by_way_of_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv(MIRRORS, raising=False)
    with Emulator(tmp_path / "other") as other, Emulator(tmp_path / "here") as here:
        push(other.registry_port, f"{host}:{other.registry_port}/a", "1", b"x")
        connection = http.client.HTTPConnection("127.0.0.1", here.registry_guest_port, timeout=PATIENCE)
        target = f"{host}:{other.registry_port}"
        connection.request("CONNECT", target, headers={"Host": target})
        assert connection.getresponse().status == 200
        connection.close()
        status, _ = ask(here.registry_port, f"/v2/{target}/a/manifests/1")
        assert status == 404
        assert [each for each in other.calls.list() if each.method == "GET"] == []


@pytest.mark.parametrize("text", ["docker.io", "docker.io=ftp://x", "a b=http://x", "=http://x"])
def test_mirrors_that_are_none_are_told(text: str) -> None:
    with pytest.raises(EmulatorError, match=MIRRORS):
        mirrors_of(text)
