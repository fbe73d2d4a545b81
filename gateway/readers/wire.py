"""What a gateway and its readers tell one another: pickles behind a length of four bytes.

A catalog is as large as a database has tables. It is sent once, piece by piece, so that no piece keeps the event loop
for long, and without what the reader has of another catalog already: one session's own view of a database shares
nearly all of it with everybody's.
"""

import itertools
import pickle
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
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
    """A catalog begins, to be known as ``key``. Its long lists follow in parts, between the first and the last entries
    of the catalog known as ``base``: how many of them, by the names of the lists."""

    key: int
    snapshot: SchemaSnapshot
    base: int | None
    shared: Mapping[str, tuple[int, int]]


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
    shared: dict[str, tuple[int, int]] = {}
    for one in fields(snapshot):
        value = getattr(snapshot, one.name)
        if not isinstance(value, tuple) or len(value) <= PIECE:
            continue
        lists[one.name] = value
        if base is not None and any(common := _common(getattr(base[1], one.name), value)):
            shared[one.name] = common
    emptied: dict[str, Any] = dict.fromkeys(lists, ())
    yield Learn(key, replace(snapshot, **emptied), base[0] if base is not None and shared else None, shared)
    for name, entries in lists.items():
        first, last = shared.get(name, (0, 0))
        end = len(entries) - last
        for start in range(first, end, PIECE):
            yield Part(key, name, entries[start : min(start + PIECE, end)])


def _common(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[int, int]:
    """How many entries two lists begin with, and how many end with, that are the same objects."""
    most = min(len(one), len(other))
    first = _alike(zip(one, other, strict=False), most)
    return first, _alike(zip(reversed(one), reversed(other), strict=False), most - first)


def _alike(pairs: Iterable[tuple[object, object]], most: int) -> int:
    """How many pairs, of the first ``most``, are the same object twice, up to one that is not."""
    return next(
        (at for at, (one, other) in enumerate(itertools.islice(pairs, most)) if one is not other), most
    )


@dataclass(slots=True)
class Arriving:
    """A catalog as it arrives; put together when it is first used."""

    snapshot: SchemaSnapshot
    lists: dict[str, list[Any]] = field(default_factory=dict)
    ends: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    @classmethod
    def begun(cls, message: Learn, known: Callable[[int], SchemaSnapshot]) -> "Arriving":
        """One that begins with this; ``known`` gives the catalog of a key."""
        arriving = cls(message.snapshot)
        if message.base is not None:
            base = known(message.base)
            for name, (first, last) in message.shared.items():
                entries = getattr(base, name)
                arriving.lists[name] = list(entries[:first])
                arriving.ends[name] = entries[len(entries) - last :]
        return arriving

    def add(self, part: Part) -> None:
        """Take further entries."""
        self.lists.setdefault(part.name, []).extend(part.entries)

    def whole(self) -> SchemaSnapshot:
        """The catalog, complete now."""
        if self.lists:
            whole: dict[str, Any] = {
                name: (*entries, *self.ends.get(name, ())) for name, entries in self.lists.items()
            }
            self.snapshot = replace(self.snapshot, **whole)
            self.lists, self.ends = {}, {}
        return self.snapshot
