"""Requests to the emulator's own API that take long, or carry more than fits into memory."""

import http.client
import json
import urllib.parse
from collections.abc import Mapping
from typing import BinaryIO

from cos_customizer.cli.commands.emulator._running import START, VARIABLES
from cos_customizer.customizer.errors import CustomizerError

_PATIENCE = 3600.0
_PIECE = 1 << 20
STATE = "/emulator/state"
"""The whole state: `GET` saves it, `PUT` loads it."""


def ask(
    environment: Mapping[str, str], method: str, path: str, body: BinaryIO | None = None, to: BinaryIO | None = None
) -> None:
    """Make a request, and return when it is done.

    Args:
        environment: the variables that lead to the emulator.
        method: HTTP method.
        path: for example `/emulator/reset`.
        body: a file that is sent.
        to: a file that the answer is written to.

    Raises:
        CustomizerError: it was refused, or nothing answers.
    """
    address = urllib.parse.urlsplit(environment[VARIABLES[0]])
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=_PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/octet-stream"} if body else {})
        answer = connection.getresponse()
        if answer.status != 200:
            raise CustomizerError(str(json.loads(answer.read())["error"]["message"]))
        while piece := answer.read(_PIECE):
            if to is not None:
                to.write(piece)
        if answer.length:
            raise CustomizerError("the emulator ended in the middle of its answer", "start it, and try again.")
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise CustomizerError(f"the emulator at {address.netloc} does not answer ({error})", START) from None
    finally:
        connection.close()
