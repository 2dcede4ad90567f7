"""The user-data that makes a VM a builder: a cloud-config with the scripts of this folder and the build's plan."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import yaml

USER_DATA_LIMIT = 256 * 1024
"""Bytes. Compute Engine takes no longer value of a metadata entry."""

ENVIRONMENT_LIMIT = 128 * 1024 - 1
"""Bytes of `NAME=value` that Linux passes to a program in one string (MAX_ARG_STRLEN, less the closing zero)."""

DIRECTORY = "/run/cos-customizer"
"""Where the scripts are on the builder VM: memory, so that no image ever holds them."""

SCRIPTS = ("build.sh", "protocol.sh", "context.sh", "steps.sh", "cleanup.sh")
GPU_SCRIPTS = ("install_gpu.sh", "setup_gpu.sh")
"""Only there if a step installs a GPU driver."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NONCE = re.compile(r"[A-Za-z0-9_-]+")
_KIND = re.compile(r"[a-z][a-z0-9-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class GuestStep:
    """One step of the plan.

    Attributes:
        kind: what to do; `run-script` is all the guest knows.
        label: what people see, for example `run-script preload.sh`.
        script: path in the build context, normalized, no leading `./`.
        env: environment variables for the script, added to the system's.
    """

    kind: str
    label: str
    script: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GpuStep:
    """A step of the plan that installs a GPU driver.

    Attributes:
        label: what people see, for example `install-gpu 535.104.05`.
        version: a version, `latest`, `default`, a branch (`R535`), or the name of a file in `deps_dir`.
        install_dir: absolute, below /var or /home.
        installer: `auto`, `cos-extensions` or `container`.
        container: image of the legacy installer.
        md5sum: of the driver; empty: not checked.
        deps_dir: path in the build context, normalized; empty: none.
        verify: whether a GPU is there to try the driver with.
        target_gpu: without one, the GPU to prepare the driver for, as cos-extensions names it: `NVIDIA_L4`.
    """

    label: str
    version: str
    install_dir: str
    installer: str
    container: str
    md5sum: str = ""
    deps_dir: str = ""
    verify: bool = True
    target_gpu: str = ""


@dataclass(frozen=True)
class ContextObject:
    """The archive of the build context (tar, gzip) in Cloud Storage.

    Attributes:
        sha256: hex digest of the *uncompressed* tar stream.
    """

    bucket: str
    name: str
    sha256: str


def render_user_data(steps: Sequence[GuestStep | GpuStep], context: ContextObject, nonce: str) -> str:
    """Render a build's user-data. The same arguments give the same text.

    Args:
        steps: in the order they are to run.
        context: where the guest finds the build context.
        nonce: marks this build's lines on the serial port: letters, digits, `-` and `_`, not to be guessed.

    Returns:
        A cloud-config (YAML), at most USER_DATA_LIMIT bytes of UTF-8.

    Raises:
        ValueError: the text would be too long, or an argument cannot be carried: the message says which and why.
    """
    config = yaml.safe_load(_file("cloud_config.yaml"))
    scripts = SCRIPTS + (GPU_SCRIPTS if any(isinstance(step, GpuStep) for step in steps) else ())
    files = {f"{DIRECTORY}/{name}": _file(name) for name in scripts}
    files[f"{DIRECTORY}/plan.sh"] = render_plan(steps, context, nonce)
    config["write_files"] += [
        {"path": path, "permissions": "0600", "content": content} for path, content in files.items()
    ]
    text = "#cloud-config\n" + yaml.dump(
        config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )
    if (size := len(text.encode())) > USER_DATA_LIMIT:
        raise ValueError(
            f"the builder VM's user-data would be {size} bytes, and Compute Engine takes {USER_DATA_LIMIT}: "
            "pass less through environment variables, or put it in a file of the build context"
        )
    return text


def render_plan(steps: Sequence[GuestStep | GpuStep], context: ContextObject, nonce: str) -> str:
    """Render the bash file that `build.sh` reads: settings, and one line for each step.

    Raises:
        ValueError: an argument cannot be carried: the message says which and why.
    """
    _check(_NONCE, nonce, "nonce")
    _check(_SHA256, context.sha256, "SHA-256 of the build context")
    # The legacy installer may reset the machine in the middle of its work, and expects to be run again.
    repeatable = [str(number) for number, step in enumerate(steps, start=1) if isinstance(step, GpuStep)]
    lines = [
        "# shellcheck shell=bash",
        "# shellcheck disable=SC2034 # read by the other scripts",
        "# shellcheck disable=SC1003,SC2016 # values are what they are: nothing in them is expanded",
        f"nonce={nonce}",
        f"context_bucket={_quote(context.bucket, 'bucket')}",
        f"context_object={_quote(quote(context.name, safe=''), 'object name')}",
        f"context_sha256={context.sha256}",
        f"steps={len(steps)}",
        f"repeatable={_quote(' '.join(repeatable), 'numbers of steps')}",
        "plan() {",
        "  :",
        *(f"  {_step_line(number, step)}" for number, step in enumerate(steps, start=1)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _step_line(number: int, step: GuestStep | GpuStep) -> str:
    if isinstance(step, GpuStep):
        return _gpu_line(number, step)
    _check(_KIND, step.kind, "kind of step")
    words = ["step", str(number), step.kind, _quote(_CONTROL.sub("?", step.label), "label")]
    words.append(_quote(step.script, "script"))
    for name, value in step.env.items():
        _check(_NAME, name, "name of an environment variable")
        quoted = _quote(f"{name}={value}", f"environment variable {name}")
        if (size := len(f"{name}={value}".encode())) > ENVIRONMENT_LIMIT:
            raise ValueError(f"environment variable {name} is {size} bytes, and Linux takes {ENVIRONMENT_LIMIT}")
        words.append(quoted)
    return " ".join(words)


def _gpu_line(number: int, step: GpuStep) -> str:
    settings = {
        "version": step.version,
        "install_dir": step.install_dir,
        "installer": step.installer,
        "container": step.container,
        "md5sum": step.md5sum,
        "deps_dir": step.deps_dir,
        "verify": "1" if step.verify else "",
        "target_gpu": step.target_gpu,
    }
    words = ["step", str(number), "install-gpu", _quote(_CONTROL.sub("?", step.label), "label")]
    return " ".join(words + [f"{name}={_quote(value, name)}" for name, value in settings.items()])


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
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are (`|`), so that people can read the scripts in a dry run."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Readers take NEL and the Unicode separators for line ends, and lose them in a block: those go in quotes, escaped.
    block = "\n" in text and not re.search("[\r\x85\u2028\u2029\ufeff]", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if block else None)


_Dumper.add_representer(str, _represent_text)
