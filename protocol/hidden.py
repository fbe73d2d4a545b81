"""Statements of the gateway's own in a client's server session, of which the client sees nothing.

They are sent as a series of the extended protocol under a name of their own, never as a Query: that would
drop the client's unnamed statement. The series ends with a Sync wherever that commits nothing of the
client's; in the middle of a client's series it must not, and so ends with a Flush.

Source: PostgreSQL documentation, "Message Flow" (Extended Query, Pipelining) and "SAVEPOINT".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from . import messages
from .messages import OWN_NAME
from .pipeline import Disposition, Expected
from .state import Reply
from .tags import BackendTag as B
from .tags import TransactionStatus

_SAVEPOINT: Final = b'SAVEPOINT "holdgate:own"'
_RELEASE: Final = b'RELEASE SAVEPOINT "holdgate:own"'
_ROLL_BACK: Final = b'ROLLBACK TO SAVEPOINT "holdgate:own"'


class Place(Enum):
    """Where in its conversation a session stands, for statements of the gateway's own."""

    IDLE = "no transaction is open: they are a transaction of their own, and may fail"
    TRANSACTION = "a transaction is open: a failure fails it, unless they are guarded by a savepoint"
    SERIES = "in the middle of a series: a failure is the client's, and there is no savepoint"
    NOWHERE = "the server would not run them: it owes an answer, reads COPY data, or has failed"


@dataclass(slots=True)
class Answer:
    """What one statement gave: its rows, columns as text with bytes that are not UTF-8 as surrogate escapes and
    NULL as None, and its command tag (empty for a statement without any words)."""

    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Analysis:
    """A text that the server only parses and analyses: there is no Bind and no Execute for it. ``parameter_types``
    are OIDs as in Parse."""

    sql: bytes
    parameter_types: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class Hidden:
    """Statements sent in one go. The server stops at the first that fails.

    ``answers`` are those of the statements that ran and succeeded, in order; ``report`` is the error's fields by their
    one-letter code, empty on success. ``guarded`` statements run inside a savepoint, which is rolled back if one
    of them fails, or in any case where they are ``passing``. Of those ``in_series`` a failure was passed to the
    client, as that of its own series. ``began_idle``: no transaction was open before. ``notices`` are what the server
    said meanwhile at the level LOG: the routine of the server that said it, and the detail.
    """

    statements: tuple[bytes | Analysis, ...]
    guarded: bool = False
    passing: bool = False
    in_series: bool = False
    began_idle: bool = False
    answers: list[Answer] = field(default_factory=list)
    report: dict[str, str] = field(default_factory=dict)
    notices: list[tuple[str, str]] = field(default_factory=list)
    _completed: int = 0
    _answer: Answer = field(default_factory=Answer)
    _undone: bool = False

    @property
    def complete(self) -> bool:
        """Whether every statement that was to run has its answer."""
        return len(self.answers) == self._running

    @property
    def _running(self) -> int:
        return sum(isinstance(statement, bytes) for statement in self.statements)

    def series(self) -> Iterator[tuple[bytes, Expected]]:
        """The messages to send, each with what the server will owe for it."""
        if not self.guarded:
            return own_series(self.statements, synced=not self.in_series)
        behind = (_ROLL_BACK, _RELEASE) if self.passing else (_RELEASE,)
        return own_series((_SAVEPOINT, *self.statements, *behind), synced=True)

    def undoing(self, status: int) -> Iterator[tuple[bytes, Expected]]:
        """What is to be sent now that the server is ready: nothing if all went well, or was undone."""
        if not self.report or self._undone:
            return iter(())
        self._undone = True
        if self.guarded:
            return own_series((_ROLL_BACK, _RELEASE), synced=True)
        # A transaction that they began themselves failed with them.
        ended = self.began_idle and status != TransactionStatus.IDLE
        return own_series((b"ROLLBACK",) if ended else (), synced=True)

    def answered(self, tag: int, payload: bytes) -> None:
        """Take one reply of the server."""
        if self._undone:
            return
        if tag == B.DATA_ROW:
            values = messages.decode_data_row(payload)
            self._answer.rows.append(
                tuple(None if value is None else value.decode("utf-8", "surrogateescape") for value in values)
            )
        elif tag == B.COMMAND_COMPLETE or tag == B.EMPTY_QUERY_RESPONSE:
            self._completed += 1
            answer, self._answer = self._answer, Answer()
            if self._completed > self.guarded and len(self.answers) < self._running:
                answer.tag = messages.decode_command_tag(payload)[0]
                self.answers.append(answer)

    def failed(self, report: dict[str, str]) -> None:
        """The server reported an error. Of several, the first is the reason."""
        self.report = self.report or report


def own_series(
    statements: Sequence[bytes | Analysis],
    *,
    synced: bool = False,
    disposition: Disposition = Disposition.COLLECT,
) -> Iterator[tuple[bytes, Expected]]:
    """The messages that run statements of the gateway's own, each with what the server will owe for it."""
    # What a failure left behind is closed first: a portal stays even in the transaction that failed.
    yield from _closing(disposition)
    for sql in statements:
        if isinstance(sql, Analysis):
            yield messages.parse(OWN_NAME, sql.sql, sql.parameter_types), Expected(Reply.PARSE, disposition)
            yield from _closing(disposition)
            continue
        yield messages.parse(OWN_NAME, sql), Expected(Reply.PARSE, disposition)
        yield messages.bind(OWN_NAME, OWN_NAME), Expected(Reply.BIND, disposition)
        yield messages.execute(OWN_NAME), Expected(Reply.EXECUTE, disposition)
        yield from _closing(disposition)
    if synced:
        yield messages.SYNC, Expected(Reply.SYNC, disposition)


def _closing(disposition: Disposition) -> Iterator[tuple[bytes, Expected]]:
    yield messages.close_portal(OWN_NAME), Expected(Reply.CLOSE, disposition)
    yield messages.close_statement(OWN_NAME), Expected(Reply.CLOSE, disposition)
