"""Durations: read and written as Go's `time` package does (https://pkg.go.dev/time#ParseDuration)."""

import random

import pytest

from cos_customizer.customizer.durations import format_duration, human_duration, parse_duration

MINUTE, HOUR = 60, 3600

READ = {
    # The cases of Go's own test, in seconds.
    "0": 0,
    "5s": 5,
    "30s": 30,
    "1478s": 1478,
    "-5s": -5,
    "+5s": 5,
    "-0": 0,
    "+0": 0,
    "5.0s": 5,
    "5.6s": 5.6,
    "5.s": 5,
    ".5s": 0.5,
    "1.0s": 1,
    "1.00s": 1,
    "1.004s": 1.004,
    "1.0040s": 1.004,
    "100.00100s": 100.001,
    "10ns": 10e-9,
    "11us": 11e-6,
    "12µs": 12e-6,
    "12μs": 12e-6,
    "13ms": 13e-3,
    "14s": 14,
    "15m": 15 * MINUTE,
    "16h": 16 * HOUR,
    "3h30m": 3 * HOUR + 30 * MINUTE,
    "10.5s4m": 4 * MINUTE + 10.5,
    "-2m3.4s": -(2 * MINUTE + 3.4),
    "1h2m3s4ms5us6ns": HOUR + 2 * MINUTE + 3.004005006,
    "39h9m14.425s": 39 * HOUR + 9 * MINUTE + 14.425,
    "52763797000ns": 52.763797,
    "0.3333333333333333333h": 20 * MINUTE,
    "9007199254740993ns": 9007199254740993 / 10**9,
    "9223372036854775807ns": (2**63 - 1) / 10**9,
    "9223372036854775.807us": (2**63 - 1) / 10**9,
    "9223372036s854ms775us807ns": (2**63 - 1) / 10**9,
    "-9223372036854775808ns": -(2**63) / 10**9,
    "-2562047h47m16.854775808s": -(2**63) / 10**9,
    "0.100000000000000000000h": 6 * MINUTE,
    "0.830103483285477580700h": 49 * MINUTE + 48.372539827,
    # What a user might write.
    "1h30m": 5400,
    "90s": 90,
    "1.5h": 5400,
    "300ms": 0.3,
    "1h0m0s": 3600,
    "0000000000000000000000000001s": 1,
    f"0.{'0' * 5000}1s": 0,
    "0.5ns0.5ns": 0,  # each term is cut to nanoseconds by itself
}

REFUSED = {
    "": "is not a duration",
    "-": "is not a duration",
    "+": "is not a duration",
    "3": "a unit is missing",
    "3.5": "a unit is missing",
    "00": "a unit is missing",
    "1h5": "a unit is missing",
    "1.2.3s": "a unit is missing",
    ".": "'.' is not understood",
    "-.": "'.' is not understood",
    ".s": "'.s' is not understood",
    "+.s": "'.s' is not understood",
    "s": "'s' is not understood",
    "ten minutes": "'ten minutes' is not understood",
    " 5s": "' 5s' is not understood",
    "--5s": "'-5s' is not understood",
    "1d": "'d' is not one of the units",
    "5 s": "' s' is not one of the units",
    "5S": "'S' is not one of the units",
    "5s ": "'s ' is not one of the units",
    "5s\n": "'s\\n' is not one of the units",
    "1h-5m": "'h-' is not one of the units",
    "1e3s": "'e' is not one of the units",
    "1_000s": "'_' is not one of the units",
    "\u0661s": "is not understood",  # a digit, but not one of Go's
    "9223372036854775808ns": "longer than a duration can be",
    "-9223372036854775809ns": "longer than a duration can be",
    "9223372036854775.808us": "longer than a duration can be",
    "3000000h": "longer than a duration can be",
    "9" * 5000 + "h": "longer than a duration can be",
    "2000000h" * 1000: "longer than a duration can be",
}

WRITTEN = {
    0: "0s",
    1e-9: "1ns",
    1.1e-6: "1.1µs",
    2.2e-3: "2.2ms",
    3.3: "3.3s",
    4 * MINUTE + 5: "4m5s",
    4 * MINUTE + 5.001: "4m5.001s",
    5 * HOUR + 6 * MINUTE + 7.001: "5h6m7.001s",
    8 * MINUTE + 1e-9: "8m0.000000001s",
    HOUR: "1h0m0s",
    0.3: "300ms",
    90: "1m30s",
    -1.5: "-1.5s",
    -1e-10: "0s",
    120 * 24 * HOUR: "2880h0m0s",
}

FOR_PEOPLE = {
    0: "0.0 s",
    0.44: "0.4 s",
    9.94: "9.9 s",
    9.96: "10 s",
    27.4: "27 s",
    59.7: "1 min",
    245: "4 min 5 s",
    3599.6: "1 h",
    3900: "1 h 5 min",
    7199: "2 h",
    120 * 24 * HOUR: "2880 h",
}


@pytest.mark.parametrize(("text", "seconds"), READ.items(), ids=[text[:30] for text in READ])
def test_a_go_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-12, rel=1e-15)


@pytest.mark.parametrize(("text", "why"), REFUSED.items(), ids=[ascii(text[:30]) for text in REFUSED])
def test_anything_else_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="duration") as caught:
        parse_duration(text)
    assert str(caught.value).startswith(repr(text))
    assert why in str(caught.value)


@pytest.mark.parametrize(("seconds", "text"), WRITTEN.items())
def test_a_duration_is_written_as_go_writes_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_what_is_written_is_read_back() -> None:
    generator = random.Random(2)
    for _ in range(2000):
        seconds = generator.randrange(2 ** generator.randrange(50)) * generator.choice((1, -1)) / 10**9
        assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize(("seconds", "text"), FOR_PEOPLE.items())
def test_people_read_two_units_at_most(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text
