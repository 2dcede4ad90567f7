"""The program `cos-customizer` of a warm environment: it hands what it is given to the server, which forks the program.

It is no module of others' but a program that starts in a hundredth of a second, and imports nothing that takes longer.
"""

import _socket
import contextlib
import marshal
import os
import signal
import sys

_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


def main() -> None:
    """Let the program run, be its signals' messenger, and end as it ends."""
    pid = 0
    early: list[int] = []

    def forward(number: int, _frame: object) -> None:
        if not pid:
            early.append(number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    ignored = [number for number in _FORWARDED if signal.getsignal(number) == signal.SIG_IGN]
    for number in _FORWARDED:
        if number not in ignored:
            signal.signal(number, forward)
    place = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib takes longer than all the rest
    with open(f"{place}/variables", "rb") as file:  # noqa: PTH123 - the same
        environment = marshal.load(file) | dict(os.environ)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(os.readlink(f"{place}/socket"))  # noqa: PTH115 - the same
    order = marshal.dumps((place, sys.argv[1:], environment, os.getcwd(), ignored))  # noqa: PTH109 - the same
    streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    connection.sendmsg([len(order).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    while order:
        order = order[connection.send(order) :]
    pid = _number(connection)
    for signalled in early:
        forward(signalled, None)
    code = _number(connection)
    if code >= 0:
        os._exit(code)
    with contextlib.suppress(OSError):  # SIGKILL is not to be had
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


def _number(connection: _socket.socket) -> int:
    heard = b""
    while len(heard) < 4:
        part = connection.recv(4 - len(heard))
        if not part:
            os._exit(125)  # the server has gone
        heard += part
    return int.from_bytes(heard, "big", signed=True)


if __name__ == "__main__":
    main()
