"""Joins standard input and output to a TCP port of the loopback interface.

QEMU starts it for each connection of a guest to its metadata server (`guestfwd=…-cmd:`): `python -I -S relay.py PORT`.
It imports as little as it can, since its start is part of each answer's time, and it ends with either side.
"""

import os
import select
import socket
import sys


def main() -> None:
    """Copy in both directions until either side closes its end; QEMU also does so by dying."""
    server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sources = [sys.stdin.fileno(), server.fileno()]
    while True:
        for source in select.select(sources, [], [])[0]:
            data = os.read(source, 65536)
            if not data:
                return
            if source == sources[0]:
                server.sendall(data)
            else:
                while data:
                    data = data[os.write(sys.stdout.fileno(), data) :]


if __name__ == "__main__":
    main()
