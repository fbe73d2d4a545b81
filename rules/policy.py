"""From facts to a verdict: the first matching rule for each effect, the strictest effect for the whole.

As in pg_hba.conf, order matters.  What a rule leaves open matches everything.  Where facts leave something open
(a column that could be any, a schema dropped with all it holds) a rule that holds or denies matches if it could
apply, a rule that allows only if it must.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rules.bulk import narrow
from rules.context import Context, Parameter
from rules.facts import Action, EffectFacts, Facts, Nature, RowBound
from rules.names import pattern
from rules.personal import ALL, PersonalData
from rules.verdict import Approval, Decision, Effect, Verdict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ASKED_FOR_BY_NAME = (Nature.SERVER_FILE, Nature.GUARDED)
"""Natures that a rule about actions in general does not reach: it must name them, or name nothing at all."""


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

    def matches_effect(self, effect: EffectFacts, *, cautious: bool) -> bool:
        """Whether the effect is one the rule speaks of; ``cautious`` when doubt counts as a match."""
        if self.names_no_effect:
            return True
        if effect.nature is Nature.UNREADABLE:
            return False
        if effect.nature in _ASKED_FOR_BY_NAME and self.relations is None and not cautious:
            return False
        if self.actions is not None and effect.action not in self.actions:
            return False
        if self.relations is not None and not self._matches_relation(effect.relation, cautious=cautious):
            return False
        if self.data is not None and not self._matches_data(effect):
            return False
        if self.columns is not None and not self._matches_columns(effect, cautious=cautious):
            return False
        return self.rows is None or self.rows.matches(effect.row_bound)

    def _matches_relation(self, relation: str | None, *, cautious: bool) -> bool:
        assert self.relations is not None
        if relation is None:
            return cautious
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

    def matches(self, effect: EffectFacts, context: Context) -> bool:
        """Whether the rule decides this effect in this session."""
        return self.when.matches_session(context) and self.when.matches_effect(
            effect, cautious=self.then is not Decision.ALLOW
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy: a value, shared by every session.

    ``version`` is the SHA-256 of the document it was compiled from.  ``defaults`` has a decision for each nature.
    """

    version: str
    personal: PersonalData
    rules: tuple[Rule, ...]
    defaults: Mapping[Nature, Decision]
    approval: Approval
    depends_on_time: bool = False

    def decide(
        self, facts: Facts, context: Context, parameters: Sequence[Parameter] | None = None
    ) -> Verdict:
        """The verdict on a message; ``parameters`` may narrow row bounds that depend on them."""
        decided = [
            self._decide_effect(narrow(effect, parameters) if effect.parameter_bounds else effect, context)
            for effect in facts.effects
        ]
        if facts.unreadable is not None:
            unread = EffectFacts(Action.UTILITY, nature=Nature.UNREADABLE, detail=facts.unreadable)
            decided.insert(0, self._decide_effect(unread, context))
        if not decided:
            return Verdict(Decision.ALLOW, "default:empty", "nothing to run", None, ())
        strictest, rule = max(decided, key=lambda one: one[0].decision)
        approval = None
        if strictest.decision is Decision.HOLD:
            approval = rule.approval if rule is not None and rule.approval is not None else self.approval
        return Verdict(
            strictest.decision,
            strictest.rule,
            strictest.reason,
            approval,
            tuple(effect for effect, _ in decided),
        )

    def _decide_effect(self, facts: EffectFacts, context: Context) -> tuple[Effect, Rule | None]:
        for rule in self.rules:
            if rule.matches(facts, context):
                reason = rule.message or describe(facts)
                return _effect(facts, rule.then, rule.name, reason), rule
        decision = self.defaults[facts.nature]
        return _effect(facts, decision, f"default:{facts.nature.value}", describe(facts)), None


def _effect(facts: EffectFacts, decision: Decision, rule: str, reason: str) -> Effect:
    return Effect(
        facts.action, facts.relation, facts.columns, facts.row_bound, facts.personal, decision, rule, reason
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
        what = f"{verb} {name}"
    bound = effect.row_bound
    return f"{what} ({_ROWS.get(bound.kind, f'at most {bound.n} rows')})"
