"""A server with the corpus's schema in it, and a fresh copy of that for each entry.

Each entry's copy has a name of its own, since a gateway knows a database by its name: it must not take one copy
for the next. Lines that name their database say ``rt_work``, which stands for the copy's name.

Roles, their settings, prepared transactions, replication slots and other databases belong to the whole server:
what an entry changes of them is put back before the next.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from psycopg import sql

from tests.rules.policies import STRICT
from tests.support.postgres import Postgres, run_postgres

__all__ = ["INSPECTOR", "STAND_IN", "TEMPLATE", "Arena", "run_arena", "system_bindirs"]

STAND_IN: Final = "rt_work"
"""What lines call their database; every copy's name is as long."""

INSPECTOR: Final = "holdgate_ro"
"""The gateway's own login for the catalog: no right but to connect."""

TEMPLATE: Final = "rt_template"
"""The database that every copy is made of."""

_SYSTEM = Path("/usr/lib/postgresql")
_EXTENSION = "create extension"
_SHARED = ("pg_authid", "pg_auth_members", "pg_db_role_setting")
_LOCK_SECONDS = 10


class Arena:
    """The server of one major version, ready for :meth:`fresh`.

    ``database`` is the name of the present copy, ``before`` what :meth:`personal_rows` said when it was fresh,
    ``missing_extensions`` are those that the schema asks for and this server does not have.
    """

    def __init__(self, postgres: Postgres, schema: str) -> None:
        self.postgres = postgres
        self.major = postgres.major
        self.missing_extensions: tuple[str, ...] = ()
        self.database = STAND_IN
        self._number = 0
        self._admin = postgres.connect()
        self._prepare(schema)
        self._personal = self._personal_relations()
        self._pristine = self._count(TEMPLATE)
        self.before = self._pristine
        for table in _SHARED:
            self._admin.execute(f"CREATE TABLE saved_{table} AS SELECT * FROM {table}")
        self._databases = self._database_names()

    def close(self) -> None:
        """Close what the arena itself keeps open."""
        self._admin.close()

    def rename(self) -> None:
        """Let the copies to come have a new name."""
        self._number += 1
        self.database = f"rt_{self._number:04}"

    def fresh(self, setup: Sequence[str] = ()) -> None:
        """Replace the present copy by a new one, then run ``setup`` in it as the superuser.

        Raises psycopg.Error when the setup does not work on this server.
        """
        self._clear()
        self._admin.execute(f"CREATE DATABASE {self.database} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        # A template gives its content, but neither its settings nor its privileges.
        self._admin.execute(
            "INSERT INTO pg_db_role_setting SELECT new.oid, setrole, setconfig"
            " FROM pg_db_role_setting s JOIN pg_database old ON old.oid = s.setdatabase AND old.datname = %s"
            " JOIN pg_database new ON new.datname = %s",
            (TEMPLATE, self.database),
        )
        self._admin.execute(
            "UPDATE pg_database new SET datacl = old.datacl FROM pg_database old"
            " WHERE new.datname = %s AND old.datname = %s",
            (self.database, TEMPLATE),
        )
        self.before = self._pristine
        if setup:
            with self.postgres.connect(self.database) as connection:
                for text in setup:
                    connection.execute(text.replace(STAND_IN, self.database).encode())
            self.before = self.personal_rows()

    def personal_rows(self) -> dict[str, int | None]:
        """How many rows each personal relation of the present copy has; None for one that is gone or emptied.

        Relations are known by OID, which a copy shares with its template, so that a new name hides nothing.
        """
        self._roll_back_prepared()  # its locks would keep the count waiting
        return self._count(self.database)

    def _count(self, database: str) -> dict[str, int | None]:
        counts: dict[str, int | None] = {}
        # An entry may have put names of its own in front of the catalog's.
        options = f"-c search_path=pg_catalog -c lock_timeout={_LOCK_SECONDS}s"
        with self.postgres.connect(database, options=options) as connection:
            for name, oid in self._personal.items():
                found = connection.execute(
                    "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                    " WHERE c.oid = %s AND relispopulated",
                    (oid,),
                ).fetchone()
                counts[name] = None
                if found is not None:
                    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*found))
                    ((counts[name],),) = connection.execute(count).fetchall()
        return counts

    def _prepare(self, schema: str) -> None:
        self._admin.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'")
        with self.postgres.connect(TEMPLATE) as connection:
            here = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions")}
            missing, kept = [], []
            for line in schema.splitlines():
                if line.lower().startswith(_EXTENSION):
                    name = line.lower().replace("if not exists", "").split()[2].strip(';"')
                    if name not in here:
                        missing.append(name)
                        continue
                kept.append(line)
            self.missing_extensions = tuple(missing)
            connection.execute("\n".join(kept).encode())
        self._admin.execute(f"CREATE ROLE {INSPECTOR} LOGIN")

    def _personal_relations(self) -> dict[str, int]:
        oids: dict[str, int] = {}
        with self.postgres.connect(TEMPLATE) as connection:
            for personal in STRICT["personal_data"]:
                schema, _, name = personal["relation"].partition(".")
                for (oid,) in connection.execute(
                    "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                    " WHERE (nspname, relname) = (%s, %s)",
                    (schema, name),
                ):
                    oids[name] = oid
        return oids

    # --- what belongs to the whole server -----------------------------------------------------------------

    def _clear(self) -> None:
        self._roll_back_prepared()
        self._admin.execute(
            "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active"
        )
        self._admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        for name in self._database_names() - self._databases:
            self._admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for (role,) in self._rows(
            "SELECT rolname FROM pg_authid WHERE oid NOT IN (SELECT oid FROM saved_pg_authid)"
        ):
            self._admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        for table in _SHARED:
            same = "SELECT FROM {} b WHERE b::text = a::text"
            self._admin.execute(f"DELETE FROM {table} a WHERE NOT EXISTS ({same.format(f'saved_{table}')})")
            self._admin.execute(
                f"INSERT INTO {table} SELECT * FROM saved_{table} a WHERE NOT EXISTS ({same.format(table)})"
            )
        self._admin.execute("ALTER SYSTEM RESET ALL")

    def _roll_back_prepared(self) -> None:
        for (gid,) in self._rows("SELECT gid FROM pg_prepared_xacts"):
            with self.postgres.connect(self.database) as connection:
                connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))

    def _database_names(self) -> set[str]:
        return {name for (name,) in self._rows("SELECT datname FROM pg_database")}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._admin.execute(query.encode()).fetchall()


@contextmanager
def run_arena(schema: str, bindir: Path | None) -> Iterator[Arena]:
    """An arena for the length of the block, on the server in ``bindir`` or on the embedded one."""
    with run_postgres(bindir=bindir, embedded=bindir is None) as postgres:
        arena = Arena(postgres, schema)
        try:
            yield arena
        finally:
            arena.close()


def system_bindirs() -> list[Path]:
    """The ``bin`` directories of the PostgreSQL servers installed on this system, the oldest first."""
    found = [path for path in _SYSTEM.glob("*/bin") if (path / "postgres").exists()]
    return sorted(found, key=lambda path: float(path.parent.name))
