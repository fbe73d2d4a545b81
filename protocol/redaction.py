"""Errors and notices without values: what the obligation REDACT_ERRORS makes of them.

Nothing is searched for that looks like a value. A report is written anew of parts that cannot hold one: codes of
a fixed form, a text chosen by the SQLSTATE, and names of constraints, tables and columns where the server's own
code puts names. A function may put anything anywhere (RAISE … USING), so of what it raises nothing but its
SQLSTATE and severity is taken.

What the server's parser says of the client's own text is left as it is: it has read no row yet.

Source: PostgreSQL documentation, "Error and Notice Message Fields".
"""

import re
from typing import Final

from .conditions import WITHOUT_PARAMETERS, words
from .messages import message, printable

_SEVERITIES: Final = frozenset(
    [b"ERROR", b"FATAL", b"PANIC", b"WARNING", b"NOTICE", b"DEBUG", b"INFO", b"LOG"]
)
_SQLSTATE: Final = re.compile(rb"[0-9A-Z]{5}")
_NUMBER: Final = re.compile(rb"[0-9]{1,10}")
_SOURCE: Final = re.compile(rb"[A-Za-z0-9_.]{1,64}")
_MAX_SEVERITY: Final = 32
_MAX_NAME: Final = 63
_NAMES: Final = b"stcdn"

_NAMING_FILES: Final = frozenset(
    [
        b"domains.c",
        b"execExprInterp.c",
        b"execIndexing.c",
        b"execMain.c",
        b"execPartition.c",
        b"nbtinsert.c",
        b"partbounds.c",
        b"ri_triggers.c",
        b"tablecmds.c",
        b"tuplesort.c",
        b"tuplesortvariants.c",
        b"typecmds.c",
    ]
)
"""The server's source files that call errtable(), errtablecol(), errtableconstraint(), errdatatype() or
errdomainconstraint(): there the fields for names hold names. The server sends which file a report comes from."""

_PARSING_FILES: Final = frozenset(
    [
        b"analyze.c",
        b"gram.y",
        b"parse_agg.c",
        b"parse_clause.c",
        b"parse_coerce.c",
        b"parse_collate.c",
        b"parse_cte.c",
        b"parse_expr.c",
        b"parse_func.c",
        b"parse_merge.c",
        b"parse_oper.c",
        b"parse_param.c",
        b"parse_relation.c",
        b"parse_target.c",
        b"scan.l",
    ]
)
"""The server's source files in which a statement is parsed and its names are looked up. In their words stand names,
types and pieces of the text that they read, and no value of a row."""

_INSIDE: Final = (b"p", b"q", b"W")
"""Fields of a report on a text that is not the client's own, such as one that a function computed from rows: the
server moves its position to ``p``, puts the text into ``q``, and says in ``W`` how it got there."""

_WITH_NAMES: Final = {
    b"23502": b'null value in column "%(c)b" of relation "%(t)b" violates not-null constraint',
    b"23503": b'row of table "%(t)b" violates foreign key constraint "%(n)b"',
    b"23505": b'duplicate key value violates unique constraint "%(n)b"',
    b"23514": b'new row for relation "%(t)b" violates check constraint "%(n)b"',
    b"23P01": b'conflicting key value violates exclusion constraint "%(n)b"',
}
"""By SQLSTATE: texts with the names that stand in fields of their own."""


def redacted(tag: int, payload: bytes, hint: str) -> bytes:
    """The ErrorResponse or NoticeResponse to send instead of one with this payload, which may be cut short.

    ``hint`` says where the full text is.
    """
    fields = _fields(payload)
    if payload.endswith(b"\0\0") and _on_own_text(fields):
        return message(tag, payload)
    severity = fields.get(b"V", b"")
    if severity not in _SEVERITIES:
        severity = b"ERROR"
    localized = fields.get(b"S", severity)[:_MAX_SEVERITY]
    sqlstate = fields.get(b"C", b"")
    if _SQLSTATE.fullmatch(sqlstate) is None:
        sqlstate = b"XX000"
    names = _names(fields)
    kept = [(b"S", localized), (b"V", severity), (b"C", sqlstate)]
    kept.append((b"M", _text(fields.get(b"M", b""), sqlstate, names)))
    kept.append((b"H", printable(hint).encode()))
    if _NUMBER.fullmatch(fields.get(b"P", b"")):
        kept.append((b"P", fields[b"P"]))
    kept.extend(names.items())
    for code, form in ((b"F", _SOURCE), (b"L", _NUMBER), (b"R", _SOURCE)):
        value = fields.get(code, b"")
        if form.fullmatch(value):
            kept.append((code, value))
    return message(tag, b"".join(code + value + b"\0" for code, value in kept) + b"\0")


def _fields(payload: bytes) -> dict[bytes, bytes]:
    """Fields by their code; one that does not end within ``payload`` is left out."""
    parts = payload.split(b"\0")
    return {part[:1]: part[1:] for part in parts[:-1] if part}


def _on_own_text(fields: dict[bytes, bytes]) -> bool:
    """Whether the report is the parser's, on the text that the client sent."""
    if fields.get(b"F") not in _PARSING_FILES or _NUMBER.fullmatch(fields.get(b"P", b"")) is None:
        return False
    return not any(code in fields for code in _INSIDE)


def _names(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    if fields.get(b"F") not in _NAMING_FILES:
        return {}
    codes = [_NAMES[i : i + 1] for i in range(len(_NAMES))]
    return {code: fields[code] for code in codes if 0 < len(fields.get(code, b"")) <= _MAX_NAME}


def _text(text: bytes, sqlstate: bytes, names: dict[bytes, bytes]) -> bytes:
    if text.decode("ascii", "replace") in WITHOUT_PARAMETERS:
        return text
    pattern = _WITH_NAMES.get(sqlstate)
    if pattern is not None:
        try:
            return pattern % names
        except KeyError:
            pass
    return words(sqlstate.decode("ascii")).encode()
