"""Following what a session's texts mean: as whom it speaks, which schemas are searched, how strings are read.

Nothing of SET, RESET, ROLLBACK and their like is imitated here. Where a statement may have changed any of it,
the server is asked before the next statement is judged whose meaning depends on it.
"""

import json
import logging
import re
from collections.abc import Callable
from typing import Final

from gateway.arbiter import Ruled, Ruling
from gateway.asking import AskError, Asking, CannotAsk
from gateway.catalog.marks import IDENTITY
from gateway.identity import SessionState
from protocol.connection import ProxyConnection
from protocol.events import StatementFinished
from protocol.request import Execution, Kind, Request
from protocol.tags import TransactionStatus
from rules import Decision, Policy

__all__ = ["Following"]

logger = logging.getLogger(__name__)

_QUESTION: Final = (
    "SELECT pg_catalog.array_to_json(pg_catalog.current_schemas(true)), current_user, session_user, "
    "pg_catalog.current_setting('standard_conforming_strings'), "
    "pg_catalog.current_setting('client_encoding'), "
)
_FIRST: Final = f"{_QUESTION}{IDENTITY}"
_LATER: Final = f"{_QUESTION}NULL"
"""A session stays in the database where it began."""

_NAMES_NOTHING: Final = re.compile(
    rb"\s*(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|SET|RESET|SHOW|DISCARD|UNLISTEN)"
    rb"(?:\s[A-Za-z0-9_\s,.=]*)?;?\s*",
    re.IGNORECASE,
)
"""Statements that mean the same whatever was set before: they name nothing that is looked for along a path, and
have no character in them that ends or begins a string, a comment or another statement in any reading."""

_ENDS: Final = frozenset({"COMMIT", "ROLLBACK", "PREPARE TRANSACTION"})
"""Command tags of what may take settings back: ROLLBACK is that of ROLLBACK TO SAVEPOINT, too."""

_MAY_END: Final = re.compile(rb"\b(?:COMMIT|END|ROLLBACK|ABORT|PREPARE)\b", re.IGNORECASE)

_ENDS_INSIDE: Final = "what names stand for may change where the transaction ends inside the message"
_IN_FAILED: Final = "what names stand for is not known before the failed transaction has ended"


class Following:
    """Knows when the server must be asked, and asks. ``own`` tells whether the session has definitions of its own
    that the end of a transaction may take away; ``version`` differs once those of all may be others; ``is_in`` is told
    once which database the session is in."""

    def __init__(
        self,
        asking: Asking,
        core: ProxyConnection,
        state: SessionState,
        policy: Callable[[], Policy],
        own: Callable[[], bool],
        version: Callable[[], object],
        is_in: Callable[[str], None],
    ) -> None:
        self._asking = asking
        self._core = core
        self._state = state
        self._policy = policy
        self._own = own
        self._version = version
        self._is_in = is_in
        self._question = _FIRST
        self._asked_at: object = None
        self._judged: tuple[Policy, bool] | None = None
        self._changed = False
        """Something was changed in the transaction that is open; its end may take that back."""

    @property
    def wanted(self) -> bool:
        """Whether anything depends on what is followed."""
        policy = self._policy()
        if self._judged is None or self._judged[0] is not policy:
            self._judged = policy, not policy.lets_everything_through
        return self._judged[1]

    @property
    def sure(self) -> bool:
        """Whether nothing has to be asked before the next statement is judged, whatever it is."""
        if self._changed or self._state.unknown is not None:
            return False
        return not self.wanted or (not self._state.stale and self._asked_at == self._version())

    def must_ask(self, request: Request) -> bool:
        """Whether the request can be judged only when the server owes nothing, and was asked."""
        state = self._state
        state.unknown = None
        if not self.wanted or all(map(_names_nothing, _texts(request))):
            return False
        if self._changed or self._own():
            if any(b";" in text and _may_end(text) for text in _texts(request)):
                state.unknown = _ENDS_INSIDE
            if not self._core.settled:
                # What ends the transaction may be on its way.
                return True
        # A schema of the path may have come, gone, or be closed to this session by what others did.
        return (state.stale or self._asked_at != self._version()) and not self._fails(request)

    def matters(self, request: Request) -> bool:
        """Whether anything depends on what the names in a request stand for."""
        return self.wanted and not all(map(_names_nothing, _texts(request))) and not self._fails(request)

    def _fails(self, request: Request) -> bool:
        """Whether a failed transaction lets nothing of the request run, or it does nothing but end it."""
        if self._core.status != TransactionStatus.FAILED or not self._core.synced:
            return False
        texts = _texts(request)
        return len(texts) == 1 and b";" not in texts[0].rstrip(b"; \t\r\n")

    async def ask(self, request: Request | None = None) -> None:
        """Ask, once the server owes nothing. Without an answer, no text of the session can be read.

        ``request`` is the one to be judged; None at the beginning of the session, when it is not urgent.
        """
        state = self._state
        if request is not None and not self.must_ask(request):
            return
        version = self._version()
        try:
            if request is None:
                (row,) = await self._asking.ask(self._question)
            else:
                hidden = await self._asking.run([self._question.encode()])
                if hidden.report:
                    raise AskError(hidden.report)
                (row,) = hidden.answers[0].rows
            schemas, user, login, strings, encoding, database = row
            path = tuple(map(str, json.loads(schemas or "")))
        except CannotAsk:
            state.unknown = _IN_FAILED
        except (AskError, ValueError) as error:
            logger.warning("the server did not say how a session stands: %s", error)
            state.unknown = f"the server did not say which schemas are searched ({error})"
        else:
            state.learn(path, user or "", login or "", strings or "", encoding or "")
            self._asked_at = version
            if database is not None:
                self._is_in(database)
                self._question = _LATER
            if request is not None:
                self.must_ask(request)

    def cut(self, request: Request, ruling: Ruling) -> tuple[int, bool] | None:
        """Where a batch is cut in two, because what stands behind depends on what stands in front.

        What stands in front is allowed, whatever is decided about the rest. Also returned is whether no transaction
        ends in it but with its last execution.
        """
        if request.kind is not Kind.BATCH or not self.wanted:
            return None
        if self._state.unknown is _IN_FAILED:
            changing = self._leading(request)
        else:
            changing = next((one.execution.at for one in ruling.ruled if self._may_change(one)), None)
            if changing is None:
                return None
            front = [one for one in ruling.ruled if one.execution.since <= changing]
            if any(one.decision is not Decision.ALLOW for one in front):
                return None
        if changing is None:
            return None
        if all(_means_the_same(one) for one in request.executions if one.at > changing):
            return None
        # Nothing that is not known to mean the same may end one: code, for instance, that nobody has read.
        certain = all(_means_the_same(one) for one in request.executions if one.at <= changing)
        earlier = any(_may_end(text) for one in request.executions if one.at < changing for text in one.sql)
        return changing + 1, certain and not earlier

    def _may_change(self, one: Ruled) -> bool:
        ends = self._changed and any(map(_may_end, one.execution.sql))
        return ends or one.judgement.facts.changes_reading

    @staticmethod
    def _leading(request: Request) -> int | None:
        """The last of the executions at the beginning that mean the same whatever is set: of a failed transaction
        they may be the end, and what it means behind that can be asked then."""
        last: int | None = None
        for execution in request.executions:
            if not _means_the_same(execution):
                break
            last = execution.at
        return last

    # What happens in the session -----------------------------------------------------------------------

    def forwarded(self, ruling: Ruling) -> None:
        """A request is on its way to the server."""
        if any(one.judgement.facts.changes_reading for one in ruling.ruled):
            self._state.stale = self._changed = True

    def finished(self, event: StatementFinished) -> None:
        """A statement ended."""
        if self._changed and (event.report or event.tag in _ENDS):
            self._state.stale = True

    def ready(self, status: int) -> None:
        """The server is ready for the next request."""
        if self._changed and status == TransactionStatus.IDLE:
            # What was set for this transaction only is gone.
            self._state.stale = True
            self._changed = False


def _texts(request: Request) -> list[bytes]:
    return [text for execution in request.executions for text in _texts_of(execution)]


def _texts_of(execution: Execution) -> tuple[bytes, ...]:
    return execution.sql or (b"?",)


def _means_the_same(execution: Execution) -> bool:
    return all(map(_names_nothing, _texts_of(execution)))


def _may_end(text: bytes) -> bool:
    """Whether a transaction may end in the text."""
    return _MAY_END.search(text) is not None


def _names_nothing(text: bytes) -> bool:
    return _NAMES_NOTHING.fullmatch(text) is not None
