"""``holdgate demo``: everything on one machine, in one process beside PostgreSQL, gone at Ctrl-C."""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import uvloop

from gateway.app import Gateway, StartError
from gateway.config import ConfigError, Role, load_config
from gateway.demo.server import PostgresError, PostgresServer, free_port
from gateway.demo.settings import APPROVER, AUDITOR, DATABASE, REQUESTER, DemoError, Passwords, write_config
from gateway.demo.shop import prepare_shop
from gateway.demo.tour import Stage, TourFailed, play
from gateway.logs import log_to_stderr
from gateway.tasks import cancel_all, spawn

__all__ = ["DEFAULT_ADMIN_PORT", "DEFAULT_DIRECTORY", "DEFAULT_PORT", "DemoError", "run"]

DEFAULT_PORT = 7432
DEFAULT_ADMIN_PORT = 7433
DEFAULT_DIRECTORY = Path(".demo")
_TOKEN_LIFETIME = timedelta(days=1)
_LAST_TASKS_SECONDS = 5.0
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class _Tokens:
    approver: str
    auditor: str


def run(
    *, port: int | None = None, admin_port: int | None = None, data: Path | None = None, tour: bool = False
) -> int:
    """Run the demonstration until it is interrupted, or until the tour is over. Returns the exit code.

    ``data`` is kept between starts; the tour uses a temporary directory unless one is given. Ports default to
    7432 and 7433; a tour whose ports are not given takes free ones. What goes wrong is one line on stderr.
    """
    log_to_stderr(logging.WARNING, "%(levelname)s %(name)s: %(message)s")
    temporary = Path(tempfile.mkdtemp(prefix="holdgate-tour-")) if tour and data is None else None
    directory = temporary or (data or DEFAULT_DIRECTORY)
    try:
        with _exclusive(directory), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(
                _Demo(
                    directory.absolute(),
                    _port("--port", port, DEFAULT_PORT, any_free=tour),
                    _port("--admin-port", admin_port, DEFAULT_ADMIN_PORT, any_free=tour),
                    temporary=temporary is not None,
                ).run(tour=tour)
            )
    except (DemoError, PostgresError, ConfigError, StartError, OSError, psycopg.Error) as error:
        print(f"holdgate demo: {error}", file=sys.stderr)
        return 1
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _port(option: str, wanted: int | None, default: int, *, any_free: bool) -> int:
    """The port to use: the one asked for, else any free one or the default. 0 asks for any free one.

    Looking before PostgreSQL is started gives the answer at once, and in the words of this command.
    """
    port = default if wanted is None else wanted
    if port == 0 or (wanted is None and any_free):
        return free_port(_HOST)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
            raise DemoError(f"port {port} {why}; stop what listens there, or say {option} N") from None
    return port


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Keep a second demonstration off the same directory."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo runs in {directory}; stop it, or say --data DIR") from None
        yield
    finally:
        os.close(descriptor)


class _Demo:
    def __init__(self, directory: Path, port: int, admin_port: int, *, temporary: bool) -> None:
        self._directory = directory
        self._port = port
        self._admin_port = admin_port
        self._temporary = temporary

    async def run(self, *, tour: bool) -> int:
        stopping = _interrupted()
        passwords = Passwords.of(self._directory)
        named = os.environ.get("HOLDGATE_DEMO_PG")
        server = await asyncio.to_thread(
            PostgresServer,
            self._directory / "postgres",
            bindir=Path(named) if named else None,
            password=passwords.superuser,
        )
        try:
            _say("Starting PostgreSQL ...")
            await asyncio.to_thread(server.start)
            if await asyncio.to_thread(prepare_shop, server, passwords):
                _say("Sample data is in place: a music shop with 300 customers.")
            config = write_config(
                self._directory,
                port=self._port,
                admin_port=self._admin_port,
                upstream_port=server.port,
                passwords=passwords,
            )
            gateway = Gateway(load_config(config))
            await gateway.start()
            try:
                if tour:
                    return await self._tour(gateway, stopping)
                await self._explain(gateway, server, passwords)
                await stopping.wait()
                _say("\nStopping ...")
                return 0
            finally:
                await gateway.stop()
                await cancel_all(_LAST_TASKS_SECONDS)
        finally:
            await asyncio.to_thread(server.destroy if self._temporary else server.stop)

    async def _tour(self, gateway: Gateway, stopping: asyncio.Event) -> int:
        tokens = await _tokens(gateway)
        stage = Stage(
            host=_HOST,
            port=self._port,
            admin_url=f"http://{_HOST}:{self._admin_port}",
            approver_token=tokens.approver,
            auditor_token=tokens.auditor,
            audit_file=gateway.config.audit.file,
            say=_say,
        )
        _say(f"Gateway on {_HOST}:{self._port}, management port on {_HOST}:{self._admin_port}.")
        playing = spawn(play(stage), name="tour")
        interrupted = spawn(stopping.wait(), name="tour-interrupted")
        try:
            await asyncio.wait({playing, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                raise DemoError("interrupted")
            playing.result()
        except TourFailed as failure:
            print(f"\nholdgate demo: the tour failed: {failure}", file=sys.stderr)
            return 1
        finally:
            for task in (playing, interrupted):
                task.cancel()
            await asyncio.gather(playing, interrupted, return_exceptions=True)
        _say("\nThe tour is over: everything went as it should. To try it yourself: make demo")
        return 0

    async def _explain(self, gateway: Gateway, server: PostgresServer, passwords: Passwords) -> None:
        tokens = await _tokens(gateway)
        psql = "psql" if shutil.which("psql") else str(server.bindir / "psql")
        link = await gateway.management.sign_in_link(APPROVER)
        url = f"http://{_HOST}:{self._admin_port}"
        _say(
            f"""
Holdgate is running. {REQUESTER} (support) asks, {APPROVER} (data protection) decides. Ctrl-C stops it all.

  1. Ask, as {REQUESTER}, in a second terminal:

       {psql} -h {_HOST} -p {self._port} -U {REQUESTER} {DATABASE}

     SELECT first_name, last_name, email FROM customer WHERE customer_id = 5;   -- passes
     DELETE FROM customer WHERE customer_id = 42;                               -- waits for {APPROVER}
     SELECT email, phone FROM customer;                                         -- waits for {APPROVER}

  2. Decide, as {APPROVER}, in the browser. This link signs in once, within ten minutes:

       {link}

     Later, sign in at {url} as {APPROVER} with the password {passwords.approver}.
     Or decide in a third terminal:

       export HOLDGATE_SERVER={url} HOLDGATE_TOKEN={tokens.approver}
       {_command()} holds list
       {_command()} holds approve H-... --reason 'erasure request 4711'
       {_command()} holds reject H-... --reason 'ask for a single customer instead'

  3. Look at the records, as {AUDITOR}:

       HOLDGATE_SERVER={url} HOLDGATE_TOKEN={tokens.auditor} {_command()} audit tail

  Configuration: {gateway.config.path}
  Records:       {gateway.config.audit.file}
"""
        )


async def _tokens(gateway: Gateway) -> _Tokens:
    made: list[str] = []
    for user, roles in ((APPROVER, {Role.APPROVER, Role.VIEWER}), (AUDITOR, {Role.AUDITOR})):
        _, secret = await gateway.tokens.issue(
            user, frozenset(roles), note="demo", expires_in=_TOKEN_LIFETIME
        )
        made.append(secret)
    return _Tokens(*made)


def _interrupted() -> asyncio.Event:
    """An event that the first Ctrl-C or SIGTERM sets; the second one ends the process as usual."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def first() -> None:
        event.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, first)
    return event


def _command() -> str:
    """How this very program is called from the shell the demonstration was started in."""
    if shutil.which("holdgate"):
        return "holdgate"
    script = Path(sys.executable).with_name("holdgate")
    with contextlib.suppress(ValueError):
        return str(script.relative_to(Path.cwd()))
    return str(script)


def _say(text: str) -> None:
    print(text, flush=True)
