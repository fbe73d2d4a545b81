"""What one session leaves behind: audit records and metrics of its statements."""

import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway import clock
from gateway.arbiter import Release, Ruled, Ruling, execution_parameters, shown_parameters, shown_sql
from gateway.audit import AuditPort, AuditRecord, Brief, Kind, Outline
from gateway.audit.redact import redact_literals
from gateway.identity import Principal, SessionState
from gateway.metrics import Metrics
from gateway.store.records import iso
from protocol import sqlstate
from protocol.events import StatementFinished
from protocol.request import Execution, Step
from rules import CursorStep, Decision

__all__ = ["Recorder", "Run"]

MAX_WITHHELD: Final = 100
"""Errors and notices of one statement that are recorded in full; the others are counted."""

RECENT: Final = 10
"""Statements of a session that the approver of its next hold is shown."""

RECENT_CHARACTERS: Final = 500

_REPORT_FIELDS: Final = {
    "V": "severity",
    "C": "sqlstate",
    "M": "message",
    "D": "detail",
    "H": "hint",
    "W": "where",
    "q": "internal_query",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "data_type",
    "n": "constraint",
}


@dataclass(slots=True, eq=False)
class Run:
    """One forwarded execution until its end. ``held`` is the seconds it waited for a decision."""

    ruled: Ruled
    statement_id: str
    started: float
    held: float | None = None
    finished: int = 0
    prepares_done: int = 0
    deallocates_done: int = 0
    _steps: tuple[list[CursorStep], dict[int, list[CursorStep]]] | None = None

    def cursor_steps(self, index: int) -> Sequence[CursorStep]:
        """What becomes of the session's cursors with the statement of this index in its message."""
        if self._steps is None:
            # Sorted once: a message may have a thousand statements, and each of them asks.
            always: list[CursorStep] = []
            own: dict[int, list[CursorStep]] = {}
            for step in self.ruled.cursor_steps:
                if step.statement is not None:
                    own.setdefault(step.statement, list(always)).append(step)
                else:
                    for steps in (always, *own.values()):
                        steps.append(step)
            self._steps = (always, own)
        always, own = self._steps
        return own.get(index, always)


@dataclass(frozen=True, slots=True)
class _Past:
    """What is remembered of a statement that ended."""

    at: datetime
    sql: str
    tag: str | None
    rows: int | None
    sqlstate: str | None
    hold_id: str | None


@dataclass(slots=True)
class Recorder:
    """Makes the records of one session; the log decides where they go."""

    audit: AuditPort
    metrics: Metrics
    who: Principal
    state: SessionState
    session_id: str
    runs: dict[Execution, Run] = field(default_factory=dict)
    _recent: deque[_Past | Brief] = field(default_factory=lambda: deque(maxlen=RECENT))
    _withheld: list[dict[str, str]] = field(default_factory=list)
    _left_out: int = 0
    _count: int = 0

    def next_statement_id(self) -> str:
        """An id for one request, unique in the gateway's life."""
        self._count += 1
        return f"{self.session_id}.{self._count}"

    def next_number(self) -> int:
        """The number behind the session's id in an id that ``next_statement_id`` would give."""
        self._count += 1
        return self._count

    def base(self, kind: Kind, **fields: object) -> AuditRecord:
        """A record of this session with what is common to all of its records."""
        who = self.who
        return AuditRecord(
            kind=kind,
            session_id=self.session_id,
            user=who.user,
            groups=tuple(sorted(who.groups)),
            database=who.database,
            client_addr=who.client_addr,
            application_name=self.state.application_name,
            **fields,  # type: ignore[arg-type]
        )

    def withheld(self, report: Mapping[str, str]) -> None:
        """The client got a report without its values: what it said goes into the record of what it came from."""
        if len(self._withheld) < MAX_WITHHELD:
            named = {name: report[code] for code, name in _REPORT_FIELDS.items() if code in report}
            self._withheld.append(named)
        else:
            self._left_out += 1

    def take_withheld(self) -> tuple[dict[str, str], ...]:
        """What was withheld since this was asked last."""
        if not self._withheld:
            return ()
        taken = tuple(self._withheld)
        if self._left_out:
            taken = (*taken, {"message": f"and {self._left_out} more"})
        self._withheld.clear()
        self._left_out = 0
        return taken

    def report_withheld(self) -> None:
        """The server owes nothing more: what was withheld and came from no statement has a record of its own."""
        withheld = () if self.runs else self.take_withheld()
        if withheld:
            self.audit.append(self.base(Kind.STATEMENT, tag="(reported)", withheld=withheld))

    def commit_failed(self, code: str | None) -> None:
        """The commit at a Sync failed."""
        self.audit.append(
            self.base(Kind.STATEMENT, tag="(commit failed)", sqlstate=code, withheld=self.take_withheld())
        )

    def started(self, ruling: Ruling, statement_id: str, held: float | None) -> None:
        """The request is on its way to the server."""
        now = clock.monotonic()
        for one in ruling.ruled:
            self._count_verdict(one)
            if one.execution.step is not Step.BIND:
                self.runs[one.execution] = Run(one, statement_id, now, held)

    def started_in_front(self, ruling: Ruling, statement_id: str) -> None:
        """The request is refused, and what is allowed in front of the refusal is on its way to the server."""
        now = clock.monotonic()
        for one in ruling.ruled:
            if one.execution.at < ruling.at and one.execution.step is not Step.BIND:
                self.runs[one.execution] = Run(one, statement_id, now)

    def _count_verdict(self, one: Ruled) -> None:
        verdict = one.judgement.verdict
        action = verdict.actions[0] if verdict.actions else "utility"
        self.metrics.statement(action, verdict.decision.word)

    def finished(self, event: StatementFinished, *, and_the_rest: bool = False) -> Run | None:
        """A statement ended, or ``and_the_rest`` of its Query; None for one that was recorded before (a refusal)."""
        run = self.runs.get(event.execution)
        if run is None:
            return None
        now = clock.monotonic()
        duration = now - run.started
        run.started = now
        run.finished += 1
        self.metrics.statement_seconds.observe(duration)
        release = run.ruled.release
        if release is not None:
            release.seconds += duration
            release.sqlstate = release.sqlstate or event.report.get("C")
            if event.tag or event.undone:
                release.tags.append(event.tag or _undone(event))
            if event.rows is not None:
                release.rows = (release.rows or 0) + event.rows
        record = self._outcome(run, event, duration, and_the_rest, self.take_withheld())
        cut = (record.sql or "")[:RECENT_CHARACTERS]
        self._recent.append(_Past(record.at, cut, record.tag, record.rows, record.sqlstate, record.hold_id))
        self.audit.append(record)
        return run

    def recent(self) -> list[dict[str, object]]:
        """The last statements of the session, the oldest first, ready for JSON, with as much of them as the audit
        keeps."""
        return [
            {
                "at": iso(past.at),
                "sql": redact_literals(past.sql) if self.audit.redacts and not past.hold_id else past.sql,
                "tag": past.tag or None,
                "rows": past.rows,
                "sqlstate": past.sqlstate,
                "hold_id": past.hold_id,
            }
            for past in map(_past, self._recent)
        ]

    def ended(self, execution: Execution) -> Release | None:
        """The execution will report nothing more. Returns its release if this was the last it let run."""
        run = self.runs.pop(execution, None)
        release = run.ruled.release if run is not None else None
        if release is None:
            return None
        release.running -= 1
        return release if release.running == 0 else None

    def outline(self, ruled: Ruled, *, several: bool) -> Outline:
        """What the records of statements like this one will have in common, if nothing happens to them."""
        event = StatementFinished(ruled.execution, 0, "", None, 0, {})
        record = self._outcome(Run(ruled, "", 0.0), event, 0.0, False, ())
        return Outline(record, self.session_id, several=several)

    def passed(self, brief: Brief) -> None:
        """A statement ended of which nothing else was ever noted but its time."""
        self._recent.append(brief)
        self.audit.append_brief(brief)

    def _outcome(
        self,
        run: Run,
        event: StatementFinished,
        duration: float,
        and_the_rest: bool,
        withheld: tuple[dict[str, str], ...],
    ) -> AuditRecord:
        one, execution = run.ruled, event.execution
        facts, verdict = one.judgement.facts, one.judgement.verdict
        sql = _own_text(one, event.index, and_the_rest)
        several = len(facts.statements) > 1
        statement_id = f"{run.statement_id}.{run.finished}" if several else run.statement_id
        tag = event.tag
        if event.skipped:
            tag = "(not run: an earlier statement failed)"
        elif event.undone:
            tag = _undone(event)
        elif event.suspended:
            tag = "(suspended at its row limit)"
        return self.base(
            Kind.STATEMENT,
            statement_id=statement_id,
            sql=sql,
            parameters=tuple(execution_parameters(execution)) or None,
            actions=verdict.actions,
            relations=verdict.relations,
            columns=verdict.columns,
            row_bound=verdict.row_bound,
            verdict=verdict.decision.word,
            rule=verdict.rule,
            obligations=tuple(map(str, verdict.obligations)),
            hold_id=one.release.hold_id if one.release is not None else None,
            approved_by=one.release.approved_by if one.release is not None else (),
            tag=tag,
            rows=event.rows,
            bytes=event.size,
            sqlstate=event.report.get("C"),
            withheld=withheld,
            duration_ms=round(duration * 1000, 3),
            held_ms=None if run.held is None else round(run.held * 1000, 3),
            reason=event.report.get("M") if event.undone else None,
        )

    def lost(self, why: str) -> list[Release]:
        """The session ended before the server answered: say so of everything still running.

        Returns the releases among them, so that their holds can be told.
        """
        releases: list[Release] = []
        for execution, run in list(self.runs.items()):
            report = {"C": sqlstate.CONNECTION_FAILURE}
            event = StatementFinished(execution, run.finished, f"(no answer: {why})", None, 0, report)
            self.finished(event, and_the_rest=True)
            release = self.ended(execution)
            if release is not None:
                releases.append(release)
        return releases

    async def refused(self, ruling: Ruling, statement_id: str, code: str, **fields: object) -> None:
        """Make the record of a refused request durable. Raises ``AuditUnavailable``."""
        for one in ruling.ruled:
            self._count_verdict(one)
        await self.audit.intent(
            self.of_request(Kind.STATEMENT, ruling, statement_id, sqlstate=code, **fields)
        )

    def of_request(self, kind: Kind, ruling: Ruling, statement_id: str, **fields: object) -> AuditRecord:
        """A record about a whole request."""
        verdict = ruling.deciding.judgement.verdict if ruling.deciding is not None else None
        decision = Decision.DENY if ruling.error is not None else ruling.decision
        return self.base(
            kind,
            statement_id=statement_id,
            sql=shown_sql(ruling),
            parameters=tuple(shown_parameters(ruling)) or None,
            actions=verdict.actions if verdict else (),
            relations=verdict.relations if verdict else (),
            columns=verdict.columns if verdict else (),
            row_bound=verdict.row_bound if verdict else "",
            verdict=decision.word,
            rule=verdict.rule if verdict else "",
            obligations=tuple(map(str, verdict.obligations)) if verdict else (),
            **{"reason": verdict.reason if verdict else None, **fields},
        )


def _past(one: _Past | Brief) -> _Past:
    if isinstance(one, _Past):
        return one
    return _Past(one.moment, one.text[:RECENT_CHARACTERS], one.tag, one.rows, None, None)


def _undone(event: StatementFinished) -> str:
    """In place of the tag of what changed more rows than it may."""
    return f"(undone: {event.undone})"


def _own_text(one: Ruled, index: int, and_the_rest: bool) -> str:
    """The text of one statement of a Query, or of it and the rest, where the reader found its parts; else all
    of it."""
    statements = one.judgement.facts.statements
    if len(statements) > 1 and index < len(statements):
        end = len(statements) if and_the_rest else index + 1
        return ";\n".join(statement.sql for statement in statements[index:end])
    if one.execution.step is Step.FUNCTION_CALL:
        return f"FunctionCall of the function with OID {one.execution.function_oid}"
    return ";\n".join(sql.decode("utf-8", "backslashreplace") for sql in one.execution.sql)


def new_session_id() -> str:
    """``S-`` and 16 random hexadecimal digits."""
    return f"S-{secrets.token_hex(8)}"
