"""The short way of a statement that this session has sent before: found, written on, recorded, and nothing else.

What is decided about it was decided by the arbiter, for an equal statement in the same circumstances, and is used only
while it is certain that the arbiter would decide the same. Three things make it so:

* Only statements are learned whose verdict the judge has kept, that are allowed as they are, and that leave session
  and definitions as they are (``Kept.ordinary``). That they are forwarded does nothing, so that the next one
  finds the session as this one did.
* The way is opened only where the session is at rest, and found as it was when its statements were learned. It is the
  core that closes it, for whoever uses the core in any other way (:mod:`protocol.fastpath`).
* What others change, the catalog and whether records can be written, is looked at for each statement.

What is sent this way and answered otherwise than by rows and a command tag becomes a request like any other.
"""

import re
from dataclasses import replace
from typing import Final

from gateway import clock
from gateway.arbiter import Arbiter, Ruled, Ruling, parameter_types
from gateway.audit import Brief, Outline
from gateway.catalog import SessionCatalog
from gateway.conversation import Conversation
from gateway.following import Following
from gateway.obligations import Obligations
from gateway.recorder import Recorder, Run
from gateway.rulings import Rulings
from gateway.series import Count
from protocol import messages
from protocol.connection import ProxyConnection
from protocol.copying import may_copy
from protocol.fastpath import bound_in, expected_answers, read_series
from protocol.framing import HEADER, HEADER_SIZE
from protocol.request import Delimiter, Kind, Request, Step
from protocol.statements import PreparedStatement
from protocol.tags import FrontendTag
from rules import MAX_TEMPLATE, Judge, Kept, Obligation, SchemaSnapshot, pattern_of

__all__ = ["Shortcut"]

MAX_KNOWN: Final = 64
"""Statements that a session remembers; then it begins anew."""
MAX_KNOWN_BYTES: Final = 64 << 10
"""Bytes of their texts together."""

_MAX_TAGS: Final = 64

_QUERY: Final = int(FrontendTag.QUERY)
_DIGITS: Final = b"0123456789"


class Known:
    """A statement that was learned, or all texts of a template in which only whole numbers differ."""

    __slots__ = ("count", "expects", "kept", "outline", "parse", "pattern", "redacts", "statement")

    def __init__(self, kept: Kept, expects: bytes, outline: Outline, count: Count) -> None:
        self.kept = kept
        self.expects = expects
        self.outline = outline
        self.count = count
        self.pattern: re.Pattern[bytes] | None = None
        """Of a Query: the texts it stands for; None: only itself."""
        self.statement: PreparedStatement | None = None
        """Of a series: what it binds."""
        self.parse = False
        """Whether it prepares that first."""
        self.redacts = Obligation.REDACT_ERRORS in kept.judgement.verdict.obligations


class Shortcut:
    """What one session has learned, and the statement of it that is under way."""

    __slots__ = (
        "_arbiter",
        "_audit",
        "_bind",
        "_bytes",
        "_catalog",
        "_core",
        "_down",
        "_fast",
        "_following",
        "_hit",
        "_known",
        "_metrics",
        "_number",
        "_obligations",
        "_overhead",
        "_parsed",
        "_queries",
        "_recorder",
        "_rulings",
        "_seen",
        "_series",
        "_shared",
        "_sql",
        "_started",
        "_statements",
        "_tags",
        "_talk",
        "_took",
        "_up",
        "_version",
        "_view",
        "_wanted",
        "taken",
    )

    def __init__(
        self,
        core: ProxyConnection,
        talk: Conversation,
        arbiter: Arbiter,
        following: Following,
        catalog: SessionCatalog,
        rulings: Rulings,
        obligations: Obligations,
        recorder: Recorder,
    ) -> None:
        self._core = core
        self._fast = core.fast_path(self._resumed)
        self._talk = talk
        self._arbiter = arbiter
        self._following = following
        self._catalog = catalog
        self._shared = catalog.catalog
        self._rulings = rulings
        self._obligations = obligations
        self._recorder = recorder
        self._metrics = recorder.metrics
        self._hit = recorder.metrics.classify_seconds.labels("hit")
        self._overhead = recorder.metrics.overhead_seconds.timer
        self._took = recorder.metrics.statement_seconds.timer
        self._up = recorder.metrics.bytes_total.labels("to_upstream")
        self._down = recorder.metrics.bytes_total.labels("to_client")
        self._audit = recorder.audit
        self._statements = core.names.statements
        self._queries: dict[bytes, Known] = {}
        """By the whole message, or by the text without its digits."""
        self._series: dict[bytes, Known] = {}
        self._seen: dict[int, None] = {}
        """Hashes of messages that came once."""
        self._bytes = 0
        self._view: tuple[Judge, SchemaSnapshot, tuple[object, ...]] | None = None
        self._version = (0, 0)
        self._wanted = False
        self._tags: dict[bytes, tuple[str, int | None]] = {}
        self.taken = 0
        """How many statements took the short way, there and back."""
        # The statement that is under way.
        self._known: Known | None = None
        self._number = 0
        self._started = 0.0
        self._sql: str | None = None
        self._bind: messages.Bind | None = None
        self._parsed: PreparedStatement | None = None

    # The short way -------------------------------------------------------------------------------------

    def take(self, data: bytes) -> bool:
        """Write what a client sent on to its server, if all of it is known; else False, and nothing was done."""
        if not self._fast.is_open or len(data) > self._fast.longest:
            return False
        arrived = clock.monotonic()
        known = self._query(data) if data[0] == _QUERY else self._bound(data)
        if known is None or (known.redacts and not self._fast.alone) or not self._holds(arrived):
            return False
        now = clock.monotonic()
        self._hit.observe(now - arrived)
        self._overhead.observe(now - arrived)
        known.count.value += 1
        self._up.value += len(data)
        self._known = known
        self._started = now
        self._number = self._recorder.next_number()
        self._fast.sent(data)
        self._talk.upstream.write(data)
        return True

    def answered(self, data: bytes) -> bool:
        """Write what the server sent on to the client and record it, if it is all of a plain answer; else False, and
        nothing was done."""
        known = self._known
        if known is None:
            return False
        taken = self._fast.answered(data, known.expects, self._parsed)
        if taken is None:
            return False
        self._known = None
        self.taken += 1
        now = clock.monotonic()
        self._talk.client.write(data)
        self._down.value += len(data)
        seconds = now - self._started
        self._took.observe(seconds)
        said, size = taken
        tag = self._tags.get(said)
        if tag is None:
            if len(self._tags) >= _MAX_TAGS:
                self._tags.clear()
            tag = self._tags[said] = messages.decode_command_tag(said)
        bind, bound = self._bind, None
        if bind is not None and bind.values:
            statement = self._parsed or known.statement
            bound = (() if statement is None else statement.parameter_types, bind.formats, bind.values)
        self._recorder.passed(
            Brief(
                known.outline,
                clock.microseconds(),
                self._number,
                tag[0],
                tag[1],
                size,
                seconds,
                self._sql,
                bound,
            )
        )
        return True

    def _query(self, data: bytes) -> Known | None:
        self._bind = self._parsed = None
        known = self._queries.get(data)
        if known is not None:
            self._sql = None
            return known
        size = len(data)
        known = self._queries.get(data[HEADER_SIZE:].translate(None, _DIGITS))
        if known is None or known.pattern is None or size - HEADER_SIZE > MAX_TEMPLATE:
            return None
        if HEADER.unpack_from(data, 0)[1] != size - 1 or data[size - 1] != 0:
            return None
        sql = data[HEADER_SIZE:-1]
        if known.pattern.fullmatch(sql) is None:
            return None
        self._sql = sql.decode("ascii")
        return known

    def _bound(self, data: bytes) -> Known | None:
        series = read_series(data)
        if series is None:
            return None
        known = self._series.get(series.key)
        if known is None:
            return None
        statement = known.statement
        assert statement is not None, "a series without what it binds"
        self._bind = bind = bound_in(data, series)
        if bind is None or not self._fast.alone:
            return None
        self._sql = self._parsed = None
        if known.parse:
            # As each Parse does: one that is described later says what types there are of that one only.
            self._parsed = PreparedStatement(
                b"", statement.sql, statement.parameter_types, declared=statement.declared
            )
        elif self._statements.get(bind.statement) is not statement or statement.doubtful:
            return None
        return known

    def _holds(self, now: float) -> bool:
        """Whether what others may change is as it was."""
        if not self._audit.healthy:
            return False
        assert self._view is not None, "nothing is known without a view"
        if self._wanted:
            return self._shared.still(self._view[1], self._version, now)
        return self._catalog.snapshot is self._view[1]

    # Opening and leaving -------------------------------------------------------------------------------

    def enter(self) -> None:
        """Everything that came has been dealt with: the next statement may take the short way, if nothing waits and
        all is as it was."""
        talk = self._talk
        if (
            not (self._queries or self._series)
            or talk.farewell is not None
            or talk.half_closed
            or talk.client_gone
        ):
            return
        if not self._rulings.at_rest or not self._core.enter_fast_path():
            return
        if not self._at_rest() or not self._same_view():
            self._core.leave_fast_path()

    def _at_rest(self) -> bool:
        state = self._recorder.state
        return (
            self._following.sure
            and self._catalog.shared
            and not self._recorder.runs
            and not state.replication
            and not (state.cursors.cursors or state.cursors.savepoints or state.cursors.code_ran)
        )

    def _same_view(self) -> bool:
        """Whether statements would be judged as those that are known were; else these are forgotten."""
        view, version, wanted = self._arbiter.view(), self._catalog.version, self._following.wanted
        known = self._view
        if (
            known is None
            or known[0] is not view[0]
            or known[1] is not view[1]
            or known[2] != view[2]
            or self._wanted != wanted
        ):
            self._forget()
            self._view, self._wanted = view, wanted
        self._version = version
        return bool(self._queries or self._series)

    def _forget(self) -> None:
        self._queries.clear()
        self._series.clear()
        self._bytes = 0

    def _resumed(self, request: Request) -> None:
        """What is under way has to be known like anything else: as it was forwarded, by what was decided then."""
        known, self._known = self._known, None
        assert known is not None, "something was sent"
        (execution,) = request.executions
        ruled = self._arbiter.resumed(execution, known.kept.of(execution.sql[0]))
        statement_id = f"{self._recorder.session_id}.{self._number}"
        self._recorder.runs[execution] = Run(ruled, statement_id, self._started)
        redact = self._obligations.redacting(statement_id) if known.redacts else ""
        self._core.forward(request, redact=redact)

    # Learning ------------------------------------------------------------------------------------------

    def learn(self, request: Request, ruling: Ruling) -> None:
        """A request was forwarded at once: one that is equal may take the short way."""
        if len(ruling.ruled) != 1 or len(request.executions) != 1 or ruling.missing:
            return
        (one,) = ruling.ruled
        execution = one.execution
        if len(execution.sql) != 1 or one.release is not None or may_copy(execution):
            return
        if execution.step is Step.QUERY:
            self._learn_query(request.messages[0], one)
        elif request.kind is Kind.BATCH and request.delimiter is Delimiter.SYNC:
            self._learn_series(b"".join((*request.messages, messages.SYNC)), one)

    def _learn_query(self, data: bytes, one: Ruled) -> None:
        sql = one.execution.sql[0]
        if len(data) > self._fast.longest or self._query(data) is not None:
            return
        kept = self._kept(one)
        if kept is None:
            return
        pattern = pattern_of(sql) if kept.template is not None else None
        if pattern is None and not self._met(data):
            return
        key = data if pattern is None else data[HEADER_SIZE:].translate(None, _DIGITS)
        known = self._new(key, kept, data, one, several=pattern is not None)
        known.pattern = pattern
        self._queries[key] = known

    def _learn_series(self, data: bytes, one: Ruled) -> None:
        series = read_series(data) if len(data) <= self._fast.longest else None
        portal = one.execution.portal
        if series is None or portal is None or portal.statement is None or portal.statement.doubtful:
            return
        known = self._series.get(series.key)
        if known is not None and (known.parse or known.statement is portal.statement):
            return
        kept = self._kept(one)
        if kept is None:
            return
        known = self._new(series.key, kept, data, one, several=False)
        known.parse = series.bind > 0
        known.statement = replace(portal.statement) if known.parse else portal.statement
        self._series[series.key] = known

    def _met(self, data: bytes) -> bool:
        """Whether a message came lately, or at least one that looks like it: what is sent once is not learned."""
        seen = hash(data)
        if seen in self._seen:
            return True
        if len(self._seen) >= MAX_KNOWN:
            self._seen.clear()
        self._seen[seen] = None
        return False

    def _kept(self, one: Ruled) -> Kept | None:
        """What is kept of a statement, if it may take the short way."""
        judgement = one.judgement
        if parameter_types(one.execution):
            # What is kept is kept of a text alone.
            return None
        kept = self._arbiter.kept(one.execution.sql[0])
        if kept is None or not kept.ordinary or kept.judgement.verdict != judgement.verdict:
            return None
        return kept

    def _new(self, key: bytes, kept: Kept, data: bytes, one: Ruled, *, several: bool) -> Known:
        self._same_view()
        if len(self._queries) + len(self._series) >= MAX_KNOWN or self._bytes + len(key) > MAX_KNOWN_BYTES:
            self._forget()
        self._bytes += len(key)
        verdict = kept.judgement.verdict
        return Known(
            kept,
            expected_answers(data),
            self._recorder.outline(one, several=several),
            self._metrics.statement_count(
                verdict.actions[0] if verdict.actions else "utility", verdict.decision.word
            ),
        )
