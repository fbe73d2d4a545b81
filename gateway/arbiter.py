"""From a request to a ruling: every execution in it is judged, the strictest verdict rules all of it."""

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway import clock
from gateway.identity import Principal, SessionState
from gateway.metrics import Metrics
from protocol import sqlstate
from protocol.errors import ServerError
from protocol.messages import printable
from protocol.request import Execution, Request, Step
from protocol.statements import SessionNames
from protocol.values import parameter_text
from rules import Context, Decision, Judge, Judgement, Parameter, Policy

__all__ = ["Arbiter", "Release", "Ruled", "Ruling", "execution_parameters", "shown_parameters", "shown_sql"]


_REPLICATION_COMMAND: Final = re.compile(
    rb"\s*(IDENTIFY_SYSTEM|BASE_BACKUP|START_REPLICATION|CREATE_REPLICATION_SLOT|DROP_REPLICATION_SLOT"
    rb"|ALTER_REPLICATION_SLOT|READ_REPLICATION_SLOT|TIMELINE_HISTORY|UPLOAD_MANIFEST)(?![\w$])",
    re.IGNORECASE,
)
"""How a command of the streaming replication protocol begins; no SQL statement does. The server reads all of
such a message by the replication grammar, in which there is no SQL."""


@dataclass(slots=True, eq=False)
class Release:
    """An approval at work, and what has come of it: tags, rows and the first error of everything it let run.

    ``running`` counts the executions that have not ended.
    """

    policy_version: str
    hold_id: str
    approved_by: tuple[str, ...]
    running: int = 0
    tags: list[str] = field(default_factory=list)
    rows: int | None = None
    sqlstate: str | None = None
    seconds: float = 0.0


@dataclass(slots=True, eq=False)
class Ruled:
    """One execution with what was decided about it, and its release once a hold was approved."""

    execution: Execution
    judgement: Judgement
    release: Release | None = None

    @property
    def decision(self) -> Decision:
        """What applies now."""
        return self.judgement.verdict.decision if self.release is None else Decision.ALLOW


@dataclass(slots=True, eq=False)
class Ruling:
    """What was decided about a request. ``deciding`` is its strictest execution, None where nothing executes.

    ``error`` is set where the request cannot be forwarded whatever anybody decides. ``at`` is the first message
    that a refusal must not send: there begins what is not allowed, or what cannot be forwarded.
    """

    decision: Decision
    ruled: list[Ruled]
    deciding: Ruled | None
    policy_version: str
    error: ServerError | None = None
    at: int = 0
    changes_context: bool = field(default=False)


class Arbiter:
    """Judges the requests of one session. It never waits and never raises on what a client sent."""

    def __init__(
        self, judge: Judge, metrics: Metrics, who: Principal, state: SessionState, names: SessionNames
    ) -> None:
        self._judge = judge
        self._metrics = metrics
        self._who = who
        self._state = state
        self._names = names

    @property
    def policy(self) -> Policy:
        """The policy judged by."""
        return self._judge.policy

    def use(self, judge: Judge) -> None:
        """Judge by another policy from now on."""
        self._judge = judge

    def rule(self, request: Request) -> Ruling:
        """The ruling on a request."""
        version = self._judge.policy.version
        context = self._context()
        ruled: list[Ruled] = []
        for execution in request.executions:
            one = self._one(execution, context, version)
            if execution.step is Step.BIND and not one.judgement.facts.runs_code_when_planned:
                # Planning it runs nothing that is not PostgreSQL's own; its Execute will be judged.
                continue
            ruled.append(one)
        deciding = max(ruled, key=lambda one: one.decision, default=None)
        decision = deciding.decision if deciding is not None else Decision.ALLOW
        ruling = Ruling(
            decision,
            ruled,
            deciding,
            version,
            changes_context=any(one.judgement.facts.changes_context for one in ruled),
        )
        # What stands in front of a refusal may be sent: nothing that is not allowed by itself may stand there.
        stops = [one.execution.since for one in ruled if one.decision is not Decision.ALLOW]
        if request.fault is not None:
            stops.append(request.fault.at)
        ruling.at = min(stops, default=0)
        if request.fault is not None and decision is not Decision.DENY:
            ruling.error = request.fault.error
        elif deciding is not None and decision is not Decision.ALLOW and deciding.execution.unknown_name:
            ruling.error = _unknown(deciding.execution)
        return ruling

    def _context(self) -> Context:
        prepared = {
            name: tuple(text.decode("utf-8", "surrogateescape") for text in texts)
            for name, texts in self._names.candidates().items()
        }
        context = self._state.context(self._who, prepared)
        # FETCH reads portals of the protocol by the same names, and of those it cannot be said what they read.
        portals = self._names.portals.names()
        return replace(context, cursors=context.cursors - portals) if portals & context.cursors else context

    def _one(self, execution: Execution, context: Context, version: str) -> Ruled:
        started = clock.monotonic()
        misses = self._judge.misses
        context = _as_bound(execution, context)
        if execution.step is Step.FUNCTION_CALL:
            judgement = self._judge.judge_function_call(execution.function_oid, context)
        elif self._state.replication and any(map(_REPLICATION_COMMAND.match, execution.sql)):
            judgement = self._judge.judge_replication(context)
        elif not execution.sql:
            judgement = self._judge.judge_unknown(execution.unknown_name, context)
        else:
            parameters = [Parameter(*parameter) for parameter in execution.parameters]
            judgements = [self._judge.judge(sql, context, parameters) for sql in execution.sql]
            judgement = max(judgements, key=lambda each: each.verdict.decision)
        self._metrics.classified(clock.monotonic() - started, hit=misses == self._judge.misses)
        one = Ruled(execution, judgement)
        release = execution.portal.ruling if execution.portal is not None else None
        if isinstance(release, Release) and release.policy_version == version:
            # A further Execute of an approved portal continues the same result.
            one.release = release
        return one

    @staticmethod
    def release(ruling: Ruling, hold_id: str, approved_by: Sequence[str]) -> None:
        """Note on everything in the request that its hold was approved."""
        release = Release(ruling.policy_version, hold_id, tuple(approved_by))
        for one in ruling.ruled:
            one.release = release
            release.running += one.execution.step is not Step.BIND
            if one.execution.portal is not None:
                one.execution.portal.ruling = release

    def digest(self, request: Request, version: str) -> str:
        """SHA-256 over everything an approval is bound to, in hexadecimal.

        Every part is preceded by its length, so that no two different requests read the same.
        """
        hashed = hashlib.sha256()

        def part(data: bytes) -> None:
            hashed.update(struct.pack("!Q", len(data)))
            hashed.update(data)

        who = self._who
        for text in (version, who.user, who.database, self._state.role or who.role or ""):
            part(text.encode())
        part(request.kind.value.encode())
        for message in request.messages:
            part(message)
        for execution in request.executions:
            part(struct.pack("!iI", execution.at, execution.function_oid))
            for sql in execution.sql:
                part(sql)
            for type_oid, format_code, value in execution.parameters:
                part(struct.pack("!Ih?", type_oid, format_code, value is None))
                part(value or b"")
        return hashed.hexdigest()


@dataclass(frozen=True, slots=True)
class _BoundIn:
    """What the names in a portal's statement were looked up by."""

    search_path: tuple[str, ...]
    role: str | None
    unknown: str | None


def _as_bound(execution: Execution, context: Context) -> Context:
    """The context in which the server planned, or will plan, what is executed: a portal keeps that of its Bind."""
    portal = execution.portal
    if portal is None:
        return context
    if execution.step is Step.BIND or execution.since < execution.at:
        portal.bound_in = _BoundIn(context.search_path, context.role, context.unknown)
        return context
    bound = portal.bound_in
    if not isinstance(bound, _BoundIn):
        return context
    return replace(context, search_path=bound.search_path, role=bound.role, unknown=bound.unknown)


def shown_sql(ruling: Ruling) -> str:
    """The text of everything the request would run, for people: bytes that are not UTF-8 as escapes."""
    texts: list[str] = []
    for one in ruling.ruled:
        execution = one.execution
        if execution.step is Step.FUNCTION_CALL:
            texts.append(f"FunctionCall of the function with OID {execution.function_oid}")
        else:
            texts.extend(sql.decode("utf-8", "backslashreplace") for sql in execution.sql)
    return ";\n".join(texts)


def shown_parameters(ruling: Ruling) -> list[str | None]:
    """The parameter values of everything the request would run, in order, for people."""
    return [text for one in ruling.ruled for text in execution_parameters(one.execution)]


def execution_parameters(execution: Execution) -> list[str | None]:
    """The parameter values of one execution, for people."""
    return [
        parameter_text(value, format_code=format_code, type_oid=type_oid)
        for type_oid, format_code, value in execution.parameters
    ]


def _unknown(execution: Execution) -> ServerError:
    name = printable(execution.unknown_name)
    if execution.portal is None and execution.step is Step.EXECUTE:
        return ServerError(sqlstate.INVALID_CURSOR_NAME, f'portal "{name}" does not exist')
    return ServerError(
        sqlstate.INVALID_STATEMENT_NAME,
        f'prepared statement "{name}" does not exist',
        detail="It was not prepared through this gateway in this session.",
        hint="Prepare it again.",
    )
