"""The command that writes down changes of the kernel's command line."""

from pathlib import Path
from typing import Any

import pytest
from support.command_line import run
from support.specifications import MINIMAL

from cos_customizer.cli.state import StateDirectory
from cos_customizer.customizer.spec.model import parse_spec


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDirectory:
    """The state that start-image-build leaves."""
    monkeypatch.setenv("HOME", str(tmp_path))
    directory = StateDirectory(tmp_path / ".cos-customizer-workdir")
    spec = {part: MINIMAL[part] for part in ("source", "scratch")}
    with directory.new() as draft:
        draft.archive.write_bytes(b"archive")
        draft.commit({**spec, "context": {"sha256": "0" * 64}}, ("preload.sh",), ".")
    return directory


WRITTEN: list[tuple[list[str], dict[str, Any], str]] = [
    (["-append=panic=10  quiet"], {"append": "panic=10 quiet"}, "append panic=10 quiet"),
    (["-append", 'a="b c" d=e;f'], {"append": 'a="b c" d="e;f"'}, 'append a="b c" d="e;f"'),
    (["-remove=quiet console=ttyS0"], {"remove": "quiet console=ttyS0"}, "remove quiet console=ttyS0"),
    (
        ["-replace=loglevel=4", "-append=a", "-reboot"],
        {"append": "a", "replace": "loglevel=4", "reboot": True},
        "append a, replace loglevel=4, reboot",
    ),
    (["-append=a", "-remove=", "-reboot=false"], {"append": "a"}, "append a"),
]


@pytest.mark.parametrize(("flags", "fields", "shown"), WRITTEN, ids=lambda value: str(value)[:40])
def test_a_change_is_written_down_and_is_a_step_of_the_build(
    started: StateDirectory, flags: list[str], fields: dict[str, Any], shown: str
) -> None:
    assert run("kernel-args", "-append=first").out == "step 1        kernel-args append first\n"
    ran = run("kernel-args", *flags)
    assert (ran.code, ran.err, ran.out) == (0, "", f"step 2        kernel-args {shown}\n")
    step = parse_spec({**MINIMAL, "steps": started.read().spec["steps"]}).steps[1]
    assert step.label == f"kernel-args {shown}"
    assert step.model_dump(exclude_defaults=True) == fields


REFUSED = [
    ([], "at least one of append, remove and replace must be set"),
    (["-reboot"], "at least one of append, remove and replace must be set"),
    (["-append=a=$b"], "-append: '$' cannot be passed on to the kernel by the boot loader"),
    (["-append=root=/dev/sda5"], "-append: root must stay as it is"),
    (["-remove=cros_efi"], "-remove: cros_efi must stay as it is"),
    (["-replace=a=1 a=2"], "-replace: a is given twice"),
    (['-replace=a="b'], "-replace: a quotation mark is not closed"),
    (["-append=a", "-remove=a"], "append and remove both name a"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_change_is_refused(started: StateDirectory, flags: list[str], message: str) -> None:
    refused = run("kernel-args", *flags)
    assert (refused.code, refused.out) == (2, "")
    assert message in refused.err
    assert "steps" not in started.read().spec


def test_it_needs_a_build_to_belong_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = run("kernel-args", "-append=a")
    assert refused.code == 2
    assert "no image build has been started" in refused.err
