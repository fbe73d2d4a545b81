"""Trying requests: what is sent for one that has a ceiling, and what follows from what was found.

A Query without a transaction runs in one of the gateway's own, which is committed or rolled back when the Query has
been answered. A series is left without its Sync until then: its implicit transaction, or the one around it, stays open.
Where the client has a transaction, that is undone as after every other error: the server is sent what must fail, and
with its error it undoes the transaction up to its last savepoint.

Source: PostgreSQL documentation, "Message Flow" (Simple Query, Pipelining).
"""

from collections.abc import Sequence
from typing import Final

from . import messages
from .backend import BackendWalker
from .ceiling import Ceiling, Finding, Trial
from .events import Ready, StatementFinished
from .exchange import Exchange
from .gather import Resolved
from .request import Delimiter, Execution, Kind, Request
from .tags import TransactionStatus

_BEGIN: Final = b"BEGIN"
_COMMIT: Final = b"COMMIT"
_ROLLBACK: Final = b"ROLLBACK"


class Trials:
    """Tries the requests of one session, one at a time."""

    def __init__(self, exchange: Exchange, walker: BackendWalker) -> None:
        self._exchange = exchange
        self._walker = walker
        self._tried: Resolved | None = None

    def begin(self, resolved: Resolved, ceiling: Ceiling) -> None:
        """Send a request of which nothing may commit, or reach the client, before its rows are counted."""
        exchange = self._exchange
        assert exchange.settled, "what is owed would be held back with it"
        batch = resolved.request.kind is Kind.BATCH
        trial = Trial(ceiling, own=not batch and exchange.status == TransactionStatus.IDLE)
        exchange.trial = self._walker.trial = trial
        self._tried = resolved
        if trial.own:
            exchange.send_enclosing((_BEGIN,))
        for raw, expected in zip(resolved.request.messages, resolved.expected, strict=True):
            expected.unready = True
            exchange.send_expecting(raw, expected)
        exchange.sent(resolved.request.kind)
        if batch:
            exchange.send_delimiter(Delimiter.FLUSH)

    def decided(self) -> tuple[list[bytes], bytes]:
        """Go on with the trial, if the server has answered: what the client is to get of what was held back, and what
        behind that, at the end of the message it ends in."""
        trial, exchange = self._exchange.trial, self._exchange
        assert trial is not None, "something is on trial"
        if trial.fatal:
            return self._over(trial.no_answer(), []), b""
        if not exchange.settled:
            return [], b""
        if trial.committing:
            return self._over(trial.answer(tagged=not trial.failed), []), b""
        if trial.finding is Finding.OVER:
            return self._undo(trial)
        if trial.finding is Finding.PASSES and trial.own:
            trial.committing = True
            exchange.events.extend(trial.events)
            exchange.send_enclosing((_COMMIT,))
            exchange.send_sync(ends=self._request.executions[0])
            return [], b""
        return self._pass(trial)

    @property
    def _request(self) -> Request:
        assert self._tried is not None, "what is tried was sent"
        return self._tried.request

    def _pass(self, trial: Trial) -> tuple[list[bytes], bytes]:
        """It may stand, or has failed by itself: the client gets the server's answer."""
        exchange, request = self._exchange, self._request
        answer = self._over(trial.answer(), trial.events)
        if request.kind is Kind.BATCH:
            if not trial.failed:
                exchange.send_delimiter(request.delimiter)
            elif request.delimiter is Delimiter.SYNC:
                exchange.sync_after_skipping()
        elif trial.own:
            self._leave(request.executions[0])
        else:
            exchange.events.append(Ready(exchange.status, request.executions[0]))
            return answer, messages.ready_for_query(exchange.status)
        return answer, b""

    def _undo(self, trial: Trial) -> tuple[list[bytes], bytes]:
        """It changed too many rows."""
        exchange, request = self._exchange, self._request
        refusal = trial.refusal()
        error = messages.error_response(refusal)
        answer = self._over(trial.answer(), trial.undone(refusal))
        if request.kind is Kind.BATCH:
            exchange.fail_batch(error)
            ends = request.delimiter is Delimiter.SYNC
            exchange.send_delimiter(Delimiter.SYNC if ends else Delimiter.FLUSH)
        elif trial.own:
            self._leave(request.executions[0])
            return answer, error
        else:
            exchange.fail_query(error, request.executions[0])
        return answer, b""

    def _over(self, pieces: list[bytes], events: Sequence[StatementFinished]) -> list[bytes]:
        """The trial is over: nothing is held back any more."""
        self._exchange.trial = None
        self._walker.let_go()
        self._exchange.events.extend(events)
        return pieces

    def _leave(self, execution: Execution) -> None:
        """End the gateway's own transaction around a Query without keeping anything of it."""
        exchange = self._exchange
        if exchange.skipping:
            # It could not even be begun.
            exchange.skipping = False
        else:
            exchange.send_enclosing((_ROLLBACK,), leaves=True)
        exchange.send_sync(ends=execution)
