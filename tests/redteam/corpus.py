"""The lines of a corpus: what is sent, who sends it, and what must come of it.

One JSON object a line.  ``sql`` is one message or a list of messages of one session (``hex``: the exact bytes of
one message instead), ``startup`` are startup parameters, ``role`` is who logs in, ``setup`` is what a superuser
prepared before, ``pg`` the major versions it is meant for.  ``expect`` is ``allow`` for an innocent line and
otherwise names what must be stopped.  ``evidence`` is what it did when nothing stopped it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Entry", "read_corpus"]

INNOCENT = "allow"
FAIL_CLOSED = "unsupported_fail_closed"
_EXPECTED = frozenset({INNOCENT, FAIL_CLOSED, "hold_delete", "hold_bulk_pii", "deny"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``messages`` are the texts of Query messages; ``versions`` is empty where any server will do."""

    id: str
    category: str
    expect: str
    messages: tuple[bytes, ...]
    role: str
    startup: Mapping[str, str]
    setup: tuple[str, ...]
    versions: tuple[int, ...]
    evidence: Mapping[str, Any]

    @property
    def innocent(self) -> bool:
        """Whether it must run as if there were no gateway."""
        return self.expect == INNOCENT

    @property
    def side_channel(self) -> bool:
        """Whether a single personal value is too many: it must not be told, whatever runs."""
        return self.category == "side-channel"

    @property
    def text(self) -> str:
        """What is sent, on one line, for people."""
        return " ⏎ ".join(message.decode("utf-8", "backslashreplace") for message in self.messages)


def read_corpus(path: Path) -> list[Entry]:
    """The entries of a file, in order. Raises ValueError with the line's number when one cannot be understood."""
    entries: list[Entry] = []
    # Not splitlines(): statements may hold U+2028 and its like unescaped.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            entries.append(_entry(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number}: {type(error).__name__} {error}") from error
    if len({entry.id for entry in entries}) != len(entries):
        raise ValueError(f"{path}: an id is used twice")
    return entries


def _entry(line: Mapping[str, Any]) -> Entry:
    if line["expect"] not in _EXPECTED:
        raise ValueError(f"expect is {line['expect']!r}, not one of {', '.join(sorted(_EXPECTED))}")
    return Entry(
        id=line["id"],
        category=line["cat"],
        expect=line["expect"],
        messages=_messages(line),
        role=line.get("role") or "app",
        startup=line.get("startup") or {},
        setup=tuple(line.get("setup") or ()),
        versions=tuple(line.get("pg") or ()),
        evidence=line.get("evidence") or {},
    )


def _messages(line: Mapping[str, Any]) -> tuple[bytes, ...]:
    if line.get("hex"):
        return (bytes.fromhex(line["hex"]),)
    texts = line["sql"] if isinstance(line["sql"], list) else [line["sql"]]
    return tuple(text.encode() for text in texts)
