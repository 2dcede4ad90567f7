"""What is seen in a script's bytes before a VM is paid for; errors are what bash really refuses."""

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from cos_customizer.customizer.context import archive_context, read_files
from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.script_contents import LIMIT, check_scripts, examine

CRLF = b"#!/bin/bash\r\nset -e\r\nif true; then\r\n  echo a\r\nfi\r\n"

ERRORS = {
    "crlf": (CRLF, "has Windows line ends (CRLF): bash will not read it"),
    "elf": (b"\x7fELF\x02\x01\x01" + bytes(60), "is a program (ELF): bash cannot run it"),
    "gzip": (gzip.compress(b"x" * 1000), "is gzip-compressed: bash cannot run it"),
    "zip": (b"PK\x03\x04\x14\0\0\0", "is a zip archive"),
    "xz": (b"\xfd7zXZ\0\0\4", "is xz-compressed"),
    "zeros": (bytes(100), "is a binary file"),
    "utf-16 with a mark": ("#!/bin/bash\necho a\n".encode("utf-16"), "is UTF-16 text"),
    "utf-16 without": ("#!/bin/bash\necho a\n".encode("utf-16-le"), "is UTF-16 text"),
    "python": (
        b"#!/usr/bin/python3\nimport os\n",
        "is written for python3 (#!/usr/bin/python3), and bash would run it",
    ),
    "env python": (b"#!/usr/bin/env python3.11\nprint('a')\n", "is written for python3.11"),
    "env -S": (b"#!/usr/bin/env -S python3 -u\nprint('a')\n", "is written for python3"),
    "perl": (b"#! /usr/bin/perl -w\nprint 1;\n", "is written for perl"),
    "node with CRLF": (b"#!/usr/bin/env node\r\nlet a = 1\r\n", "is written for node"),
}

WARNINGS = {
    "one command with CRLF": (b"echo a\r\necho b\r\n", "has Windows line ends (CRLF): bash takes the carriage return"),
    "some lines with CRLF": (b"echo a\necho b\r\necho c\n", "has Windows line ends (CRLF) on line 2: bash takes"),
    "CR": (b"#!/bin/bash\recho a\r", "has old Mac line ends (CR)"),
    "a mark": (b"\xef\xbb\xbf#!/bin/bash\necho a\n", "begins with a byte order mark"),
    "empty": (b"", "is empty: it does nothing"),
    "space": (b" \n\n", "is empty: it does nothing"),
    "zsh": (b"#!/bin/zsh\necho a\n", "is written for zsh (#!/bin/zsh), and bash runs it"),
    "fish": (b"#!/usr/bin/env fish\necho a\n", "is written for fish"),
    "an unknown one": (b"#!/opt/tool/run\necho a\n", "names run (#!/opt/tool/run), and bash runs it"),
    "a file for two": (b"#!/usr/bin/env python3\n'''exec' python3 \"$0\"\n' '''\n", "names python3"),
    "options": (b"#!/bin/bash -eu\necho a\n", "is run as `bash SCRIPT`: -eu on its first line does not count"),
    "options by env": (
        b"#!/usr/bin/env -S bash -e\necho a\n",
        "is run as `bash SCRIPT`: -e on its first line does not count",
    ),
    "syntax": (
        b"echo a\nif true; then\n",
        "line 3: syntax error: unexpected end of file (says the bash of this machine)",
    ),
}

GOOD = {
    "no first line": b"echo a\n",
    "bash": b"#!/bin/bash\necho a\n",
    "env bash": b"#!/usr/bin/env bash\necho a\n",
    "sh": b"#!/bin/sh\necho a\n",
    "sh --": b"#!/bin/sh -\necho a\n",
    "a bash of another place": b"#!/nix/store/x-bash-5.2/bin/bash\necho a\n",
    "bash by version": b"#!/usr/local/bin/bash-5.2\necho a\n",
    "not ASCII": "echo Größe\n".encode(),
    "Latin 1": b"echo Gr\xf6\xdfe\n",
    "extended patterns": b"shopt -s extglob\ncase a in !(b|c)) echo a ;; esac\n",
    "an archive that unpacks itself": b"#!/bin/sh\ntail -n +4 $0 | tar -xz\nexit 0\n" + gzip.compress(b"x" * 100),
    "text behind the end": b"echo a\nexit 0\n)) what follows is not bash's ((\n",
    "a carriage return in a line": b"printf 'a\rb\\n'\n",
}


@pytest.mark.parametrize(("content", "said"), ERRORS.values(), ids=ERRORS)
def test_what_bash_cannot_run_is_an_error(content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_scripts({"lib/a.sh": content})
    assert caught.value.message.startswith(f"lib/a.sh {said}")
    script = tmp_path / "a.sh"
    script.write_bytes(content)
    ran = subprocess.run(["bash", script], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert ran.returncode != 0, "bash itself"


@pytest.mark.parametrize(("content", "said"), WARNINGS.values(), ids=WARNINGS)
def test_what_may_work_is_a_warning(content: bytes, said: str) -> None:
    (warning, *more) = check_scripts({"a.sh": content})
    assert warning.startswith(f"a.sh {said}")
    assert more == []


@pytest.mark.parametrize("content", GOOD.values(), ids=GOOD)
def test_nothing_is_said_of_what_bash_runs(content: bytes) -> None:
    assert examine(content) == []


def test_the_hints_say_what_to_do() -> None:
    (crlf,) = examine(CRLF)
    assert "dos2unix" in crlf.hint
    assert "*.sh text eol=lf" in crlf.hint
    (python,) = examine(ERRORS["python"][0])
    assert "docker run" in python.hint


def test_without_a_bash_on_this_machine_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert examine(WARNINGS["syntax"][0]) == []
    assert [finding.fatal for finding in examine(CRLF)] == [False]


def test_scripts_are_found_in_archives_whatever_leads_to_them(tmp_path: Path) -> None:
    context = tmp_path / "context"
    (context / "lib").mkdir(parents=True)
    (context / "lib" / "real.sh").write_bytes(b"echo real\n")
    (context / "a.sh").symlink_to("lib/next.sh")
    (context / "lib" / "next.sh").symlink_to("real.sh")
    (context / "round.sh").symlink_to("round.sh")
    (context / "out.sh").symlink_to("/etc/passwd")
    (context / "empty.sh").touch()
    (context / "large.sh").write_bytes(b"#" * (LIMIT + 5))
    archive_context(context, tmp_path / "a.tar.gz")
    names = ["a.sh", "round.sh", "out.sh", "empty.sh", "large.sh", "none.sh"]
    found = read_files(tmp_path / "a.tar.gz", names, LIMIT)
    assert found == {"a.sh": b"echo real\n", "empty.sh": b"", "large.sh": b"#" * LIMIT}


def test_hard_links_and_names_of_other_archivers_are_found(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("./lib/a.sh")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("./b.sh")
        link.type, link.linkname = tarfile.LNKTYPE, "./lib/a.sh"
        tar.addfile(link)
    assert read_files(tmp_path / "a.tgz", ["b.sh", "lib/a.sh"], LIMIT) == {"b.sh": b"abc", "lib/a.sh": b"abc"}


def test_no_more_of_an_archive_is_read_than_asked_for(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "a.bin").write_bytes(bytes(1 << 20))
    (context / "z.sh").write_bytes(b"echo z\n")
    archive_context(context, tmp_path / "a.tar.gz")
    assert read_files(tmp_path / "a.tar.gz", ["z.sh"], LIMIT, stop=1 << 19) == {}
    assert read_files(tmp_path / "a.tar.gz", ["z.sh"], LIMIT, stop=1 << 22) == {"z.sh": b"echo z\n"}
