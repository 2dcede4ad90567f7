"""The user-data that makes a VM a builder: a cloud-config with the scripts of this folder and the build's plan."""

import base64
import gzip
import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

from cos_customizer.customizer.names import check_environment_name
from cos_customizer.customizer.spec.disk_layout import DiskLayout
from cos_customizer.customizer.spec.script_checks import ENVIRONMENT_LIMIT, check_environment_secrets
from cos_customizer.customizer.yaml_text import to_yaml

USER_DATA_LIMIT = 256 * 1024
"""Bytes. Compute Engine takes no longer value of a metadata entry."""

DIRECTORY = "/run/cos-customizer"
"""Where the scripts are on the builder VM: memory, so that no image ever holds them."""

SECRETS_ENDPOINT = "secretmanager-endpoint"
"""The attribute of the VM that says where Secret Manager is, if it is not where it always is."""

SCRIPTS = (
    "build.sh",
    "protocol.sh",
    "context.sh",
    "secrets.sh",
    "steps.sh",
    "leftovers.sh",
    "unkept.sh",
    "homes.sh",
    "blocks.sh",
    "cleanup.sh",
)
"""The files that every build needs. Those of a kind of step are only there if a step is of that kind."""

LAYOUT_SCRIPTS = ("layout.sh", "layout_table.sh", "layout_plan.sh", "layout_move.sh", "steps/boot_disk.sh")
"""The files that a build needs which lays out its boot disk anew."""

CONTENTS_SCRIPTS = ("contents.sh", "steps/boot_disk.sh")
"""The files that a build needs which records what is in the image."""

CONTENTS_ADDRESS = "contents-upload"
"""The attribute of the VM that says where in Cloud Storage that is to be sent: path and query of a resumable upload."""

_FOLDER = Path(__file__).parent
_NONCE = re.compile(r"[A-Za-z0-9_-]+")
_KIND = re.compile(r"[a-z][a-z0-9-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCED = re.compile(r'^\. "\$directory/(steps/[a-z_]+\.sh)"$', re.MULTILINE)
_TOOL = re.compile(r"\$directory/tools/([a-z_]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class GuestStep:
    """One step of the plan, of any kind.

    Attributes:
        kind: what to do: `run-script` is the function `step_run_script` in `steps/run_script.sh`.
        label: what people see, for example `run-script preload.sh`.
        settings: names and values that the function is called with, in order; a name may be any that a variable of
            bash can have.
        repeatable: whether the step is run again after a reboot has interrupted it.
        secrets: names of environment variables, and the secrets that the guest reads for them
            (`projects/…/secrets/…/versions/…`).
    """

    kind: str
    label: str
    settings: Sequence[tuple[str, str]] = ()
    repeatable: bool = False
    secrets: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class ContextObject:
    """The archive of the build context (tar, gzip) in Cloud Storage.

    Attributes:
        sha256: hex digest of the *uncompressed* tar stream.
    """

    bucket: str
    name: str
    sha256: str


def render_user_data(
    steps: Sequence[GuestStep],
    context: ContextObject,
    nonce: str,
    *,
    makes_image: bool = True,
    layout: DiskLayout | None = None,
    records_contents: bool = False,
    architecture: str = "X86_64",
) -> str:
    """Render a build's user-data. The same arguments give the same text.

    Args:
        steps: in the order they are to run.
        context: where the guest finds the build context.
        nonce: marks this build's lines on the serial port: letters, digits, `-` and `_`, not to be guessed.
        makes_image: whether the VM's disk becomes an image, and so is cleaned up at the end; a test VM's does not.
        layout: what its boot disk is to be laid out like before the first step; None: as it is.
        records_contents: whether what is in the image is recorded; see CONTENTS_ADDRESS.
        architecture: of the VM, `X86_64` or `ARM64`: of the programs that steps need.

    Returns:
        A cloud-config (YAML), at most USER_DATA_LIMIT bytes of UTF-8.

    Raises:
        ValueError: the text would be too long, or an argument cannot be carried: the message says which and why.
    """
    tools = step_tools((step.kind for step in steps), architecture)
    plan = render_plan(steps, context, nonce, makes_image=makes_image, layout=layout, tools=tools)
    more = (*(LAYOUT_SCRIPTS if layout else ()), *(CONTENTS_SCRIPTS if records_contents else ()))
    names = dict.fromkeys((*SCRIPTS, *more, *step_scripts(step.kind for step in steps)))
    files = {f"{DIRECTORY}/{name}": _file(name) for name in names} | {f"{DIRECTORY}/plan.sh": plan}
    config = yaml.safe_load(_file("cloud_config.yaml").replace("@nonce@", nonce))
    config["write_files"] += [
        {"path": path, "permissions": "0600", "content": content} for path, content in files.items()
    ]
    config["write_files"] += [
        {
            "path": f"{DIRECTORY}/tools/{name}",
            "permissions": "0600",
            "encoding": "gz+b64",
            "content": base64.b64encode(gzip.compress(content, mtime=0)).decode(),
        }
        for name, content in tools.items()
    ]
    text = "#cloud-config\n" + to_yaml(config)
    if (size := len(text.encode())) > USER_DATA_LIMIT:
        raise ValueError(
            f"the builder VM's user-data would be {size} bytes, and Compute Engine takes {USER_DATA_LIMIT}: "
            "pass less through environment variables, or put it in a file of the build context"
        )
    return text


def step_scripts(kinds: Iterable[str]) -> list[str]:
    """The files of this folder that hold the functions of these kinds of step, and what those files source.

    Raises:
        ValueError: there is no such kind.
    """
    found: dict[str, None] = {}
    for kind in kinds:
        name = f"steps/{kind.replace('-', '_')}.sh"
        if not (_FOLDER / name).exists():
            raise ValueError(f"not a kind of step: {kind!r}")
        found |= dict.fromkeys([name, *_SOURCED.findall(_file(name))])
    return list(found)


def step_tools(kinds: Iterable[str], architecture: str) -> dict[str, bytes]:
    """The programs of `tools/` that the functions of these kinds of step run, by name.

    Args:
        kinds: of steps.
        architecture: of the VM, `X86_64` or `ARM64`.
    """
    wanted = sorted({tool for script in step_scripts(kinds) for tool in _TOOL.findall(_file(script))})
    machine = {"X86_64": "x86_64", "ARM64": "aarch64"}[architecture]
    return {tool: (_FOLDER / "tools" / f"{tool}.{machine}").read_bytes() for tool in wanted}


def render_plan(
    steps: Sequence[GuestStep],
    context: ContextObject,
    nonce: str,
    *,
    makes_image: bool = True,
    layout: DiskLayout | None = None,
    tools: Mapping[str, bytes] | None = None,
) -> str:
    """Render the bash file that `build.sh` reads: settings, and one line for each step. Arguments: `render_user_data`.

    Raises:
        ValueError: an argument cannot be carried: the message says which and why.
    """
    _check(_NONCE, nonce, "nonce")
    _check(_SHA256, context.sha256, "SHA-256 of the build context")
    repeatable = [str(number) for number, step in enumerate(steps, start=1) if step.repeatable]
    lines = [
        "# shellcheck shell=bash",
        "# shellcheck disable=SC2034 # read by the other scripts",
        "# shellcheck disable=SC1003,SC2016 # values are what they are: nothing in them is expanded",
        f"nonce={nonce}",
        f"makes_image={'1' if makes_image else ''}",
        f"context_bucket={_quote(context.bucket, 'bucket')}",
        f"context_object={_quote(quote(context.name, safe=''), 'object name')}",
        f"context_sha256={context.sha256}",
        f"steps={len(steps)}",
        f"repeatable={_quote(' '.join(repeatable), 'numbers of steps')}",
        *(_layout_lines(layout) if layout else ()),
        *(f"{name}_sha256={hashlib.sha256(content).hexdigest()}" for name, content in (tools or {}).items()),
        "plan() {",
        "  :",
        *(f"  {_step_line(number, step)}" for number, step in enumerate(steps, start=1)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _layout_lines(layout: DiskLayout) -> list[str]:
    """Bytes, blocks and yes (1) or no (nothing)."""
    return [
        f"disk_size={layout.disk_size or ''}",
        f"oem_size={layout.oem_size or ''}",
        f"oem_blocks={layout.oem_blocks or ''}",
        f"reclaim={'1' if layout.reclaims_root else ''}",
    ]


def _step_line(number: int, step: GuestStep) -> str:
    _check(_KIND, step.kind, "kind of step")
    words = ["step", str(number), step.kind, _quote(_CONTROL.sub("?", step.label), "label")]
    for name, value in step.settings:
        check_environment_name(name)
        if (size := len(f"{name}={value}".encode(errors="replace"))) > ENVIRONMENT_LIMIT:
            raise ValueError(f"{name} is {size} bytes, and Linux takes {ENVIRONMENT_LIMIT}")
        words.append(_quote(f"{name}={value}", name))
    check_environment_secrets(dict(step.secrets))
    for name, reference in step.secrets:
        words.append(_quote(f"secret:{name}={reference}", name))
    return " ".join(words)


def _check(pattern: re.Pattern[str], value: str, what: str) -> None:
    if not pattern.fullmatch(value):
        raise ValueError(f"not a {what}: {value!r}")


def _quote(value: str, what: str) -> str:
    if "\0" in value:
        raise ValueError(f"{what} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not valid Unicode") from None
    return shlex.quote(value)


def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
