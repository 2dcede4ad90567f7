r"""One command on a VM: the user-data that runs it, and the reader of what it prints on the serial port.

The guest writes lines that bear a nonce, each as `\n<line>\n` in one piece, to the port of the builds' guests:

    Command[nonce]: started
    Command[nonce]: out aGVsbG8K
    Command[nonce]: err …
    Command[nonce]: ended 3

Output is in base64, because a console carries text, and changes it. Instead of the end there may be `restarted`: the VM
has booted a second time. The last line is repeated until the VM is deleted. `one_command.sh` is the other end.
"""

import base64
import binascii
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cos_customizer.customizer.yaml_text import to_yaml
from cos_customizer.guest.user_data import USER_DATA_LIMIT

DIRECTORY = "/run/cos-customizer-command"
_FOLDER = Path(__file__).parent
_LINE = re.compile(rb"Command\[(?P<nonce>\w+)\]: (?P<what>started|restarted|out|err|ended)(?: (?P<rest>\S+))?\r?")
_UNIT = """\
[Unit]
Description=Run one command
Wants=network-online.target
# The machine is up: its own services have been started.
After=network-online.target multi-user.target

[Service]
Type=simple
ExecStart=/bin/bash {directory}/one_command.sh
Environment=HOME=/root
WorkingDirectory=/
StandardOutput=null
StandardError=null
IgnoreSIGPIPE=no
KillMode=mixed
TimeoutStopSec=10
OOMPolicy=continue
"""
_MULTIPART = """\
Content-Type: multipart/mixed; boundary="{boundary}"
MIME-Version: 1.0

--{boundary}
{user_data}
--{boundary}
Content-Type: text/cloud-config; charset="utf-8"
Merge-Type: list(append)+dict(no_replace,recurse_list)+str()

{ours}
--{boundary}--
"""


@dataclass(frozen=True)
class Started:
    """The command has begun."""


@dataclass(frozen=True)
class Printed:
    """The command has printed something.

    Attributes:
        stream: 1 for its output, 2 for its errors.
        data: the bytes.
    """

    stream: Literal[1, 2]
    data: bytes


@dataclass(frozen=True)
class Ended:
    """The command has ended.

    Attributes:
        code: its exit code, 128 + n when signal n killed it; None: the VM has restarted meanwhile.
    """

    code: int | None


Event = Started | Printed | Ended


def command_user_data(command: Sequence[str], nonce: str, user_data: str = "") -> str:
    """User-data that runs a command once the machine is up, beside user-data of the user's own.

    Args:
        command: a program and its arguments.
        nonce: marks its lines on the serial port: letters and digits, not to be guessed.
        user_data: of any kind that cloud-init knows; it is applied first.

    Returns:
        A cloud-config, or a multipart message with one.

    Raises:
        ValueError: it cannot be carried: the message says why.
    """
    if any(re.search("[\\x00\\ud800-\\udfff]", word) for word in command):
        raise ValueError("the command is not UTF-8 text, or has a NUL in it")
    settings = f"nonce={nonce}\ncommand=({' '.join(map(shlex.quote, command))})\n"
    files = {name: (_FOLDER / name).read_text(encoding="utf-8") for name in ("one_command.sh", "protocol.sh")}
    written = {f"{DIRECTORY}/{name}": text for name, text in {**files, "settings.sh": settings}.items()}
    written["/run/systemd/system/cos-customizer-command.service"] = _UNIT.format(directory=DIRECTORY)
    config = {
        "write_files": [{"path": path, "permissions": "0600", "content": text} for path, text in written.items()],
        "runcmd": [
            ["systemctl", "daemon-reload"],
            ["systemctl", "--no-block", "start", "cos-customizer-command.service"],
        ],
    }
    text = "#cloud-config\n" + to_yaml(config)
    if user_data.strip():
        text = _MULTIPART.format(boundary=f"cos-customizer-{nonce}", user_data=_as_part(user_data), ours=text)
    if (size := len(text.encode())) > USER_DATA_LIMIT:
        raise ValueError(f"user-data and command are {size} bytes together, and Compute Engine takes {USER_DATA_LIMIT}")
    return text


def _as_part(user_data: str) -> str:
    """User-data as a part of a message: cloud-init finds out of which kind it is, unless it says so itself."""
    if re.match(r"(content-type|mime-version):", user_data, re.IGNORECASE):
        return user_data
    return f'Content-Type: text/plain; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n\n{user_data}'


class CommandReader:
    """Turns a serial port's bytes into what became of a command.

    Args:
        nonce: of the command; lines that bear another, or none, are passed over.

    Attributes:
        torn: lines that could not be read, because something of them was lost.
    """

    def __init__(self, nonce: str) -> None:
        self._nonce = nonce.encode()
        self._rest = b""
        self.torn = 0

    def feed(self, data: bytes) -> list[Event]:
        """Read on.

        Args:
            data: the next bytes of the port's output; may end anywhere.

        Returns:
            What they say, in order. After `Ended` comes nothing more that matters.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := self._event(line)) is not None]

    def _event(self, line: bytes) -> Event | None:
        match = _LINE.fullmatch(line)
        if match is None or match["nonce"] != self._nonce:
            self.torn += b"Command[" + self._nonce in line
            return None
        what, rest = match["what"].decode(), match["rest"] or b""
        if what == "started":
            return Started()
        if what == "restarted":
            return Ended(None)
        try:
            if what == "ended":
                return Ended(int(rest))
            return Printed(1 if what == "out" else 2, base64.b64decode(rest, validate=True))
        except (ValueError, binascii.Error):
            self.torn += 1
            return None
