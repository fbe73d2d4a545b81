"""The server's half of a session: every message is accounted for, and passed, replaced, collected or dropped."""

from typing import Final

from . import messages, sqlstate
from .backend import BackendWalker
from .errors import UpstreamViolation
from .events import (
    CommitFailed,
    HiddenFinished,
    ParameterChanged,
    Ready,
    StatementFinished,
    UpstreamFatal,
    Withheld,
)
from .exchange import Exchange
from .hidden import Hidden
from .pipeline import Disposition, Expected
from .redaction import redacted
from .request import Execution
from .state import ANYTIME, REPLIES, Effect, Reply
from .tags import BackendTag as B
from .tags import TransactionStatus

_STATUSES: Final = frozenset(int(status) for status in TransactionStatus)

_ABOUT_STATEMENTS: Final = frozenset({"DEBUG", "LOG"})
"""Severities of what the server reports of a statement's own course, if a client asked it to
(``client_min_messages``). A client cannot want to hear that of statements that are not its own."""

_NONE_OPEN: Final = sqlstate.NO_ACTIVE_SQL_TRANSACTION
"""Of the warning that there is no transaction to end: the series had failed in front of where one was opened."""


class Replies:
    """Observes the walk through the server's messages; see ``backend.Observer``."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.walker = BackendWalker(self)
        self._reported = 0
        self._redact = ""

    @property
    def at_rest(self) -> bool:
        """Whether what comes next passes as it is, as far as that depends on what came before."""
        return not self._redact and self.walker.at_rest

    def passed(self, end: int, size: int) -> int:
        """The whole answer to one statement went by without being walked: ``size`` bytes with ReadyForQuery, of which
        ``end`` without. Returns what is reported as its size."""
        reported = self.walker.passed(size) + end
        counted = reported - self._reported
        self._reported = reported
        return counted

    def row_allowed(self, tag: int) -> None:
        """See ``backend.Observer``."""
        head = self._exchange.queue.head()
        if head is None or tag not in REPLIES[head.reply] or head.disposition is not Disposition.FORWARD:
            raise UpstreamViolation(f"the server sent message type {tag} though no result is due")

    def backend_message(self, tag: int, payload: bytes) -> bytes | None:
        """See ``backend.Observer``."""
        exchange = self._exchange
        if tag == B.READY_FOR_QUERY:
            return self._ready(payload)
        head = exchange.queue.head()
        if head is not None and head.redact:
            self._redact = head.redact
        if tag == B.ERROR_RESPONSE:
            return self._error(payload)
        if tag in ANYTIME:
            return self._anytime(tag, payload)
        expected, effect = exchange.queue.advance(tag)
        if exchange.trial is not None and effect not in (
            Effect.CONTINUES,
            Effect.ASKS_DATA,
            Effect.BOTH_WAYS,
        ):
            exchange.trial.ended()
        if expected.disposition is Disposition.COLLECT:
            return self._collected(expected, effect, tag, payload)
        if expected.disposition is Disposition.SKIP:
            exchange.copy.fence_passed()
            return b""
        if expected.disposition is Disposition.ENCLOSE:
            # Not the size of an answer to the client either.
            self._reported = self.walker.position
            return b""
        if expected.disposition is Disposition.REPLACE:
            raise UpstreamViolation(f"the server accepted what was meant to fail (message type {tag})")
        if effect is Effect.FINISHES or effect is Effect.FINISHES_ONE:
            self._finished(expected, tag, payload)
        elif effect is Effect.ANSWERS:
            if expected.change is not None:
                expected.change.confirm()
        elif exchange.trial is not None and effect in (Effect.ASKS_DATA, Effect.BOTH_WAYS):
            # The client cannot know, so nobody would ever end it.
            raise UpstreamViolation("the server asks for COPY data in a statement whose rows are counted")
        elif effect is Effect.ASKS_DATA:
            self._copy_starts()
        elif effect is Effect.BOTH_WAYS:
            expected.copying = True
            exchange.copy.started(ignored=0, broken=False)
        elif tag == B.PARAMETER_DESCRIPTION and expected.statement is not None:
            expected.statement.parameter_types = messages.decode_parameter_description(payload)
        return None

    def _anytime(self, tag: int, payload: bytes) -> bytes | None:
        exchange = self._exchange
        if tag == B.PARAMETER_STATUS:
            exchange.events.append(ParameterChanged(*messages.decode_parameter_status(payload)))
        elif tag == B.NOTICE_RESPONSE and self._ours_runs():
            report = messages.decode_report(payload)
            if exchange.hidden is not None and report.get("V") == "LOG":
                exchange.hidden.notices.append((report.get("R", ""), report.get("D", "")))
            if report.get("V", report.get("S")) in _ABOUT_STATEMENTS or report.get("C") == _NONE_OPEN:
                return b""
        return self._report(tag, payload) if tag == B.NOTICE_RESPONSE else None

    def _ours_runs(self) -> bool:
        """Whether what the server carries out now is a statement of the gateway's own."""
        head = self._exchange.queue.head()
        return self._exchange.hidden is not None or (
            head is not None and head.disposition is Disposition.ENCLOSE
        )

    def _report(self, tag: int, payload: bytes) -> bytes | None:
        """An error or notice of the server on its way to the client: None if it passes as it is."""
        if not self._redact:
            return None
        self._exchange.events.append(Withheld(messages.decode_report(payload)))
        return redacted(tag, payload, self._redact)

    def _copy_starts(self) -> None:
        exchange = self._exchange
        copying, ignored = exchange.queue.copy_starts()
        exchange.copy.started(ignored=ignored, broken=len(exchange.queue) > 1)
        if copying.reply is Reply.EXECUTE:
            # The Sync behind the COPY, if there was one, was none.
            exchange.unsynced = exchange.unsynced_work = exchange.unflushed = True

    def _finished(self, expected: Expected, tag: int, payload: bytes) -> None:
        exchange = self._exchange
        if expected.copying:
            expected.copying = False
            exchange.copy.succeeded()
        execution = expected.execution
        assert execution is not None, "what finishes is something the client runs"
        text, rows = messages.decode_command_tag(payload) if tag == B.COMMAND_COMPLETE else ("", None)
        exchange.completed(text)
        exchange.statement(
            StatementFinished(
                execution,
                expected.finished,
                text,
                rows,
                self._answer_size(),
                {},
                suspended=tag == B.PORTAL_SUSPENDED,
            )
        )
        expected.finished += 1

    def _answer_size(self) -> int:
        """Bytes of the server since the last statement was reported."""
        size = self.walker.position - self._reported
        self._reported = self.walker.position
        return size

    def _ready(self, payload: bytes) -> bytes | None:
        exchange = self._exchange
        if len(payload) != 1 or payload[0] not in _STATUSES:
            raise UpstreamViolation("malformed ReadyForQuery")
        expected = exchange.queue.ready()
        if expected is None:
            if not exchange.copy.answered():
                raise UpstreamViolation("the server sent ReadyForQuery though it was not due")
            # The Sync ended the skipping, too.
            exchange.skipping = False
        elif expected.disposition is Disposition.REPLACE:
            raise UpstreamViolation("the server accepted what was meant to fail")
        exchange.status = exchange.within = payload[0]
        if exchange.status == TransactionStatus.IDLE:
            # Portals live no longer than their transaction, nor does what its errors may tell.
            exchange.names.portals.clear()
            self._redact = ""
        if expected is None:
            exchange.events.append(Ready(exchange.status, None))
            return None
        if expected.disposition is Disposition.COLLECT:
            self._hidden_ready()
            return b""
        if expected.unready:
            return b""
        exchange.events.append(Ready(exchange.status, expected.ends or expected.execution))
        return b"" if expected.disposition is Disposition.SKIP else None

    # Errors --------------------------------------------------------------------------------------------

    def _error(self, payload: bytes) -> bytes | None:
        exchange = self._exchange
        report = messages.decode_report(payload)
        if report.get("V", report.get("S")) in ("FATAL", "PANIC"):
            instead = self._report(B.ERROR_RESPONSE, payload)
            if exchange.trial is not None:
                exchange.trial.fatal = True
            exchange.events.append(UpstreamFatal(report))
            return instead
        settled = exchange.queue.fail()
        head = settled[0]
        if exchange.trial is not None:
            exchange.trial.failed = True
        if head.disposition is Disposition.COLLECT:
            return self._hidden_failed(report)
        if head.leaves and exchange.status == TransactionStatus.FAILED:
            # What was enclosed has failed, and the client knows: there is nothing left to leave.
            self._reported = self.walker.position
            return b""
        if head.copying:
            exchange.copy.failed()
        if head.reply is Reply.CLOSE and head.disposition is Disposition.SKIP:
            exchange.copy.fence_passed()
            return b""
        if head.disposition is Disposition.REPLACE:
            head.disposition = Disposition.FORWARD
            instead = head.replacement
        else:
            instead = self._report(B.ERROR_RESPONSE, payload)
        around = head.disposition is Disposition.ENCLOSE and all(each.execution is None for each in settled)
        if head.reply is Reply.SYNC or around:
            exchange.events.append(CommitFailed(report))
        if head.reply is Reply.SYNC:
            # A Sync the client did not send: it waits for its own before it goes on.
            exchange.skipping = head.disposition is Disposition.SKIP
        elif head.reply is not Reply.QUERY and head.reply is not Reply.FUNCTION_CALL:
            # Only a Sync of the client's that is under way ends the skipping; without one, its next will.
            exchange.skipping = not exchange.queue.client_synced()
            if exchange.skipping:
                exchange.fail_series()
        exchange.undo(settled)
        self._report_failure(settled, report)
        return instead

    def _report_failure(self, settled: list[Expected], report: dict[str, str]) -> None:
        failing = True
        for expected in settled:
            execution: Execution | None = expected.execution
            if execution is None:
                continue
            self._exchange.statement(
                StatementFinished(
                    execution,
                    expected.finished,
                    "",
                    None,
                    self._answer_size(),
                    report if failing else {},
                    skipped=not failing,
                )
            )
            failing = False

    # Statements of the gateway's own -------------------------------------------------------------------

    def hide(self, hidden: Hidden) -> None:
        """Send statements of the gateway's own."""
        exchange = self._exchange
        exchange.hidden = hidden
        self.walker.collecting = True
        for raw, expected in hidden.series():
            exchange.send(raw)
            exchange.queue.push(expected)
        if hidden.in_series:
            exchange.send(messages.FLUSH)
        elif exchange.status == TransactionStatus.IDLE:
            # What the client prepared and described before has no transaction any more.
            exchange.nothing_open()

    def _collected(self, expected: Expected, effect: Effect, tag: int, payload: bytes) -> bytes:
        hidden = self._hidden
        if effect is Effect.ASKS_DATA or effect is Effect.BOTH_WAYS:
            raise UpstreamViolation("the server asks for COPY data in a statement of the gateway's own")
        hidden.answered(tag, payload)
        if hidden.in_series and self._exchange.queue.head() is None and effect is not Effect.CONTINUES:
            self._hidden_finished()
        return b""

    def _hidden_ready(self) -> None:
        exchange, undoing = self._exchange, list(self._hidden.undoing(self._exchange.status))
        if not undoing:
            self._hidden_finished()
        for raw, expected in undoing:
            exchange.send(raw)
            exchange.queue.push(expected)

    def _hidden_failed(self, report: dict[str, str]) -> bytes | None:
        hidden = self._hidden
        hidden.failed(report)
        if not hidden.in_series:
            return b""
        # The series is the client's, and the server skips the rest of it: the client has to know.
        self._exchange.fail_series()
        self._hidden_finished()
        return None

    def _hidden_finished(self) -> None:
        exchange, hidden = self._exchange, self._hidden
        if not hidden.report and not hidden.complete:
            raise UpstreamViolation("the server did not answer a statement of the gateway's own")
        exchange.events.append(HiddenFinished(hidden))
        exchange.hidden = None
        self.walker.collecting = False
        self._reported = self.walker.position

    @property
    def _hidden(self) -> Hidden:
        hidden = self._exchange.hidden
        assert hidden is not None, "only what is under way is answered"
        return hidden
