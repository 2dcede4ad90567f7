"""Inventories of images, for what is made of them."""

from dataclasses import replace

from cos_customizer.customizer.contents.bill import Subject
from cos_customizer.customizer.contents.inventory import Container, Contents, File, Inventory, Package

COS = {"ID": "cos", "NAME": "Container-Optimized OS", "VERSION_ID": "125", "BUILD_ID": "19216.104.25"}
DEBIAN = {"ID": "debian", "NAME": "Debian GNU/Linux", "VERSION_ID": "12"}
SHA = "ab" * 32

BEFORE = Inventory(
    system=COS,
    packages=(Package("cos", "app-admin/sudo", "1.9.15"), Package("cos", "sys-apps/systemd", "254.9")),
    containers=(),
    files={
        path: File(path, "file", 0o644, 0, 0, 3, sha256)
        for path, sha256 in (("/var/lib/kept", "11" * 32), ("/var/lib/changed", "22" * 32), ("/var/lib/gone", SHA))
    },
    units={"docker.service": "enabled"},
)
AFTER = replace(
    BEFORE,
    containers=(
        Container(
            "docker",
            "",
            f"sha256:{'c1' * 32}",
            names=("gcr.io/my-project/Web/server:v2",),
            digests=(f"gcr.io/my-project/Web/server@sha256:{'d1' * 32}",),
            size=1000,
        ),
        Container("docker", "", f"sha256:{'c2' * 32}", names=("busybox:latest",)),
        Container("containerd", "k8s.io", f"sha256:{'d3' * 32}", names=("registry.k8s.io/pause:3.9",)),
    ),
    files={
        **{path: file for path, file in BEFORE.files.items() if path != "/var/lib/gone"},
        "/var/lib/changed": File("/var/lib/changed", "file", 0o644, 0, 0, 4, "33" * 32),
        "/var/lib/hello": File("/var/lib/hello", "file", 0o755, 0, 0, 6, SHA),
        "/var/lib/odd\udcff": File("/var/lib/odd\udcff", "file", 0o755, 0, 0, 6, SHA),
        "/var/lib/link": File("/var/lib/link", "link", 0o777, 0, 0, target="hello"),
    },
    modules={"nvidia": "535.129.03"},
    left_out=("/var/log (written by every boot)",),
)
CONTENTS = Contents(BEFORE, AFTER)
"""Of an image with two preloaded containers more, a driver, and files that are new and other ones."""

SUBJECT = Subject(
    project="my-project",
    name="my-image",
    id="4711",
    self_link="https://www.googleapis.com/compute/v1/projects/my-project/global/images/my-image",
    created="2026-11-30T10:11:12.345-08:00",
    source="projects/cos-cloud/global/images/cos-125-19216-104-25",
    source_id="815",
    version="20261201",
)
