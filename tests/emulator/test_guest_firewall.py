"""What guests reach: their own services and the internet, and nothing else of the machine that they run on."""

import shutil
import socket
import struct
import threading
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from support.waiting import PATIENCE, wait_for

from cos_customizer.emulator.background import default_cache_dir
from cos_customizer.emulator.machines import guest_firewall
from cos_customizer.emulator.machines.backend import STAND_IN, MachineSpec
from cos_customizer.emulator.machines.guest_firewall import GuestFirewall, Rules
from cos_customizer.emulator.machines.qemu_command import network_rules
from cos_customizer.emulator.server import make_backend

STORAGE = 40001
GATEWAY, NAMES, METADATA = "169.254.169.1", "169.254.169.3", "169.254.169.254"
TCP, UDP, ICMP = 6, 17, 1


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Rules:
    monkeypatch.setattr(guest_firewall, "_own_addresses", lambda: frozenset([IPv4Address("192.0.2.7")]))
    return network_rules([STORAGE])


def frame(
    address: str, protocol: int = TCP, port: int = 80, *, kind: int = 0x0800, fragment: int = 0, head: int = 5
) -> bytes:
    """An Ethernet frame with an IPv4 packet."""
    packet = struct.pack(
        "!BBHHHBBH4s4s", 64 + head, 0, 40, 1, fragment, 64, protocol, 0, bytes(4), IPv4Address(address).packed
    )
    return (
        bytes(12)
        + struct.pack("!H", kind)
        + packet
        + bytes(4 * (head - 5))
        + struct.pack("!HH", 5000, port)
        + bytes(16)
    )


@pytest.mark.parametrize(
    ("sent", "passes"),
    [
        (frame("203.0.113.9", TCP, 443), True),
        (frame("203.0.113.9", UDP, 123), True),
        (frame("203.0.113.9", TCP, 443, fragment=0x2001), True),
        (frame("10.1.2.3", TCP, 3128), True),
        (frame(GATEWAY, TCP, STORAGE), True),
        (frame(GATEWAY, TCP, STORAGE, head=7), True),
        (frame(METADATA, TCP, 80), True),
        (frame(NAMES, UDP, 53), True),
        (frame(NAMES, TCP, 53), True),
        (frame("255.255.255.255", UDP, 67), True),
        (frame(GATEWAY, UDP, 67), True),
        (frame(GATEWAY, ICMP), True),
        (frame(GATEWAY, kind=0x0806), True),
        (frame(GATEWAY, TCP, STORAGE + 1), False),
        (frame(GATEWAY, UDP, STORAGE), False),
        (frame(GATEWAY, TCP, STORAGE, fragment=0x2000), False),
        (frame(GATEWAY, TCP, STORAGE, fragment=1), False),
        (frame(GATEWAY, TCP, STORAGE, head=15)[:40], False),
        (frame(NAMES, TCP, 22), False),
        (frame(NAMES, UDP, 5353), False),
        (frame(METADATA, TCP, 81), False),
        (frame("169.254.169.77", TCP, STORAGE), False),
        (frame("255.255.255.255", TCP, STORAGE), False),
        (frame("255.255.255.255", UDP, 5353), False),
        (frame("127.0.0.1", TCP, STORAGE), False),
        (frame("127.8.9.1", UDP, 53), False),
        (frame("0.0.0.0", TCP, STORAGE), False),
        (frame("224.0.0.251", UDP, 5353), False),
        (frame("192.0.2.7", TCP, 443), False),
        (frame("203.0.113.9", kind=0x86DD), False),
        (frame("203.0.113.9", kind=0x8100), False),
        (frame("203.0.113.9")[:30], False),
        (b"", False),
    ],
)
def test_a_frame_passes_that_goes_where_a_guest_may(rules: Rules, sent: bytes, passes: bool) -> None:
    assert rules.allow(sent) is passes


def test_this_machines_own_addresses_are_found() -> None:
    assert IPv4Address("127.0.0.1") in guest_firewall._own_addresses()


def test_frames_come_through_whole_and_in_order_and_those_that_nobody_reads_are_lost(rules: Rules) -> None:
    firewall = GuestFirewall(rules)
    firewall.start()
    good, bad = frame("203.0.113.9"), frame("127.0.0.1")
    stream = b"".join(len(each).to_bytes(4) + each for each in (good, bad, good + b"2", bad, good + b"3"))
    for byte in range(0, len(stream), 7):
        firewall.from_guest.sendall(stream[byte : byte + 7])
    expected = b"".join(len(each).to_bytes(4) + each for each in (good, good + b"2", good + b"3"))
    got = b""
    while len(got) < len(expected):
        got += firewall.to_network.recv(65536)
    assert got == expected
    large = good + bytes(1400)
    flood = (len(large).to_bytes(4) + large) * 8000  # more than may wait, and nobody reads
    firewall.from_guest.sendall(flood)
    firewall.close_ends()
    firewall.close()
    assert "guest-firewall" not in {thread.name for thread in threading.enumerate()}


USER_DATA = """#cloud-config
runcmd:
- |
  exec >/dev/ttyS2 2>&1
  reach() {{ curl -s --max-time 5 -H Metadata-Flavor:Google "$2" >/dev/null; echo "$1=$?"; }}
  reach own http://169.254.169.1:{own}/
  reach metadata http://169.254.169.254/
  reach other http://169.254.169.1:{other}/
  ip route add 127.9.9.9/32 via 169.254.169.1 2>/dev/null
  reach names http://169.254.169.3:{other}/
  reach address http://{address}:{other}/
  echo end=0
"""


@pytest.mark.vm
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="QEMU is not installed")
def test_a_real_guest_reaches_its_storage_and_metadata_and_no_other_port(tmp_path: Path) -> None:
    came: list[str] = []

    def listen(name: str, address: str) -> int:
        server = socket.create_server((address, 0))

        def serve() -> None:
            while True:
                client, _ = server.accept()
                came.append(name)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                client.close()

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    own, other = listen("own", "127.0.0.1"), listen("other", "0.0.0.0")
    addresses = [each for each in guest_firewall._own_addresses() if not each.is_loopback]
    user_data = USER_DATA.format(own=own, other=other, address=addresses[0] if addresses else "127.0.0.1")
    backend = make_backend("qemu", tmp_path, default_cache_dir())
    backend.prepare()
    try:
        backend.create_disk("disk", STAND_IN, 10)
        spec = MachineSpec(
            "my-project",
            "us-west1-b",
            "vm",
            str(time.time_ns()),
            "disk",
            attributes={"user-data": user_data},
            host_ports=[own],
        )
        machine = backend.machine(spec)
        machine.power_on()

        def text() -> str:
            return machine.serial_output(3, 0).contents.decode(errors="replace")

        wait_for(
            lambda: "end=0" in text(), lambda: machine.serial_output(1, 0).contents.decode(errors="replace")[-2000:]
        )
        said = dict(line.split("=") for line in text().split())
        assert (said["own"], said["metadata"]) == ("0", "0")
        assert {said[name] for name in ("other", "names", "address")} == {"28"}  # curl's time is over
        assert set(came) == {"own"}
    finally:
        backend.close()
    assert PATIENCE
