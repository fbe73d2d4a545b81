"""Read one message: each of its statements to effects, and what the session must remember of it.

The order of the gates: caps and strict UTF-8, PostgreSQL's own grammar, the reading of its trees against the
catalog, sqlglot as second reader.  Each can only make the verdict stricter.
"""

from collections.abc import Mapping
from dataclasses import replace

from rules.caps import MAX_STATEMENTS
from rules.continued import without_comments
from rules.crosscheck import Agreement, crosscheck
from rules.cursors import OpenCursors
from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.findings import together
from rules.pgquery import GrammarError, Node, Parsed, parse
from rules.reader import Unreadable, guard
from rules.statements import QUERIES, Statements
from rules.tallies import tally_of
from rules.titles import statement_name
from rules.world import World


def read_message(
    sql: bytes,
    world: World,
    path: tuple[str, ...],
    prepared: Mapping[str, tuple[str, ...]],
    cursors: OpenCursors,
    parameter_types: tuple[int, ...] = (),
) -> Facts:
    """The facts of the whole message; raises nothing for what the message holds but MemoryError."""
    try:
        guard(sql)
        parsed = _parsed(sql)
    except Unreadable as error:
        return _unreadable(str(error))
    except GrammarError as error:
        return replace(_unreadable(f"not PostgreSQL's grammar: {error}"), ungrammatical=True)
    except RecursionError:
        return _unreadable("nested too deeply")
    if len(parsed.statements) > MAX_STATEMENTS:
        return _unreadable(f"more than {MAX_STATEMENTS} statements in one message")
    reader = Statements(world, prepared, cursors, path, parameter_types)
    found: list[StatementFacts] = []
    unreadable: str | None = None
    for kind, fields, raw in parsed.statements:
        text = raw.decode()
        name = statement_name(kind, fields)
        effects: tuple[EffectFacts, ...] = ()
        readings = "none"
        try:
            name, effects = reader.message_statement(kind, fields, text)
            answer = parsed.answer if len(parsed.statements) == 1 else None
            effects, readings = _checked(kind, fields, text, effects, answer)
        except Unreadable as error:
            unreadable = unreadable or str(error)
        except RecursionError:
            unreadable = unreadable or "nested too deeply"
        except MemoryError:
            # Nothing can be trusted that is done without memory, not even going on.
            raise
        except Exception as error:
            # A tree can have a shape nobody foresaw. What was not understood is not read, and must never end the
            # session, let alone pass.
            unreadable = unreadable or f"the reader failed ({type(error).__name__}: {error})"
        reader.collect()
        found.append(StatementFacts(name, text, effects, readings, tally_of(kind, fields, text)))
    if unreadable is None and not reader.met(parsed):
        unreadable = "a part of the statement was passed over"
    return Facts(
        statements=_totalled(found),
        unreadable=unreadable,
        changes_context=reader.changes_context or unreadable is not None,
        runs_code_when_planned=reader.calls_code or unreadable is not None,
        prepares=tuple(reader.prepares),
        prepared_types=tuple(reader.prepared_types),
        deallocates=tuple(reader.deallocates),
        cursors=tuple(reader.cursor_steps),
        changes_catalog=reader.changes_catalog or unreadable is not None,
        creates=tuple(reader.created_relations),
        fills=tuple(reader.filled_relations.values()),
        missing=tuple(reader.missing),
        session_dependent=reader.session_dependent,
    )


def _parsed(sql: bytes) -> Parsed:
    """The trees.  Raises GrammarError, RecursionError."""
    try:
        return parse(sql)
    except GrammarError:
        same = without_comments(sql)
        if same is None:
            raise
        return parse(same, sql)


def _unreadable(why: str) -> Facts:
    return Facts((), why, changes_context=True, changes_catalog=True, runs_code_when_planned=True)


def _checked(
    kind: str, fields: Node, text: str, effects: tuple[EffectFacts, ...], answer: bytes | None
) -> tuple[tuple[EffectFacts, ...], str]:
    """The effects with what the second reader has to say added, and what it said."""
    if kind not in QUERIES:
        # sqlglot has no reading of its own of other statements.
        return effects, "one"
    agreement, why = crosscheck(kind, fields, text, answer)
    if agreement is Agreement.BOTH:
        return effects, "both"
    if agreement is Agreement.DIFFER:
        detail = f"the two readers of SQL do not agree: {why}"
        return (*effects, EffectFacts(Action.UTILITY, nature=Nature.READINGS_DIFFER, detail=detail)), "differ"
    detail = f"read by PostgreSQL's grammar alone, not cross-checked: {why}"
    return (*effects, EffectFacts(Action.UTILITY, nature=Nature.NOT_CROSS_CHECKED, detail=detail)), "one"


def _totalled(found: list[StatementFacts]) -> tuple[StatementFacts, ...]:
    """A message's statements are judged as one: its reads of personal data count together, relation by relation."""
    if len(found) < 2:
        return tuple(found)
    totals: dict[str | None, EffectFacts] = {}
    counts: dict[str | None, int] = {}
    for statement in found:
        for effect in statement.effects:
            if effect.action is Action.READ and effect.personal:
                earlier = totals.get(effect.relation)
                totals[effect.relation] = effect if earlier is None else together(earlier, effect)
                counts[effect.relation] = counts.get(effect.relation, 0) + 1
    if all(count < 2 for count in counts.values()):
        return tuple(found)
    return tuple(
        replace(
            statement,
            effects=tuple(
                replace(effect, row_bound=totals[effect.relation].row_bound, parameter_bounds=())
                if effect.action is Action.READ and effect.personal and counts[effect.relation] > 1
                else effect
                for effect in statement.effects
            ),
        )
        for statement in found
    )
