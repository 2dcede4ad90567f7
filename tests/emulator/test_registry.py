"""The emulator's registry of container images: what programs put in, what guests get out, and who may."""

import base64
import gzip
import http.client
import json
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from google.cloud import compute_v1
from support.compute_clients import Compute
from support.container_images import config, digest, docker_archive, layer, oci_layout
from support.paths import ROOT
from support.registry_clients import KIND, ask, ask_as_guest, code, push
from support.waiting import PATIENCE

from cos_customizer.emulator.errors import EmulatorError
from cos_customizer.emulator.registry import names
from cos_customizer.emulator.registry.errors import RegistryError
from cos_customizer.emulator.registry.push import import_file
from cos_customizer.emulator.registry.upstream import MIRRORS
from cos_customizer.emulator.server import Emulator

SCOPE = "https://www.googleapis.com/auth/"
CREDENTIAL_HELPER = ROOT / "emulator/machines/stand_in/overlay/usr/bin/docker-credential-gcr"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRRORS, "*=")


@pytest.fixture
def compute(emulator: Emulator) -> Compute:
    return Compute(emulator)


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("docker.io/library/ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("mirror.gcr.io/library/ubuntu", "docker.io/library/ubuntu:latest"),
        ("a/b:1", "docker.io/a/b:1"),
        ("gcr.io/my-project/app:1", "gcr.io/my-project/app:1"),
        ("us-docker.pkg.dev/p/r/app", "us-docker.pkg.dev/p/r/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry.example.com:5000/a/b:x", "registry.example.com:5000/a/b:x"),
        (f"gcr.io/p/a@sha256:{'0' * 64}", f"gcr.io/p/a@sha256:{'0' * 64}"),
        (f"gcr.io/p/a:1@sha256:{'0' * 64}", f"gcr.io/p/a@sha256:{'0' * 64}"),
        *((text, "") for text in ("", "Ubuntu", "a//b", "../x", "gcr.io/../x", "a:b c", "a@sha256:1", "gcr.io/a/_b:1")),
        ("a" * 300, ""),
    ],
)
def test_images_are_called_as_users_write_them(text: str, full: str) -> None:
    if full:
        assert str(names.parse(text)) == full
        return
    with pytest.raises(RegistryError, match="no name of a container image") as refused:
        names.parse(text)
    assert (refused.value.status, refused.value.code) == (400, "NAME_INVALID")


@pytest.mark.parametrize("form", ["docker", "docker.gz", "oci", "oci.tar"])
def test_an_image_is_imported_from_whatever_tools_write(emulator: Emulator, tmp_path: Path, form: str) -> None:
    path = tmp_path / form
    if form.startswith("docker"):
        docker_archive(path, "busybox:1")
    else:
        oci_layout(tmp_path / "oci")
    if form == "docker.gz":
        path.write_bytes(gzip.compress(path.read_bytes()))
    if form == "oci.tar":
        subprocess.run(["tar", "-cf", path, "-C", tmp_path / "oci", "."], check=True)
    (reference,) = import_file(emulator.registry_port, path, "gcr.io/my-project/app:1")
    assert str(reference) == "gcr.io/my-project/app:1"
    status, manifest = ask(emulator.registry_port, "/v2/gcr.io/my-project/app/manifests/1")
    assert status == 200
    for blob in [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]:
        status, content = ask(emulator.registry_port, f"/v2/gcr.io/my-project/app/blobs/{blob['digest']}")
        assert (status, digest(content), len(content)) == (200, blob["digest"], blob["size"])
    assert ask(emulator.registry_port, "/v2/gcr.io/my-project/app/tags/list")[1] == (
        b'{"name": "gcr.io/my-project/app", "tags": ["1"]}'
    )


def test_an_image_keeps_the_names_that_it_has_in_its_file(emulator: Emulator, tmp_path: Path) -> None:
    docker_archive(tmp_path / "image", "ubuntu:latest", "ubuntu:24.04")
    found = import_file(emulator.registry_port, tmp_path / "image")
    assert list(map(str, found)) == ["docker.io/library/ubuntu:latest", "docker.io/library/ubuntu:24.04"]
    with pytest.raises(EmulatorError, match="does not say what its image is called"):
        import_file(emulator.registry_port, oci_layout(tmp_path / "oci"))


@pytest.mark.parametrize(
    "content", [b"", b"text", layer({"other": b""}), layer({"manifest.json": b"[{}]"})], ids=range(4)
)
def test_a_file_that_holds_no_image_is_told(emulator: Emulator, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(EmulatorError, match="no container image that can be read"):
        import_file(emulator.registry_port, tmp_path / "image", "a:1")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("registry-1.docker.io", "library/ubuntu"),
        ("mirror.gcr.io", "library/ubuntu"),
        ("gcr.io", "cos-cloud/toolbox"),
        ("quay.io", "a/b"),
        ("registry.k8s.io", "pause"),
    ],
)
def test_guests_pull_public_images_from_any_registry(emulator: Emulator, tmp_path: Path, host: str, path: str) -> None:
    full = names.repository(host, path)
    import_file(emulator.registry_port, docker_archive(tmp_path / "image"), f"{full}:1")
    status, content, headers = ask_as_guest(emulator, host, f"/v2/{path}/manifests/1")
    assert (status, headers["Content-Type"], headers["Docker-Content-Digest"]) == (200, KIND, digest(content))
    for layer_of_it in json.loads(content)["layers"]:
        assert ask_as_guest(emulator, host, f"/v2/{path}/blobs/{layer_of_it['digest']}")[0] == 200
    assert ask_as_guest(emulator, host, f"/v2/{path}/manifests/2")[0] == 404
    assert ask_as_guest(emulator, host, "/v2/")[0] == (401 if host == "gcr.io" else 200)


@pytest.mark.parametrize("host", ["gcr.io", "eu.gcr.io", "us-docker.pkg.dev"])
def test_the_token_of_a_vm_opens_what_is_private_as_far_as_its_scopes_go(
    compute: Compute, tmp_path: Path, host: str
) -> None:
    emulator = compute.emulator
    import_file(emulator.registry_port, docker_archive(tmp_path / "image"), f"{host}/my-project/app:1")
    pull, push = ("/v2/my-project/app/manifests/1", "GET"), ("/v2/my-project/app/blobs/uploads/", "POST")
    status, answer, headers = ask_as_guest(emulator, host, pull[0])
    assert (status, code(answer)) == (401, "UNAUTHORIZED")
    assert headers["WWW-Authenticate"] == f'Bearer realm="https://{host}/v2/token",service="{host}"'
    assert ask_as_guest(emulator, host, pull[0], "ya29.local-1")[0] == 401
    for name, scope, wanted in (
        ("all", "cloud-platform", (200, 202)),
        ("read", "devstorage.read_only", (200, 403)),
        ("write", "devstorage.read_write", (200, 202)),
        ("other", "logging.write", (403, 403)),
    ):
        account = compute_v1.ServiceAccount(email="default", scopes=[SCOPE + scope])
        token = f"ya29.local-{compute.create(name, service_accounts=[account]).id}"
        found = tuple(ask_as_guest(emulator, host, path, token, method)[0] for path, method in (pull, push))
        assert found == wanted, name
    compute.delete("all")


def test_the_token_is_exchanged_as_docker_asks_for_it(compute: Compute, tmp_path: Path) -> None:
    account = compute_v1.ServiceAccount(email="default", scopes=[f"{SCOPE}cloud-platform"])
    token = f"ya29.local-{compute.create(service_accounts=[account]).id}"
    guest = ssl.create_default_context(cadata=ask(compute.emulator.registry_guest_port, "/certificate")[1].decode())
    for password, wanted in ((token, 200), ("wrong", 401)):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", compute.emulator.registry_guest_port, timeout=PATIENCE, context=guest
        )
        connection.set_tunnel("gcr.io", 443, {"Host": "gcr.io:443"})
        basic = {"Authorization": f"Basic {base64.b64encode(f'_dcgcr_2_1_0_token:{password}'.encode()).decode()}"}
        connection.request("GET", "/v2/token?service=gcr.io&scope=repository:my-project/app:pull", headers=basic)
        answer = connection.getresponse()
        assert answer.status == wanted
        content = json.loads(answer.read())
        assert wanted != 200 or content["token"] == token
        connection.close()


def test_guests_push_to_googles_registries_only(emulator: Emulator) -> None:
    status, answer, _ = ask_as_guest(emulator, "quay.io", "/v2/a/b/blobs/uploads/", method="POST")
    assert (status, code(answer)) == (403, "DENIED")


def test_images_outlive_a_restart_and_what_nobody_names_goes(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Emulator(state) as first:
        assert push(first.registry_port, "gcr.io/p/kept", "1", b"kept")[0] == 201
        assert push(first.registry_port, "gcr.io/p/gone", "1", b"gone")[0] == 201
        _, manifest = ask(first.registry_port, "/v2/gcr.io/p/gone/manifests/1")
        assert ask(first.registry_port, f"/v2/gcr.io/p/gone/manifests/{digest(manifest)}", "DELETE")[0] == 202
        assert ask(first.registry_port, "/v2/gcr.io/p/gone/manifests/1")[0] == 404
        assert ask(first.registry_port, "/v2/gcr.io/p/kept/blobs/uploads/", "POST")[0] == 202
    with Emulator(state) as second:
        assert ask(second.registry_port, f"/v2/gcr.io/p/kept/blobs/{digest(b'kept')}") == (200, b"kept")
        assert ask(second.registry_port, f"/v2/gcr.io/p/gone/blobs/{digest(b'gone')}")[0] == 404
        assert list((state / "registry/uploads").iterdir()) == []
        assert second.status()["containerImages"] == {"repositories": 1, "bytes": len(b"kept" + config(b"kept"))}


WRONG_BODIES = [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "said in two ways"),
    ("Transfer-Encoding: gzip\r\n\r\n", "said in two ways, or in an unknown one"),
    ("Content-Length: -1\r\n\r\n", "Content-Length is -1"),
    ("Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "a chunk has no length"),
    ("Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "a chunk does not end where it should"),
    ("Content-Length: 5\r\n\r\nab", "the body ends early"),
]


@pytest.mark.parametrize(("rest", "words"), WRONG_BODIES, ids=[row[1] for row in WRONG_BODIES])
def test_a_body_that_cannot_be_read_is_refused_in_words(emulator: Emulator, rest: str, words: str) -> None:
    head = f"POST /v2/a/blobs/uploads/?digest=sha256:0 HTTP/1.1\r\nHost: 127.0.0.1:{emulator.registry_port}\r\n"
    kind = "Content-Type: application/octet-stream\r\n"
    with socket.create_connection(("127.0.0.1", emulator.registry_port), timeout=PATIENCE) as connection:
        connection.sendall(f"{head}{kind}{rest}".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        content = answer.read()
    assert (answer.status, code(content)) == (400, "BLOB_UPLOAD_INVALID")
    assert words in content.decode()


@pytest.mark.parametrize(
    "head",
    [
        f"HEAD /v2/gcr.io/my-project/app/blobs/sha256:{'0' * 64} HTTP/1.1\r\nContent-Length: ",
        "GET /v2/gcr.io/my-project/app/manifests/none HTTP/1.1\r\nContent-Length: ",
        "GET /v2/_catalog HTTP/1.1\r\nContent-Length: ",
    ],
)
@pytest.mark.parametrize("door", ["port", "registry_port"])
def test_a_body_that_nobody_reads_is_no_request(emulator: Emulator, head: str, door: str) -> None:
    port = getattr(emulator, door)
    host = f"\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    inner = "GET /v2/ HTTP/1.1" + host
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall((head + str(len(inner)) + host + inner).encode())
        connection.makefile("rb").read()
    assert [each.path for each in emulator.calls.list("registry")] == [head.split()[1]]


def test_a_client_that_asks_to_go_on_is_told_once(emulator: Emulator) -> None:
    head = "POST /v2/gcr.io/my-project/app/blobs/uploads/ HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\n"
    head += f"Content-Type: application/octet-stream\r\nHost: 127.0.0.1:{emulator.port}\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        answer = connection.makefile("rb").read()
    assert (answer.count(b"HTTP/1.1 100 Continue"), answer.count(b"HTTP/1.1 202 ")) == (1, 1)


def test_the_registry_takes_no_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_CUSTOMIZER_EMULATOR_MAX_REGISTRY_MIB", "1")
    with Emulator(tmp_path / "state") as emulator:
        large = bytes(2 << 20)
        status, answer = ask(emulator.registry_port, f"/v2/a/blobs/uploads/?digest={digest(large)}", "POST", large)
        assert (status, b"is full (1 MiB)" in answer) == (507, True)
    with Emulator(tmp_path / "state") as emulator:
        assert emulator.status()["containerImages"]["bytes"] == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "kind", "wanted"),
    [
        ("GET", "/v2/ubuntu/manifests/1", None, "", (404, "MANIFEST_UNKNOWN")),
        ("GET", f"/v2/ubuntu/blobs/sha256:{'0' * 64}", None, "", (404, "BLOB_UNKNOWN")),
        ("GET", "/v2/ubuntu/blobs/..", None, "", (404, "BLOB_UNKNOWN")),
        ("GET", "/v2/ubuntu/tags/list", None, "", (404, "NAME_UNKNOWN")),
        ("GET", "/v2/../../x/manifests/1", None, "", (400, "NAME_INVALID")),
        ("GET", "/v3/", None, "", (404, "UNSUPPORTED")),
        ("PATCH", f"/v2/a/blobs/uploads/{'0' * 32}", b"x", "", (404, "BLOB_UPLOAD_UNKNOWN")),
        ("PATCH", "/v2/a/blobs/uploads/..", b"x", "", (404, "BLOB_UPLOAD_UNKNOWN")),
        ("POST", "/v2/a/blobs/uploads/?digest=sha256:1", b"x", "", (400, "DIGEST_INVALID")),
        ("PUT", "/v2/a/manifests/1", b"{", KIND, (400, "MANIFEST_INVALID")),
        ("PUT", "/v2/a/manifests/1", b"{}", KIND, (400, "MANIFEST_INVALID")),
        ("PUT", "/v2/a/manifests/1", b"{}", "a/b", (400, "MANIFEST_INVALID")),
        (
            *("PUT", "/v2/a/manifests/1", json.dumps({"config": {"digest": f"sha256:{'0' * 64}"}}).encode(), KIND),
            (400, "MANIFEST_BLOB_UNKNOWN"),
        ),
        ("DELETE", "/v2/a/manifests/1", None, "", (404, "MANIFEST_UNKNOWN")),
        ("DELETE", "/v2/a/tags/list", None, "", (405, "UNSUPPORTED")),
    ],
)
def test_what_cannot_be_is_refused_as_registries_do(
    emulator: Emulator, method: str, path: str, body: bytes | None, kind: str, wanted: tuple[int, str]
) -> None:
    status, answer = ask(emulator.registry_port, path, method, body, {"Content-Type": kind} if kind else {})
    assert (status, code(answer)) == wanted


def test_a_part_of_a_blob_is_given(emulator: Emulator) -> None:
    assert push(emulator.registry_port, "a", "1", b"0123456789")[0] == 201
    path = f"/v2/a/blobs/{digest(b'0123456789')}"
    assert ask(emulator.registry_port, path, headers={"Range": "bytes=2-4"}) == (206, b"234")
    assert ask(emulator.registry_port, path, headers={"Range": "bytes=7-"}) == (206, b"789")
    assert ask(emulator.registry_port, path, headers={"Range": "bytes=10-"})[0] == 416


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        ({"Host": "gcr.io:443", "Origin": "https://evil.example"}, "gcr.io:443"),
        ({"Host": "evil.example"}, "gcr.io:443"),
        ({"Host": "gcr.io:443", "Sec-Fetch-Site": "cross-site"}, "gcr.io:443"),
        ({"Host": "-:443"}, "-:443"),
        ({"Host": "gcr.io"}, "gcr.io"),
    ],
)
def test_no_page_gets_a_connection_to_a_registry(emulator: Emulator, headers: dict[str, str], target: str) -> None:
    for port in (emulator.registry_guest_port, emulator.registry_port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.putrequest("CONNECT", target, skip_host=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status in (403, 405)
        connection.close()


def test_faults_are_applied_and_requests_are_in_the_log(emulator: Emulator) -> None:
    emulator.faults.add(kind="http", path=".*/manifests/1", status=503)
    assert ask(emulator.registry_port, "/v2/a/manifests/1")[0] == 503
    assert ask(emulator.registry_port, "/v2/a/manifests/1")[0] == 404
    assert [(each.service, each.status) for each in emulator.calls.list()] == [("registry", 503), ("registry", 404)]


def test_the_credential_helper_configures_docker_and_keeps_what_is_there(tmp_path: Path) -> None:
    def run(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(CREDENTIAL_HELPER), *arguments]
        settings = {"HOME": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, input=given, env=settings, check=False)

    file = tmp_path / ".docker/config.json"
    file.parent.mkdir()
    file.write_text('{"auths": {"x": {}}, "credHelpers": {"y": "z"}}')
    done = run("configure-docker")
    assert (done.returncode, done.stdout.split()[0]) == (0, str(file))
    google = {f"{part}gcr.io": "gcr" for part in ("", "us.", "eu.", "asia.", "marketplace.")}
    assert json.loads(file.read_text()) == {"auths": {"x": {}}, "credHelpers": {"y": "z", **google}}
    assert run("configure-docker", "--registries=us-docker.pkg.dev").returncode == 0
    assert json.loads(file.read_text())["credHelpers"]["us-docker.pkg.dev"] == "gcr"
    assert run("configure-docker", "--include-artifact-registry").returncode == 0
    assert json.loads(file.read_text())["credHelpers"]["europe-west1-docker.pkg.dev"] == "gcr"
    assert run("configure-docker", "--what").returncode == 1
    unknown = run("get", given="https://index.docker.io/v1/\n")
    assert (unknown.returncode, unknown.stdout) == (1, "credentials not found in native keychain\n")
    file.write_text("{")
    broken = run("configure-docker")
    assert (broken.returncode, broken.stderr.startswith("ERROR: Unable to save docker config")) == (1, True)
