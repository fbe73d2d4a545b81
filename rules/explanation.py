"""How a verdict came about, for people: what each reader saw, what names stand for, and what proves a row bound.

The message is read once more, step by step, and nothing that decides comes from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from rules.bounds import Settled
from rules.catalog import Relation
from rules.context import Context
from rules.crosscheck import Seen, both_readings
from rules.facts import Action, EffectFacts, Nature
from rules.functions import Conduct, known
from rules.lineage import Reference
from rules.pgquery import GrammarError, Node, parse
from rules.reader import Unreadable, guard
from rules.statements import QUERIES, Statements
from rules.verdict import Effect, Judgement
from rules.world import HARMLESS_EXTENSIONS, World

__all__ = [
    "CalledFunction",
    "ExplainedEffect",
    "ExplainedStatement",
    "Explanation",
    "NamedRelation",
    "SeenBy",
    "explain",
]

KINDS: Final = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "t": "TOAST table",
    "S": "sequence",
    "c": "composite type",
}
_ROWS: Final = frozenset([Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE])


@dataclass(frozen=True, slots=True)
class SeenBy:
    """What one reader saw: the statement's kind, the bare names of relations, and the changes of data, sorted."""

    kind: str
    relations: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NamedRelation:
    """A relation that the statement names or leads to. ``kind`` is a word for people, empty where nobody knows it.

    ``via`` are the steps that lead to it, the nearest to the statement first: empty if it is named there.
    ``personal`` are its personal columns (``*``: all), ``subject`` those that tell people apart.
    """

    name: str
    kind: str
    via: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CalledFunction:
    """A function that the statement's own text calls, and whether what it does is known."""

    name: str
    trusted: bool
    why: str


@dataclass(frozen=True, slots=True)
class ExplainedEffect:
    """An effect with what was decided about it; ``via`` are the steps that lead to it, ``bound_why`` is what proves
    its row bound, or that nothing does; empty where it has to do with no rows."""

    effect: Effect
    nature: Nature
    via: str
    bound_why: str


@dataclass(frozen=True, slots=True)
class ExplainedStatement:
    """One statement of the message. ``agreement`` is what comparing both readings said: both, one, differ, none;
    ``disagreement`` is why it is not both, ``second`` None where sqlglot did not read it."""

    kind: str
    sql: str
    agreement: str
    disagreement: str
    grammar: SeenBy
    second: SeenBy | None
    relations: tuple[NamedRelation, ...]
    functions: tuple[CalledFunction, ...]
    effects: tuple[ExplainedEffect, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A judgement and how it came about; ``message_effects`` are those of no single statement."""

    judgement: Judgement
    context: Context
    statements: tuple[ExplainedStatement, ...]
    message_effects: tuple[ExplainedEffect, ...]

    @classmethod
    def without_steps(cls, judgement: Judgement, context: Context) -> "Explanation":
        """What was decided about each effect, where the message is too much to be read a second time."""
        return cls(judgement, context, (), tuple(map(_unexplained, judgement.verdict.effects)))


def explain(sql: bytes, context: Context, judgement: Judgement, world: World) -> Explanation:
    """The explanation of a judgement on ``sql``; never raises for what the message holds."""
    effects = list(judgement.verdict.effects)
    before = effects[:1] if judgement.facts.unreadable is not None else []
    effects = effects[len(before) :]
    statements: list[ExplainedStatement] = []
    for statement, reading in zip(judgement.facts.statements, _readings(sql, context, world), strict=False):
        decided, effects = effects[: len(statement.effects)], effects[len(statement.effects) :]
        explained = tuple(
            ExplainedEffect(effect, facts.nature, _via(facts), reading.bound_why(facts))
            for facts, effect in zip(statement.effects, decided, strict=True)
        )
        statements.append(
            ExplainedStatement(
                statement.kind,
                statement.sql,
                statement.readings,
                reading.disagreement,
                reading.grammar,
                reading.second,
                reading.relations(),
                reading.functions(),
                explained,
            )
        )
    others = tuple(map(_unexplained, (*before, *effects)))
    return Explanation(judgement, context, tuple(statements), others)


def _unexplained(effect: Effect) -> ExplainedEffect:
    return ExplainedEffect(effect, Nature.PLAIN, "", "")


def _via(facts: EffectFacts) -> str:
    return facts.detail if facts.nature is Nature.PLAIN else ""


def _readings(sql: bytes, context: Context, world: World) -> "Iterable[_Reading]":
    """One reading for each statement of the message, as rules.message reads them."""
    if context.unreadable(sql) is not None:
        return
    try:
        guard(sql)
        parsed = parse(sql)
    except (Unreadable, GrammarError, RecursionError):
        return
    reader = Statements(world, context.prepared, context.cursors, context.search_path)
    for kind, fields, raw in parsed.statements:
        try:
            name, _ = reader.message_statement(kind, fields, raw.decode())
        except Exception:
            # Why it cannot be read is said in the facts; what was found until then is shown.
            name = kind
        yield _Reading(reader, name, kind, fields, raw.decode(), context.search_path)
        reader.collect()


class _Reading:
    """One statement as it was just read."""

    def __init__(
        self, reader: Statements, name: str, kind: str, fields: Node, text: str, path: tuple[str, ...]
    ) -> None:
        self._fields = {kind: fields}
        self._world = reader.findings.world
        self._path = path
        self._effects = reader.findings.effects
        self._references = [one for one in reader.findings.references if not one.hidden]
        self._settled = Settled(reader.findings.references, self._world.catalog)
        self.second: SeenBy | None = None
        if kind in QUERIES:
            grammar, second, self.disagreement = both_readings(kind, fields, text)
            self.grammar = _seen(name, grammar)
            if second is not None:
                self.second = _seen(*second)
        else:
            self.disagreement = "sqlglot reads queries only"
            self.grammar = _seen(name, both_readings(kind, fields, None)[0])

    def relations(self) -> tuple[NamedRelation, ...]:
        return tuple(dict.fromkeys(map(_named, self._references)))

    def functions(self) -> tuple[CalledFunction, ...]:
        called = (_called(self._world, self._path, names) for names in _function_names(self._fields))
        return tuple(dict.fromkeys(map(self._as_found, called)))

    def _as_found(self, function: CalledFunction) -> CalledFunction:
        """The function, not trusted where reading its body led to what cannot be read."""
        step = f"{function.name}() → "
        opaque = next(
            (one.detail for one in self._effects if one.nature is Nature.OPAQUE and step in one.detail), ""
        )
        return replace(function, trusted=False, why=opaque) if opaque else function

    def bound_why(self, effect: EffectFacts) -> str:
        if effect.action not in _ROWS or effect.relation is None:
            return ""
        mentions = [one for one in self._references if one.relation == effect.relation]
        if effect.action is Action.READ:
            mentions = [one for one in mentions if one.exposed or not one.is_target] or mentions
        else:
            mentions = [one for one in mentions if one.is_target] or mentions
        return "; and ".join(dict.fromkeys(self._why(one) for one in mentions))

    def _why(self, mention: Reference) -> str:
        """What is known of the rows of one mention."""
        if mention.repeated:
            return "what reaches it may run any number of times"
        reasons = [
            f"a condition fixes {column}" if count == 1 else f"conditions list {count} values of {column}"
            for column, count in sorted(mention.pins.items())
            if self._counts(mention, column)
        ]
        for own, other, its in mention.within:
            rows = self._settled.rows(other)
            if rows != float("inf") and self._counts(mention, own):
                reasons.append(f"{own} is {its} of {other.relation}, of which there are at most {rows:.0f}")
        if mention.limits:
            least = min(mention.limits)
            reasons.append(f"LIMIT or VALUES give at most {least}" if least else "a condition is never true")
        reasons += [
            f"as many as parameter ${one.index + 1} says, which is not known here"
            for one in mention.parameter_bounds
        ]
        reasons += [f"once for each row of {outer.relation}" for outer in mention.per]
        if reasons:
            return ", ".join(dict.fromkeys(reasons))
        keys = [", ".join(sorted(key)) for key in (mention.known.unique if mention.known is not None else ())]
        if mention.mark is not None:
            keys = [*sorted(mention.mark.subjects), *keys]
        wanted = " or ".join(dict.fromkeys(keys))
        return (
            f"no LIMIT, and no condition fixes {wanted}" if wanted else "no LIMIT, and no unique key is known"
        )

    @staticmethod
    def _counts(mention: Reference, column: str) -> bool:
        """Whether values of the column bound rows."""
        if mention.is_subject(column):
            return True
        return mention.known is not None and any(column in key for key in mention.known.unique)


def _named(reference: Reference) -> NamedRelation:
    mark, relation = reference.mark, reference.known
    return NamedRelation(
        reference.relation,
        _kind(relation, exists=reference.exists),
        reference.trail,
        () if mark is None else tuple(sorted(mark.columns)),
        () if mark is None else tuple(sorted(mark.subjects)),
    )


def _kind(relation: Relation | None, *, exists: bool) -> str:
    if relation is None:
        return "" if not exists else "relation"
    return "partition" if relation.is_partition and relation.kind == "r" else KINDS[relation.kind]


def _seen(name: str, seen: Seen) -> SeenBy:
    names, changes = seen
    return SeenBy(name, tuple(sorted(names)), tuple(sorted(changes.elements())))


def _function_names(root: Any) -> Iterable[tuple[str, ...]]:
    """The names of the functions called in a tree, in the order met."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(reversed(node))
        elif isinstance(node, dict):
            call = node.get("FuncCall", node.get("funccall"))
            if isinstance(call, dict):
                yield tuple(part["String"]["sval"] for part in call["funcname"])
            stack.extend(reversed(list(node.values())))


def _called(world: World, path: tuple[str, ...], names: tuple[str, ...]) -> CalledFunction:
    schema, name = names[-2] if len(names) > 1 else None, names[-1]
    found = world.functions(schema, name, path)
    if not found:
        function = known(schema, name)
        if function.conduct is Conduct.HARMLESS:
            return CalledFunction(".".join(names), True, "PostgreSQL's own")
        return CalledFunction(
            ".".join(names), False, function.why or "PostgreSQL's own, and changes the session"
        )
    one = found[0]
    if one.extension is not None:
        trusted = one.extension in HARMLESS_EXTENSIONS
        why = f"of extension {one.extension}"
        return CalledFunction(
            one.full_name, trusted, why if trusted else f"{why}, which nobody has vouched for"
        )
    if all(each.language in ("sql", "plpgsql") or each.kind == "a" for each in found):
        return CalledFunction(one.full_name, True, f"somebody's own, in {one.language}: its body is read")
    return CalledFunction(one.full_name, False, f"somebody's own, in {one.language}, which is not read")
