"""The whole job on real machines: the program, the flow, the guest, the local Compute Engine, and the image booted."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud import compute_v1
from support.containers import image as container_image
from support.leftovers import leftovers
from support.paths import EXAMPLES, ROOT
from support.specifications import SpecMaker
from support.waiting import wait_for

from cos_customizer.customizer.errors import BuildFailedError, BuildTimeoutError
from cos_customizer.customizer.reporting.events import ConsoleOutput, Event, listening
from cos_customizer.customizer.spec.model import parse_spec
from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("prefect_server")]

README, GPU = ROOT / "README.md", ROOT / "docs" / "gpu.md"
EXAMPLE = EXAMPLES / "minimal"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A local Compute Engine with real machines."""
    with Emulator(tmp_path_factory.mktemp("cloud"), "qemu", cache_dir=default_cache_dir()) as running:
        running.prepare()
        yield running


@pytest.fixture(autouse=True)
def pointed_at_the_cloud(cloud: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)


def seen_by(cloud: Emulator, image: str, commands: str, before: list[list[str]] | None = None) -> list[str]:
    """Boot an image, and let shell commands look around after those of a cloud-config; what they print."""
    clients, name = connect(), "looker"
    looking = ["sh", "-c", f"({commands}) > /dev/ttyS1 2>&1; echo; echo '-- end --' > /dev/ttyS1"]
    user_data = yaml.safe_dump({"runcmd": [*(before or []), looking]})
    body = {
        "name": name,
        "machineType": "zones/us-west1-b/machineTypes/n1-standard-1",
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}],
        "networkInterfaces": [{"network": "global/networks/default"}],
        "metadata": {"items": [{"key": "user-data", "value": f"#cloud-config\n{user_data}"}]},
    }
    where: dict[str, Any] = {"project": "my-project", "zone": "us-west1-b"}
    operation = clients.instances.insert_unary(instance_resource=_json(body), **where)
    clients.zone_operations.wait(operation=operation.name, **where)
    try:
        request = compute_v1.GetSerialPortOutputInstanceRequest(instance=name, port=2, **where)

        def seen() -> str:
            text = clients.instances.get_serial_port_output(request).contents
            return text if "-- end --" in text else ""

        text = wait_for(seen)
    finally:
        operation = clients.instances.delete_unary(instance=name, **where)
        clients.zone_operations.wait(operation=operation.name, **where)
    return [line.rstrip("\r") for line in text.partition("-- end --")[0].splitlines() if line.strip()]


def _json(body: object) -> compute_v1.Instance:
    message: compute_v1.Instance = compute_v1.Instance.from_json(json.dumps(body))
    return message


@pytest.mark.vital
def test_the_readmes_workflow_makes_an_image_that_boots_and_holds_nothing_of_ours(
    cloud: Emulator, tmp_path: Path
) -> None:
    """Unchanged, each step a process of its own that shares home and workspace, as in Cloud Build."""
    workflow = re.search(r"```yaml\n(steps:.*?)```", README.read_text(), re.DOTALL)
    assert workflow
    assert "-image-name=cos-stable-68-10718-86-0" in workflow[1]
    (tmp_path / "cloudbuild.yaml").write_text(workflow[1])
    (tmp_path / "preload.sh").write_bytes((EXAMPLE / "preload.sh").read_bytes())
    ran = run_cloudbuild(tmp_path / "cloudbuild.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [line for line in ran.stdout.splitlines() if line.startswith("Starting")] == [
        f"Starting Step #{number}" for number in range(3)
    ]
    assert leftovers(cloud) == []

    seen = seen_by(
        cloud,
        "projects/my-project/global/images/my-custom-image",
        "cat /var/lib/hello; echo ours:; "
        "find / -xdev -iname '*customizer*' 2>/dev/null; find /var /home /mnt /etc -iname '*customizer*' 2>/dev/null; "
        "grep -rl cos-customizer /etc /var /home 2>/dev/null | grep -v -e '^/var/lib/cloud' -e os-release; "
        "ls -A /root | grep docker; grep -c customizer /etc/passwd",
    )
    assert seen == ["Hello, World!", "ours:", "0"]


@pytest.mark.container
def test_the_readmes_workflow_runs_in_new_containers_to_an_image(cloud: Emulator, tmp_path: Path) -> None:
    """Unchanged but for the image's name."""
    workflow = re.search(r"```yaml\n(steps:.*?)```", README.read_text(), re.DOTALL)
    assert workflow
    text = workflow[1].replace("gcr.io/$PROJECT_ID/cos-customizer", container_image())
    (tmp_path / "cloudbuild.yaml").write_text(text.replace("my-custom-image", "my-contained-image"))
    (tmp_path / "preload.sh").write_bytes((EXAMPLE / "preload.sh").read_bytes())
    ran = run_cloudbuild(tmp_path / "cloudbuild.yaml", "-container-tool=buildah")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert leftovers(cloud) == []
    image = connect().images.get(project="my-project", image="my-contained-image")
    assert image.status == "READY"


def test_two_builds_of_one_workflow_side_by_side_make_two_images(cloud: Emulator) -> None:
    """Were they mixed up, each would have the other's role."""
    ran = run_cloudbuild(EXAMPLES / "side-by-side" / "cloudbuild.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert leftovers(cloud) == []
    assert {"web-r42", "worker-r42"} <= {each["name"] for each in cloud.list("projects/my-project/global/images")}
    assert seen_by(cloud, "projects/my-project/global/images/web-r42", "cat /var/lib/role") == ["web"]


def run_cloudbuild(file: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    program = str(Path(sys.executable).with_name("cos-customizer"))
    command = [program, "emulator", "run-cloudbuild", str(file), *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_documented_driver_is_installed_and_set_up_at_boot_by_the_documented_cloud_config(
    cloud: Emulator, tmp_path: Path
) -> None:
    document = GPU.read_text()
    workflow = re.search(r"```yaml\n(steps:.*?)```", README.read_text(), re.DOTALL)
    driver = re.search(r"```yaml\n(- name:[^`]*'install-gpu'.*?)```", document, re.DOTALL)
    config = re.search(r"```yaml\n#cloud-config\n(.*?)```", document, re.DOTALL)
    assert workflow
    assert driver
    assert config
    start, script, finish = yaml.safe_load(workflow[1])["steps"]
    (install,) = yaml.safe_load(driver[1])
    assert install["args"] == ["install-gpu", "-version=396.26"]
    program = str(Path(sys.executable).with_name("cos-customizer"))
    for step in (start, install, script, finish):
        args = [arg.replace("${PROJECT_ID}", "my-project").replace("$PROJECT_ID", "my-project") for arg in step["args"]]
        args = [arg.replace("my-custom-image", "my-gpu-image").replace("$BUILD_ID", "43") for arg in args]
        ran = subprocess.run([program, *args], cwd=EXAMPLE, env=_environment(tmp_path), capture_output=True, text=True)
        assert ran.returncode == 0, shlex.join(args) + ran.stdout + ran.stderr
    assert "NVIDIA-SMI 396.26" in ran.stdout, "its table is in the log"
    assert leftovers(cloud) == []

    seen = seen_by(
        cloud,
        "projects/my-project/global/images/my-gpu-image",
        "ls -d /sys/module/nvidia; cat /run/stand-in-nvidia-persistenced; cat /var/lib/hello; "
        "/var/lib/nvidia/bin/nvidia-smi | grep -o 'NVIDIA-SMI 396.26'",
        yaml.safe_load(config[1])["runcmd"],
    )
    assert seen == ["/sys/module/nvidia", "nvidia-persistenced --verbose", "Hello, World!", "NVIDIA-SMI 396.26"]


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "HOME": str(home)}


def test_scripts_run_in_order_with_their_environment_however_awkward_they_are(
    cloud: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    (context / "lib").mkdir()
    (context / "lib" / "mylib.sh").write_text('greet() { echo "Hello, $1"; }\n')
    (context / "first.sh").write_text('. lib/mylib.sh\ngreet "$NAME" > /var/lib/order\ncat\nsleep 1000 &\n')
    (context / "second.sh").write_text("echo second >> /var/lib/order\nprintf 'no end of line'\nreboot\n")
    (context / "third.sh").write_text('echo "third after a reboot" >> /var/lib/order\n')
    spec = make_spec(scripts=("first.sh", "second.sh", "third.sh"), timeout="5m", output={"name": "awkward"})
    named = spec.steps[0].model_copy(update={"env": {"NAME": 'it\'s "you" & $HOME\tü'}})
    spec = spec.model_copy(update={"steps": [named, *spec.steps[1:]]})
    told: list[Event] = []
    with listening(told.append):
        result = build_image(spec)
    assert [step.state for step in result.steps] == ["succeeded"] * 3
    assert "no end of line" in [line for event in told if isinstance(event, ConsoleOutput) for line in event.lines]
    assert leftovers(cloud) == []
    seen = seen_by(cloud, "projects/my-project/global/images/awkward", "cat /var/lib/order")
    assert seen == ['Hello, it\'s "you" & $HOME\tü', "second", "third after a reboot"]


def test_a_tested_family_gives_an_image_that_passed_and_none_that_failed(cloud: Emulator, tmp_path: Path) -> None:
    """The documented recipe as it stands (its check asks docker, which COS starts at boot), and again with a fault."""
    program = str(Path(sys.executable).with_name("cos-customizer"))
    recipe = EXAMPLES / "recipes" / "web.yaml"
    ran = subprocess.run([program, "build", f"-recipe={recipe}"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    released = connect().images.get_from_family(project="my-project", family="web").name
    assert released.endswith("-web")
    assert leftovers(cloud) == []

    shutil.copytree(EXAMPLES / "recipes", tmp_path / "recipes")
    (tmp_path / "recipes" / "web" / "check.sh").write_text("echo it is not as it should be; exit 7\n")
    command = [program, "build", f"-recipe={tmp_path / 'recipes' / 'web.yaml'}", "-set=output.suffix=-worse"]
    worse = subprocess.run(command, capture_output=True, text=True)
    assert worse.returncode == 1, worse.stdout + worse.stderr
    assert re.search(r"-worse is not released, it is deleted: .*check\.sh exited with 7", worse.stderr)
    assert connect().images.get_from_family(project="my-project", family="web").name == released
    assert not [each for each in cloud.list("projects/my-project/global/images") if "worse" in each["name"]]
    assert leftovers(cloud) == []


def test_the_documented_service_is_installed_and_starts_with_a_vm_by_the_documented_cloud_config(
    cloud: Emulator,
) -> None:
    """Verified on the test VM, as it is released; nothing of it is below /etc, so nothing is said of that."""
    program = str(Path(sys.executable).with_name("cos-customizer"))
    recipe = EXAMPLES / "recipes" / "service.yaml"
    ran = subprocess.run([program, "build", f"-recipe={recipe}"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "will not be in the image" not in ran.stdout + ran.stderr
    image = connect().images.get_from_family(project="my-project", family="service")
    config = yaml.safe_load((EXAMPLES / "recipes" / "service" / "cloud-config.yaml").read_text())
    commands = (
        "for i in $(seq 60); do [ -s /run/hello-app/greeting ] && break; sleep 1; done; cat /run/hello-app/greeting"
    )
    seen = seen_by(cloud, image.self_link.partition("/v1/")[2], commands, before=config["runcmd"])
    assert seen == ["Hello from the image"]


def test_a_script_that_fills_the_disk_fails_the_build(cloud: Emulator, make_spec: SpecMaker, tmp_path: Path) -> None:
    (tmp_path / "context" / "first.sh").write_text(
        "fallocate -l $(($(stat -f -c %f /var/lib) * $(stat -f -c %S /var/lib))) /var/lib/big\necho x > /var/lib/more\n"
    )
    with pytest.raises(BuildFailedError, match=r"first\.sh exited with 1") as caught:
        build_image(make_spec(timeout="5m", source={"name": None, "family": "cos-stable"}, output={"name": "full"}))
    assert any("No space left on device" in line for line in caught.value.output)
    assert "builder.disk_size_gb" in caught.value.hint
    assert leftovers(cloud) == []


def test_a_timeout_ends_a_sleeping_script_and_leaves_only_the_log(
    cloud: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    (tmp_path / "context" / "first.sh").write_text("echo asleep\nsleep 1000\n")

    def hurry(event: Event) -> None:
        """The script sleeps: the time that is left for it passes at once, however long the machine took to boot."""
        if isinstance(event, ConsoleOutput) and "asleep" in event.lines:
            signal.setitimer(signal.ITIMER_REAL, 0.5)

    timed_out = pytest.raises(BuildTimeoutError, match="did not complete within the specified timeout")
    with listening(hurry), timed_out as caught:
        build_image(make_spec(timeout="5m", output={"name": "never"}))
    assert "first.sh" in caught.value.message
    assert leftovers(cloud) == []
    logs = list(connect().storage.list_blobs("my-project_cloudbuild"))
    assert "BuildStatus: asleep" in max(logs, key=lambda blob: blob.time_created).download_as_text()


@pytest.mark.parametrize("reboot", [True, False], ids=["rebooting", "not rebooting"])
def test_arguments_are_on_the_kernel_s_command_line_of_the_image_and_after_a_reboot_of_the_builder_vm(
    cloud: Emulator, make_spec: SpecMaker, tmp_path: Path, reboot: bool
) -> None:
    context = tmp_path / "context"
    (context / "before.sh").write_text("cat /proc/cmdline > /var/lib/before\n")
    (context / "after.sh").write_text("cat /proc/cmdline > /var/lib/after\n! grep vfat /proc/mounts\n")
    name = f"kernel-args-{str(reboot).lower()}"
    change = {"append": 'trial.words="two words"', "remove": "norandmaps", "replace": "trial.level=4"}
    steps = [
        {"script": "before.sh"},
        {"type": "kernel-args", "append": "trial.level=1"},
        {"type": "kernel-args", **change, "reboot": reboot},
        {"type": "kernel-args", **change, "reboot": reboot},
        {"script": "after.sh"},
    ]
    spec = make_spec(timeout="10m", output={"name": name})
    result = build_image(parse_spec({**spec.model_dump(), "steps": steps}))
    assert [step.state for step in result.steps] == ["succeeded"] * 5
    assert leftovers(cloud) == []
    before, after, image = seen_by(
        cloud, f"projects/my-project/global/images/{name}", "cd /var/lib; cat before after /proc/cmdline"
    )
    begin, verity = before.replace(" norandmaps", "").split(' "dm-mod.create=')  # which stays the last
    changed = f'{begin} trial.level=4 "trial.words=two words" "dm-mod.create={verity}'
    assert (after, image) == (changed if reboot else before, changed)
