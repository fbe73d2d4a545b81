"""Statements without their values, for an audit that must not become a copy of the data.

This reads only PostgreSQL's lexical structure (documentation, 4.1): strings of every kind, numbers, comments
and quoted names. It decides nothing. What it cannot follow to the end (an unclosed string, say) is left out.
"""

import dataclasses
import re

from gateway.audit.record import AuditRecord, Kind, digest_of
from gateway.config.model import Audit

__all__ = ["left_out", "redact_literals", "redacted"]

_MARK = "?"

_TOKEN = re.compile(
    r"""
      (?P<line>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")*")
    | (?P<escape>[eE]'(?:[^'\\]|''|\\.)*')
    | (?P<plain>(?:[uU]&|[bBxXnN])?'(?:[^']|'')*')
    | (?P<dollar>\$(?P<tag>(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?)\$)
    | (?P<parameter>\$[0-9]+)
    | (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    | (?P<number>(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?[A-Za-z0-9_]*)
    | (?P<open>['"])
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")


def left_out(record: AuditRecord, config: Audit) -> bool:
    """Whether a record is not wanted: of a statement that was allowed, where only those held or denied are."""
    return record.kind == Kind.STATEMENT and record.verdict == "allow" and config.statements == "held"


def redacted(record: AuditRecord, config: Audit) -> AuditRecord:
    """Without literals, where they are to be left out: nobody had to decide on them."""
    if config.redact == "none" or record.kind != Kind.STATEMENT or record.hold_id is not None:
        return record
    return dataclasses.replace(
        record,
        sql=None if record.sql is None else redact_literals(record.sql),
        sql_digest=None if record.sql is None else digest_of(record.sql),
        parameters=None if record.parameters is None else ("?",) * len(record.parameters),
        withheld=tuple(
            {name: report[name] for name in ("severity", "sqlstate") if name in report}
            for report in record.withheld
        ),
    )


def redact_literals(sql: str) -> str:
    """``sql`` with every literal as ``?`` and without its comments; names and parameters (``$1``) stay."""
    parts: list[str] = []
    position = 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        assert match is not None, "the last alternative takes any character"
        position = match.end()
        kind = match.lastgroup
        if kind == "dollar":
            end = sql.find(match["dollar"], position)
            if end < 0:
                return _cut(parts)
            position = end + len(match["dollar"])
            parts.append(_MARK)
        elif kind in ("escape", "plain", "number"):
            parts.append(_MARK)
        elif kind == "line":
            parts.append(" ")
        elif kind == "block":
            end = _block_end(sql, position)
            if end < 0:
                return _cut(parts)
            position = end
            parts.append(" ")
        elif kind == "open":
            return _cut(parts)
        else:
            parts.append(match[0])
    return "".join(parts)


def _block_end(sql: str, position: int) -> int:
    """Where the comment that was just opened ends (comments nest), -1 when it does not."""
    depth = 1
    while depth:
        edge = _BLOCK_EDGE.search(sql, position)
        if edge is None:
            return -1
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position


def _cut(parts: list[str]) -> str:
    return "".join(parts) + "..."
