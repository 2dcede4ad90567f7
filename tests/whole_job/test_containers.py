"""Containers on real machines: a build preloads images from the registry, and the image runs them without a network."""

from pathlib import Path

import pytest
from support.container_images import docker_archive, oci_layout
from support.emulator_commands import emulator_command
from support.leftovers import leftovers
from support.paths import EXAMPLES

from cos_customizer.emulator.registry.upstream import MIRRORS
from cos_customizer.emulator.server import Emulator

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("prefect_server")]

LOOK = r"""
docker image ls --format '{{.Repository}}:{{.Tag}}' | sort | tr '\n' ' '; echo
docker run --rm --pull=never --network=none ubuntu
docker run --rm --pull=never --network=none gcr.io/my-project/app:1
docker inspect gcr.io/my-project/app:1 --format '{{index .RepoDigests 0}}' | cut -d @ -f 1
export HOME=/mnt/disks
docker pull gcr.io/my-project/app:2 > /mnt/disks/said 2>&1 || grep -c -i unauthenticated /mnt/disks/said
docker-credential-gcr configure-docker
docker pull --quiet gcr.io/my-project/app:2
docker tag ubuntu us-docker.pkg.dev/my-project/r/pushed:1
docker-credential-gcr configure-docker --registries=us-docker.pkg.dev > /dev/null
docker push --quiet us-docker.pkg.dev/my-project/r/pushed:1
docker pull --quiet mirror.gcr.io/library/ubuntu
toolbox /usr/bin/hello
toolbox --quiet /usr/bin/hello
docker image ls --quiet gcr.io/cos-cloud/toolbox | wc -l
"""


@pytest.fixture(autouse=True)
def no_other_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cloud's registry asks no other."""
    monkeypatch.setenv(MIRRORS, "*=")


def test_images_that_were_preloaded_run_on_the_booted_image(real_cloud: Emulator, tmp_path: Path) -> None:
    """As the example does it; then whatever else is pulled and pushed on a VM, with a token and without."""
    ubuntu = docker_archive(tmp_path / "ubuntu.tar", "ubuntu:latest", text="hello from ubuntu\n")
    toolbox = docker_archive(
        tmp_path / "toolbox.tar",
        "gcr.io/cos-cloud/toolbox:latest",
        text="hello from toolbox\n",
        command="/usr/bin/hello",
    )
    app = oci_layout(tmp_path / "app", text="hello from app\n")
    for given in ([ubuntu], [toolbox], [app, "gcr.io/my-project/app:1"], [app, "gcr.io/my-project/app:2"]):
        done = emulator_command("import-container", *map(str, given))
        assert done.returncode == 0, done.stderr
    built = emulator_command("run-cloudbuild", str(EXAMPLES / "preload-containers" / "cloudbuild.yaml"))
    assert built.returncode == 0, built.stdout + built.stderr
    assert leftovers(real_cloud) == []

    # The installer's stand-in is on each disk on which docker was used.
    before = len([call for call in real_cloud.calls.list() if call.service == "registry"])
    seen = emulator_command("boot", "-family=preloaded", "--", "bash", "-c", LOOK)
    installer = "gcr.io/cos-cloud/cos-gpu-installer"
    app_name = "gcr.io/my-project/app"
    assert seen.stdout.splitlines() == [
        f"{installer}:latest {installer}:v20200921 {installer}:v20230815 {app_name}:1 ubuntu:latest ",
        "hello from ubuntu",
        "hello from app",
        app_name,
        "1",
        "/mnt/disks/.docker/config.json configured to use this credential helper for GCR registries",
        f"{app_name}:2",
        "us-docker.pkg.dev/my-project/r/pushed:1",
        "mirror.gcr.io/library/ubuntu:latest",
        "hello from toolbox",
        "hello from toolbox",
        "0",
    ], seen.stderr
    assert len([call for call in real_cloud.calls.list() if call.service == "registry"]) > before
    pushed = [call for call in real_cloud.calls.list() if call.path.endswith("/my-project/r/pushed/manifests/1")]
    assert [call.status for call in pushed if call.method == "PUT"] == [201]
