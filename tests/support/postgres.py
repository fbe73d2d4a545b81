"""A real PostgreSQL for the tests, and the objects a test makes in it.

The server is the embedded one, or the one whose ``bin`` directory the environment variable
``HOLDGATE_TEST_PG`` names. It keeps no promise about power loss (``fsync`` is off): that makes a database per
test cheap.
"""

import itertools
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql as composed

from gateway.demo.sample import sample_sql
from gateway.demo.server import PostgresServer
from tests.support.certificates import Authority

__all__ = ["SAMPLE", "Postgres", "run_postgres", "tls_bindir"]

SAMPLE = "sample"
"""The name of the template with the music shop, see :mod:`gateway.demo.sample`."""

_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "log_checkpoints": "off",
    "max_connections": "400",
    "shared_buffers": "64MB",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
_LOG_LINES = 120
_ROOM = 2 << 30


class Postgres:
    """A running server. Everything made through it belongs to the test that made it.

    ``host`` and ``port`` are the TCP address, ``socket_dir`` the folder of its unix socket. The superuser
    ``postgres`` may always log in by that socket without a password, whatever :meth:`hba` says.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.superuser = server.superuser
        self._names = itertools.count(1)
        self._templates: dict[str, str] = {}

    @property
    def host(self) -> str:
        return self.server.host

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def socket_dir(self) -> Path:
        assert self.server.socket_dir is not None, "the server is stopped"
        return self.server.socket_dir

    @property
    def bindir(self) -> Path:
        return self.server.bindir

    def tool(self, name: str) -> str:
        """The path of psql, pgbench, pg_dump, pg_restore, ..."""
        return str(self.server.tool(name))

    @property
    def major(self) -> int:
        """The server's major version."""
        with self.connect() as connection:
            return connection.info.server_version // 10_000

    # --- SQL ----------------------------------------------------------------------------------------------

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """A direct connection, past any gateway, as the superuser unless ``user`` is given; autocommit."""
        settings: dict[str, Any] = {
            "host": str(self.socket_dir),
            "port": self.port,
            "user": self.superuser,
            "dbname": database,
            "autocommit": True,
            **options,
        }
        return psycopg.connect(**settings)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run ``sql`` directly as the superuser; the rows of its (last) result, none when it has none."""
        with self.connect(database) as connection:
            cursor = connection.execute(sql.encode())
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []

    def scalar(self, sql: str, database: str = "postgres") -> Any:
        """The first column of the first row."""
        return self.execute(sql, database)[0][0]

    def wait_until(self, condition: str, database: str = "postgres", patience: float = 10.0) -> None:
        """Return once the server says that ``condition`` (a boolean expression) is true.

        For what the server announces to nobody: that a backend sleeps, waits for a lock, or is gone.
        """
        deadline = time.monotonic() + patience
        with self.connect(database) as connection:
            while connection.execute(f"SELECT {condition}".encode()).fetchone() != (True,):
                assert time.monotonic() < deadline, f"{patience:.0f} s have passed without: {condition}"

    def wait_for_backend(self, pid: int, words: str, patience: float = 10.0) -> None:
        """Return once the backend ``pid`` runs a statement with these words in it."""
        self.wait_until(
            f"EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid} AND state = 'active' "
            f"AND query LIKE '%{words}%')",
            patience=patience,
        )

    # --- objects ------------------------------------------------------------------------------------------

    def create_database(self, template: str | None = SAMPLE, sql: str | None = None) -> str:
        """A fresh database: a copy of ``template`` (:data:`SAMPLE`, a database's name, or None for an empty
        one), then ``sql`` run in it. Returns its name."""
        name = self._name("db")
        source = "template0" if template is None else self._template(template)
        statement = composed.SQL("CREATE DATABASE {} TEMPLATE {}")
        with self.connect() as connection:
            connection.execute(statement.format(composed.Identifier(name), composed.Identifier(source)))
        if sql is not None:
            self.execute(sql, name)
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, ending whatever still uses it."""
        with self.connect() as connection:
            connection.execute(
                composed.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(composed.Identifier(name))
            )

    def create_role(
        self, name: str | None = None, *, password: str | None = None, attributes: str = "LOGIN"
    ) -> str:
        """A role, by default with a new name and LOGIN. Returns its name."""
        role = name or self._name("role")
        statement = composed.SQL("CREATE ROLE {} {}").format(
            composed.Identifier(role), composed.SQL(attributes)
        )
        if password is not None:
            statement += composed.SQL(" PASSWORD {}").format(composed.Literal(password))
        with self.connect() as connection:
            connection.execute(statement)
        return role

    def drop_role(self, name: str) -> None:
        """Drop a role that owns nothing."""
        with self.connect() as connection:
            connection.execute(composed.SQL("DROP ROLE IF EXISTS {}").format(composed.Identifier(name)))

    # --- the server ---------------------------------------------------------------------------------------

    @contextmanager
    def hba(self, *lines: str) -> Iterator[None]:
        """Let pg_hba.conf consist of ``lines`` inside the block. In force when the block begins."""
        before = self.server.hba
        self._set_hba([f"local all {self.superuser} trust", *lines])
        try:
            yield
        finally:
            self._set_hba(before)

    def log_text(self) -> str:
        """The last lines of the server's log."""
        return "\n".join(self.server.log_text().splitlines()[-_LOG_LINES:])

    def _set_hba(self, lines: Sequence[str]) -> None:
        loaded = self.scalar("SELECT pg_conf_load_time()")
        self.server.set_hba(lines)
        # The postmaster reads both files in one go, and a new backend inherits the time of it.
        deadline = time.monotonic() + 10
        while self.scalar("SELECT pg_conf_load_time()") == loaded:
            assert time.monotonic() < deadline, "the server did not reload pg_hba.conf"

    def _template(self, template: str) -> str:
        if template != SAMPLE:
            return template
        if SAMPLE not in self._templates:
            self._templates[SAMPLE] = self.create_database(None, sample_sql())
        return self._templates[SAMPLE]

    def _name(self, kind: str) -> str:
        return f"{kind}_{next(self._names)}_{secrets.token_hex(3)}"


@contextmanager
def run_postgres(
    *,
    settings: Mapping[str, str] | None = None,
    password: str | None = None,
    bindir: Path | None = None,
    embedded: bool = False,
    authority: Authority | None = None,
) -> Iterator[Postgres]:
    """A server for the length of the block; its files are gone afterwards.

    It is the one in ``bindir``, or with ``embedded`` the wheel's whatever the environment names.
    With ``authority`` it speaks TLS with a certificate for localhost and 127.0.0.1, and accepts client
    certificates signed by the same authority. That needs a ``bindir`` from :func:`tls_bindir`: the embedded
    server is built without TLS.
    """
    bindir = None if embedded else bindir or _named_bindir()
    home = Path(tempfile.mkdtemp(prefix="holdgate-test-", dir=_memory()))
    # The server may run under another account, which has to pass through.
    home.chmod(0o711)
    server = PostgresServer(
        home,
        bindir=bindir,
        password=password,
        settings={**_FAST, **(settings or {})},
    )
    try:
        if authority is not None:
            _speak_tls(server, authority)
        server.start()
        yield Postgres(server)
    finally:
        server.destroy()


def tls_bindir() -> Path | None:
    """The ``bin`` directory of an installed PostgreSQL that was built with TLS; None when there is none."""
    candidates = [_named_bindir(), *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    for candidate in candidates:
        if candidate is None or not (candidate / "postgres").exists():
            continue
        pg_config = candidate / "pg_config"
        if pg_config.exists():
            configured = subprocess.run(
                [pg_config, "--configure"], capture_output=True, text=True, check=False
            )
            if "ssl" in configured.stdout:
                return candidate
        # Debian keeps pg_config in a development package; its servers are all built with TLS.
        elif candidate.is_relative_to("/usr/lib/postgresql"):
            return candidate
    return None


def _memory() -> Path | None:
    """A folder in memory with room for a server: there a database is copied ten times as fast as on a disk."""
    folder = Path("/dev/shm")
    if os.environ.get("TMPDIR") or not os.access(folder, os.W_OK | os.X_OK):
        return None
    return folder if shutil.disk_usage(folder).free > _ROOM else None


def _named_bindir() -> Path | None:
    named = os.environ.get("HOLDGATE_TEST_PG")
    return Path(named) if named else None


def _speak_tls(server: PostgresServer, authority: Authority) -> None:
    # The cluster has to exist before files can be put into it.
    server.start()
    server.stop("immediate")
    certificate = authority.issue("localhost", addresses=("127.0.0.1", "::1"), names=("localhost",))
    server.write_private("server.crt", certificate.cert.read_text(encoding="ascii"))
    server.write_private("server.key", certificate.key.read_text(encoding="ascii"))
    server.write_private("root.crt", authority.cert.read_text(encoding="ascii"))
    server.settings |= {
        "ssl": "on",
        "ssl_cert_file": "server.crt",
        "ssl_key_file": "server.key",
        "ssl_ca_file": "root.crt",
    }
