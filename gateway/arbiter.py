"""From a request to a ruling: every execution in it is judged, the strictest verdict rules all of it."""

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import rules
from gateway import clock
from gateway.catalog import SessionCatalog
from gateway.config import LegalHold
from gateway.identity import Principal, SessionState
from gateway.metrics import Metrics
from protocol import sqlstate
from protocol.enclosure import NOTHING_AROUND, Boundary, Conduct, Enclosure, Standing, enclose
from protocol.errors import ServerError
from protocol.messages import printable
from protocol.request import UNNAMED, Execution, Request, Step
from protocol.statements import SessionNames
from protocol.values import parameter_text
from rules import (
    Act,
    Affected,
    Allowance,
    Containment,
    Context,
    CursorAct,
    CursorStep,
    Decision,
    EffectFacts,
    Facts,
    Judge,
    Judgement,
    Kept,
    Obligation,
    Parameter,
    Policy,
    SchemaSnapshot,
    TooHeavy,
    Touch,
    affected,
    containment,
    joint,
    united,
)
from rules.catalog import FIRST_NORMAL_OID
from rules.rewritten import Rewritten
from rules.settling import settled

__all__ = [
    "Arbiter",
    "Release",
    "Ruled",
    "Ruling",
    "Unread",
    "UnreadText",
    "execution_parameters",
    "parameter_types",
    "shown_parameters",
    "shown_sql",
]


MAX_ROUNDS: Final = 32
"""How often a request may have texts read: each definition in it may be what the next text depends on."""

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
    readings: tuple[Facts, ...]
    """The facts of every text it may stand for."""
    catalog: SchemaSnapshot
    prepared: Mapping[str, tuple[str, ...]]
    """The texts that names of prepared statements may stand for, where it is executed."""
    release: Release | None = None
    _containment: Containment | None = None

    @property
    def decision(self) -> Decision:
        """What applies now."""
        return self.judgement.verdict.decision if self.release is None else Decision.ALLOW

    @property
    def read_only(self) -> bool:
        """Whether it is to run read-only: it must, and might write."""
        return Obligation.READ_ONLY in self.judgement.verdict.obligations and self.containment.needed

    @property
    def cursor_steps(self) -> Sequence[CursorStep]:
        """What it does to the cursors of its session, as far as that can be told."""
        if len(self.readings) == 1:
            return self.readings[0].cursors
        return [
            step for facts in self.readings for step in facts.cursors if step.act is not CursorAct.DECLARE
        ]

    @property
    def containment(self) -> Containment:
        """How it is run read-only."""
        if self._containment is None:
            self._containment = joint([containment(facts, self.catalog) for facts in self.readings])
        return self._containment


@dataclass(slots=True, eq=False)
class Ruling:
    """What was decided about a request. ``deciding`` is its strictest execution, None where nothing executes.

    ``redacts``: its errors and notices are to reach the client without values. ``error`` is set where the
    request cannot be forwarded whatever anybody decides. ``at`` is the first message that a refusal must not
    send: there begins what is not allowed, what does not run as it is, or what cannot be forwarded. ``missing``
    are the names in it that the catalog does not know.
    """

    decision: Decision
    ruled: list[Ruled]
    deciding: Ruled | None
    policy_version: str
    redacts: bool = False
    error: ServerError | None = None
    at: int = 0
    changes_context: bool = field(default=False)
    missing: frozenset[str] = frozenset()

    @property
    def read_only(self) -> bool:
        """Whether something in it is to run read-only."""
        return any(one.read_only for one in self.ruled)


@dataclass(frozen=True, slots=True)
class UnreadText:
    """A text that is to be read elsewhere, by this judge in this context.

    ``at`` is its place in the request, ``base`` the catalog in front of the request, and ``certain`` whether all in
    front of it in the request is known, so that its context is what it will be.
    """

    judge: Judge
    sql: bytes
    context: Context
    at: tuple[int, int]
    base: SchemaSnapshot
    certain: bool

    def means_the_same(self, later: "UnreadText", facts: Facts) -> bool:
        """Whether what was read of it holds for the same place of the same request as it stands later."""
        mine, other = self.context, later.context
        if (
            self.judge is not later.judge
            or mine.search_path != other.search_path
            or mine.parameter_types != other.parameter_types
        ):
            return False
        if facts.session_dependent and (mine.prepared, mine.cursors) != (other.prepared, other.cursors):
            return False
        # What the request itself defines is put together anew each time, but from the same.
        return mine.catalog is other.catalog or (self.certain and self.base is later.base)


class Unread(Exception):
    """A request cannot be ruled on before these texts of it are read: they are too much to be read here and now."""

    def __init__(self, texts: Sequence[UnreadText]) -> None:
        super().__init__(f"{len(texts)} texts must be read first")
        self.texts = texts


class Arbiter:
    """Judges the requests of one session, one at a time. It never waits; all that it raises is ``Unread``."""

    def __init__(
        self,
        judge: Judge,
        metrics: Metrics,
        who: Principal,
        state: SessionState,
        names: SessionNames,
        catalog: SessionCatalog,
    ) -> None:
        self._judge = judge
        self._metrics = metrics
        self._who = who
        self._state = state
        self._names = names
        self._catalog = catalog
        self._lapses = 0
        self._allowance = Allowance()
        self._readings: dict[tuple[int, int], tuple[UnreadText, Facts]] = {}
        self._rounds = 0

    def reads(self, sql: bytes) -> Facts:
        """What a text would do in this session now; nothing is decided about it, and nothing is kept."""
        return self._judge.read(sql, self._context([sql]))

    def touches(self, one: Ruled) -> tuple[Touch, ...]:
        """Whose rows an execution touches, as far as its text and parameters name them."""
        execution = one.execution
        if len(execution.sql) != 1 or execution.step is Step.FUNCTION_CALL or self._state.replication:
            return ()
        context = replace(self._context(execution.sql), catalog=one.catalog, prepared=one.prepared)
        parameters = [Parameter(*parameter) for parameter in execution.parameters]
        return self._judge.touches(execution.sql[0], _as_bound(execution, context), parameters)

    def affected(self, ruling: Ruling) -> list[Affected]:
        """Whose data a request exports and deletes."""
        erasing = self.policy.erasing_update == "delete"
        found: dict[Affected, None] = {}
        for one in ruling.ruled:
            effects = [effect for facts in one.readings for effect in facts.effects]
            found.update(dict.fromkeys(affected(effects, self.touches(one), erasing=erasing)))
        return list(found)

    def under_hold(self, hold: LegalHold) -> Affected:
        """Whom a legal hold protects, as this session's database tells people apart."""
        kind, values = self._judge.people(hold.relation, hold.subjects, self._catalog.snapshot)
        return Affected(Act.DELETE, hold.relation, kind, values)

    @property
    def policy(self) -> Policy:
        """The policy judged by."""
        return self._judge.policy

    def refill(self) -> None:
        """A new moment has begun: as much as one moment may take can be read at once again."""
        self._allowance.refill()

    def learn(self, text: UnreadText, facts: Facts) -> None:
        """What was read elsewhere of the request that is being ruled on."""
        self._readings[text.at] = (text, facts)

    def settle(self, one: Ruled, tree: Rewritten) -> bool:
        """Whether the server's tree says less of an execution than was read of it: that is known then when its request,
        of which it is all that executes, is ruled on again."""
        execution = one.execution
        (sql,) = execution.sql
        context = _as_bound(execution, self._context(execution.sql))
        facts = settled(sql, tree, context, self._judge.policy.personal)
        if facts is None or context.catalog is not one.catalog:
            return False
        at = (execution.at, 0)
        self.learn(UnreadText(self._judge, sql, context, at, self._catalog.snapshot, certain=True), facts)
        return True

    def forget(self) -> None:
        """The next request will be another one."""
        self._readings.clear()
        self._rounds = 0

    def view(self) -> tuple[Judge, SchemaSnapshot, tuple[object, ...]]:
        """What verdicts that are kept are kept for: the judge, the catalog, and what else they depend on."""
        context = self._context(())
        return self._judge, context.catalog, self._judge.view(context)

    def kept(self, sql: bytes) -> Kept | None:
        """What is kept of a text for this session as it stands."""
        return self._judge.kept(sql, self._context(()))

    def resumed(self, execution: Execution, judgement: Judgement) -> Ruled:
        """What was decided about an execution that is under way already, by what was kept."""
        context = _as_bound(execution, self._context(()))
        return Ruled(execution, judgement, (judgement.facts,), context.catalog, context.prepared)

    def use(self, judge: Judge) -> None:
        """Judge by another policy from now on."""
        self._judge = judge

    def rule(self, request: Request, standing: Standing | None = None) -> Ruling:
        """The ruling on a request. Without ``standing``, where the session stands is not known yet: a ruling
        that is ``read_only`` is then to be made again when it is.

        Raises ``Unread``, again until everything was learned that must be read elsewhere, but not for ever: what is
        still not read after ``MAX_ROUNDS`` is unreadable.
        """
        version = self._judge.policy.version
        context = before = self._context(sql for one in request.executions for sql in one.sql)
        ruled: list[Ruled] = []
        redacts = False
        unread: list[UnreadText] = []
        for execution in request.executions:
            try:
                one = self._one(execution, context, version, certain=not unread)
            except Unread as missing:
                # What follows is read as well, as if nothing depended on this; what does is read again afterwards.
                unread.extend(missing.texts)
                continue
            redacts = redacts or Obligation.REDACT_ERRORS in one.judgement.verdict.obligations
            context = self._behind(execution, one, context)
            if execution.step is Step.BIND and not one.judgement.facts.runs_code_when_planned:
                # Planning it runs nothing that is not PostgreSQL's own; its Execute will be judged.
                continue
            ruled.append(one)
        if unread:
            self._rounds += 1
            raise Unread(unread)
        ruling = Ruling(
            Decision.ALLOW,
            ruled,
            None,
            version,
            redacts=redacts,
            changes_context=context.cursors != before.cursors
            or any(one.judgement.facts.changes_context for one in ruled),
            missing=frozenset(name for one in ruled for name in one.judgement.facts.missing),
        )
        obstacle = None
        if standing is not None and (standing.enclosed or ruling.read_only):
            enclosure = self.enclosure(request, ruling, standing)
            obstacle = enclosure if isinstance(enclosure, str) else None
        if obstacle is not None:
            for one in ruled:
                if one.read_only:
                    verdict = self._judge.policy.not_read_only(one.judgement.verdict, obstacle)
                    one.judgement = replace(one.judgement, verdict=verdict)
                    one.release = None
        self._conclude(request, ruling)
        if obstacle is not None and ruling.decision is Decision.ALLOW and ruling.error is None:
            ruling.error = _not_in_series(obstacle)
        return ruling

    @staticmethod
    def _conclude(request: Request, ruling: Ruling) -> None:
        """From what was decided about each execution to what is decided about the request."""
        ruled = ruling.ruled
        deciding = ruling.deciding = max(ruled, key=_strictness, default=None)
        ruling.decision = deciding.decision if deciding is not None else Decision.ALLOW
        # What stands in front of a refusal may be sent: nothing that is not allowed by itself may stand there.
        stops = [one.execution.since for one in ruled if one.decision is not Decision.ALLOW or one.read_only]
        if request.fault is not None:
            stops.append(request.fault.at)
        ruling.at = min(stops, default=0)
        if request.fault is not None and ruling.decision is not Decision.DENY:
            ruling.error = request.fault.error
        elif (
            deciding is not None and ruling.decision is not Decision.ALLOW and deciding.execution.unknown_name
        ):
            ruling.error = _unknown(deciding.execution)

    @staticmethod
    def enclosure(request: Request, ruling: Ruling, standing: Standing) -> Enclosure | str:
        """What goes around the request so that what is to run read-only does, or why that cannot be."""
        if not standing.enclosed and not ruling.read_only:
            return NOTHING_AROUND
        for one in ruling.ruled:
            if one.read_only and one.containment.obstacle is not None:
                return one.containment.obstacle
        conducts = {one.execution: _conduct(one) for one in ruling.ruled}
        return enclose(request, conducts, standing)

    def _context(self, texts: Iterable[bytes]) -> Context:
        """The session as these texts find it."""
        prepared: dict[str, tuple[str, ...]] = {}
        types: tuple[int, ...] = ()
        # A driver may keep hundreds of prepared statements, and what is no EXECUTE says nothing of them.
        if any(b"execute" in sql.lower() for sql in texts):
            prepared = {
                name: tuple(text.decode("utf-8", "surrogateescape") for text in texts)
                for name, texts in self._names.candidates().items()
            }
            types = _own(oid for _, one in self._names.statements.entries() for oid in one.declared)
        if self._lapses != self._state.lapses:
            self._lapses = self._state.lapses
            self._names.doubt_texts()
        context = self._state.context(self._who, prepared, self._catalog.snapshot)
        if types:
            context = replace(context, parameter_types=types)
        # FETCH reads portals of the protocol by the same names, and of those it cannot be said what they read.
        portals = self._names.portals.names()
        return replace(context, cursors=context.cursors.without(portals)) if portals else context

    def _behind(self, execution: Execution, one: Ruled, context: Context) -> Context:
        """The context of what follows in the same request: if this fails, none of that runs."""
        catalog = self._catalog.after(context.catalog, one.judgement.facts)
        steps = one.cursor_steps
        binds = execution.step is Step.BIND
        cursors = context.cursors.touched(steps) if binds else context.cursors.after(steps)
        if catalog is context.catalog and cursors is context.cursors:
            return context
        return replace(context, catalog=catalog, cursors=cursors)

    def _reading(self, text: UnreadText) -> Facts | None:
        """What was read of the text, if that holds now."""
        read = self._readings.get(text.at)
        return read[1] if read is not None and read[0].means_the_same(text, read[1]) else None

    def _one(self, execution: Execution, context: Context, version: str, *, certain: bool) -> Ruled:
        started = clock.monotonic()
        misses = self._judge.misses
        readings: tuple[Facts, ...] = ()
        context = _as_bound(execution, context)
        if execution.step is Step.FUNCTION_CALL:
            judgement = self._judge.judge_function_call(execution.function_oid, context)
        elif self._state.replication and any(map(_REPLICATION_COMMAND.match, execution.sql)):
            judgement = self._judge.judge_replication(context)
        elif not execution.sql:
            judgement = self._judge.judge_unknown(execution.unknown_name, context)
        else:
            parameters = [Parameter(*parameter) for parameter in execution.parameters]
            judgements: list[Judgement] = []
            unread: list[UnreadText] = []
            for number, sql in enumerate(execution.sql):
                at = (execution.at, number)
                text = UnreadText(self._judge, sql, context, at, self._catalog.snapshot, certain)
                facts = self._reading(text) if self._readings else None
                try:
                    judgements.append(
                        self._judge.judge(sql, context, parameters, facts=facts, allowance=self._allowance)
                    )
                except TooHeavy:
                    if self._rounds < MAX_ROUNDS:
                        unread.append(text)
                        continue
                    facts = rules.unread("definitions changed each time it was read")
                    judgements.append(self._judge.judge(sql, context, parameters, facts=facts))
            if unread:
                raise Unread(unread)
            judgement = _jointly(judgements)
            readings = tuple(each.facts for each in judgements)
        self._metrics.classified(clock.monotonic() - started, hit=misses == self._judge.misses)
        read = readings or (judgement.facts,)
        one = Ruled(execution, judgement, read, context.catalog, context.prepared)
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

    def ticket_digest(self, ruling: Ruling) -> str:
        """SHA-256 over what the approval of a ticket is bound to, in hexadecimal: the texts and parameters of all that
        executes and what they do, for whom and where, but not how they are sent: a driver may name its statement
        otherwise the next time."""
        who = self._who
        hashed = hashlib.sha256(b"ticket")
        for text in (ruling.policy_version, who.user, who.database, self._state.role or who.role or ""):
            _part(hashed, text.encode())
        for one in ruling.ruled:
            execution = one.execution
            _part(hashed, struct.pack("!II", execution.function_oid, len(execution.sql)))
            for sql in execution.sql:
                _part(hashed, sql)
            for type_oid, format_code, value in execution.parameters:
                _part(hashed, struct.pack("!Ih?", type_oid, format_code, value is None))
                _part(hashed, value or b"")
            for effect in one.judgement.facts.effects:
                _part(hashed, _told(effect).encode("utf-8", "backslashreplace"))
        return hashed.hexdigest()

    def digest(self, request: Request, version: str) -> str:
        """SHA-256 over everything an approval is bound to, in hexadecimal.

        Every part is preceded by its length, so that no two different requests read the same.
        """
        hashed = hashlib.sha256()
        who = self._who
        for text in (version, who.user, who.database, self._state.role or who.role or ""):
            _part(hashed, text.encode())
        _part(hashed, request.kind.value.encode())
        for message in request.messages:
            _part(hashed, message)
        for execution in request.executions:
            _part(hashed, struct.pack("!iI", execution.at, execution.function_oid))
            for sql in execution.sql:
                _part(hashed, sql)
            for type_oid, format_code, value in execution.parameters:
                _part(hashed, struct.pack("!Ih?", type_oid, format_code, value is None))
                _part(hashed, value or b"")
        return hashed.hexdigest()


def _part(hashed: "hashlib._Hash", data: bytes) -> None:
    hashed.update(struct.pack("!Q", len(data)))
    hashed.update(data)


def _told(effect: EffectFacts) -> str:
    """An effect as the same text in every process."""
    return repr(
        (
            *(effect.action.value, effect.relation, effect.columns, str(effect.row_bound), effect.personal),
            *(effect.nature.value, effect.detail, sorted(effect.classes), effect.erases, effect.resets),
        )
    )


def _strictness(one: Ruled) -> tuple[Decision, bool]:
    return one.decision, bool(one.judgement.verdict.obligations)


def _jointly(judgements: Sequence[Judgement]) -> Judgement:
    """What is decided about something that may be any of several: the strictest, under the duties of all."""
    strictest = max(judgements, key=lambda each: (each.verdict.decision, bool(each.verdict.obligations)))
    verdict = strictest.verdict
    if len(judgements) == 1 or verdict.decision is Decision.DENY:
        return strictest
    obligations = united(each.verdict.obligations for each in judgements)
    return replace(strictest, verdict=replace(verdict, obligations=obligations))


def _conduct(one: Ruled) -> Conduct:
    found = one.containment
    return Conduct(one.read_only, found.undo, _BOUNDARIES[found.boundary], found.shares, found.takes_data)


_BOUNDARIES: Final = {
    rules.Boundary.NONE: Boundary.NONE,
    rules.Boundary.OPENS: Boundary.OPENS,
    rules.Boundary.CLOSES: Boundary.CLOSES,
    rules.Boundary.KEEPS: Boundary.KEEPS,
    rules.Boundary.UNKNOWN: Boundary.UNKNOWN,
}


def _not_in_series(why: str) -> ServerError:
    return ServerError(
        sqlstate.FEATURE_NOT_SUPPORTED,
        f"statement refused: {why}",
        detail="An earlier statement of the series runs read-only, in a transaction of the gateway's own.",
        hint="Send a Sync in front of it.",
    )


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
    types = parameter_types(execution)
    if types or context.parameter_types:
        context = replace(context, parameter_types=_own((*context.parameter_types, *types)))
    if portal.statement is not None and portal.statement.doubtful:
        # As the strictest of the sessions in which it may have been prepared.
        context = replace(context, standard_conforming_strings=False, client_encoding="an older one")
    if execution.step is Step.BIND or execution.since < execution.at:
        portal.bound_in = _BoundIn(context.search_path, context.role, context.unknown)
        return context
    bound = portal.bound_in
    if not isinstance(bound, _BoundIn):
        return context
    return replace(context, search_path=bound.search_path, role=bound.role, unknown=bound.unknown)


def parameter_types(execution: Execution) -> tuple[int, ...]:
    """The types of somebody's own (OIDs) that were declared for what is executed: binding a value runs their code."""
    statement = execution.portal.statement if execution.portal is not None else None
    return _own(statement.declared) if statement is not None and statement.declared else ()


def _own(types: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted({oid for oid in types if oid >= FIRST_NORMAL_OID}))


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
    name = "" if execution.unknown_name == UNNAMED else printable(execution.unknown_name)
    if execution.portal is None and execution.step is Step.EXECUTE:
        return ServerError(sqlstate.INVALID_CURSOR_NAME, f'portal "{name}" does not exist')
    what = f'prepared statement "{name}"' if name else "unnamed prepared statement"
    return ServerError(
        sqlstate.INVALID_STATEMENT_NAME,
        f"{what} does not exist",
        detail="It was not prepared through this gateway in this session.",
        hint="Prepare it again.",
    )
