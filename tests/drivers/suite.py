"""One driver's test suite: how to get it, what the server must hold for it, and how to run it."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.drivers.results import Outcomes

__all__ = ["CannotRun", "Run", "Suite", "Target", "Workshop"]


class CannotRun(Exception):
    """A suite cannot be prepared or started here; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a run connects to: the server itself, or the gateway in front of it.

    ``tls`` says whether TLS is spoken there; suites that do not fall back by themselves ask.
    """

    name: str
    host: str
    port: int
    database: str
    user: str
    password: str
    tls: bool

    def environment(self) -> dict[str, str]:
        """The target in the variables that libpq and most drivers read."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.database,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": "prefer",
        }

    def url(self, scheme: str = "postgres") -> str:
        return f"{scheme}://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Run:
    """One command, how to read what it reports (given its output), and the folder it runs in."""

    command: Sequence[str | Path]
    read: Callable[[str], Outcomes]
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite.

    ``tools``       programs that must be installed.
    ``prepare``     downloads and builds into the given workshop, once for both runs.
    ``run``         the command against one target, in the folder that ``prepare`` left.
    ``home``        the workshop's name, where several suites share one.
    ``hba``         lines in front of the server's own pg_hba.conf, for the roles the suite expects.
    ``roles``       SQL run once on the server, before the databases are made.
    ``sql``         SQL run in each of the two databases.
    ``on_purpose``  tests that differ for a reason, with that reason.
    """

    name: str
    prepare: Callable[["Workshop"], Awaitable[None]]
    run: Callable[["Workshop", Target], Awaitable[Run]]
    tools: tuple[str, ...] = ()
    home: str = ""
    hba: tuple[str, ...] = ()
    roles: str = ""
    sql: str = ""
    on_purpose: Mapping[str, str] = field(default_factory=dict)


class Workshop:
    """A suite's own folder: downloads, virtual environment, builds and reports."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder = folder
        self.seconds = minutes * 60
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def python(self) -> Path:
        """The interpreter of the suite's virtual environment, see :meth:`install`."""
        return self.folder / "venv" / "bin" / "python"

    def fresh(self, name: str) -> Path:
        """An empty folder of that name."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def found(self, pattern: str) -> Path:
        """The one path that matches. Raises :class:`CannotRun`."""
        matches = sorted(self.folder.glob(pattern))
        if not matches:
            raise CannotRun(f"nothing in {self.folder} matches {pattern}")
        return matches[-1]

    async def install(self, *requirements: str) -> None:
        """Make the virtual environment and install ``requirements`` into it."""
        if not self.python.exists():
            await self.must(sys.executable, "-m", "venv", self.folder / "venv")
        await self.must(self.python, "-m", "pip", "install", "--quiet", *requirements)

    async def source(self, requirement: str) -> Path:
        """Download and unpack the source distribution of a Python package; the folder it unpacks to."""
        name, _, version = requirement.partition("==")
        folder = self.folder / f"{name}-{version}"
        if not folder.exists():
            await self.must(
                *(self.python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name),
                *("--dest", self.folder, requirement),
            )
            # Archive and folder do not always spell the name alike.
            shutil.unpack_archive(self.found(f"*{version}.tar.gz"), self.fresh("unpacked"), filter="data")
            self.found("unpacked/*").rename(folder)
        return folder

    async def must(
        self, *command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a step of the preparation; its output. Raises :class:`CannotRun` with the end of it."""
        code, output = await self.call(command, cwd or self.folder, environment or {})
        if code != 0:
            tail = "\n".join(output.strip().splitlines()[-8:])
            raise CannotRun(f"{' '.join(map(str, command))}\n{tail}")
        return output

    async def call(
        self, command: Sequence[str | Path], cwd: Path, environment: Mapping[str, str]
    ) -> tuple[int, str]:
        """Run a command in a process group of its own, which ends with it or when the time is over."""
        process = await asyncio.create_subprocess_exec(
            *(str(word) for word in command),
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self.seconds):
                output, _ = await process.communicate()
        except TimeoutError:
            raise CannotRun(f"not done within {self.seconds / 60:.0f} minutes: {command[0]}") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        return process.returncode or 0, output.decode("utf-8", "replace")
