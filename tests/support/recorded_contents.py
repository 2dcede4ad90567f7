"""Recorded contents in Cloud Storage, as a builder VM sends them, and images that name them."""

import json
import shlex
from collections.abc import Iterator

from support.builds import make_image
from support.packed_contents import pack
from support.storage_clients import anonymous_bucket

from cos_customizer.customizer.contents.inventory import Contents, File, Inventory
from cos_customizer.customizer.families.provenance import Provenance, contents_url
from cos_customizer.customizer.references import ObjectRef

SOURCE = "projects/cos-cloud/global/images/cos-stable-68-10718-86-0"
_LETTERS = {"file": "f", "directory": "d", "link": "l"}


def archive(contents: Contents) -> bytes:
    """The archive that a builder VM would send of these contents."""
    return pack(_members(contents))


def _members(contents: Contents) -> Iterator[tuple[str, bytes]]:
    for side, inventory in (("before", contents.before), ("after", contents.after)):
        for name, text in _texts(inventory):
            yield f"{side}/{name}", text.encode(errors="surrogateescape")


def _texts(inventory: Inventory) -> Iterator[tuple[str, str]]:
    yield "os-release", "".join(f"{name}={shlex.quote(value)}\n" for name, value in inventory.system.items())
    packages = [
        dict(zip(("category", "name", "version"), (*each.name.split("/", 1), each.version), strict=True))
        for each in inventory.packages
    ]
    yield "packages.json", json.dumps({"installedPackages": packages})
    images = (
        {
            "Id": each.id,
            "RepoTags": list(each.names),
            "RepoDigests": list(each.digests),
            "Layers": [],
            "Size": each.size,
        }
        for each in inventory.containers
    )
    yield "docker", "".join(f"{json.dumps(image)}\n" for image in images)
    yield "files", "".join(map(_record, inventory.files.values()))
    yield "digests", "".join(f"{each.sha256}  {each.path}\0" for each in inventory.files.values() if each.sha256)
    yield "units", "".join(f"{name} {state} enabled\n" for name, state in inventory.units.items())
    yield "cmdline", " ".join(f'"{each}"' if " " in each else each for each in inventory.kernel_arguments)
    disk = (
        f'/dev/sda{each.number} : start= 1, size= {each.size // 512}, type={each.type.upper()}, name="{each.label}"\n'
        for each in inventory.partitions
    )
    yield "partitions", "".join(disk)
    yield "file-systems", "".join(f"/dev/sda{each.number} {each.file_system}\n" for each in inventory.partitions)
    yield (
        "modules",
        "".join(f"filename: /m/{name}.ko\nversion: {version}\n" for name, version in inventory.modules.items()),
    )
    yield "left-out", "".join(f"{each}\n" for each in inventory.left_out)


def _record(file: File) -> str:
    facts = f"{_LETTERS[file.kind]} {file.mode:o} {file.user} {file.group} {file.size}"
    return f"{facts}\0{file.path}\0{file.target or ''}\0"


def record(name: str, contents: Contents) -> str:
    """Store contents in the bucket of the emulator's project; the description of an image that has them."""
    target = ObjectRef("my-project_cloudbuild", f"recorded/{name}.tar.gz")
    anonymous_bucket().blob(target.name).upload_from_string(archive(contents), "application/gzip")
    return Provenance("0123456789", "42", "f" * 32, contents_url(target)).description(SOURCE)


def make_recorded_image(name: str, contents: Contents, **fields: str) -> None:
    """An image of our project with recorded contents."""
    make_image(name, description=record(name, contents), **fields)
