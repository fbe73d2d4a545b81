"""Judging a statement that no session has sent: for ``holdgate check``, the management port and policy tests."""

from collections.abc import Collection

from gateway import clock
from gateway.catalog.described import Described
from gateway.config import Config
from rules import Context

__all__ = ["check_context", "database_meant"]


def database_meant(config: Config, name: str | None) -> str:
    """``name``, or else the only database that the configuration names; empty where there is none such."""
    if name:
        return name
    named = [each for each in config.databases if each != "*"]
    return named[0] if len(named) == 1 else ""


def check_context(
    config: Config,
    described: Described,
    *,
    user: str,
    database: str,
    groups: Collection[str] | None = None,
    search_path: tuple[str, ...] | None = None,
) -> Context:
    """A session as it would begin: of ``user``, on ``database``, nothing set and nothing prepared.

    ``groups`` and ``search_path`` stand in for those that follow from the configuration and the catalog.
    """
    known, place = config.users.get(user), config.database(database)
    login = user
    if place is not None and place.auth == "gateway" and place.login is not None:
        login = place.login.user
    role = known.role if known is not None else None
    if search_path is None:
        search_path = described.search_paths.effective(login, role or login, described.snapshot)
    return Context(
        user=user,
        now=clock.now(),
        groups=config.groups_of(user) if groups is None else frozenset(groups),
        role=role,
        database=database,
        search_path=search_path,
        catalog=described.snapshot,
    )
