"""One command on a VM: its user-data, and what is read from the serial port, however it is cut or torn."""

import random
import subprocess
from email import message_from_string
from pathlib import Path

import pytest
import yaml

from cos_customizer.guest import one_command
from cos_customizer.guest.one_command import CommandReader, Ended, Event, Printed, Started, command_user_data

NONCE = "n0nce"
SAID = (
    b"[   12.3] a kernel's line\r\n\nCommand[n0nce]: started\n\nCommand[n0nce]: out aGVsbG8K\n"
    b"\nCommand[n0nce]: err AP8=\n\nCommand[other]: ended 0\n\nCommand[n0nce]: ended 3\n\nCommand[n0nce]: ended 3\n"
)
MEANT = [Started(), Printed(1, b"hello\n"), Printed(2, b"\x00\xff"), Ended(3), Ended(3)]


@pytest.mark.parametrize("seed", range(5))
def test_output_is_read_however_it_is_cut(seed: int) -> None:
    chance, reader, events = random.Random(seed), CommandReader(NONCE), list[Event]()
    at = 0
    while at < len(SAID):
        size = chance.randint(1, 40)
        events += reader.feed(SAID[at : at + size])
        at += size
    assert (events, reader.torn) == (MEANT, 0)


TORN = {
    "base64 that is cut": b"Command[n0nce]: out aGVsbG8",
    "no base64": b"Command[n0nce]: out hello!",
    "a code that is none": b"Command[n0nce]: ended soon",
    "two lines in one": b"Command[n0nce]: out aGVsCommand[n0nce]: ended 3",
    "an unknown word": b"Command[n0nce]: endd 3",
}


@pytest.mark.parametrize("line", TORN.values(), ids=TORN)
def test_a_torn_line_is_counted_and_passed_over(line: bytes) -> None:
    reader = CommandReader(NONCE)
    assert reader.feed(line + b"\n\nCommand[n0nce]: ended 4\n") == [Ended(4)]
    assert reader.torn == 1


def test_a_vm_that_restarts_ends_the_command() -> None:
    assert CommandReader(NONCE).feed(b"\nCommand[n0nce]: restarted\n") == [Ended(None)]


def test_a_command_alone_is_a_cloud_config_that_keeps_every_word() -> None:
    words = ["sh", "-c", 'echo "$HOME"; it\'s\n\n*', "", "ä"]
    config = yaml.safe_load(command_user_data(words, NONCE))
    files = {file["path"].rpartition("/")[2]: file["content"] for file in config["write_files"]}
    assert set(files) == {"one_command.sh", "protocol.sh", "settings.sh", "cos-customizer-command.service"}
    script = files["settings.sh"] + 'printf "%s\\0" "$nonce" "${command[@]}"'
    said = subprocess.run(["bash", "-c", script], capture_output=True, check=True, text=True).stdout
    assert said.split("\0")[:-1] == [NONCE, *words]


OWN = {
    "a cloud-config": ("#cloud-config\nruncmd: [ls]\n", "text/plain", "#cloud-config"),
    "a script": ("#!/bin/bash\nls\n", "text/plain", "#!/bin/bash"),
    "a part of its own": ("Content-Type: text/x-shellscript\n\n#!/bin/sh\n", "text/x-shellscript", "#!/bin/sh"),
}


@pytest.mark.parametrize(("own", "kind", "begin"), OWN.values(), ids=OWN)
def test_user_data_of_any_kind_comes_before_the_command_s(own: str, kind: str, begin: str) -> None:
    message = message_from_string(command_user_data(["ls"], NONCE, own))
    first, second = (part for part in message.walk() if not part.is_multipart())
    assert (first.get_content_type(), second.get_content_type()) == (kind, "text/cloud-config")
    assert str(first.get_payload()).startswith(begin)
    assert second["Merge-Type"] == "list(append)+dict(no_replace,recurse_list)+str()"
    assert yaml.safe_load(str(second.get_payload()))["runcmd"][-1][-1] == "cos-customizer-command.service"


@pytest.mark.parametrize(
    ("words", "own", "why"),
    [
        (["a\0b"], "", "NUL"),
        (["a\udcff"], "", "UTF-8"),
        (["a"], "#" * (256 << 10), "262144"),
        (["a" * (256 << 10)], "", "takes"),
    ],
)
def test_what_cannot_be_carried_is_refused(words: list[str], own: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        command_user_data(words, NONCE, own)


def test_the_guest_s_end_and_the_reader_speak_one_protocol() -> None:
    """Its functions `tell` and `relay`, without a serial port."""
    folder = Path(one_command.__file__).parent
    rest = (folder / "one_command.sh").read_text().partition("# tell <what>")[2].partition("\n")[2]
    functions = rest.partition("# Says it until")[0]
    content = random.Random(1).randbytes(100_000)
    script = f"nonce={NONCE}\n. {folder}/protocol.sh\n{functions}\nexec 3>&1\nrelay out\ntell ended 0"
    said = subprocess.run(["bash", "-c", script], input=content, capture_output=True, check=True).stdout
    events = CommandReader(NONCE).feed(said)
    assert b"".join(event.data for event in events if isinstance(event, Printed)) == content
    assert events[-1] == Ended(0)
