"""From facts to a verdict: the first matching rule for each effect, the strictest effect for the whole.

As in pg_hba.conf, order matters.  What a rule leaves open matches everything.  Where facts leave something open
(a column that could be any, a schema dropped with all it holds) a rule that holds or denies matches if it could
apply, a rule that allows only if it must.
"""

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from rules.approval import Approval, joined
from rules.bulk import narrow
from rules.context import Context, Parameter
from rules.facts import Action, EffectFacts, Facts, Nature, RowBound
from rules.names import pattern
from rules.personal import ALL, PersonalData
from rules.readonly import containment, way_out
from rules.verdict import Decision, Effect, Obligation, Obligations, Verdict, united

if TYPE_CHECKING:
    from rules.capping import Cap
    from rules.criteria import Criterion

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ASKED_FOR_BY_NAME: Final = (Nature.SERVER_FILE, Nature.GUARDED)
"""Natures that a rule about actions in general does not reach: it must name them, or name nothing at all."""

_ABOUT_NO_RELATION: Final = (Action.SESSION, Action.UTILITY)
"""Actions that name a relation where they are about one."""

_OF_THE_READING: Final = (Nature.UNREADABLE, Nature.READINGS_DIFFER, Nature.NOT_CROSS_CHECKED)
"""Natures of what is said about the reading of a text, not about anything it does."""

_COULD_BE_ANYTHING: Final = (Nature.UNREADABLE, Nature.READINGS_DIFFER, Nature.OPAQUE)
"""Natures that leave open what is touched, personal data included."""


@dataclass(frozen=True, slots=True)
class RowCondition:
    """``rows: '> 100'``: compares the row bound, unbounded counting as infinitely many."""

    operator: str
    count: int

    def matches(self, bound: RowBound) -> bool:
        """Whether the bound satisfies the comparison."""
        most = bound.most
        match self.operator:
            case ">":
                return most > self.count
            case ">=":
                return most >= self.count
            case "<":
                return most < self.count
            case "<=":
                return most <= self.count
            case _:
                return most == self.count


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of the day in UTC, minutes since midnight, ``end`` not included; it may pass midnight.

    ``days`` are weekdays (Monday is 0) on which the span begins.
    """

    start: int
    end: int
    days: frozenset[int] = frozenset(range(7))

    def covers(self, now: datetime) -> bool:
        """Whether the moment lies in the span."""
        minute = now.hour * 60 + now.minute
        today, yesterday = now.weekday(), (now.weekday() - 1) % 7
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)


class RelationPattern:
    """A glob on ``schema.name``, or on the name alone where it has no dot."""

    __slots__ = ("_name", "_schema", "_whole", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        schema, dot, name = text.rpartition(".")
        self._whole = pattern(text if dot or text == "*" else f"*.{text}")
        self._schema = pattern(schema if dot else "*")
        self._name = pattern(name)

    def matches(self, relation: str) -> bool:
        """Whether the relation, ``schema.name`` or a bare name, is certainly meant."""
        if "." not in relation:
            return self._schema.match("*") is not None and self._name.match(relation) is not None
        return self._whole.match(relation) is not None

    def could_match(self, relation: str) -> bool:
        """Whether it may be meant: a bare name in some schema, or a schema (``crm.*``) that holds one."""
        schema, dot, name = relation.rpartition(".")
        if not dot:
            return self._name.match(name) is not None
        return name == "*" and self._schema.match(schema) is not None


@dataclass(frozen=True, slots=True)
class When:
    """A rule's condition; None or empty: anything."""

    actions: frozenset[Action] | None = None
    relations: tuple["RelationPattern", ...] | None = None
    data: str | None = None
    columns: frozenset[str] | None = None
    rows: RowCondition | None = None
    users: tuple[re.Pattern[str], ...] | None = None
    groups: frozenset[str] | None = None
    databases: tuple[re.Pattern[str], ...] | None = None
    applications: tuple[re.Pattern[str], ...] | None = None
    networks: tuple[Network, ...] | None = None
    hours: tuple[Hours, ...] | None = None

    @property
    def names_no_effect(self) -> bool:
        """Whether only the session matters, not what is done."""
        return (
            self.actions is None
            and self.relations is None
            and self.data is None
            and self.columns is None
            and self.rows is None
        )

    def matches_session(self, context: Context) -> bool:
        """Whether the session is one the rule speaks of."""
        if self.users is not None and not _any_match(self.users, context.user):
            return False
        if self.groups is not None and self.groups.isdisjoint(context.groups):
            return False
        if self.databases is not None and not _any_match(self.databases, context.database):
            return False
        if self.applications is not None and not _any_match(self.applications, context.application_name):
            return False
        if self.networks is not None and not _in_networks(self.networks, context.client_addr):
            return False
        return self.hours is None or any(span.covers(context.now) for span in self.hours)

    def matches_effect(self, effect: EffectFacts, *, cautious: bool, erasing: bool = False) -> bool:
        """Whether the effect is one the rule speaks of; ``cautious`` when doubt counts as a match, ``erasing``
        when an update that blanks personal columns counts as a delete too."""
        if self.names_no_effect:
            return True
        if effect.nature in _OF_THE_READING:
            return False
        if effect.nature in _ASKED_FOR_BY_NAME and self.relations is None and not cautious:
            return False
        if self.actions is not None and not self._matches_action(effect, erasing=erasing):
            return False
        if self.relations is not None and not self._matches_relation(effect, cautious=cautious):
            return False
        if self.data is not None and not self._matches_data(effect):
            return False
        if self.columns is not None and not self._matches_columns(effect, cautious=cautious):
            return False
        return self.rows is None or self.rows.matches(effect.row_bound)

    def _matches_action(self, effect: EffectFacts, *, erasing: bool) -> bool:
        assert self.actions is not None
        return effect.action in self.actions or (erasing and effect.erases and Action.DELETE in self.actions)

    def _matches_relation(self, effect: EffectFacts, *, cautious: bool) -> bool:
        assert self.relations is not None
        relation = effect.relation
        if relation is None:
            # Could be any, but for BEGIN, SHOW, DISCARD and their like, which are about none.
            return cautious and effect.action not in _ABOUT_NO_RELATION
        if any(one.matches(relation) for one in self.relations):
            return True
        return cautious and any(one.could_match(relation) for one in self.relations)

    def _matches_data(self, effect: EffectFacts) -> bool:
        if effect.action is Action.READ and not effect.personal:
            return False
        if self.data == "personal":
            return effect.touches_personal
        return self.data in effect.classes

    def _matches_columns(self, effect: EffectFacts, *, cautious: bool) -> bool:
        assert self.columns is not None
        if cautious:
            return ALL in effect.columns or any(column.lower() in self.columns for column in effect.columns)
        return bool(effect.columns) and all(column.lower() in self.columns for column in effect.columns)


def _any_match(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    return any(one.match(text) for one in patterns)


def _in_networks(networks: Sequence[Network], client_addr: str | None) -> bool:
    if client_addr is None:
        return False
    try:
        address = ipaddress.ip_address(client_addr.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in networks if network.version == address.version)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``approval`` None on a hold means the policy's own."""

    name: str
    when: When
    then: Decision
    approval: Approval | None = None
    message: str | None = None
    obligations: Obligations = ()
    criteria: tuple["Criterion", ...] = ()
    hold: Literal["wait", "ticket"] | None = None
    digest: str = ""
    """SHA-256 over how it is written."""

    def matches(self, effect: EffectFacts, context: Context, *, erasing: bool = False) -> bool:
        """Whether the rule decides this effect in this session."""
        return self.when.matches_session(context) and self.when.matches_effect(
            effect, cautious=self.then is not Decision.ALLOW, erasing=erasing
        )


@dataclass(frozen=True, slots=True)
class Default:
    """What happens to effects of one nature that no rule matches."""

    decision: Decision
    obligations: Obligations = ()

    @property
    def word(self) -> str:
        """As it is written: ``allow``, ``hold``, ``deny`` or ``read_only``."""
        return str(self.obligations[0]) if self.obligations else self.decision.word


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy: a value, shared by every session.

    ``version`` is the SHA-256 of the document it was compiled from, but for ``caps``: those say when something runs,
    not whether.  ``defaults`` has one for each nature.
    ``redact_errors`` says which statements run under REDACT_ERRORS whatever their rule says, ``erasing_update``
    what an update counts as that blanks personal columns.
    """

    version: str
    personal: PersonalData
    rules: tuple[Rule, ...]
    defaults: Mapping[Nature, Default]
    approval: Approval
    depends_on_time: bool = False
    redact_errors: Literal["personal", "all", "none"] = "personal"
    erasing_update: Literal["delete", "update"] = "update"
    caps: tuple["Cap", ...] = ()
    approval_digest: str = ""
    """SHA-256 over how ``approval`` is written."""

    def binding(self, names: Iterable[str]) -> str:
        """What rules and defaults of these names say, and the approval of those that have none, as one text."""
        written = {rule.name: rule.digest for rule in self.rules}
        return json.dumps(
            [[name, written.get(name)] for name in sorted(set(names))] + [[self.approval_digest]]
        )

    @property
    def lets_everything_through(self) -> bool:
        """Whether every statement runs as it is, whatever it says: then nobody need know what it says."""
        plain = all(rule.then is Decision.ALLOW and not rule.obligations for rule in self.rules)
        plain = plain and all(
            default.decision is Decision.ALLOW and not default.obligations
            for default in self.defaults.values()
        )
        return plain and (self.redact_errors != "personal" or not self.personal.configured)

    def decide(
        self, facts: Facts, context: Context, parameters: Sequence[Parameter] | None = None
    ) -> Verdict:
        """The verdict on a message; ``parameters`` may narrow row bounds that depend on them."""
        # Many statements of one message, or many partitions, often do the same.
        once: dict[EffectFacts, tuple[Effect, Rule | None]] = {}
        decided = [
            once.get(effect) or once.setdefault(effect, self._decide_effect(effect, context))
            for effect in (narrow(one, parameters) if one.parameter_bounds else one for one in facts.effects)
        ]
        if facts.unreadable is not None:
            unread = EffectFacts(Action.UTILITY, nature=Nature.UNREADABLE, detail=facts.unreadable)
            decided.insert(0, self._decide_effect(unread, context))
        decided.extend(self._decide_nothing(facts, context))
        everywhere = (Obligation.REDACT_ERRORS,) if self.redact_errors == "all" and facts.statements else ()
        if not decided:
            return Verdict(Decision.ALLOW, "default:empty", "nothing to run", None, (), everywhere)
        strictest, rule = max(decided, key=_strictness)
        effects = tuple(effect for effect, _ in decided)
        decision = strictest.decision
        verdict = Verdict(
            decision,
            strictest.rule,
            strictest.reason,
            self._approval_of(decided, rule) if decision is Decision.HOLD else None,
            effects,
            () if decision is Decision.DENY else united((everywhere, *(one.obligations for one in effects))),
        )
        if Obligation.READ_ONLY not in verdict.obligations:
            return verdict
        contained = containment(facts, context.catalog)
        obstacle = contained.obstacle
        if obstacle is None and contained.undo:
            obstacle = way_out(context.catalog)
        return verdict if obstacle is None else self.not_read_only(verdict, obstacle)

    def _decide_nothing(self, facts: Facts, context: Context) -> list[tuple[Effect, Rule | None]]:
        """What a rule about the session alone says of a statement that touches nothing (``SELECT 1``)."""
        if all(statement.effects for statement in facts.statements):
            return []
        for rule in self.rules:
            if rule.when.names_no_effect and rule.matches(_NOTHING, context):
                reason = rule.message or _NOTHING.detail
                return [(_effect(_NOTHING, rule.then, rule.name, reason, rule.obligations), rule)]
        return []

    def not_read_only(self, verdict: Verdict, obstacle: str) -> Verdict:
        """The verdict where READ_ONLY was owed and cannot be had: what was allowed is held, and a person may let
        it run without; what a rule holds and wants read-only after the approval too is denied.

        No effect of ``verdict`` may owe it: that of another text which the same name may stand for does then.
        """
        owed = [effect for effect in verdict.effects if Obligation.READ_ONLY in effect.obligations]
        strictest = max(owed, key=lambda effect: effect.decision, default=None)
        rule, why = (
            (verdict.rule, verdict.reason) if strictest is None else (strictest.rule, strictest.reason)
        )
        others = tuple(one for one in verdict.obligations if one is not Obligation.READ_ONLY)
        reason = f"{why}, to be run read-only, but {obstacle}"
        if strictest is not None and strictest.decision is Decision.HOLD:
            return replace(
                verdict,
                decision=Decision.DENY,
                rule=rule,
                reason=reason,
                approval=None,
                obligations=(),
            )
        if verdict.decision is Decision.HOLD:
            # Letting it run without is for people to decide.
            asked = replace(verdict.approval or self.approval, criteria=(), break_glass=(), grants=None)
            return replace(verdict, reason=f"{verdict.reason}; {reason}", approval=asked, obligations=others)
        return replace(
            verdict,
            decision=Decision.HOLD,
            rule=rule,
            reason=reason,
            approval=self.approval,
            obligations=others,
        )

    def _approval_of(self, decided: Sequence[tuple[Effect, Rule | None]], strictest: Rule | None) -> Approval:
        """What the hold takes: whoever has to approve any of what is held has to approve all of it."""
        rules = dict.fromkeys(
            [strictest, *(rule for effect, rule in decided if effect.decision is Decision.HOLD)]
        )
        approvals = list(dict.fromkeys(map(self._approval, rules)))
        return approvals[0] if len(approvals) == 1 else joined(approvals)

    def _approval(self, rule: Rule | None) -> Approval:
        if rule is None:
            return self.approval
        approval = rule.approval or self.approval
        if rule.criteria:
            approval = replace(approval, criteria=rule.criteria)
        return approval if rule.hold is None else replace(approval, hold=rule.hold)

    def _decide_effect(self, facts: EffectFacts, context: Context) -> tuple[Effect, Rule | None]:
        redacts = (Obligation.REDACT_ERRORS,) if self._redacts(facts) else ()
        erasing = self.erasing_update == "delete"
        for rule in self.rules:
            if rule.matches(facts, context, erasing=erasing):
                reason = rule.message or describe(facts)
                return _effect(facts, rule.then, rule.name, reason, rule.obligations, redacts), rule
        default = self.defaults[facts.nature]
        name = f"default:{facts.nature.value}"
        return _effect(facts, default.decision, name, describe(facts), default.obligations, redacts), None

    def _redacts(self, facts: EffectFacts) -> bool:
        """Whether errors of the effect may show personal values: there are any, and it touches them or nobody can
        say that it does not.

        Where none are declared, the server's statistics hold none either.
        """
        if self.redact_errors != "personal" or not self.personal.configured:
            return False
        return facts.touches_personal or facts.nature in _COULD_BE_ANYTHING


_NOTHING: Final = EffectFacts(Action.UTILITY, detail="touches no relation")


def _strictness(decided: tuple[Effect, Rule | None]) -> tuple[Decision, bool]:
    """Allow, allow with obligations, hold, deny."""
    effect, _ = decided
    return effect.decision, bool(effect.obligations)


def _effect(
    facts: EffectFacts, decision: Decision, rule: str, reason: str, *obligations: Obligations
) -> Effect:
    return Effect(
        facts.action,
        facts.relation,
        facts.columns,
        facts.row_bound,
        facts.personal,
        decision,
        rule,
        reason,
        () if decision is Decision.DENY else united(obligations),
    )


_ROWS = {"point": "one subject", "unbounded": "no limit on rows"}


def describe(effect: EffectFacts) -> str:
    """One line for people: what the effect is and, if it touches rows, of whom and how many."""
    if effect.nature is not Nature.PLAIN:
        return effect.detail
    name = effect.relation or "any relation"
    if effect.action is Action.READ and effect.personal:
        what = f"reads {', '.join('all columns' if c == ALL else c for c in effect.personal)} of {name}"
    else:
        verb = {Action.READ: "reads", Action.INSERT: "inserts into", Action.UPDATE: "updates"}.get(
            effect.action
        )
        if effect.action is Action.DELETE:
            verb = "deletes from"
        if verb is None:
            return effect.detail or f"{effect.action.value} {name}"
        what = f"blanks {', '.join(effect.personal)} of {name}" if effect.erases else f"{verb} {name}"
    bound = effect.row_bound
    return f"{what} ({_ROWS.get(bound.kind, f'at most {bound.n} rows')})"
