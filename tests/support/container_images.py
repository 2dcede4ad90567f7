"""Container images that are made of nothing: a program of a few machine instructions, no tools, no base."""

import hashlib
import io
import json
import struct
import tarfile
from pathlib import Path


def program(text: str) -> bytes:
    """A program for Linux on x86-64 that prints a text: an ELF file of one segment."""
    said = text.encode()
    code = b"".join(
        (
            b"\xb8\x01\x00\x00\x00\xbf\x01\x00\x00\x00",  # write, to standard output
            b"\x48\x8d\x35" + struct.pack("<i", 19),  # what stands behind the code
            b"\xba" + struct.pack("<I", len(said)),
            b"\x0f\x05",
            b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05",  # exit(0)
            b"\x90\x90\x90",
        )
    )
    head, base = 64 + 56, 0x400000
    size = head + len(code) + len(said)
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + code + said


def layer(files: dict[str, bytes]) -> bytes:
    """A layer: a tar file with these files, which may be run."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def config(*layers: bytes, command: str = "/hello") -> bytes:
    """The configuration of an image of these layers."""
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": [command]},
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
            "history": [{"created": "2026-01-01T00:00:00Z"} for _ in layers],
        }
    ).encode()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def docker_archive(path: Path, *names: str, text: str = "hello\n", command: str = "/hello") -> Path:
    """Write an image whose command prints a text as `docker save` does."""
    content = layer({command.lstrip("/"): program(text)})
    entry = {"Config": "config.json", "RepoTags": list(names), "Layers": ["layer.tar"]}
    files = {
        "manifest.json": json.dumps([entry]).encode(),
        "config.json": config(content, command=command),
        "layer.tar": content,
    }
    path.write_bytes(layer(files))
    return path


def oci_layout(directory: Path, text: str = "hello\n") -> Path:
    """Write an image whose command prints a text as an OCI layout, without a name."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)

    def add(content: bytes, kind: str) -> dict[str, object]:
        (blobs / digest(content).removeprefix("sha256:")).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(content), "size": len(content)}

    content = layer({"hello": program(text)})
    manifest = {
        "schemaVersion": 2,
        "config": add(config(content), "config.v1+json"),
        "layers": [add(content, "layer.v1.tar")],
    }
    index = {"schemaVersion": 2, "manifests": [add(json.dumps(manifest).encode(), "manifest.v1+json")]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory
