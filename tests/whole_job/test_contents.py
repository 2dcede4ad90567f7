"""What is in an image, recorded by a real machine: a build's own difference is exactly what its steps have done."""

import gzip
import hashlib
from pathlib import Path

import pytest
from support.command_line import run
from support.container_images import docker_archive
from support.leftovers import leftovers
from support.specifications import SpecMaker
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.references import ImageRef
from cos_customizer.customizer.spec.model import parse_spec
from cos_customizer.emulator.server import Emulator
from cos_customizer.flows.build_image import build_image
from cos_customizer.gcp.clients import connect
from cos_customizer.gcp.contents import contents_of
from cos_customizer.gcp.images import find_image

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("prefect_server")]

MAKE = r"""
for archive in app.tar other.tar; do docker load --quiet --input $archive; done
mkdir -m 0750 /var/lib/app && echo data > /var/lib/app/data && ln -s data /var/lib/app/link
chown 1000:1000 /var/lib/app/data
echo note > /home/note
echo noise > /var/log/app.log
mount -o remount,rw /usr/share/oem && echo conf > /usr/share/oem/app.conf && mount -o remount,ro /usr/share/oem
"""
DAEMONS = ("/var/lib/docker", "/var/lib/containerd")
"""What they make where they have run."""
ADDED = {
    *("/var/lib/app", "/var/lib/app/data", "/var/lib/app/link", "/home/note", "/usr/share/oem/app.conf"),
}


def test_it_tells_of_packages_containers_files_units_and_the_kernel_line(
    real_cloud: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    """The upload is cut off once on its way."""
    context = tmp_path / "context"
    (context / "first.sh").write_text(MAKE)
    docker_archive(context / "app.tar", "app:1", text="hello from app\n")
    docker_archive(context / "other.tar", "other:2", text="hello from other\n")
    spec = make_spec(scripts=("first.sh",), output={"record_contents": True})
    steps = [{"script": "first.sh", "env": {"TOKEN": "hunter2-is-secret"}}, {"type": "disable-auto-update"}]
    real_cloud.faults.add("drop", method="PUT", path="upload_id", skip=1)

    result = build_image(parse_spec({**spec.model_dump(mode="json"), "steps": steps}))

    image = find_image(connect(), ImageRef("my-project", "my-image"))
    assert image is not None
    assert result.contents == image.recorded_contents
    contents = contents_of(connect(), image)
    before, after = contents.before, contents.after
    assert (before.left_out, after.left_out) == ((), ())
    assert after.system["ID"] == "cos"

    assert before.packages == after.packages
    assert {package.kind for package in after.packages} == {"cos"}
    assert "debian/docker.io" in {package.name for package in after.packages}

    assert before.containers == ()
    # The installer's stand-in is on each disk on which docker was used.
    told = [each for each in after.containers if not each.names[0].startswith("gcr.io/cos-cloud/cos-gpu-installer:")]
    assert [(each.runtime, each.names, len(each.layers)) for each in sorted(told, key=lambda each: each.names)] == [
        ("docker", ("app:1",), 1),
        ("docker", ("other:2",), 1),
    ]
    assert all(each.size > 0 for each in told)

    added = {path for path in after.files.keys() - before.files.keys() if not path.startswith(DAEMONS)}
    assert added == ADDED
    data, conf = after.files["/var/lib/app/data"], after.files["/usr/share/oem/app.conf"]
    assert (data.mode, data.user, data.size) == (0o644, 1000, 5)
    assert data.sha256 == hashlib.sha256(b"data\n").hexdigest()
    assert conf.sha256 == hashlib.sha256(b"conf\n").hexdigest()
    assert after.files["/var/lib/app/link"].target == "data"
    same = before.files.keys() & after.files.keys()
    changed = {path for path in same if before.files[path] != after.files[path]}
    assert not {path for path in changed if not path.startswith(DAEMONS)}

    differ = {name for name, state in after.units.items() if before.units.get(name) != state}
    assert (differ, after.units["update-engine.service"]) == ({"update-engine.service"}, "masked")
    mask = "systemd.mask=update-engine.service"
    assert mask in after.kernel_arguments
    assert mask not in before.kernel_arguments
    assert before.verity == after.verity
    assert set(after.verity) == {"vroot"}
    file_systems = {each.label: each.file_system for each in after.partitions if each.file_system}
    assert {"STATE": "ext4", "OEM": "ext4", "EFI-SYSTEM": "vfat"}.items() <= file_systems.items()
    sizes = [{each.label: each.size for each in inventory.partitions} for inventory in (before, after)]
    assert {label for label, size in sizes[0].items() if sizes[1][label] != size} == {"ROOT-A", "STATE"}

    recorded = anonymous_bucket().blob(result.contents.partition("my-project_cloudbuild/")[2])
    assert b"hunter2" not in gzip.decompress(recorded.download_as_bytes(raw_download=True))
    assert leftovers(real_cloud) == []


def test_the_same_recipe_again_is_no_difference_and_a_changed_script_is_exactly_that(
    real_cloud: Emulator, make_spec: SpecMaker, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    docker_archive(context / "app.tar", "app:1", text="hello from app\n")
    docker_archive(context / "other.tar", "other:2", text="hello from other\n")
    changes = []
    for name, script in (("a", MAKE), ("b", MAKE), ("c", MAKE.replace("echo data", "echo datum"))):
        (context / "first.sh").write_text(script)
        result = build_image(make_spec(scripts=("first.sh",), output={"name": name, "family": "web"}))
        changes.append((result.compared_with, result.changes))
    told = run("diff", "-project=my-project", "b", "c")

    assert changes[1:] == [("my-project/a", "no difference"), ("my-project/b", "1 file changed in /var/lib/app")]
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[2:4] == ["Files: 1 changed", "  ~ /var/lib/app/data  content, 5 bytes → 6 bytes"]
    of_source = run("diff", "-project=my-project", "c").out
    for line in ("+ app:1", "+ other:2", "+ /home/note", "+ /usr/share/oem/app.conf"):
        assert line in of_source
