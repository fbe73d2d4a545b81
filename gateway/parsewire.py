"""What a gateway and its readers tell one another: pickles behind a length of four bytes.

A catalog is as large as a database has tables. It is sent once, piece by piece, so that no piece keeps the event loop
for long, and without what the reader has of another catalog already: one session's own view of a database shares
nearly all of it with everybody's.
"""

import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from rules import Context, Facts, Policy, SchemaSnapshot

__all__ = [
    "HEADER",
    "MAX_ANSWER",
    "Arriving",
    "Forget",
    "Learn",
    "Part",
    "Read",
    "Request",
    "Rules",
    "encode",
    "encode_answer",
    "pieces",
]

HEADER: Final = struct.Struct("!I")
"""In front of each frame: its length in bytes."""

MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes of one answer. The gateway believes no larger length."""

PORTION: Final = 64
"""Statements and effects that are answered at once: a millisecond's work to check."""

PIECE: Final = 64
"""Entries of a catalog that are sent at once: about a millisecond's work to encode."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Read by this policy from now on."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Learn:
    """A catalog begins, to be known as ``key``. Its long lists follow in parts, behind the first entries of the
    catalog known as ``base``: how many of them, by the names of the lists."""

    key: int
    snapshot: SchemaSnapshot
    base: int | None
    shared: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """Further entries for one list of a catalog."""

    key: int
    name: str
    entries: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Forget:
    """A catalog that is not needed any more."""

    key: int


@dataclass(frozen=True, slots=True)
class Read:
    """Read this message within so many seconds; answered by Facts.

    ``context`` comes without its catalog, which is the one known as ``key``; None stands for the empty one.
    """

    sql: bytes
    context: Context
    key: int | None
    seconds: float


Request = Rules | Learn | Part | Forget | Read


def encode(message: object) -> bytes:
    """One frame."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(len(body)) + body


def encode_answer(facts: Facts | None) -> bytes:
    """The frames of one answer, and an empty one behind them: facts, or None from a reader that is ready.

    A message may have a thousand statements. They come in portions, each as facts with those statements, so that the
    event loop can do something else between one and the next; all else is in the first.
    """
    portions: list[Facts | None] = []
    first = 0
    if facts is not None:
        weight = 0
        for at, statement in enumerate(facts.statements):
            weight += 1 + len(statement.effects)
            if weight >= PORTION:
                statements = facts.statements[first : at + 1]
                portions.append(replace(facts, statements=statements) if not portions else Facts(statements))
                first, weight = at + 1, 0
        if first < len(facts.statements) or not portions:
            statements = facts.statements[first:]
            portions.append(replace(facts, statements=statements) if not portions else Facts(statements))
    return b"".join(map(encode, portions or [None])) + HEADER.pack(0)


def pieces(
    key: int, snapshot: SchemaSnapshot, base: tuple[int, SchemaSnapshot] | None = None
) -> Iterator[Learn | Part]:
    """What to send for a catalog, each piece made when it is asked for.

    ``base`` is a catalog that the reader has, with its key. What the snapshot has worked out for itself meanwhile
    is left behind.
    """
    lists: dict[str, tuple[Any, ...]] = {}
    shared: dict[str, int] = {}
    for one in fields(snapshot):
        value = getattr(snapshot, one.name)
        if not isinstance(value, tuple) or len(value) <= PIECE:
            continue
        lists[one.name] = value
        if base is not None and (common := _common(getattr(base[1], one.name), value)):
            shared[one.name] = common
    emptied: dict[str, Any] = dict.fromkeys(lists, ())
    yield Learn(key, replace(snapshot, **emptied), base[0] if base is not None and shared else None, shared)
    for name, entries in lists.items():
        for start in range(shared.get(name, 0), len(entries), PIECE):
            yield Part(key, name, entries[start : start + PIECE])


def _common(one: tuple[Any, ...], other: tuple[Any, ...]) -> int:
    """How many entries two lists begin with that are the same objects."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, theirs) in pairs if mine is not theirs), min(len(one), len(other)))


@dataclass(slots=True)
class Arriving:
    """A catalog as it arrives; put together when it is first used."""

    snapshot: SchemaSnapshot
    lists: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def begun(cls, message: Learn, known: Callable[[int], SchemaSnapshot]) -> "Arriving":
        """One that begins with this; ``known`` gives the catalog of a key."""
        arriving = cls(message.snapshot)
        if message.base is not None:
            base = known(message.base)
            for name, count in message.shared.items():
                arriving.lists[name] = list(getattr(base, name)[:count])
        return arriving

    def add(self, part: Part) -> None:
        """Take further entries."""
        self.lists.setdefault(part.name, []).extend(part.entries)

    def whole(self) -> SchemaSnapshot:
        """The catalog, complete now."""
        if self.lists:
            whole: dict[str, Any] = {name: tuple(entries) for name, entries in self.lists.items()}
            self.snapshot = replace(self.snapshot, **whole)
            self.lists = {}
        return self.snapshot
