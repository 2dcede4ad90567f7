"""`emulator import-container`: put a container image into the emulator's registry."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, registry_port_of, report, translated
from cos_customizer.cli.go_flags import ArgumentFirst
from cos_customizer.customizer.errors import CustomizerError
from cos_customizer.emulator.errors import EmulatorError

_TOOLS = {
    "docker": ("docker", "save", "--output={file}", "{image}"),
    "podman": ("podman", "save", "--quiet", "--output={file}", "{image}"),
    "buildah": ("buildah", "push", "--quiet", "{image}", "docker-archive:{file}:{image}"),
}
"""Programs that have images, and how they write one to a file."""


@command(
    "import-container",
    [USED_STATE_DIR, click.Argument(["image"]), click.Argument(["name"], required=False)],
    rank=12,
    kind=ArgumentFirst,
)
def import_container(image: str, name: str | None, state_dir: str | None) -> None:
    """Put a container image into the registry that VMs pull from.

    IMAGE is a file (what docker save writes, or an OCI layout), a directory (an OCI layout), or else an image that
    docker, podman or buildah has. NAME is what VMs are to call it; without it, as it is called there.
    """
    port = registry_port_of(state_dir)
    path = Path(image)
    with tempfile.TemporaryDirectory(prefix="cos-customizer-") as directory:
        if not path.exists():
            path, name = _saved(image, Path(directory) / "image.tar"), name or image
        from cos_customizer.emulator.registry.push import import_file

        try:
            for reference in import_file(port, path, name or ""):
                report(f"imported {reference}")
        except EmulatorError as error:
            raise translated(error) from error


def _saved(image: str, file: Path) -> Path:
    """Let a program that has an image write it to a file.

    Raises:
        CustomizerError: none has it.
    """
    said = []
    for tool, words in _TOOLS.items():
        if image.startswith("-") or not shutil.which(tool):
            continue
        file.unlink(missing_ok=True)
        line = [word.format(file=file, image=image) for word in words]
        done = subprocess.run(
            line, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode == 0 and file.is_file():
            return file
        said.append(f"{tool}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    raise CustomizerError(
        f"{image} is no file, and no image that docker, podman or buildah has" + "".join(f" ({each})" for each in said),
        "give a file that docker save has written, or the name of an image on this machine.",
    )
