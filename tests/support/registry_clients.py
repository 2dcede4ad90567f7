"""Clients of the emulator's registry: programs of this machine, and guests."""

import http.client
import json
import ssl
from collections.abc import Mapping

from support.container_images import config, digest
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator

KIND = "application/vnd.docker.distribution.manifest.v2+json"


def ask(
    port: int, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/octet-stream", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask_as_guest(
    emulator: Emulator, host: str, path: str, token: str = "", method: str = "GET"
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask a registry as docker does in a guest: by the proxy, trusting the certificate that is there."""
    status, certificate = ask(emulator.registry_guest_port, "/certificate")
    assert status == 200
    trusting = ssl.create_default_context(cadata=certificate.decode())
    connection = http.client.HTTPSConnection(
        "127.0.0.1", emulator.registry_guest_port, timeout=PATIENCE, context=trusting
    )
    try:
        connection.set_tunnel(host, 443, {"Host": f"{host}:443"})
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.msg
    finally:
        connection.close()


def code(answer: bytes) -> str:
    return str(json.loads(answer)["errors"][0]["code"])


def push(port: int, name: str, tag: str, content: bytes) -> tuple[int, bytes]:
    """Push an image of one layer, in pieces and at once."""
    blobs = [config(content), content]
    for blob in blobs:
        status, _ = ask(port, f"/v2/{name}/blobs/uploads/?digest={digest(blob)}", "POST", blob)
        assert status == 201
    described = [{"mediaType": "x/y", "digest": digest(blob), "size": len(blob)} for blob in blobs]
    manifest = {"schemaVersion": 2, "mediaType": KIND, "config": described[0], "layers": described[1:]}
    return ask(port, f"/v2/{name}/manifests/{tag}", "PUT", json.dumps(manifest).encode(), {"Content-Type": KIND})
