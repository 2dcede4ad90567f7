"""Durations as Go's `time.Duration` writes them: `1h30m`, `90s`, `1.5h`, `300ms`, `1h0m0s`.

Source of the rules: https://pkg.go.dev/time#ParseDuration and https://pkg.go.dev/time#Duration.String.
Besides, durations and points in time as people write them.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_DAYS = re.compile(r"(?:([0-9]+)d)?(.*)", re.DOTALL)
_LARGEST = 2**63 - 1


def parse_duration(text: str) -> float:
    """Read a Go duration, digit for digit as Go does.

    Args:
        text: for example `1h0m0s`; a bare `0` is allowed, any other number needs a unit.

    Returns:
        Seconds.

    Raises:
        ValueError: the text is not a Go duration, or does not fit one (about 292 years).
    """
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f"{text!r} is not a duration")
    total = 0
    while rest and total <= _LARGEST + 1:
        term = _TERM.match(rest)
        assert term is not None  # it matches the empty string too
        whole, fraction, unit = term[1], term[2] or "", term[3]
        if not whole and not fraction:
            raise ValueError(f"{text!r} is not a duration: {rest!r} is not understood")
        if unit not in _NANOSECONDS:
            why = f"{unit!r} is not one of the units h, m, s, ms, us and ns" if unit else "a unit is missing"
            raise ValueError(f"{text!r} is not a duration: {why}")
        total += _whole(whole) * _NANOSECONDS[unit] + _part(fraction, _NANOSECONDS[unit])
        rest = rest[term.end() :]
    if total > _LARGEST + (sign < 0):
        raise ValueError(f"{text!r} is longer than a duration can be")
    return sign * total / 10**9


def check_time_limit(text: str) -> str:
    """A Go duration that something can be done in, as Go writes it.

    Raises:
        ValueError: the text is not a Go duration, or is none that is longer than nothing.
    """
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time to do anything in")
    return format_duration(seconds)


def parse_seconds(text: str) -> int:
    """Read a number of seconds, or a duration of whole seconds: `86400`, `1h30m`, `30d`, `1d12h`.

    Args:
        text: digits alone are seconds; days come first.

    Returns:
        Seconds.

    Raises:
        ValueError: it is neither.
    """
    found = _DAYS.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration: write seconds, or 30d, 1h30m")
    days, rest = found[1], found[2]
    if not days and rest.isdecimal():
        return _whole(rest)
    seconds = parse_duration(rest) if rest else 0.0
    if seconds < 0 or seconds != int(seconds):
        raise ValueError(f"{text!r} is no number of whole seconds")
    return _whole(days or "0") * 24 * 3600 + int(seconds)


def _whole(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) < 20 else _LARGEST + 2  # Python refuses to read a long number


def _part(digits: str, unit: int) -> int:
    """A fraction of a unit in nanoseconds; Go reads as many digits as fit, and multiplies in floating point."""
    value, scale = 0, 1.0
    for digit in digits:
        longer = value * 10 + int(digit)
        if value > _LARGEST // 10 or longer > _LARGEST + 1:
            break
        value, scale = longer, scale * 10
    return int(value * (unit / scale))


def format_duration(seconds: float) -> str:
    """Write a duration as Go's `Duration.String` does.

    Args:
        seconds: a duration in seconds, taken to the nearest nanosecond.

    Returns:
        For example `1h0m0s`, `1m30s`, `300ms`, `0s`.
    """
    total = round(abs(seconds) * 10**9)
    sign = "-" if seconds < 0 and total else ""
    if total == 0:
        return "0s"
    if total < 10**9:
        unit = next(unit for unit in ("ms", "µs", "ns") if total >= _NANOSECONDS[unit])
        return f"{sign}{_trimmed(Decimal(total) / _NANOSECONDS[unit])}{unit}"
    minutes, nanoseconds = divmod(total, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    parts = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{parts}{_trimmed(Decimal(nanoseconds) / 10**9)}s"


def _trimmed(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def human_duration(seconds: float) -> str:
    """Write a duration for people: `0.4 s`, `27 s`, `4 min 5 s`, `1 h 5 min`.

    Args:
        seconds: a duration in seconds.
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def human_time(seconds: float) -> str:
    """Write a point in time for people: `2026-11-24 12:00 UTC`.

    Args:
        seconds: Unix time.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def human_moment(rfc3339: str) -> str:
    """Write a point in time of an API for people, as `human_time` does; empty if it is none.

    Args:
        rfc3339: for example `2026-11-24T04:00:00.000-08:00`.
    """
    try:
        when = datetime.fromisoformat(rfc3339.strip().upper())
        return human_time((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return ""
