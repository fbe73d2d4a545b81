"""PostgreSQL's own grammar: libpg_query, the server's parser as a library (PostgreSQL 18).

The library comes with the package postgast; only the shared object is used, in JSON mode.  A tree is what
``json.loads`` makes of the library's answer: a node is a mapping of its kind to its fields, and a field whose kind
the grammar fixes stands without that wrapping.  Fields at their default are left out.

Source: PostgreSQL's ``src/include/nodes/parsenodes.h``, whose names these are.
"""

import json
import re
from ctypes import CDLL, POINTER, Structure, c_char_p, c_int
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rules.caps import MAX_ARRAYS, MAX_CASES

Node = dict[str, Any]

_CLOSED_TWICE: Final = re.compile(rb"(?<=[\[,])\{\}\},")


class GrammarError(Exception):
    """The text does not follow PostgreSQL's grammar; ``position`` counts characters from 1, 0 if unknown."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


class _Error(Structure):
    _fields_ = [
        ("message", c_char_p),
        ("funcname", c_char_p),
        ("filename", c_char_p),
        ("lineno", c_int),
        ("cursorpos", c_int),
        ("context", c_char_p),
    ]


class _ParseResult(Structure):
    _fields_ = [("parse_tree", c_char_p), ("stderr_buffer", c_char_p), ("error", POINTER(_Error))]


class _PlpgsqlResult(Structure):
    _fields_ = [("plpgsql_funcs", c_char_p), ("error", POINTER(_Error))]


def _load() -> CDLL:
    spec = find_spec("postgast")
    folders = spec.submodule_search_locations if spec is not None else None
    for name in ("libpg_query.so", "libpg_query.dylib", "pg_query.dll"):
        for folder in folders or ():
            path = Path(folder) / name
            if path.is_file():
                return CDLL(str(path))
    raise ImportError("libpg_query is missing: install the package postgast from one of its wheels")


_LIB: Final = _load()
_LIB.pg_query_parse.argtypes = [c_char_p]
_LIB.pg_query_parse.restype = _ParseResult
_LIB.pg_query_free_parse_result.argtypes = [_ParseResult]
_LIB.pg_query_free_parse_result.restype = None
_LIB.pg_query_parse_plpgsql.argtypes = [c_char_p]
_LIB.pg_query_parse_plpgsql.restype = _PlpgsqlResult
_LIB.pg_query_free_plpgsql_parse_result.argtypes = [_PlpgsqlResult]
_LIB.pg_query_free_plpgsql_parse_result.restype = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """The statements of a text in order: each with its kind, its fields and its own text.

    ``relations`` and ``calls`` say how many relation names and function calls the trees hold, counted in the
    library's answer itself: what reads the trees must have met as many.  ``answer`` is that answer.
    """

    statements: tuple[tuple[str, Node, bytes], ...]
    relations: int
    calls: int
    answer: bytes = b""


def parse(sql: bytes, written: bytes | None = None) -> Parsed:
    """The statements of ``sql``, which must be UTF-8 without NUL; their own texts are cut from ``written``, a text of
    the same length that means the same.

    Raises GrammarError, also for what nests too deeply, and RecursionError for a tree deeper than Python goes.
    """
    result = _LIB.pg_query_parse(sql)
    try:
        if result.error:
            raise _grammar_error(result.error.contents)
        text: bytes = result.parse_tree
    finally:
        _LIB.pg_query_free_parse_result(result)
    statements = []
    text_of = sql if written is None else written
    for raw in json.loads(text)["stmts"]:
        node = raw.get("stmt")
        if not node:
            continue
        start = raw.get("stmt_location", 0)
        length = raw.get("stmt_len", 0)
        kind, fields = next(iter(node.items()))
        own = text_of[start : start + length] if length else text_of[start:]
        statements.append((kind, fields, own.strip()))
    for construct, most in ((b'"CaseExpr":{', MAX_CASES), (b'"A_ArrayExpr":{', MAX_ARRAYS)):
        if text.count(construct) > most and _nested(statements, construct[1:-3].decode()) > most:
            raise GrammarError(f"more than {most} of {construct[1:-3].decode()} inside one another")
    # In a JSON string every quote is escaped, so these can only be field names.
    return Parsed(tuple(statements), text.count(b'"relname":'), text.count(b'"funcname":['), text)


def _nested(root: Any, kind: str) -> int:
    """How deep nodes of a kind stand inside one another."""
    deepest = 0
    stack: list[tuple[Any, int]] = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, list | tuple):
            stack.extend((one, depth) for one in node)
        elif isinstance(node, dict):
            for key, value in node.items():
                inner = depth + (key == kind)
                deepest = max(deepest, inner)
                stack.append((value, inner))
    return deepest


def parse_plpgsql(definition: str) -> list[Node]:
    """The body of a PL/pgSQL function from its CREATE FUNCTION (or DO) statement.  Raises GrammarError."""
    result = _LIB.pg_query_parse_plpgsql(definition.encode())
    try:
        if result.error:
            raise _grammar_error(result.error.contents)
        text: bytes = result.plpgsql_funcs
    finally:
        _LIB.pg_query_free_plpgsql_parse_result(result)
    try:
        functions = json.loads(text)
    except json.JSONDecodeError:
        # The library closes the variables of triggers (TG_OP and its like) twice.
        functions = json.loads(_CLOSED_TWICE.sub(b"{},", text))
    return [one["PLpgSQL_function"] for one in functions]


def _grammar_error(error: _Error) -> GrammarError:
    message = error.message.decode("utf-8", "replace") if error.message else "syntax error"
    return GrammarError(message, error.cursorpos)
