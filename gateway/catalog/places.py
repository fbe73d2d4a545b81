"""Where in a JSON text something stands: for messages about documents that are too long to look through."""

import json
import re
from collections.abc import Iterator
from typing import Final

__all__ = ["line_of"]

_STEP: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


def line_of(text: str, path: str) -> int:
    """The line, from 1, of what ``path`` (``relations[3].columns``) names in a JSON text, or of the nearest thing
    around it that there is."""
    at = _after_blanks(text, 0)
    for match in _STEP.finditer(path):
        key, index = match.groups()
        found = _member(text, at, key) if key is not None else _item(text, at, int(index))
        if found is None:
            break
        at = found
    return text.count("\n", 0, at) + 1


def _member(text: str, at: int, wanted: str) -> int | None:
    if text[at : at + 1] != "{":
        return None
    for start, value in _parts(text, at + 1, keyed=True):
        if _DECODER.raw_decode(text, start)[0] == wanted:
            return value
    return None


def _item(text: str, at: int, wanted: int) -> int | None:
    if text[at : at + 1] != "[":
        return None
    for index, (start, _) in enumerate(_parts(text, at + 1, keyed=False)):
        if index == wanted:
            return start
    return None


def _parts(text: str, at: int, *, keyed: bool) -> Iterator[tuple[int, int]]:
    """Where each part of an object or array begins, and where its value does."""
    at = _after_blanks(text, at)
    while text[at] not in "]}":
        start = value = at
        if keyed:
            colon = _after_blanks(text, _DECODER.raw_decode(text, start)[1])
            value = _after_blanks(text, colon + 1)
        yield start, value
        at = _after_blanks(text, _DECODER.raw_decode(text, value)[1])
        if text[at] == ",":
            at = _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at
