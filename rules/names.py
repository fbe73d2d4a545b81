"""Names as PostgreSQL writes and compares them (documentation section 4.1.1), and patterns over them."""

import fnmatch
import re
from typing import Final

MAX_NAME_BYTES: Final = 63
"""NAMEDATALEN - 1: longer names are cut, at a character boundary."""

_UPPER_TO_LOWER: Final = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')


def truncate(name: str) -> str:
    """Cut a name to 63 bytes of UTF-8, as the server does, never inside a character."""
    if len(name) <= MAX_NAME_BYTES // 4:
        return name
    raw = name.encode("utf-8", "surrogatepass")
    return name if len(raw) <= MAX_NAME_BYTES else raw[:MAX_NAME_BYTES].decode("utf-8", "ignore")


def fold(name: str) -> str:
    """What an unquoted identifier stands for: ASCII letters lowered (UTF-8 servers leave others), then cut."""
    return truncate(name.translate(_UPPER_TO_LOWER))


def split_name(text: str) -> tuple[str, ...] | None:
    """The parts of a dotted name, with or without double quotes; None where it is not one."""
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        if match is None:
            return None
        parts.append(truncate(match[1].replace('""', '"') if match[1] is not None else match[2].strip()))
        position = match.end()
        if position == len(text):
            return tuple(parts) if all(parts) else None
        if text[position] != ".":
            return None
        position += 1


def pattern(glob: str) -> re.Pattern[str]:
    """A glob (``*``, ``?``, ``[...]``) over whole names, blind to case.

    Case is ignored on purpose: a rule or a personal relation written in the wrong case must not be void.
    """
    return re.compile(fnmatch.translate(glob), re.IGNORECASE)


def is_glob(text: str) -> bool:
    """Whether the text has glob characters."""
    return any(character in text for character in "*?[")
