"""A request on trial: its answer is held back until the rows it changed are known to be no more than allowed.

The server says how many rows a DELETE, UPDATE or MERGE changed only when it has changed them, in the command tag. So
nothing that was approved for a number of rows may commit before the gateway has read its tags: a Query without a
transaction gets one of the gateway's own around it, the Sync of a series waits, and in a transaction of the client's
nothing is needed. Rows, tags and all else of the answer wait with it. Then the gateway commits and lets the answer go,
or has the server undo everything and puts an error in place of what went too far.

Source: PostgreSQL documentation, "Message Flow", and "Message Formats" (CommandComplete).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from .errors import ServerError
from .events import StatementFinished
from .request import Execution
from .state import ANYTIME
from .tags import BackendTag as B

ANSWER_LIMIT: Final = 8 << 20
"""Bytes of an answer that are held back at most; of a longer one the rest is dropped, and it does not pass."""

_CHANGES: Final = ("DELETE ", "UPDATE ", "MERGE ")


@dataclass(frozen=True, slots=True, eq=False)
class Ceiling:
    """``counted`` executions may together delete, update or merge ``most`` rows. ``refusal`` makes the error for more:
    of how many rows, None where that is not known, and whether the answer was too long to be held back."""

    most: int
    counted: frozenset[Execution]
    refusal: Callable[[int | None, bool], ServerError]


class Finding(Enum):
    """What has come of a trial."""

    PASSES = auto()
    FAILED = auto()
    """The server reported an error of its own."""
    OVER = auto()


@dataclass(slots=True)
class _Piece:
    """One message held back. ``stays``: it reaches the client whatever is found, for it is an error or no answer.
    ``data`` is empty for one that was too much."""

    data: list[bytes]
    stays: bool


@dataclass(slots=True, eq=False)
class Trial:
    """What is known so far. ``own``: the transaction around it is the gateway's."""

    ceiling: Ceiling
    own: bool
    failed: bool = False
    fatal: bool = False
    """The server has ended the session: nothing commits, and only that reaches the client."""
    committing: bool = False
    """What was found passes, and the gateway's own transaction is being committed."""
    rows: int | None = 0
    events: list[StatementFinished] = field(default_factory=list)
    _pieces: list[_Piece] = field(default_factory=list)
    _size: int = 0
    _mark: int = 0
    """Pieces in front of the answer to the statement that runs now."""
    _event_mark: int = 0
    _cut: int | None = None
    _ended: bool = False
    _complete: int | None = None
    """The last CommandComplete among the pieces."""

    @property
    def finding(self) -> Finding:
        """What is to be done, once the server has answered all of the request."""
        if self.failed:
            return Finding.FAILED
        if self._cut is not None:
            return Finding.OVER
        return Finding.PASSES

    def refusal(self) -> ServerError:
        """The error that the client gets if it is over."""
        return self.ceiling.refusal(self.rows, not self._too_many())

    def _too_many(self) -> bool:
        return self.rows is None or self.rows > self.ceiling.most

    def take(self, tag: int, data: bytes) -> None:
        """Hold back a message of the server, or the first of it."""
        if data:
            stays = tag in ANYTIME or tag == B.ERROR_RESPONSE
            self._pieces.append(_Piece([], stays))
            if tag == B.COMMAND_COMPLETE:
                self._complete = len(self._pieces) - 1
            self.continue_(data)
        if self._ended:
            self._ended = False
            self._mark = len(self._pieces)

    def continue_(self, data: bytes) -> None:
        """Hold back what follows of the message taken last."""
        piece = self._pieces[-1]
        self._size += len(data)
        if piece.stays or self._size <= ANSWER_LIMIT:
            piece.data.append(data)
        else:
            piece.data.clear()
            self._stop(len(self.events))

    def ended(self) -> None:
        """An expectation was met, or a statement of a Query ended: what follows answers the next."""
        self._ended = True

    def finished(self, event: StatementFinished) -> None:
        """A statement ended: count it."""
        self.events.append(event)
        if event.execution not in self.ceiling.counted or event.report or event.skipped or self._too_many():
            return
        if event.suspended:
            # The server has changed all rows by now and returned some; its tag comes after the last.
            self.rows = None
        elif event.rows is not None and event.tag.startswith(_CHANGES) and self.rows is not None:
            self.rows += event.rows
        if self._too_many():
            self._stop(len(self.events) - 1)

    def _stop(self, number: int) -> None:
        """The statement of this number, whose answer is coming, does not pass, nor does what follows it."""
        if self._cut is None:
            self._cut = self._mark
            self._event_mark = number

    def answer(self, *, tagged: bool = True) -> list[bytes]:
        """What the client gets of what was held back: nothing from the statement on that does not pass. Without the
        last CommandComplete where it is not ``tagged``: the commit failed."""
        kept = [
            piece
            for at, piece in enumerate(self._pieces)
            if (self._cut is None or at < self._cut or piece.stays) and (tagged or at != self._complete)
        ]
        return [data for piece in kept for data in piece.data]

    def no_answer(self) -> list[bytes]:
        """What the client gets where the server has ended the session."""
        return [data for piece in self._pieces if piece.stays for data in piece.data]

    def undone(self, refusal: ServerError) -> list[StatementFinished]:
        """What becomes of the statements: those from the one that went too far have failed."""
        report = {"S": refusal.severity, "V": refusal.severity, "C": refusal.sqlstate, "M": refusal.message}
        return [
            event
            if at < self._event_mark
            else StatementFinished(
                event.execution, event.index, "", None, event.size, report, undone=event.tag or "(suspended)"
            )
            for at, event in enumerate(self.events)
        ]
