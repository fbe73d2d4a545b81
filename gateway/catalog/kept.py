"""The catalog of one database, kept up to date.

A snapshot is *fresh* while nothing is known that could have changed it: it was compared with the server's catalog
no longer than a polling period ago, and no definition has passed through this gateway since. Whoever judges a
statement waits until it is fresh. Where the catalog cannot be read, the snapshot is one that says so, and in it no
name can be resolved.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Final

from gateway import clock
from gateway.catalog.build import Row
from gateway.catalog.copies import Copies, Copy, Expected
from gateway.catalog.described import Described, SearchPaths, read_search_paths
from gateway.catalog.inspector import Inspector, InspectorUnavailable
from gateway.catalog.read import AskError, Reading, Run, differences, read, refresh
from gateway.config import Database
from gateway.metrics import Metrics
from gateway.upstream import Connector
from rules.catalog import EMPTY, SchemaSnapshot

__all__ = ["Catalog", "Looker"]

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""After a failure nobody looks again for so long; what is judged meanwhile is judged without a catalog."""

LOCKED_SECONDS: Final = 5.0
"""How long a snapshot serves that lacks the text of what somebody was changing."""

CHECK_SECONDS: Final = 3600.0
"""How long only what has changed is read, before everything is read once to see that nothing was overlooked."""

MAX_MISSED: Final = 10_000
"""Unknown names that are remembered, so that each of them makes the gateway look once."""


class Looker:
    """The gateway's own way to a database's catalog: a connection of the ``inspect`` login, opened when needed."""

    def __init__(self, connector: Connector, database: Database, name: str) -> None:
        self.database = database
        self._connector = connector
        self._name = name
        self._inspector: Inspector | None = None

    async def run(self, queries: Sequence[str]) -> list[list[Row]]:
        """See :data:`gateway.catalog.read.Run`. One batch at a time."""
        if self._inspector is not None:
            try:
                return await self._inspector.run(queries)
            except InspectorUnavailable:
                # The server may have ended a connection that was idle, and take a new one gladly.
                self._inspector = None
        self._inspector = await Inspector.connect(self._connector, self.database, self._name)
        return await self._inspector.run(queries)

    @contextlib.asynccontextmanager
    async def apart(self) -> AsyncIterator[Run]:
        """Another connection, for what takes long. Raises as :meth:`run` does."""
        inspector = await Inspector.connect(self._connector, self.database, self._name)
        try:
            yield inspector.run
        finally:
            inspector.close()

    def close(self) -> None:
        """Close the connection; it is opened again when needed."""
        if self._inspector is not None:
            self._inspector.close()
            self._inspector = None


class Catalog:
    """One database's catalog. ``looker`` is None where no ``inspect`` login is configured: then it is looked at
    through the sessions that need it.

    ``label`` is the name a client knows the database by, ``poll`` tells the polling period in seconds, and
    ``generations`` gives the numbers of new snapshots.
    """

    def __init__(
        self,
        label: str,
        *,
        poll: Callable[[], float],
        generations: Iterator[int],
        metrics: Metrics,
        tell: Callable[[], None] = lambda: None,
        tell_copies: Callable[[tuple[Copy, ...]], None] = lambda copies: None,
    ) -> None:
        self.label = label
        self.looker: Looker | None = None
        self.snapshot: SchemaSnapshot | None = None
        """What was read last, with copies marked; None before."""
        self.reading: Reading | None = None
        """The same as it was read, which whoever sees more than others begins with."""
        self.changes = 0
        """How many times a definition may have changed, as far as this gateway knows."""
        self.differences = 0
        """How many times a look found other definitions than the one before it."""
        self.copies = Copies(label)
        self.sessions = 0
        self._log_fills = False
        self._poll = poll
        self._generations = generations
        self._metrics = metrics
        self._tell = tell
        self._tell_copies = tell_copies
        self._turn = asyncio.Lock()
        self._seen = 0
        self._check_at = 0.0
        self._compared_at: float | None = None
        self._fresh_until = 0.0
        self._retry_at = 0.0
        self._missed: set[str] = set()
        self._failure = ""
        self._unknown: SchemaSnapshot | None = None
        self._why = ""

    # What is known -------------------------------------------------------------------------------------

    @property
    def fresh(self) -> bool:
        """Whether the snapshot is there and nothing is known that could have changed the catalog since."""
        return self._seen == self.changes and clock.monotonic() < self._fresh_until

    def still(self, snapshot: SchemaSnapshot, version: tuple[int, int], now: float) -> bool:
        """Whether it is as fresh as it was with this snapshot and these ``changes`` and ``differences``."""
        return (
            self.snapshot is snapshot
            and self.changes == version[0] == self._seen
            and self.differences == version[1]
            and now < self._fresh_until
        )

    @property
    def period(self) -> float:
        """The polling period in seconds."""
        return self._poll()

    @property
    def age(self) -> float:
        """Seconds since the snapshot was last found to be the server's catalog; infinite if it never was."""
        return float("inf") if self._compared_at is None else clock.monotonic() - self._compared_at

    def changed(self) -> None:
        """A definition may have changed: everybody waits until somebody has looked."""
        self.changes += 1
        self._tell()

    def expect(self, copies: tuple[Copy, ...]) -> list[Expected]:
        """Copies of personal data are about to be made: whoever finds them finds them marked."""
        self._tell_copies(copies)
        return self.copies.expect(copies, self.snapshot)

    def fill(self, copies: Iterable[Copy]) -> bool:
        """Copies of personal data are put into relations that are there; whether that is new."""
        new = self.copies.fill(copies)
        if new and self.snapshot is not None:
            self.snapshot = self.copies.marked(self.snapshot, generation=next(self._generations))
        return new

    def filled(self, copies: tuple[Copy, ...]) -> bool:
        """The same, by a session of this process: others are told if it is new."""
        new = self.fill(copies)
        if new:
            self._tell_copies(copies)
        return new

    @property
    def identity(self) -> str | None:
        """Which database the snapshot is of; None before. Its name may have gone over to another."""
        return None if self.reading is None else self.reading.identity

    def is_of(self, identity: str | None) -> bool:
        """Whether what is known is known of this database, as far as anybody can tell."""
        return None in (identity, self.identity) or identity == self.identity

    def replaced(self) -> None:
        """Sessions of this name are in another database: everybody waits until somebody has looked at that one."""
        if self.looker is not None:
            self.looker.close()
        self.changed()

    def log_fills(self) -> None:
        """A session that asks for trees (``resolve: server``) may not keep them out of the server's own log."""
        if not self._log_fills:
            self._log_fills = True
            logger.warning(
                "database %s: the server writes the tree of each statement it is asked about to its own log as well "
                "(resolve: server); GRANT SET ON PARAMETER log_min_messages to the roles that log in keeps it out",
                self.label,
            )

    def may_help(self, names: Iterable[str]) -> bool:
        """Whether looking again may make one of these unknown names known: each is looked for once."""
        return self.fresh and len(self._missed) < MAX_MISSED and not self._missed.issuperset(names)

    # Looking -------------------------------------------------------------------------------------------

    async def ready(self, run: Run | None = None) -> SchemaSnapshot:
        """The snapshot to judge by once it is fresh, or one that says why the catalog is not known.

        ``run`` is the session's own way to look, None where what it would see is not what others see.
        """
        looked = False
        if not self.fresh:
            async with self._turn:
                if not self.fresh and clock.monotonic() >= self._retry_at:
                    looked = await self._look(run)
        # What was just found to be so is good for this statement, however short the period.
        if self.snapshot is not None and (looked or self.fresh or self._unseen(run)):
            return self.snapshot
        return self.nothing()

    async def look_again(self, names: Iterable[str], run: Run | None = None) -> bool:
        """Look again for names nobody knows; whether anything was new."""
        before = self.snapshot
        async with self._turn:
            if self.snapshot is before:
                self._missed.update(names)
                await self._look(run)
        return self.snapshot is not before

    async def described(self) -> Described:
        """What statements that no session has sent are judged by. Without a login of its own the gateway knows what
        its sessions have seen, which may be nothing."""
        if self.looker is None:
            return Described(self.snapshot or EMPTY)
        snapshot, paths = await self.ready(), SearchPaths()
        if snapshot.unavailable is None:
            async with self._turn:
                try:
                    paths = await read_search_paths(self.looker.run)
                except (AskError, OSError, ValueError) as error:
                    self._failed(str(error))
                    snapshot = self.nothing()
        return Described(snapshot, paths)

    async def poll(self) -> None:
        """Look, because the polling period is over."""
        if self.looker is not None:
            async with self._turn:
                if not await self._looked(self.looker.run):
                    # Nobody can say what changed meanwhile. The next statement looks again, and waits for it.
                    self._fresh_until = 0.0
            if clock.monotonic() >= self._check_at:
                await self._check(self.looker)

    def _unseen(self, run: Run | None) -> bool:
        """Whether nobody can look now and nothing is known to have changed: a session goes on with what is known.

        A long transaction that sees the database as it was cannot tell what others see.
        """
        return run is None and self.looker is None and self._seen == self.changes

    async def _look(self, run: Run | None) -> bool:
        if self.looker is not None:
            if await self._looked(self.looker.run):
                return True
            self._retry_at = clock.monotonic() + RETRY_SECONDS
        return run is not None and await self._looked(run)

    async def _looked(self, run: Run) -> bool:
        changes, started = self.changes, clock.monotonic()
        try:
            await self._read(run, changes)
        except (AskError, OSError, ValueError) as error:
            self._failed(str(error))
            return False
        if self._failure:
            logger.info("the catalog of database %s can be read again", self.label)
        self._failure = ""
        self._seen = changes
        self._compared_at = started
        # The background's next comparison is due after one period, and may be late by another.
        lasts = self._poll() * (1 if self.looker is None else 2)
        whole = self.reading is not None and self.reading.complete
        self._fresh_until = started + (lasts if whole else min(lasts, LOCKED_SECONDS))
        return True

    async def _read(self, run: Run, changes: int) -> None:
        started, known = clock.monotonic(), self.reading
        if known is None:
            reading = await read(run, generation=next(self._generations))
            self._check_at = clock.monotonic() + CHECK_SECONDS
        else:
            reading = await refresh(run, known, generation=next(self._generations))
        self._take(reading, changes)
        if known is None:
            self._metrics.catalog_reload_seconds.observe(clock.monotonic() - started)
        elif reading.mark != known.mark:
            self._metrics.catalog_refresh_seconds.observe(clock.monotonic() - started)

    def _take(self, reading: Reading, changes: int) -> None:
        known, self.reading = self.reading, reading
        if known is not None and reading.snapshot is known.snapshot:
            return
        self.differences += known is not None
        if known is not None and reading.identity != known.identity:
            self.copies = Copies(self.label)
        self.snapshot = self.copies.marked(reading.snapshot, changes)
        self._missed.clear()
        self._metrics.catalog_generation.labels(self.label).set(reading.snapshot.generation)

    async def _check(self, looker: Looker) -> None:
        """Read everything, and see whether it is what was read bit by bit. Nobody waits for it."""
        try:
            async with looker.apart() as run:
                reading = await read(run, generation=next(self._generations))
        except (AskError, OSError, ValueError) as error:
            self._failed(str(error))
            return
        self._check_at = clock.monotonic() + CHECK_SECONDS
        async with self._turn:
            known = self.reading
            if known is None or known.mark != reading.mark or not (known.complete and reading.complete):
                return
            names = await differences(known.snapshot, reading.snapshot)
            if names:
                logger.error(
                    "the catalog of database %s was not kept up to date: %s differ; please report this",
                    self.label,
                    ", ".join(names),
                )
                self._metrics.catalog_mismatches_total.labels(self.label).inc()
                self._take(reading, self._seen)

    def _failed(self, why: str) -> None:
        self._metrics.catalog_failures_total.labels(self.label).inc()
        if why != self._failure:
            logger.warning("the catalog of database %s cannot be read: %s", self.label, why)
        self._failure = why

    def nothing(self, why: str = "") -> SchemaSnapshot:
        """A snapshot that says why the catalog is not known."""
        why = why or self._failure or "no session is where it could be read"
        if self._unknown is None or self._why != why:
            self._why = why
            self._unknown = SchemaSnapshot(
                next(self._generations),
                self.label,
                unavailable=f"the catalog of database {self.label} is not known: {why}",
            )
        return self._unknown
