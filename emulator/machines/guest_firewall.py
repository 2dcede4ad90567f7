"""What a guest may reach: its own services and the internet, and nothing else of the machine that it runs on.

QEMU's user network hands whatever a guest sends to its gateway to this machine's loopback, any port of it, and would
connect a guest to this machine's other addresses as well. So each frame that a guest sends passes here before the user
network sees it, and is dropped unless it may pass; nothing of what comes back is looked at. A frame that nobody reads
any more is lost: where this is not at work, a guest has no network.
"""

import contextlib
import itertools
import selectors
import socket
import struct
import threading
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

_ARP, _IPV4 = 0x0806, 0x0800
_ICMP, _TCP, _UDP = 1, 6, 17
_DNS, _DHCP = 53, 67
_BROADCAST = IPv4Address("255.255.255.255")
_NEVER = [IPv4Network(each) for each in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")]
_ROUTES = Path("/proc/net/fib_trie")
_MOST_WAITING = 4 << 20


class Rules:
    """Decides on the frames of one guest.

    Args:
        network: of the guest; it holds the addresses below, and nothing else in it answers.
        gateway: stands for this machine's loopback.
        name_server: resolves names.
        metadata_server: answers on port 80.
        host_ports: TCP ports of this machine's loopback that the guest may reach.
    """

    def __init__(
        self, network: str, gateway: str, name_server: str, metadata_server: str, host_ports: Collection[int]
    ) -> None:
        self._network = IPv4Network(network)
        self._gateway = IPv4Address(gateway)
        open_ports = {(self._gateway, _TCP, port) for port in host_ports}
        open_ports |= {(IPv4Address(name_server), protocol, _DNS) for protocol in (_TCP, _UDP)}
        open_ports |= {(address, _UDP, _DHCP) for address in (self._gateway, _BROADCAST)}
        open_ports.add((IPv4Address(metadata_server), _TCP, 80))
        self._open = frozenset(open_ports)

    def allow(self, frame: bytes) -> bool:
        """Return whether an Ethernet frame may pass."""
        if len(frame) < 14:
            return False
        (kind,) = struct.unpack_from("!H", frame, 12)
        if kind != _IPV4:
            return bool(kind == _ARP)
        packet = frame[14:]
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[0] & 15 < 5:
            return False
        address, protocol = IPv4Address(packet[16:20]), packet[9]
        if address == _BROADCAST or address in self._network:
            return self._may_answer(packet, address, protocol)
        return may_reach(address)

    def _may_answer(self, packet: bytes, address: IPv4Address, protocol: int) -> bool:
        (fragment,) = struct.unpack_from("!H", packet, 6)
        if fragment & 0x3FFF:  # only a whole packet says for sure where it goes
            return False
        if protocol == _ICMP:
            return address == self._gateway
        head = 4 * (packet[0] & 15)
        if len(packet) < head + 4:
            return False
        (port,) = struct.unpack_from("!H", packet, head + 2)
        return (address, protocol, port) in self._open


def may_reach(address: IPv4Address) -> bool:
    """Return whether an address outside of the guests' network is one that guests may reach: not this machine's."""
    return not any(address in each for each in _NEVER) and address not in _own_addresses()


def _own_addresses() -> frozenset[IPv4Address]:
    """Return the addresses of this machine, as the kernel has them now."""
    try:
        lines = _ROUTES.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        IPv4Address(before.split()[-1]) for before, line in itertools.pairwise(lines) if "/32 host LOCAL" in line
    )


class GuestFirewall:
    """Reads a guest's frames, and passes on those that may pass, from a thread of its own until QEMU is gone.

    Args:
        rules: decide.

    Attributes:
        from_guest: the end of a socket to which QEMU writes frames; hand it over, then `close_ends`.
        to_network: the end from which it reads those that may pass.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._in, self.from_guest = socket.socketpair()
        self._out, self.to_network = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="guest-firewall", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close_ends(self) -> None:
        """Close QEMU's ends here; the sockets end with QEMU then."""
        self.from_guest.close()
        self.to_network.close()

    def close(self) -> None:
        """End."""
        for end in (self._in, self._out):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()
        for end in (self._in, self._out):
            end.close()

    def _run(self) -> None:
        # It always reads, whether the other side does or not, or QEMU and we would wait for each other.
        received, waiting = bytearray(), bytearray()
        self._out.setblocking(False)
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(self._in, selectors.EVENT_READ)
            selector.register(self._out, selectors.EVENT_READ)
            while True:
                selector.modify(self._out, selectors.EVENT_WRITE if waiting else selectors.EVENT_READ)
                ready = {key.fileobj for key, _ in selector.select()}
                if self._in in ready:
                    data = self._in.recv(1 << 18)
                    if not data:
                        return
                    received += data
                    self._pass_on(received, waiting)
                if self._out in ready and not waiting and not self._out.recv(1024):
                    return
                if waiting:
                    with contextlib.suppress(BlockingIOError):
                        del waiting[: self._out.send(waiting)]

    def _pass_on(self, received: bytearray, waiting: bytearray) -> None:
        """Move the frames that are complete, each behind its length, as QEMU has them."""
        while len(received) >= 4:
            end = 4 + int.from_bytes(received[:4])
            if len(received) < end:
                return
            if self._rules.allow(bytes(received[4:end])) and len(waiting) < _MOST_WAITING:
                waiting += received[:end]
            del received[:end]
