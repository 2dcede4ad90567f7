"""`emulator boot`: boot an image, look at it or run a command on it, and leave nothing."""

import re
import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cos_customizer.cli.command import command
from cos_customizer.cli.commands.emulator._found import named_in, the_one
from cos_customizer.cli.commands.emulator._running import USED_STATE_DIR, LocalCloud, report
from cos_customizer.cli.console_text import ConsoleText
from cos_customizer.cli.flag import Flag
from cos_customizer.cli.flag_kinds import DurationFlag, MapFlag, PathFlag
from cos_customizer.cli.go_flags import GoCommand, see_help
from cos_customizer.cli.streams import write_bytes
from cos_customizer.customizer.durations import human_duration, parse_duration
from cos_customizer.customizer.errors import NotFoundError, UsageError
from cos_customizer.customizer.names import COS_PROJECT
from cos_customizer.customizer.references import ImageRef, Link, VmRef

if TYPE_CHECKING:
    from cos_customizer.gcp.booting import Watch

_USER_DATA = "user-data"
_OWN_PROJECT = "my-project"
_NOT_FOUND = 127
"""Exit code of a shell, and of `env`, for a program that is not there."""

FLAGS = (
    Flag("family", "Boot the image that this family gives, in IMAGE's place.", value="FAMILY", example="-family=web"),
    Flag(
        "project",
        "Project of the image or family, and of the VM. By default the one that has such an image.",
        value="PROJECT",
        example="-project=my-project",
    ),
    Flag("zone", "Zone of the VM.", default="us-west1-b", value="ZONE", example="-zone=us-east1-b"),
    Flag(
        "machine-type",
        "Machine type of the VM, which has as many CPUs and as much memory, within the emulator's limits.",
        default="n1-standard-1",
        value="TYPE",
        example="-machine-type=n1-standard-4",
    ),
    MapFlag(
        "metadata",
        "Attributes of the VM, as its metadata server shows them. A value cannot hold a comma.",
        value="KEY=VALUE,…",
        example="-metadata=role=web",
    ),
    PathFlag(
        "user-data",
        "File with the VM's user-data, of any kind that cloud-init knows. COMMAND is run after it.",
        value="FILE",
        example="-user-data=web.yaml",
    ),
    DurationFlag(
        "timeout",
        "Time limit, from the start of this command; the VM is deleted then.",
        default="10m",
        example="-timeout=1h",
        field="timeout",
    ),
    USED_STATE_DIR,
)


class _WithCommand(GoCommand):
    """Takes flags before and after IMAGE, and a command behind `--`, as it is."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put image and command aside: to Go, flags end where either begins."""
        before, after = args, None
        if "--" in args:
            at = args.index("--")
            before, after = args[:at], args[at + 1 :]
        first = before[:1] if before and not before[0].startswith("-") else []
        if after == [] and not ctx.resilient_parsing:
            raise UsageError("the command is missing after --", "leave -- out to look at the VM's console.")
        left = super().parse_args(ctx, before[len(first) :])
        ctx.params["words"] = (*first, *(ctx.params.get("words") or ()))
        ctx.params["wanted"] = after or []
        return left

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the command, too."""
        return [*super().collect_usage_pieces(ctx)[:-1], "[IMAGE]", "[-- COMMAND…]"]


@command(
    "boot", [*FLAGS, click.Argument(["words"], nargs=-1, type=named_in("global/images"))], rank=6, kind=_WithCommand
)
@click.pass_context
def boot(ctx: click.Context, /, words: tuple[str, ...], wanted: list[str], **values: Any) -> int:
    """Boot an image, and run a command on it.

    The command is run as root once the VM is up. What it prints is passed on, and its exit code is that of this
    command: emulator boot my-image -- cat /etc/os-release. Its standard input is empty; a shell's syntax needs a shell:
    -- sh -c 'ls /var | wc -l'. Without a command the VM's serial console is shown until it stops or Ctrl-C is pressed.

    VM and disk are deleted in the end: also on Ctrl-C, SIGTERM, an error, and when the time limit is over. IMAGE is a
    name, PROJECT/NAME, or any link that Compute Engine takes.

    Exit codes: that of the command, 128 + n if signal n ended it; without one 0. 1 if it could not be run, or time was
    up, 2 wrong usage: standard error tells these from the command's own.
    """
    image, more = (words[0], words[1:]) if words else (None, ())
    if more:
        raise UsageError(
            f"emulator boot does not understand {' '.join(map(repr, more))}",
            f"a command stands behind --: cos-customizer emulator boot {image} -- {shlex.join(more)}",
        )
    if bool(image) == bool(values["family"]):
        raise UsageError("IMAGE or -family must be given, and not both", see_help("emulator boot"))
    seconds = parse_duration(values["timeout"] or "0")
    if seconds <= 0:
        raise UsageError(f"-timeout: {values['timeout']} is no time to boot in", "write it as 10m or 1h30m.")
    nonce = secrets.token_hex(16)
    metadata = _metadata(values, wanted, nonce)
    cloud = LocalCloud.of(values["state_dir"])
    ref = _find(cloud, image, values["family"], values["project"])
    from cos_customizer.gcp.booting import BootedVm, Watch, booted

    project = next(each for each in (values["project"], ref.project, _OWN_PROJECT) if each and each != COS_PROJECT)
    name = f"boot-{ref.name[:40].rstrip('-')}-{secrets.token_hex(3)}"
    vm = BootedVm(VmRef(project, values["zone"], name), ref, values["machine_type"], metadata, seconds)
    end = (ctx.obj if isinstance(ctx.obj, float) else time.monotonic()) + seconds
    report(f"booting {ref.name} of {ref.project} as {name}, for at most {human_duration(seconds)}")
    with booted(cloud.clients, vm, end, report):
        watch = Watch(cloud.clients, vm, end)
        return _run(watch, wanted, nonce) if wanted else _look(watch, name)


def _metadata(values: dict[str, Any], wanted: list[str], nonce: str) -> dict[str, str]:
    """The VM's attributes.

    Raises:
        UsageError: they cannot be had.
    """
    from cos_customizer.guest.one_command import command_user_data

    metadata: dict[str, str] = dict(values["metadata"])
    if values["user_data"]:
        if _USER_DATA in metadata:
            raise UsageError(f"-user-data and -metadata={_USER_DATA}=… are one and the same", "give one of them.")
        metadata[_USER_DATA] = _text(values["user_data"])
    if wanted:
        try:
            metadata[_USER_DATA] = command_user_data(wanted, nonce, metadata.get(_USER_DATA, ""))
        except ValueError as error:
            raise UsageError(str(error)) from None
    return metadata


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"-user-data: {file} cannot be read: {why}") from None


def _find(cloud: LocalCloud, image: str | None, family: str | None, project: str | None) -> ImageRef:
    """The image to boot.

    Raises:
        NotFoundError: there is none.
        UsageError: several may be meant.
    """
    from cos_customizer.gcp import inventory
    from cos_customizer.gcp.images import image_from_family

    name = image or ""
    if link := Link.parse(name if "/" in name else ""):
        project, name, family = link.project or project, link.name, link.name if link.kind == "families" else family
    elif match := re.fullmatch(r"([^/]+)/([^/]+)", name):
        project, name = match[1], match[2]
    found = inventory.images(cloud.clients, [project] if project else [*cloud.projects(), COS_PROJECT])
    if family:
        families = {(each.family, each.ref.project): each for each in found if each.family}
        one = the_one(family, [*families], lambda key: (key[0], f"-project={key[1]}"), "family", "images")
        given = image_from_family(cloud.clients, one[1], family)
        if given is None:
            raise NotFoundError(f"family {family} of {one[1]} gives no image", "all that are in it are deprecated.")
        return given.ref
    return the_one(name, found, lambda each: (each.ref.name, f"-project={each.ref.project}"), "image", "images").ref


def _look(watch: "Watch", name: str) -> int:
    """Show the VM's console."""
    report(f"its console follows; Ctrl-C deletes the VM. Another port: cos-customizer emulator console {name} -port=3")
    with ConsoleText() as text:
        for data in watch.console():
            text.write(data)
    report("it has stopped by itself")
    return 0


def _run(watch: "Watch", wanted: list[str], nonce: str) -> int:
    """Run the command; returns its exit code."""
    from cos_customizer.guest.one_command import Printed

    code = 1
    for event in watch.command(nonce):
        if isinstance(event, Printed):
            write_bytes(sys.stdout if event.stream == 1 else sys.stderr, event.data)
        elif isinstance(event, int):
            code = event
    if watch.lost:
        report("some of its output was lost on the serial console")
    if code == _NOT_FOUND and len(wanted) == 1 and re.search(r"\s", wanted[0]):
        report(f"a line of shell needs a shell: -- sh -c {shlex.quote(wanted[0])}")
    return code
