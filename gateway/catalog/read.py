"""Reading a catalog over one connection.

What is needed of the connection is one function, :data:`Run`: so the catalog can be read by a login of its own
(:mod:`gateway.catalog.inspector`) or in passing by a client's server session.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, TypeVar

from gateway import clock
from gateway.catalog.build import Row, build, decoded, rebuild
from gateway.catalog.marks import MARK, Differing, changes_query, server_of
from gateway.catalog.queries import CLOSING, OPENING, VERSION, catalog_queries
from rules.catalog import SchemaSnapshot

__all__ = [
    "Ask",
    "AskError",
    "Reading",
    "Run",
    "differences",
    "in_transaction",
    "read",
    "read_catalog",
    "refresh",
]

T = TypeVar("T")

Ask = Callable[[str], Awaitable[Sequence[Row]]]
"""Runs one SQL statement and returns its rows as text. Raises :class:`AskError` where the server answers with an
error, and OSError where it does not answer."""

Run = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[Row]]]]
"""Runs queries in one read-only transaction under ``search_path = pg_catalog, pg_temp`` and returns the rows of
each as text. Nothing of it remains in the session. Raises as :data:`Ask` does."""

SLICE_SECONDS: Final = 0.001
"""How long a snapshot is built before others have their turn on the event loop."""

_LOCK_NOT_AVAILABLE: Final = "55P03"


class AskError(Exception):
    """The server's error, with its SQLSTATE."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class Reading:
    """A snapshot, the mark of the catalog it was made from (empty for temporary objects), and whether every text in it
    was read."""

    snapshot: SchemaSnapshot
    mark: str
    complete: bool
    identity: str = field(init=False, compare=False)
    """Which database it is, whatever its name (:data:`gateway.catalog.marks.IDENTITY`); empty without a mark. Asked for
    with each statement, and a mark may be long."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", str(server_of(self.mark)[0]) if self.mark else "")


async def read(run: Run, *, generation: int = 1, temporary: bool = False) -> Reading:
    """Read every definition, or with ``temporary`` those of the session's own temporary objects.

    Where somebody is changing a definition for longer than a moment, its text is left out. Raises
    :class:`AskError`, OSError, and ValueError for answers of another shape than the queries give.
    """
    try:
        return await _read(run, generation, temporary, beside_locks=False)
    except AskError as error:
        if error.sqlstate != _LOCK_NOT_AVAILABLE:
            raise
    return await _read(run, generation, temporary, beside_locks=True)


async def read_catalog(ask: Ask) -> SchemaSnapshot:
    """The snapshot alone, for whoever reads once. Raises as :func:`read` does."""
    return (await read(in_transaction(ask))).snapshot


async def refresh(run: Run, known: Reading, *, generation: int) -> Reading:
    """Read what has changed since ``known`` was read. The snapshot is the same object if nothing has that is in it,
    and otherwise equal to that of :func:`read` but for what it shares with the known one. Raises as that does.

    Where too much has changed, or not all was known, everything is read.
    """
    if known.complete:
        try:
            made = await _refresh(run, known, generation, beside_locks=False)
        except AskError as error:
            if error.sqlstate != _LOCK_NOT_AVAILABLE:
                raise
            made = await _refresh(run, known, generation, beside_locks=True)
        if made is not None:
            return made
    return await read(run, generation=generation)


async def differences(one: SchemaSnapshot, other: SchemaSnapshot) -> list[str]:
    """The names of the lists in which two snapshots are not equal."""
    return await _in_slices(_differences(one, other))


def in_transaction(ask: Ask) -> Run:
    """The port made of one that runs statement after statement."""

    async def run(queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        for statement in OPENING:
            await ask(statement)
        try:
            results = [await ask(query) for query in queries]
        except AskError:
            await ask(CLOSING)
            raise
        await ask(CLOSING)
        return results

    return run


async def _read(run: Run, generation: int, temporary: bool, *, beside_locks: bool) -> Reading:
    (about,) = await run([VERSION])
    ((version, database),) = map(decoded, about)
    queries = catalog_queries(version, temporary=temporary, beside_locks=beside_locks)
    marks = [] if temporary else [MARK]
    answers = await run([*marks, *queries.values()])
    steps = build(
        dict(zip(queries, answers[len(marks) :], strict=True)),
        generation=generation,
        database=database,
        server_version=version,
    )
    mark = "" if temporary else _mark(answers[0])
    return Reading(await _in_slices(steps), mark, complete=not beside_locks)


async def _refresh(run: Run, known: Reading, generation: int, *, beside_locks: bool) -> Reading | None:
    """None if everything must be read."""
    queries = catalog_queries(known.snapshot.server_version, beside_locks=beside_locks, changed=True)
    changes, *results = await run([changes_query(known.mark), *queries.values()])
    mark, everything, *found = json.loads(_mark(changes))
    if everything or server_of(mark) != server_of(known.mark):
        return None
    oids = dict(zip(("relation", "function", "type"), map(_oids, found), strict=True))
    steps = rebuild(
        known.snapshot,
        dict(zip(queries, results, strict=True)),
        Differing.between(known.mark, mark, oids),
        generation=generation,
    )
    return Reading(await _in_slices(steps), mark, complete=not beside_locks)


def _differences(one: SchemaSnapshot, other: SchemaSnapshot) -> Generator[None, None, list[str]]:
    names = []
    for listed in fields(one):
        if listed.name == "generation":
            continue
        mine, theirs = getattr(one, listed.name), getattr(other, listed.name)
        if not isinstance(mine, tuple) or len(mine) != len(theirs):
            same = mine == theirs
        else:
            same = True
            for pair in zip(mine, theirs, strict=True):
                same = same and pair[0] == pair[1]
                yield
        if not same:
            names.append(listed.name)
    return names


def _oids(array: str) -> list[int]:
    return [int(oid) for oid in array.strip("{}").split(",") if oid]


def _mark(rows: Sequence[Row]) -> str:
    ((mark,),) = rows
    if mark is None:
        raise ValueError("the server gave no mark of its catalog")
    return mark


async def _in_slices(steps: Generator[None, None, T]) -> T:
    until = clock.monotonic() + SLICE_SECONDS
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if clock.monotonic() >= until:
            await asyncio.sleep(0)
            until = clock.monotonic() + SLICE_SECONDS
