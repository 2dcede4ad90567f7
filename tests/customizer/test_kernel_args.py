"""What a kernel-args step takes, what it refuses, and that a refusal names the field."""

from typing import Any

import pytest
from support.specifications import changed

from cos_customizer.customizer.errors import UsageError
from cos_customizer.customizer.spec.model import BuildSpec, parse_spec


def spec_with(*steps: dict[str, Any]) -> BuildSpec:
    return parse_spec(changed({"steps": [{"type": "kernel-args", **step} for step in steps]}))


TAKEN = {
    "quiet": "quiet",
    "  panic=10   console=ttyS0,115200n8 ": "panic=10 console=ttyS0,115200n8",
    'a="b c"': 'a="b c"',
    '"a=b c"': 'a="b c"',
    'a="b"': "a=b",
    'a=""': "a=",
    'a=b" c "d': 'a="b c d"',
    "systemd.unit=multi-user.target": "systemd.unit=multi-user.target",
    "sysctl.net/ipv4=1": "sysctl.net/ipv4=1",
    "a=b;c d={e} f=g&h i=<j> k=#l m=* n=[o] p=?": 'a="b;c" d="{e}" f="g&h" i="<j>" k="#l" m="*" n="[o]" p="?"',
    "console=ttyS0 console=tty0": "console=ttyS0 console=tty0",
    "rootwait dm_verity.dev_wait=1": "rootwait dm_verity.dev_wait=1",
    f"a={'x' * 2045}": f"a={'x' * 2045}",
}


@pytest.mark.parametrize(("text", "written"), TAKEN.items(), ids=lambda text: text[:40])
@pytest.mark.parametrize("field", ["append", "remove"])
def test_arguments_have_one_form_however_they_are_written(field: str, text: str, written: str) -> None:
    spec = spec_with({field: text})
    assert dict(spec.steps[0].settings(gpu=False)) == {
        "append": "",
        "remove": "",
        "replace": "",
        "reboot": "",
        field: written,
    }
    assert spec_with({field: written}) == spec
    assert BuildSpec.model_validate_json(spec.model_dump_json()) == spec


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "", "at least one of append, remove and replace must be set"),
    ({"reboot": True}, "", "at least one of append, remove and replace must be set"),
    ({"append": "  "}, "", "at least one of append, remove and replace must be set"),
    ({"append": "a=$b"}, "append", "'$' cannot be passed on to the kernel by the boot loader"),
    ({"append": "a=b\\c"}, "append", "'\\\\' cannot be passed on"),
    ({"append": "a='b c'"}, "append", '"\'" cannot be passed on'),
    ({"append": "a=`b`"}, "append", "'`' cannot be passed on"),
    ({"remove": "a\nb"}, "remove", "'\\n' cannot be passed on"),
    ({"replace": "a=ü"}, "replace", "'ü' cannot be passed on"),
    ({"replace": "a=b\0"}, "replace", "'\\x00' cannot be passed on"),
    ({"append": 'a="b c'}, "append", "a quotation mark is not closed"),
    ({"append": "=b"}, "append", "'=b' is not an argument: write name, name=value"),
    ({"append": "--"}, "append", "'--' is not an argument"),
    ({"append": '"a b"'}, "append", "'a b' is not an argument"),
    ({"remove": "a,b"}, "remove", "'a,b' is not an argument"),
    ({"append": "root=/dev/sda5"}, "append", "root must stay as it is: Container-Optimized OS boots by it"),
    ({"remove": "cros_efi"}, "remove", "cros_efi must stay as it is"),
    ({"remove": "cros-efi"}, "remove", "cros-efi must stay as it is"),
    ({"replace": 'dm="1 vroot none"'}, "replace", "dm must stay as it is"),
    ({"remove": "dm_mod.create"}, "remove", "dm_mod.create must stay as it is"),
    ({"remove": "quiet a quiet"}, "remove", "'quiet' is given twice"),
    ({"replace": "console=ttyS0 console=tty0"}, "replace", "console is given twice: one argument takes the place"),
    ({"append": f"a={'x' * 2046}"}, "append", "there are 2048 characters; a kernel's command line has 2047"),
    ({"append": "a=1", "replace": "a=2"}, "", "append and replace both name a: replace alone sets it"),
    ({"remove": "a-b", "replace": "a_b=2"}, "", "remove and replace both name a-b"),
    ({"append": "a=1", "remove": "a"}, "", "append and remove both name a"),
    ({"append": "a=1", "remove": "a=1"}, "", "append and remove both name a"),
]


@pytest.mark.parametrize(("step", "field", "message"), REFUSED, ids=[message for _, _, message in REFUSED])
def test_what_cannot_be_right_is_refused_before_a_vm_is_paid_for(
    step: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        spec_with({"append": "fine"}, step)
    assert f"steps.1.{field}" in caught.value.message if field else True
    assert message in caught.value.message


def test_one_value_may_be_removed_and_another_appended() -> None:
    spec_with({"append": "console=ttyS1", "remove": "console=ttyS0"})


def test_there_may_be_several_steps_and_each_says_what_it_does() -> None:
    spec = spec_with(
        {"append": 'a="b c"'}, {"remove": "quiet", "replace": "loglevel=4", "reboot": True}, {"append": 'a="b c"'}
    )
    assert [step.label for step in spec.steps] == [
        'kernel-args append a="b c"',
        "kernel-args remove quiet, replace loglevel=4, reboot",
        'kernel-args append a="b c"',
    ]
    assert all(step.repeatable for step in spec.steps)
