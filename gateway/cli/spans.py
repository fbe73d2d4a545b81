"""Lengths of time as people type them."""

import re

from gateway.cli.errors import USAGE, CliError

__all__ = ["seconds_of"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 36_500 * _UNITS["d"]


def seconds_of(option: str, text: str) -> int:
    """``90d`` in seconds. Raises a usage error that names ``option``."""
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match is None:
        raise CliError(f"{option} {text!a} is not a length of time such as 30m, 12h or 90d", USAGE)
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST:
        raise CliError(f"{option} {text} is longer than a hundred years", USAGE)
    return seconds
