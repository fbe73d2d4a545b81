"""The gateway's end of one reader: start it, tell it what it must know, ask it, end it."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from gateway.readers.reply import MalformedReply, facts_from
from gateway.readers.wire import HEADER, MAX_ANSWER, Forget, Read, Rules, encode, pieces
from rules import Context, Facts, Policy, SchemaSnapshot, slim

__all__ = ["Reader", "ReaderLost"]

START_SECONDS: Final = 30.0
LOAD_SECONDS: Final = 60.0
"""For a reader to take in what it must know; a catalog of ten thousand tables takes it about a second."""

CATALOGS: Final = 8
"""How many catalogs one reader keeps; those of one database share most of what they hold."""

END_SECONDS: Final = 5.0
"""For the pipes of a process that has ended to be found closed."""

_CLOSED: Final = "its pipe is closed"

_INHERITED: Final = ("PATH", "LANG", "TZ")


class ReaderLost(Exception):
    """The reader is gone or makes no sense; the text says how, for people."""


class Reader:
    """A child process that reads. One question at a time; after any exception there is nothing to do but ``end``."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None, "made with pipes"
        assert process.stdout is not None, "made with pipes"
        self._process = process
        self._to = process.stdin
        self._from = process.stdout
        self._policy: Policy | None = None
        self._catalogs: OrderedDict[int, SchemaSnapshot] = OrderedDict()
        """By identity: a snapshot is as large as a database has tables, and is not compared."""
        self.answers = 0

    @classmethod
    async def start(cls, memory: int) -> "Reader":
        """Start one that may use ``memory`` bytes. Raises ``OSError`` and ``ReaderLost``."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "gateway.readers.worker",
            str(memory),
            stdin=PIPE,
            stdout=PIPE,
            # A terminal's Ctrl-C is not for it, not even while it starts and cannot ignore one yet.
            start_new_session=True,
            env=_environment(),
        )
        reader = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await reader._receive()
        except TimeoutError:
            await reader.end()
            raise ReaderLost(f"it did not start within {START_SECONDS:g} s") from None
        except BaseException:
            await reader.end()
            raise
        return reader

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def exited(self) -> None:
        """Until the process is gone."""
        await self._process.wait()

    async def load(self, policy: Policy, snapshot: SchemaSnapshot) -> None:
        """Tell it the policy and the catalog, each once. Raises ``ReaderLost``.

        A catalog is encoded piece by piece, so that the event loop is never kept for long.
        """
        try:
            async with asyncio.timeout(LOAD_SECONDS):
                await self._load(policy, snapshot)
        except TimeoutError:
            raise ReaderLost(f"it did not take the catalog in within {LOAD_SECONDS:g} s") from None

    async def _load(self, policy: Policy, snapshot: SchemaSnapshot) -> None:
        if self._policy is not policy:
            self._send(Rules(policy))
            self._policy = policy
        if snapshot.is_empty:
            return
        key = id(snapshot)
        if key in self._catalogs:
            self._catalogs.move_to_end(key)
            return
        while len(self._catalogs) >= CATALOGS:
            oldest, _ = self._catalogs.popitem(last=False)
            self._send(Forget(oldest))
        self._catalogs[key] = snapshot
        for piece in pieces(key, snapshot, self._base(snapshot)):
            self._send(piece)
            await self._drain()
            await asyncio.sleep(0)

    def _base(self, snapshot: SchemaSnapshot) -> tuple[int, SchemaSnapshot] | None:
        """What was used last of the same database: it has most in common."""
        others = reversed(self._catalogs.items())
        return next(
            ((key, one) for key, one in others if one is not snapshot and one.database == snapshot.database),
            None,
        )

    async def read(self, sql: bytes, context: Context, seconds: float) -> Facts:
        """The facts of a message, by the policy and in the catalog that were loaded last.

        Raises ``ReaderLost``, and TimeoutError after ``seconds``.
        """
        key = None if context.catalog.is_empty else id(context.catalog)
        async with asyncio.timeout(seconds):
            self._send(Read(sql, slim(sql, context), key, seconds))
            await self._drain()
            facts = await self._receive()
        if facts is None:
            raise ReaderLost("its answer was no answer")
        self.answers += 1
        return facts

    async def end(self, patience: float = 0.0) -> str:
        """End it, by force after ``patience`` seconds; how it ended, for people."""
        # One that rests ends when its input does, and one that has crashed is about to.
        self._to.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._process.wait()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        code = await self._process.wait()
        # What it still said, to the end of both pipes: then nothing of it stays behind.
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(END_SECONDS):
                while await self._from.read(1 << 16):
                    pass
                await self._to.wait_closed()
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

    def _send(self, message: object) -> None:
        if self._to.is_closing():
            raise ReaderLost(_CLOSED)
        self._to.write(encode(message))

    async def _drain(self) -> None:
        try:
            await self._to.drain()
        except ConnectionError as error:
            raise ReaderLost(_CLOSED) from error

    async def _receive(self) -> Facts | None:
        """One answer; None from a reader that is ready. Raises ``ReaderLost``."""
        portions: list[Facts | None] = []
        left = MAX_ANSWER
        try:
            while length := await self._length():
                left -= length
                if left < 0:
                    raise ReaderLost(f"an answer of more than {MAX_ANSWER} bytes")
                portions.append(facts_from(await self._from.readexactly(length)))
                # What has arrived already is read without a pause: the others have theirs here.
                await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ReaderLost(_CLOSED) from error
        except MalformedReply as error:
            raise ReaderLost(str(error)) from error
        found = [portion for portion in portions if portion is not None]
        if portions == [None]:
            return None
        if not found or len(found) < len(portions):
            raise ReaderLost("its answer was no answer")
        if len(found) == 1:
            return found[0]
        return replace(found[0], statements=tuple(one for portion in found for one in portion.statements))

    async def _length(self) -> int:
        (length,) = HEADER.unpack(await self._from.readexactly(HEADER.size))
        return int(length)


def _environment() -> dict[str, str]:
    """What a reader inherits: where to import from, and no secrets."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or name.startswith(("PYTHON", "LC_", "LD_"))
    }
    # One heap: else the C library sets 64 MiB of address space aside for the second thread, past the limit's reach.
    kept["MALLOC_ARENA_MAX"] = "1"
    kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in sys.path)
    return kept
