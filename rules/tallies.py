"""Whether the server's command tags say how many rows a message changes, so that an approval can set a limit.

A tag counts what its own DELETE, UPDATE or MERGE changed: not the rows that parts of WITH, foreign keys, triggers,
rules or functions change besides. So what changes rows in a place that no tag speaks of cannot be limited. Kinds of
statements that are on no list here may end a transaction, or change rows out of sight.

Source: PostgreSQL documentation, "Message Formats" (CommandComplete).
"""

from collections.abc import Mapping
from typing import Final

from rules.caps import is_light
from rules.counting import changing
from rules.facts import Facts, Tally
from rules.pgquery import GrammarError, Node, parse
from rules.titles import statement_name

_COUNTED: Final = frozenset(["DeleteStmt", "UpdateStmt", "MergeStmt"])
_BESIDE: Final = frozenset(["SelectStmt", "InsertStmt", "VariableShowStmt", "VariableSetStmt"])
_OPENS: Final = frozenset(["TRANS_STMT_BEGIN", "TRANS_STMT_START"])

_COUNTS: Final = Tally(counts=True)
_CHANGES_NOTHING: Final = Tally()


class NotTallied(Exception):
    """Why no tag says how many rows are changed; the message is for people."""


def tally_of(kind: str, fields: Node, text: str) -> Tally:
    """What the tags of one statement say."""
    if any(one.fields is not fields for one in changing(kind, fields, text)):
        return Tally(why="a part of its WITH changes rows, which no command tag counts")
    if kind in _COUNTED:
        return _COUNTS
    if kind == "ExecuteStmt":
        return Tally(executes=fields["name"])
    if kind in _BESIDE or (kind == "TransactionStmt" and fields["kind"] in _OPENS):
        return _CHANGES_NOTHING
    return Tally(why=f"rows changed by, or beside, {statement_name(kind, fields)} are not counted")


def tallies(facts: Facts, prepared: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a message has a DELETE, UPDATE or MERGE whose tag counts its rows. Raises NotTallied.

    ``prepared`` are the texts that names of prepared statements may stand for.
    """
    if facts.unreadable is not None and not facts.statements:
        raise NotTallied(f"it cannot be read: {facts.unreadable}")
    counted = [_counts(statement.tally, prepared) for statement in facts.statements]
    return any(counted)


def _counts(tally: Tally, prepared: Mapping[str, tuple[str, ...]]) -> bool:
    if tally.why is not None:
        raise NotTallied(tally.why)
    if tally.executes is None:
        return tally.counts
    texts = prepared.get(tally.executes, ())
    if not texts:
        raise NotTallied(f"it is not known what EXECUTE {tally.executes} stands for")
    counted = [_counts(one, {}) for text in texts for one in _prepared(tally.executes, text)]
    return any(counted)


def _prepared(name: str, text: str) -> list[Tally]:
    """The tallies of a text that was prepared. Raises NotTallied."""
    sql = text.encode("utf-8", "surrogateescape")
    if not is_light(sql):
        raise NotTallied(f"what EXECUTE {name} stands for is too long to be read once more")
    try:
        return [tally_of(kind, fields, raw.decode()) for kind, fields, raw in parse(sql).statements]
    except (GrammarError, RecursionError, UnicodeDecodeError) as error:
        raise NotTallied(f"it cannot be read: {error}") from None
