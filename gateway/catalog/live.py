"""Looking at a database once, without a gateway that runs: for the commands."""

import contextlib
from collections.abc import AsyncIterator

from gateway.catalog.described import Described, read_described
from gateway.catalog.inspector import Inspector
from gateway.catalog.read import AskError
from gateway.config import Config
from gateway.upstream import Connector

__all__ = ["LiveError", "connected", "has_inspector", "read_live"]


class LiveError(Exception):
    """The database cannot be looked at; the text is one line that says what to do."""


def has_inspector(config: Config, name: str) -> bool:
    """Whether the configuration says who looks at the catalog of the database."""
    database = config.database(name)
    return database is not None and database.inspect is not None


@contextlib.asynccontextmanager
async def connected(config: Config, name: str) -> AsyncIterator[Inspector]:
    """A connection of the database's ``inspect`` login. Raises :class:`LiveError`, for what fails inside the block
    too."""
    database = config.database(name)
    if database is None:
        raise LiveError(f"the configuration names no database {name}")
    key = f"databases.{name}.inspect" if name in config.databases else 'databases."*".inspect'
    if database.inspect is None:
        raise LiveError(f"{key} is missing: it is the login that reads the catalog of {name}")
    inspector: Inspector | None = None
    try:
        inspector = await Inspector.connect(Connector(), database, name)
        yield inspector
    except (AskError, OSError, ValueError) as error:
        raise LiveError(f"the catalog of {name} cannot be read by {key}: {error}") from error
    finally:
        if inspector is not None:
            inspector.close()


async def read_live(config: Config, name: str) -> Described:
    """The catalog as it is now. Raises :class:`LiveError`."""
    async with connected(config, name) as inspector:
        return await read_described(inspector.run)
