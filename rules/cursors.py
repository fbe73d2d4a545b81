"""Which cursors of a session stand for what was read when they were declared, and until when.

``DECLARE`` is judged as all that can be fetched, so ``FETCH`` is let through where its cursor is one of these. Two
things end that: the cursor itself, and code that nobody read, which may close a cursor and open another under its
name. Where it cannot be told, a name is forgotten: what is fetched by it is then not known.

Source: PostgreSQL documentation, reference pages of DECLARE, CLOSE, ROLLBACK TO SAVEPOINT and DISCARD.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from rules.pgquery import Node

__all__ = ["NO_CURSORS", "CursorAct", "CursorStep", "OpenCursor", "OpenCursors", "cursor_steps"]

MAX_SAVEPOINTS: Final = 1000
"""Savepoints remembered; going back to an older one forgets every cursor of the transaction."""
_HOLD: Final = 0x0020
"""``CURSOR_OPT_HOLD`` in ``parsenodes.h``."""


class CursorAct(StrEnum):
    """What a statement does to the cursors of its session."""

    CODE = "runs code that nobody read, or that opens cursors"
    DECLARE = "opens a cursor"
    FETCH = "runs the query of a cursor further"
    CLOSE = "closes a cursor, or all"
    COMMIT = "ends the transaction"
    ROLLBACK = "takes the transaction back"
    SAVEPOINT = "sets a savepoint"
    ROLLBACK_TO = "goes back to a savepoint"
    RELEASE = "forgets a savepoint"
    FIRE = "runs what was put off to the end of the transaction"


@dataclass(frozen=True, slots=True)
class CursorStep:
    """One step. ``name`` is the cursor's or the savepoint's, None of CLOSE meaning all; ``hold`` and ``code`` (its
    query runs code that nobody read) are a declared cursor's. ``statement`` counts the statements of the
    message, None where it may be any."""

    act: CursorAct
    name: str | None = None
    hold: bool = False
    code: bool = False
    statement: int | None = None


@dataclass(frozen=True, slots=True)
class OpenCursor:
    """``since`` orders cursors and savepoints; ``kept``: the transaction that declared it was committed."""

    name: str
    since: int
    hold: bool = False
    code: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True)
class OpenCursors:
    """The cursors of a session that stand for what was read. A value: ``after`` makes another.

    Savepoints are remembered only while there are cursors: without any, all that are declared later are behind it.
    ``code_ran``: code that nobody read ran in this transaction, and may have put off more to its end.
    """

    cursors: tuple[OpenCursor, ...] = ()
    savepoints: tuple[tuple[str, int], ...] = ()
    code_ran: bool = False
    count: int = 0

    @property
    def names(self) -> frozenset[str]:
        """What ``FETCH`` may be let through for."""
        return frozenset(cursor.name for cursor in self.cursors)

    def without(self, names: frozenset[str]) -> "OpenCursors":
        """The cursors whose names are none of these."""
        left = tuple(cursor for cursor in self.cursors if cursor.name not in names)
        return self if len(left) == len(self.cursors) else replace(self, cursors=left)

    def after(self, steps: Iterable[CursorStep]) -> "OpenCursors":
        """The cursors behind statements that succeeded."""
        cursors = self
        for step in steps:
            cursors = cursors._after(step)
        return cursors

    def _after(self, step: CursorStep) -> "OpenCursors":
        match step.act:
            case CursorAct.CODE:
                return self._code_runs()
            case CursorAct.DECLARE:
                return self._declared(step)
            case CursorAct.FETCH:
                known = next((cursor for cursor in self.cursors if cursor.name == step.name), None)
                if known is not None and not known.code:
                    return self
                # The code in its query may do anything but to take its own cursor away: that one is in use.
                return replace(self, cursors=() if known is None else (known,), code_ran=True)
            case CursorAct.CLOSE:
                left = tuple(one for one in self.cursors if step.name is not None and one.name != step.name)
                return replace(self, cursors=left)
            case CursorAct.COMMIT | CursorAct.ROLLBACK:
                return self.ended(committed=step.act is CursorAct.COMMIT)
            case CursorAct.SAVEPOINT:
                if not self.cursors or step.name is None:
                    return self
                savepoints = (*self.savepoints, (step.name, self.count))[-MAX_SAVEPOINTS:]
                return replace(self, savepoints=savepoints)
            case CursorAct.ROLLBACK_TO:
                return self._rolled_back_to(self._savepoint(step.name))
            case CursorAct.RELEASE:
                return replace(self, savepoints=self.savepoints[: self._savepoint(step.name) or 0])
            case CursorAct.FIRE:
                return replace(self, cursors=()) if self.code_ran else self

    def touched(self, steps: Iterable[CursorStep]) -> "OpenCursors":
        """The cursors behind statements of which it is not known yet how they end: code may run all the same."""
        return self.after(step for step in steps if step.act is CursorAct.CODE)

    def ended(self, *, committed: bool) -> "OpenCursors":
        """The cursors behind the end of the transaction."""
        if committed and self.code_ran:
            # What it put off has run now.
            return NO_CURSORS
        left = tuple(
            replace(cursor, kept=True)
            for cursor in self.cursors
            if cursor.kept or (committed and cursor.hold)
        )
        return OpenCursors(left, count=self.count) if left else NO_CURSORS

    def _code_runs(self) -> "OpenCursors":
        return replace(self, cursors=(), savepoints=(), code_ran=True)

    def _declared(self, step: CursorStep) -> "OpenCursors":
        assert step.name is not None, "DECLARE names its cursor"
        count = self.count + 1
        others = tuple(cursor for cursor in self.cursors if cursor.name != step.name)
        new = OpenCursor(step.name, count, step.hold, step.code)
        return replace(self, cursors=(*others, new), count=count)

    def _savepoint(self, name: str | None) -> int | None:
        """Where the latest savepoint of that name is; None where it is older than what is remembered."""
        found = [index for index, (each, _) in enumerate(self.savepoints) if each == name]
        return found[-1] if found else None

    def _rolled_back_to(self, index: int | None) -> "OpenCursors":
        since = -1 if index is None else self.savepoints[index][1]
        left = tuple(cursor for cursor in self.cursors if cursor.kept or cursor.since <= since)
        return replace(self, cursors=left, savepoints=() if index is None else self.savepoints[: index + 1])


NO_CURSORS: Final = OpenCursors()

_BY_NAME: Final = {
    "TRANS_STMT_SAVEPOINT": CursorAct.SAVEPOINT,
    "TRANS_STMT_ROLLBACK_TO": CursorAct.ROLLBACK_TO,
    "TRANS_STMT_RELEASE": CursorAct.RELEASE,
}
_ENDS: Final = {
    "TRANS_STMT_COMMIT": CursorAct.COMMIT,
    "TRANS_STMT_PREPARE": CursorAct.COMMIT,
    "TRANS_STMT_ROLLBACK": CursorAct.ROLLBACK,
}


def cursor_steps(kind: str, fields: Node, statement: int, *, code: bool) -> tuple[CursorStep, ...]:
    """What a statement of a message does to cursors. ``code``: it runs code that nobody read, or that opens some."""
    steps = (CursorStep(CursorAct.CODE, statement=statement),) if code else ()
    match kind:
        case "DeclareCursorStmt":
            hold = bool(fields.get("options", 0) & _HOLD)
            return (*steps, CursorStep(CursorAct.DECLARE, fields["portalname"], hold, code, statement))
        case "FetchStmt":
            return (*steps, CursorStep(CursorAct.FETCH, fields["portalname"], statement=statement))
        case "ClosePortalStmt":
            return (*steps, CursorStep(CursorAct.CLOSE, fields.get("portalname"), statement=statement))
        case "DiscardStmt" if fields.get("target", "DISCARD_ALL") == "DISCARD_ALL":
            return (*steps, CursorStep(CursorAct.CLOSE, statement=statement))
        case "ConstraintsSetStmt":
            return (*steps, CursorStep(CursorAct.FIRE, statement=statement))
        case "TransactionStmt" if fields["kind"] in _BY_NAME:
            return (
                *steps,
                CursorStep(_BY_NAME[fields["kind"]], fields["savepoint_name"], statement=statement),
            )
        case "TransactionStmt" if fields["kind"] in _ENDS:
            return (*steps, CursorStep(_ENDS[fields["kind"]], statement=statement))
    return steps
