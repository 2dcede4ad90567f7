"""Durations as Go's `time.Duration` writes them: `1h30m`, `90s`, `1.5h`, `300ms`, `1h0m0s`.

Source of the rules: https://pkg.go.dev/time#ParseDuration and https://pkg.go.dev/time#Duration.String.
"""

import re
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
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_LARGEST = 2**63 - 1


def parse_duration(text: str) -> float:
    """Read a Go duration.

    Args:
        text: for example `1h0m0s`; a bare `0` is allowed, any other number needs a unit.

    Returns:
        Seconds.

    Raises:
        ValueError: the text is not a Go duration, or does not fit one (about 292 years).
    """
    rest = text
    sign = 1
    if rest[:1] in ("+", "-"):
        sign = -1 if rest[0] == "-" else 1
        rest = rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f"{text!r} is not a duration")
    total = Decimal(0)
    while rest:
        term = _TERM.match(rest)
        if term is None:
            bare = rest.replace(".", "", 1).isdecimal()
            raise ValueError(
                f"{text!r} is not a duration: {'a unit is missing' if bare else f'{rest!r} is not understood'}"
            )
        total += Decimal(term[1]) * _NANOSECONDS[term[2]]
        rest = rest[term.end() :]
    if total > _LARGEST:
        raise ValueError(f"{text!r} is longer than a duration can be")
    return sign * float(int(total)) / 10**9


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
