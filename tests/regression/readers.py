"""Reading statements in a process of their own: a reader may crash or stall, and that is a finding."""

import multiprocessing
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import Final

from tests.rules.policies import strict_judge
from tests.rules.traffic import Session

__all__ = ["PATIENCE", "Reading", "ReadingKind", "read_all"]

PATIENCE: Final = 30.0
"""Seconds for one statement, after which the process is given up."""


class ReadingKind(StrEnum):
    """How a statement was read."""

    BOTH = "both"
    ONE = "one"
    DIFFER = "differ"
    NOT_GRAMMAR = "not the grammar"
    NONE = "none"
    RAISED = "raised"
    DIED = "died"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Reading:
    """How one statement was read, why not better, and the seconds it took."""

    sql: str
    kind: ReadingKind
    why: str = ""
    seconds: float = 0.0


def read_all(texts: Iterable[tuple[str, str]], patience: float = PATIENCE) -> Iterator[Reading]:
    """Read each text, given with the name of the session it belongs to; those of one follow each other.

    A process that dies of one text is replaced for the next.
    """
    reader: _Reader | None = None
    try:
        for session, sql in texts:
            reader = reader or _Reader()
            reading = reader.read(session, sql, patience)
            yield reading
            if reading.kind in (ReadingKind.DIED, ReadingKind.STALLED):
                reader.stop()
                reader = None
    finally:
        if reader is not None:
            reader.stop()


class _Reader:
    """One child process."""

    def __init__(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._ours, theirs = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._ours.recv()

    def read(self, session: str, sql: str, patience: float) -> Reading:
        try:
            self._ours.send((session, sql))
            if not self._ours.poll(patience):
                return Reading(sql, ReadingKind.STALLED, f"more than {patience:.0f} s", patience)
            kind, why, seconds = self._ours.recv()
        except (EOFError, ConnectionError):
            self._process.join(PATIENCE)
            return Reading(sql, ReadingKind.DIED, f"exit code {self._process.exitcode}")
        return Reading(sql, ReadingKind(kind), why, seconds)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()


def _serve(pipe: Connection) -> None:
    judge = strict_judge()
    session, current = Session(judge), ""
    pipe.send("ready")
    while True:
        try:
            name, sql = pipe.recv()
        except EOFError:
            return
        if name != current:
            session, current = Session(judge), name
        started = time.perf_counter()
        kind, why = _read(session, sql)
        pipe.send((kind.value, why, time.perf_counter() - started))


def _read(session: Session, sql: str) -> tuple[ReadingKind, str]:
    try:
        facts = session.judge(sql.encode()).facts
    except Exception as error:
        return ReadingKind.RAISED, f"{type(error).__name__}: {error}"
    if facts.unreadable is not None:
        grammar = facts.unreadable.startswith("not PostgreSQL's grammar")
        return ReadingKind.NOT_GRAMMAR if grammar else ReadingKind.NONE, facts.unreadable
    readings = {statement.readings for statement in facts.statements}
    for worst in (ReadingKind.NONE, ReadingKind.DIFFER, ReadingKind.ONE):
        if worst.value in readings:
            return worst, ""
    return ReadingKind.BOTH, ""
