"""Whether the server's command tags say how many rows a message changes, so that an approval can set a limit.

A tag counts what its own DELETE, UPDATE or MERGE changed: not the rows that parts of WITH, foreign keys, triggers,
rules or functions change besides. So what changes rows in a place that no tag speaks of cannot be limited. Kinds of
statements that are on no list here may end a transaction, or change rows out of sight.

Source: PostgreSQL documentation, "Message Formats" (CommandComplete).
"""

from collections.abc import Mapping
from typing import Final

from rules.counting import changing
from rules.pgquery import GrammarError, Node, parse
from rules.titles import statement_name

_COUNTED: Final = frozenset(["DeleteStmt", "UpdateStmt", "MergeStmt"])
_BESIDE: Final = frozenset(["SelectStmt", "InsertStmt", "VariableShowStmt", "VariableSetStmt"])
_OPENS: Final = frozenset(["TRANS_STMT_BEGIN", "TRANS_STMT_START"])


class NotTallied(Exception):
    """Why no tag says how many rows are changed; the message is for people."""


def tallies(sql: bytes, prepared: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether a message has a DELETE, UPDATE or MERGE whose tag counts its rows. Raises NotTallied.

    ``prepared`` are the texts that names of prepared statements may stand for.
    """
    try:
        statements = [(kind, fields, text.decode()) for kind, fields, text in parse(sql).statements]
    except (GrammarError, RecursionError, UnicodeDecodeError) as error:
        raise NotTallied(f"it cannot be read: {error}") from None
    counted = [_tallies(kind, fields, text, prepared) for kind, fields, text in statements]
    return any(counted)


def _tallies(kind: str, fields: Node, text: str, prepared: Mapping[str, tuple[str, ...]]) -> bool:
    if any(one.fields is not fields for one in changing(kind, fields, text)):
        raise NotTallied("a part of its WITH changes rows, which no command tag counts")
    if kind in _COUNTED:
        return True
    if kind == "ExecuteStmt":
        return _executes(fields["name"], prepared)
    if kind in _BESIDE or (kind == "TransactionStmt" and fields["kind"] in _OPENS):
        return False
    raise NotTallied(f"rows changed by, or beside, {statement_name(kind, fields)} are not counted")


def _executes(name: str, prepared: Mapping[str, tuple[str, ...]]) -> bool:
    texts = prepared.get(name, ())
    if not texts:
        raise NotTallied(f"it is not known what EXECUTE {name} stands for")
    counted = [tallies(text.encode("utf-8", "surrogateescape"), {}) for text in texts]
    return any(counted)
