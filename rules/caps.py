"""How much one text may be: for anybody to read it, and for the event loop to read it by itself.

What passes a cap of the first kind is unreadable.  What passes one of the second kind is read all the same, but in
a process that can be stopped (``gateway.readers.pool``).  docs/adr/0017 has the figures behind these numbers.
"""

from typing import Final

MAX_BYTES: Final = 1024 * 1024
MAX_TOKENS: Final = 20_000
MAX_STATEMENTS: Final = 1_000
"""Statements of one message: all of them are judged at once."""
MAX_DEPTH: Final = 100
"""Brackets and CASEs inside one another; the server's own limit is its stack."""
MAX_NESTING: Final = 24
"""Brackets inside one another in a text that both readers are to see; what people and tools write has half of it."""
MAX_CASES: Final = 20
"""CASEs inside one another."""
MAX_ARRAYS: Final = 5
"""ARRAY constructors inside one another: the second reader takes twice the time for each."""
MAX_COMMENT_DEPTH: Final = 64
"""Comments inside comments. Looking for the end of all of them again and again is quadratic."""

LIGHT_BYTES: Final = 4096
LIGHT_TOKENS: Final = 200
"""Words and signs; what costs time is these, not bytes."""
LIGHT_DEPTH: Final = 8

_SIGNS: Final = b",.;:()[]+-*/<>=~!@#%^&|?$"
_NOT_SIGNS: Final = bytes(set(range(256)) - set(_SIGNS))
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"()[]"))


def weight(sql: bytes) -> int:
    """How much work a text is to read: about its number of words and signs, without reading it.

    More than ``LIGHT_TOKENS`` for what is long or deeply nested, however few words it has.  Takes a few
    microseconds.  Words inside of strings and comments count too, so it may be too much, never much too little.
    """
    if len(sql) > LIGHT_BYTES or _nested(sql):
        return max(len(sql), LIGHT_TOKENS + 1)
    quoted = (sql.count(b'"') + sql.count(b"'")) // 2
    return len(sql.split()) + len(sql.translate(None, _NOT_SIGNS)) + quoted


class Allowance:
    """How much may still be read here and now, as a weight."""

    __slots__ = ("left",)

    def __init__(self, left: int = LIGHT_TOKENS) -> None:
        self.left = left

    def refill(self) -> None:
        """As much again as one moment may take."""
        self.left = LIGHT_TOKENS

    def spend(self, work: int) -> bool:
        """Take that much; False, and nothing is taken, if less is left."""
        if work > self.left:
            return False
        self.left -= work
        return True


def is_light(sql: bytes) -> bool:
    """Whether the event loop may read the text by itself."""
    return weight(sql) <= LIGHT_TOKENS


def _nested(sql: bytes) -> bool:
    brackets = sql.translate(None, _NOT_BRACKETS)
    if len(brackets) <= LIGHT_DEPTH:
        return False
    depth = 0
    for bracket in brackets:
        depth = depth + 1 if bracket in b"([" else max(depth - 1, 0)
        if depth > LIGHT_DEPTH:
            return True
    return False
