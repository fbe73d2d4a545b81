"""Reading a whole catalog over one connection, in one snapshot of the server's.

What is needed of the connection is one function, :data:`Ask`: so the catalog can be read by a login of its own
(:mod:`gateway.catalog.inspector`) or in passing by a client's server session.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gateway import clock
from gateway.catalog.build import Row, build, decoded
from gateway.catalog.queries import CLOSING, FINGERPRINT, OPENING, VERSION, catalog_queries
from rules.catalog import SchemaSnapshot

__all__ = ["Ask", "AskError", "Reading", "fingerprint", "read", "read_catalog"]

T = TypeVar("T")

Ask = Callable[[str], Awaitable[Sequence[Row]]]
"""Runs one SQL statement and returns its rows as text. Raises :class:`AskError` where the server answers with an
error, and OSError where it does not answer."""

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
    """A snapshot, the fingerprint of the catalog it was made from, and whether every text in it was read."""

    snapshot: SchemaSnapshot
    fingerprint: str
    complete: bool


async def read(ask: Ask, *, generation: int = 1) -> Reading:
    """Read everything. Where somebody is changing a definition for longer than a moment, its text is left out.

    Raises :class:`AskError`, OSError, and ValueError for answers of another shape than the queries give.
    """
    try:
        return await _read(ask, generation, beside_locks=False)
    except AskError as error:
        if error.sqlstate != _LOCK_NOT_AVAILABLE:
            raise
    return await _read(ask, generation, beside_locks=True)


async def read_catalog(ask: Ask) -> SchemaSnapshot:
    """The snapshot alone, for whoever reads once. Raises as :func:`read` does."""
    return (await read(ask)).snapshot


async def fingerprint(ask: Ask) -> str:
    """A text that differs once any definition does. Raises as :func:`read` does."""
    async with _transaction(ask):
        return await _fingerprint(ask)


async def _read(ask: Ask, generation: int, *, beside_locks: bool) -> Reading:
    async with _transaction(ask):
        ((version, database),) = map(decoded, await ask(VERSION))
        mark = await _fingerprint(ask)
        rows = {
            name: await ask(query)
            for name, query in catalog_queries(version, beside_locks=beside_locks).items()
        }
    snapshot = await _in_slices(build(rows, generation=generation, database=database, server_version=version))
    return Reading(snapshot, mark, complete=not beside_locks)


async def _fingerprint(ask: Ask) -> str:
    ((mark,),) = await ask(FINGERPRINT)
    if mark is None:
        raise ValueError("the server gave no fingerprint of its catalog")
    return mark


@contextlib.asynccontextmanager
async def _transaction(ask: Ask) -> AsyncIterator[None]:
    for statement in OPENING:
        await ask(statement)
    try:
        yield
    except AskError:
        await ask(CLOSING)
        raise
    await ask(CLOSING)


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
