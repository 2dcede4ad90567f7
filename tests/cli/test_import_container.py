"""`emulator import-container`: images get into the registry from files and from programs that have them."""

import http.client
import json
import os
from pathlib import Path

import pytest
from support.command_line import run
from support.container_images import docker_archive, layer, oci_layout
from support.waiting import PATIENCE

from cos_customizer.emulator.server import Emulator


def catalog(emulator: Emulator) -> list[str]:
    connection = http.client.HTTPConnection("127.0.0.1", emulator.registry_port, timeout=PATIENCE)
    connection.request("GET", "/v2/_catalog")
    found: list[str] = json.loads(connection.getresponse().read())["repositories"]
    connection.close()
    return found


def test_a_file_keeps_its_names_or_gets_one(emulator: Emulator, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", "ubuntu:24.04")
    done = run("emulator", "import-container", str(archive))
    assert (done.code, done.err) == (0, "emulator: imported docker.io/library/ubuntu:24.04\n")
    layout = oci_layout(tmp_path / "layout")
    done = run("emulator", "import-container", str(layout), "gcr.io/my-project/app:1")
    assert (done.code, done.err) == (0, "emulator: imported gcr.io/my-project/app:1\n")
    assert catalog(emulator) == ["docker.io/library/ubuntu", "gcr.io/my-project/app"]


def test_an_image_comes_from_the_program_that_has_it(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker is asked before podman: it has none here, and podman has it."""
    archive = docker_archive(tmp_path / "image.tar", "localhost/app:1")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in (("docker", "exit 1"), ("podman", f'cp {archive} "${{3#--output=}}"')):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    done = run("emulator", "import-container", "app:1")
    assert (done.code, done.err) == (0, "emulator: imported docker.io/library/app:1\n")
    assert catalog(emulator) == ["docker.io/library/app"]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"text", "a:1", "no container image that can be read"),
        (layer({"manifest.json": b"[]"}), "a:1", "no container image that can be read"),
        (None, "", "does not say what its image is called"),
        (None, "Not a name", "no name of a container image"),
    ],
    ids=["no archive", "empty", "no name", "bad name"],
)
def test_what_cannot_be_imported_is_told(
    emulator: Emulator, tmp_path: Path, content: bytes | None, name: str, words: str
) -> None:
    path = docker_archive(tmp_path / "image.tar")
    if content is not None:
        path.write_bytes(content)
    done = run("emulator", "import-container", str(path), *([name] if name else []))
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert "hint: " in done.err
    assert catalog(emulator) == []


def test_what_is_neither_file_nor_image_is_told(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = run("emulator", "import-container", "app:1")
    assert done.code == 1
    assert "app:1 is no file, and no image that docker, podman or buildah has" in done.err
    assert catalog(emulator) == []
