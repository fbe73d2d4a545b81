"""A catalog for judging statements that no session has sent: with the search paths that sessions would have.

Source: PostgreSQL documentation, "Schemas" (search path) and ALTER ROLE (which setting counts).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.catalog.build import Row, decoded
from gateway.catalog.read import Run, read
from gateway.identity import split_search_path
from rules.catalog import EMPTY, SchemaSnapshot

__all__ = ["DEFAULT_PATH", "Described", "SearchPaths", "read_described", "read_search_paths"]

DEFAULT_PATH: Final = '"$user", public'
"""PostgreSQL's own default."""

_EVERYBODY: Final = ""
_SYSTEM: Final = ("pg_catalog", "information_schema")

_QUERIES: Final = (
    """
SELECT json_build_array(reset_val, session_user::text)::text FROM pg_settings WHERE name = 'search_path'
""",
    """
SELECT json_build_array(coalesce(r.rolname, ''), substr(one, 13))::text
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN LATERAL unnest(s.setconfig) one
WHERE one LIKE 'search_path=%' AND (s.setrole = 0 OR r.oid IS NOT NULL)
  AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY s.setdatabase
""",
)
"""What a session of the asking login begins with, and what roles and the database have; the last of a role counts."""


@dataclass(frozen=True, slots=True)
class SearchPaths:
    """The values of ``search_path`` that sessions begin with: everybody's, and those of single roles."""

    everybody: str = DEFAULT_PATH
    by_role: Mapping[str, str] = field(default_factory=dict)

    def effective(self, login: str, role: str, snapshot: SchemaSnapshot) -> tuple[str, ...]:
        """The path of a session that logged in as ``login`` and is ``role`` now, in the order it is searched.

        Schemas that there are not are left out where the catalog is known. Whether the role may use each of them
        is not looked at.
        """
        names = split_search_path(self.by_role.get(login, self.everybody))
        found = tuple(dict.fromkeys(role if name == "$user" else name for name in names))
        if snapshot.is_empty:
            return tuple(name for name in found if name != role) or ("public",)
        return tuple(name for name in found if name in _SYSTEM or name in snapshot.schemas)


@dataclass(frozen=True, slots=True)
class Described:
    """A catalog and the search paths that belong to it."""

    snapshot: SchemaSnapshot = EMPTY
    search_paths: SearchPaths = field(default_factory=SearchPaths)


async def read_described(run: Run) -> Described:
    """Read both. Raises as :func:`gateway.catalog.read.read` does, and OSError while somebody keeps a definition from
    being read: what is judged or written down for later must not depend on the moment."""
    reading = await read(run)
    if not reading.complete:
        raise OSError("somebody is changing a definition at this moment; try again")
    return Described(reading.snapshot, await read_search_paths(run))


async def read_search_paths(run: Run) -> SearchPaths:
    """Read what sessions begin with. Raises as :func:`gateway.catalog.read.read` does."""
    own, rows = await run(_QUERIES)
    return _search_paths(own, rows)


def _search_paths(own: Sequence[Row], rows: Sequence[Row]) -> SearchPaths:
    ((begins_with, login),) = map(decoded, own)
    by_role: dict[str, str] = dict(map(decoded, rows))
    everybody = by_role.pop(_EVERYBODY, None)
    if everybody is None:
        # A role's own setting hides what the server's configuration says.
        everybody = DEFAULT_PATH if login in by_role else begins_with
    return SearchPaths(everybody, by_role)
