"""The catalogs of all databases behind the gateway.

With an ``inspect`` login the gateway looks at a database by itself: at its start, and in the background while
sessions use it. Without one it looks through the sessions.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from gateway.catalog.copies import Copy
from gateway.catalog.described import Described
from gateway.catalog.kept import Catalog, Looker
from gateway.config import Config, Database
from gateway.metrics import Metrics
from gateway.tasks import spawn
from gateway.upstream import Connector

__all__ = ["Keeper", "Place"]

START_SECONDS: Final = 10.0
"""How long the start of the gateway waits for the catalogs it can read by itself."""

MAX_COPIES: Final = 10_000
"""Copies that are remembered of each database; of more, the oldest are forgotten."""

_ANY: Final = "*"

Place = tuple[str, int, str]
"""Host, port and the server's name of a database: what two names of the configuration may have in common."""


class Keeper:
    """Keeps one :class:`Catalog` for each database. ``config`` is asked anew: it may be reloaded."""

    def __init__(self, config: Callable[[], Config], connector: Connector, metrics: Metrics) -> None:
        self._config = config
        self._connector = connector
        self._metrics = metrics
        self._catalogs: dict[Place, Catalog] = {}
        self._polling: dict[Catalog, asyncio.Task[None]] = {}
        self.tell: Callable[[Place], None] = lambda place: None
        """Told where a definition may have changed, for other processes that keep the same catalog."""
        self.tell_copies: Callable[[Place, tuple[Copy, ...]], None] = lambda place, copies: None
        """Told of copies of personal data that are about to be made, for the same."""
        self._copies: dict[Place, dict[Copy, None]] = {}
        """Every copy of personal data that was heard of, for catalogs that are begun later, or anew."""
        self.generations = itertools.count(1)

    async def start(self) -> None:
        """Read what can be read now. A database that does not answer is read when somebody needs it."""
        named = [
            name for name, database in self._config().databases.items() if name != _ANY and database.inspect
        ]
        reading = {spawn(self.of(name).ready(), name=f"catalog of {name}") for name in named}
        if reading:
            await asyncio.wait(reading, timeout=START_SECONDS)

    async def stop(self) -> None:
        """Look no more."""
        for task in self._polling.values():
            task.cancel()
        if self._polling:
            await asyncio.wait(self._polling.values())
        for catalog in self._catalogs.values():
            if catalog.looker is not None:
                catalog.looker.close()

    def reload(self) -> None:
        """Look by the logins of the configuration as it is now."""
        for place, catalog in self._catalogs.items():
            database = self._config().database(catalog.label)
            if database is not None and _place(database, catalog.label) == place:
                self._equip(catalog, database)

    def of(self, name: str) -> Catalog:
        """The catalog of the database that a client reaches as ``name``. Raises KeyError where there is none."""
        database = self._config().database(name)
        if database is None:
            raise KeyError(name)
        place = _place(database, name)
        catalog = self._catalogs.get(place)
        if catalog is None:
            catalog = self._catalogs[place] = Catalog(
                name,
                poll=lambda: self._config().catalog.poll,
                generations=self.generations,
                metrics=self._metrics,
                tell=lambda: self.tell(place),
                tell_copies=lambda copies: self._copied_here(place, copies),
            )
            self._equip(catalog, database)
            if place in self._copies:
                self.copied_elsewhere(place, tuple(self._copies[place]))
        return catalog

    async def described(self, name: str) -> Described:
        """What statements on a database are judged by that no session has sent. A catalog is not begun for whatever
        name somebody asks about, unless the configuration names it."""
        database = self._config().database(name)
        if database is None:
            return Described()
        named = name != _ANY and name in self._config().databases
        catalog = self.of(name) if named else self._catalogs.get(_place(database, name))
        return Described() if catalog is None else await catalog.described()

    def join(self, name: str) -> Catalog:
        """The catalog, for a session, which will :meth:`leave` it. Raises KeyError where there is no database."""
        catalog = self.of(name)
        catalog.sessions += 1
        if catalog not in self._polling:
            self._polling[catalog] = spawn(self._poll(catalog), name=f"catalog of {catalog.label}")
        return catalog

    @staticmethod
    def leave(catalog: Catalog) -> None:
        """A session that joined has ended."""
        catalog.sessions -= 1

    def changed_elsewhere(self, place: Place) -> None:
        """A definition of a database may have changed through another process, which told the others itself."""
        catalog = self._catalogs.get(place)
        if catalog is not None:
            catalog.changes += 1

    def copied_elsewhere(self, place: Place, copies: tuple[Copy, ...]) -> None:
        """Copies of personal data are made through another process, or put where something is."""
        self._remember(place, copies)
        catalog = self._catalogs.get(place)
        if catalog is not None:
            catalog.copies.expect((copy for copy in copies if not copy.oid), catalog.snapshot)
            catalog.fill(copy for copy in copies if copy.oid)

    @property
    def known_copies(self) -> tuple[tuple[Place, tuple[Copy, ...]], ...]:
        """All copies that were heard of, for a process that begins now."""
        return tuple((place, tuple(copies)) for place, copies in self._copies.items())

    def _copied_here(self, place: Place, copies: tuple[Copy, ...]) -> None:
        self._remember(place, copies)
        self.tell_copies(place, copies)

    def _remember(self, place: Place, copies: tuple[Copy, ...]) -> None:
        if copies:
            known = self._copies.setdefault(place, {})
            known.update(dict.fromkeys(copies))
            while len(known) > MAX_COPIES:
                del known[next(iter(known))]

    def measure(self) -> None:
        """Tell the metrics how old each snapshot is."""
        for catalog in self._catalogs.values():
            if catalog.snapshot is not None:
                self._metrics.catalog_age_seconds.labels(catalog.label).set(catalog.age)

    def _equip(self, catalog: Catalog, database: Database) -> None:
        if catalog.looker is not None:
            if catalog.looker.database == database:
                return
            catalog.looker.close()
        catalog.looker = None
        if database.inspect is not None:
            catalog.looker = Looker(self._connector, database, catalog.label)

    async def _poll(self, catalog: Catalog) -> None:
        """Look again and again while sessions use it, then forget it, unless the configuration names it."""
        while True:
            await asyncio.sleep(self._config().catalog.poll)
            if not catalog.sessions:
                break
            await catalog.poll()
        if catalog.looker is not None:
            catalog.looker.close()
        del self._polling[catalog]
        named = {
            _place(database, name) for name, database in self._config().databases.items() if name != _ANY
        }
        for place in [
            place for place, one in self._catalogs.items() if one is catalog and place not in named
        ]:
            del self._catalogs[place]
            self._metrics.forget_catalog(catalog.label)


def _place(database: Database, name: str) -> Place:
    return database.host, database.port, database.dbname or name
