"""What is wrong with a script can be seen in its bytes, before a VM is paid for.

The guest runs `/bin/bash SCRIPT`, as the original does, so the first line chooses nothing. An error is only what bash
certainly cannot run; whatever may work, and most likely does not do what is meant, is a warning.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from cos_customizer.customizer.errors import UsageError

LIMIT = 1 << 20
"""Bytes of a script that are looked at."""

_MAGIC = (
    (b"\x7fELF", "a program (ELF)"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "bzip2-compressed"),
    (b"\xfd7zXZ\0", "xz-compressed"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
    (b"MZ", "a program for Windows"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_LINE_OF_BASH = 80
"""Bytes in whose first line a NUL makes bash refuse a file (`check_binary_file` in its general.c)."""
_SHELLS = ("sh", "bash", "dash", "ash", "busybox")
_OTHER_SHELLS = ("zsh", "ksh", "ksh93", "mksh", "pdksh", "yash", "fish", "csh", "tcsh", "rc", "elvish", "nu", "xonsh")
_LANGUAGES = re.compile(
    r"(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|luajit|tclsh|wish|expect|awk|gawk|mawk|sed|make|rscript|pwsh"
    r"|powershell|groovy|scala|java|julia|guile|osascript|go|nix-shell|ansible-playbook)[0-9.]*"
)
_SHEBANG = re.compile(rb"#![ \t]*(\S+)[ \t]*([^\r\n]*)")
_POLYGLOT = re.compile(rb"\bexec['\"]?[ \t]+[^(\s=]")
"""A file for two interpreters hands itself on to the other one early: `exec python3 "$0" "$@"`."""
_POLYGLOT_LINES = 10
_ENDS = re.compile(rb"^(exit|exec)\b", re.MULTILINE)


@dataclass(frozen=True)
class Finding:
    """What is wrong with a script.

    Attributes:
        text: continues the script's name.
        hint: what to do.
        fatal: bash cannot run it.
    """

    text: str
    hint: str = ""
    fatal: bool = False


def examine(content: bytes) -> list[Finding]:
    """Look at a script.

    Args:
        content: its first LIMIT bytes.

    Returns:
        What is wrong with it, errors first; nothing of what an error makes meaningless.
    """
    if not content.strip():
        return [Finding("is empty: it does nothing")]
    if (binary := _binary(content)) is not None:
        return [
            Finding(f"is {binary}: bash cannot run it", "a script that bash runs can start it, or unpack it.", True)
        ]
    findings = []
    if content.startswith(b"\xef\xbb\xbf"):
        findings.append(
            Finding(
                "begins with a byte order mark, which bash takes for a part of the first command",
                "save it as UTF-8 without BOM.",
            )
        )
        content = content[3:]
    line_ends = _line_ends(content)
    interpreter = _interpreter(content)
    if interpreter is not None and interpreter.fatal:
        return [interpreter]
    findings += [finding for finding in (line_ends, interpreter) if finding is not None]
    if line_ends is None or not line_ends.fatal:
        findings += _syntax(content)
    return sorted(findings, key=lambda finding: not finding.fatal)


def check_scripts(contents: Mapping[str, bytes]) -> list[str]:
    """Look at scripts.

    Args:
        contents: their first LIMIT bytes, by path.

    Returns:
        Warnings.

    Raises:
        UsageError: bash cannot run one of them.
    """
    warnings = []
    for script, content in contents.items():
        for finding in examine(content):
            if finding.fatal:
                raise UsageError(f"{script} {finding.text}", finding.hint)
            warnings.append(f"{script} {finding.text}" + (f"; {finding.hint}" if finding.hint else ""))
    return warnings


def _binary(content: bytes) -> str | None:
    for magic, what in _MAGIC:
        if (
            content.startswith(magic)
            and (magic != b"MZ" or b"\0" in content[:_LINE_OF_BASH])
            and (magic != b"BZh" or content[4:6] == b"1A")
        ):
            return what
    if b"\0" not in content[:_LINE_OF_BASH].partition(b"\n")[0]:
        return None
    return "UTF-16 text" if content[:2].count(0) == 1 else "a binary file"


def _line_ends(content: bytes) -> Finding | None:
    """Windows' line ends: bash reads the carriage return as a part of the line's last word."""
    if b"\r" in content and b"\n" not in content and len(content) < LIMIT:
        return Finding("has old Mac line ends (CR): to bash it is one line", "`tr '\\r' '\\n'` converts it.")
    if b"\r\n" not in content:
        return None
    lines = content.split(b"\n")
    with_return = [number for number, line in enumerate(lines, start=1) if line.endswith(b"\r")]
    where = ""
    if len(with_return) < len(lines) - 1:
        where = f" on line {with_return[0]}" + (f" and {len(with_return) - 1} more" if len(with_return) > 1 else "")
    hint = "`dos2unix` converts it; git keeps it so by `*.sh text eol=lf` in .gitattributes."
    if where == "" and _bash_error(content) and not _bash_error(content.replace(b"\r\n", b"\n")):
        return Finding("has Windows line ends (CRLF): bash will not read it", hint, fatal=True)
    return Finding(
        f"has Windows line ends (CRLF){where}: bash takes the carriage return for a part of the line's last word", hint
    )


def _interpreter(content: bytes) -> Finding | None:
    """An interpreter named on the first line that is not what runs the script."""
    match = _SHEBANG.match(content)
    if match is None:
        return None
    first = match[0].decode(errors="replace").strip()
    words = [match[1].decode(errors="replace"), *match[2].decode(errors="replace").split()]
    name, options = _program(words)
    hint = "COS has no other interpreter than bash; a container can have any: `docker run … python:3 …`."
    if name in _SHELLS or (name.startswith("bash") and name[4:].strip("0123456789.-") == ""):
        given = [option for option in options if option.startswith(("-", "+")) and option not in ("-", "--")]
        if not given:
            return None
        return Finding(
            f"is run as `bash SCRIPT`: {' '.join(given)} on its first line does not count",
            "write `set` with these options as its second line, for example `set -e`.",
        )
    if name in _OTHER_SHELLS:
        return Finding(f"is written for {name} ({first}), and bash runs it", "COS has no other shell than bash.")
    known = _LANGUAGES.fullmatch(name.lower()) is not None
    head = b"\n".join(content.split(b"\n")[1:_POLYGLOT_LINES])
    if known and not _POLYGLOT.search(head):
        return Finding(f"is written for {name} ({first}), and bash would run it", hint, fatal=True)
    return Finding(f"names {name or 'an interpreter'} ({first}), and bash runs it", hint)


def _program(words: list[str]) -> tuple[str, list[str]]:
    """The name of the interpreter, and what follows it, `env` and its own options apart."""
    name, rest = words[0].rpartition("/")[2], words[1:]
    if name != "env":
        if name == "busybox" and rest:
            return rest[0], rest[1:]
        return name, rest
    while rest and (rest[0].startswith("-") or "=" in rest[0]):
        option = rest.pop(0)
        if option.startswith("-S") and len(option) > 2:
            rest.insert(0, option[2:])
        elif option in ("-u", "-C") and rest:
            rest.pop(0)
    return (rest[0].rpartition("/")[2], rest[1:]) if rest else ("", [])


def _syntax(content: bytes) -> list[Finding]:
    """What the bash of this machine does not understand: another version may, so it is never an error."""
    if b"\0" in content or len(content) >= LIMIT:  # an archive that unpacks itself; or cut off
        return []
    said = _bash_error(content.replace(b"\r\n", b"\n"))
    match = re.match(r"line (\d+): (.*)", said)
    if match is None:
        return []
    before = b"\n".join(content.split(b"\n")[: int(match[1]) - 1])
    if _ENDS.search(before):  # whatever follows need not be bash's
        return []
    return [Finding(f"line {match[1]}: {match[2]} (says the bash of this machine)")]


def _bash_error(content: bytes) -> str:
    """What `bash -n` says, without the name of the script; empty: nothing, or there is no bash."""
    bash = shutil.which("bash")
    if bash is None:
        return ""
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    command = [bash, "--norc", "-O", "extglob", "-n"]
    try:
        ran = subprocess.run(command, input=content, env=environment, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.partition(": ")[2] for line in ran.stderr.decode(errors="replace").splitlines()]
    return next((line for line in lines if line.startswith("line ")), "") if ran.returncode else ""
