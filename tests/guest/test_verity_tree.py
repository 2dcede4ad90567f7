"""The program that makes the hash tree of a sealed OEM, against veritysetup and against a model of dm-verity."""

import hashlib
import platform
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cos_customizer import guest

TOOLS = Path(guest.__file__).parent / "tools"
BLOCK = 4096
SALT = bytes(range(32))
SIZES = [1, 2, 3, 127, 128, 129, 255, 256, 257, 16383, 16384, 16385]
"""Blocks of data: around those at which the tree gets one more block, or one more level."""
EMULATORS = {"x86_64": ("qemu-x86_64-static", "qemu-x86_64"), "aarch64": ("qemu-aarch64-static", "qemu-aarch64")}


class Tool:
    """The program for one architecture, on this machine."""

    def __init__(self, machine: str, folder: Path) -> None:
        program = folder / "verity_tree"
        program.write_bytes((TOOLS / f"verity_tree.{machine}").read_bytes())
        program.chmod(0o700)
        self.command: list[str] = [str(program)]
        if machine != platform.machine():
            emulator = next(filter(None, map(shutil.which, EMULATORS[machine])), None)
            if emulator is None:
                pytest.skip(f"programs for {machine} cannot be run here: there is no qemu-user")
            self.command.insert(0, emulator)

    def run(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self.command, *arguments], capture_output=True, text=True, timeout=600)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """For files that are too large to be kept."""
    yield tmp_path
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.fixture(params=["x86_64", "aarch64"])
def tool(request: pytest.FixtureRequest, folder: Path) -> Tool:
    return Tool(request.param, folder)


def data_of(blocks: int) -> bytes:
    return random.Random(blocks).randbytes(blocks * BLOCK)


def tree_of(data: bytes, salt: bytes) -> tuple[bytes, str]:
    """Tree and root hash by the kernel's documentation: admin-guide/device-mapper/verity.rst, version 0."""
    tree, level = b"", data
    while len(level) > BLOCK:
        digests = b"".join(hashlib.sha256(level[at : at + BLOCK] + salt).digest() for at in range(0, len(level), BLOCK))
        level = digests + bytes(-len(digests) % BLOCK)
        tree = level + tree
    return tree, hashlib.sha256(level + salt).hexdigest()


def partition(folder: Path, data: bytes, rest: int = 3 * BLOCK) -> Path:
    """A file with this data, and room behind it that is not empty."""
    path = folder / "partition"
    path.write_bytes(data + b"\xff" * (len(tree_of(data, SALT)[0]) + rest))
    return path


@pytest.mark.parametrize("blocks", SIZES)
def test_the_tree_is_that_of_the_kernels_documentation_and_nothing_else_is_written(
    tool: Tool, folder: Path, blocks: int
) -> None:
    data = data_of(blocks)
    tree, root = tree_of(data, SALT)
    path = partition(folder, data)
    done = tool.run(path, str(blocks), SALT.hex())
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{root}\n", "")
    assert path.read_bytes() == data + tree + b"\xff" * 3 * BLOCK


@pytest.mark.parametrize("salt", [b"", b"\x00", bytes(range(256))])
def test_any_salt_that_the_kernel_takes_will_do(tool: Tool, folder: Path, salt: bytes) -> None:
    path = partition(folder, data_of(5))
    assert tool.run(path, "5", salt.hex().upper()).stdout == f"{tree_of(data_of(5), salt)[1]}\n"


@pytest.mark.skipif(not shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin"), reason="there is no veritysetup")
@pytest.mark.parametrize("blocks", SIZES)
def test_veritysetup_makes_the_same_and_refuses_it_after_one_flipped_bit(tool: Tool, folder: Path, blocks: int) -> None:
    data = data_of(blocks)
    path, theirs = partition(folder, data), folder / "theirs"
    shutil.copy(path, theirs)
    root = tool.run(path, str(blocks), SALT.hex()).stdout.strip()

    def veritysetup(action: str, file: Path, *root: str) -> "subprocess.CompletedProcess[str]":
        options = ["no-superblock", "format=0", "data-block-size=4096", "hash-block-size=4096", "hash=sha256"]
        options += [f"data-blocks={blocks}", f"hash-offset={blocks * BLOCK}", f"salt={SALT.hex()}"]
        program = shutil.which("veritysetup", path="/usr/sbin:/sbin:/usr/bin")
        assert program
        command = [program, action, str(file), str(file), *root, *(f"--{option}" for option in options)]
        return subprocess.run(command, capture_output=True, text=True, timeout=600)

    made = veritysetup("format", theirs)
    assert made.returncode == 0, made.stderr
    assert root in made.stdout
    assert theirs.read_bytes() == path.read_bytes()
    assert veritysetup("verify", path, root).returncode == 0
    with path.open("r+b") as file:
        at = random.Random(blocks).randrange(blocks * BLOCK)
        file.seek(at)
        file.write(bytes([data[at] ^ 1]))
    assert veritysetup("verify", path, root).returncode != 0


def test_what_is_wrong_is_said_in_words(tool: Tool, folder: Path) -> None:
    small = partition(folder, data_of(129), rest=-1)
    cases: list[tuple[list[str | Path], str]] = [
        ([], "usage: verity_tree DEVICE DATA_BLOCKS SALT"),
        ([small, "129"], "usage: verity_tree DEVICE DATA_BLOCKS SALT"),
        ([small, "129", "0"], "not a salt: 0"),
        ([small, "129", "0g"], "not a salt: 0g"),
        ([small, "129", "00" * 257], f"not a salt: {'00' * 257}"),
        ([small, "0", "00"], "not a number of blocks: 0"),
        ([small, "", "00"], "not a number of blocks: "),
        ([small, "12 ", "00"], "not a number of blocks: 12 "),
        ([small, "9" * 30, "00"], f"not a number of blocks: {'9' * 30}"),
        ([small, "129", "00"], f"{small} has {132 * BLOCK - 1} bytes, and the data with its tree {132 * BLOCK}"),
        ([folder / "none", "1", "00"], f"cannot open {folder / 'none'}: there is no such file"),
    ]
    before = small.read_bytes()
    for arguments, message in cases:
        done = tool.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{message}\n")
    assert small.read_bytes() == before


def test_the_programs_are_small_and_those_that_the_sources_were_built_to() -> None:
    lines = [line.split() for line in (TOOLS / "SHA256SUMS").read_text().splitlines()]
    listed = {name: digest for digest, name in lines}
    programs = {path.name: path.read_bytes() for path in TOOLS.iterdir() if path.suffix in (".x86_64", ".aarch64")}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in programs.items()} == listed
    assert all(len(content) < 32 * 1024 for content in programs.values())
