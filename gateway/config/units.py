"""Sizes such as ``1MiB`` and durations such as ``1h30m``."""

import re

__all__ = ["parse_duration", "parse_size"]

_SIZE = re.compile(r"(?P<number>[0-9]{1,15}) ?(?P<unit>B|kB|KB|KiB|MB|MiB|GB|GiB)?")
_BYTES = {
    None: 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}

_DURATION_PART = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,6})?) ?(?P<unit>ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def parse_size(text: str) -> int:
    """``1MiB``, ``64 KiB``, ``10MB`` or a plain number, as bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("expected a size such as 65536, 64KiB or 1MiB")
    return int(match["number"]) * _BYTES[match["unit"]]


def parse_duration(text: str) -> float:
    """``15m``, ``1h30m``, ``400d``, ``500ms`` or a plain number of seconds, as seconds. Raises ValueError."""
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text):
        return float(text)
    seconds, position = 0.0, 0
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None:
            raise ValueError("expected a duration such as 30s, 15m, 1h30m or 400d")
        seconds += float(match["number"]) * _SECONDS[match["unit"]]
        position = match.end()
    if not text:
        raise ValueError("expected a duration such as 30s, 15m, 1h30m or 400d")
    return seconds
