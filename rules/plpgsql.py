"""PL/pgSQL: the statements and expressions in a function's body, in the order they stand there.

Source: documentation chapter 41, "PL/pgSQL"; the trees are those of libpg_query's copy of its parser.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from rules.findings import Findings, Frame
from rules.lexer import Kind, Token
from rules.lineage import Scope
from rules.names import split_name
from rules.personal import ALL
from rules.pgquery import GrammarError, Node
from rules.reader import Source, Unreadable, read_text

_LOOPS: Final = frozenset(
    ["PLpgSQL_stmt_loop", "PLpgSQL_stmt_while", "PLpgSQL_stmt_fori", "PLpgSQL_stmt_fors", "PLpgSQL_stmt_forc",
     "PLpgSQL_stmt_foreach_a", "PLpgSQL_stmt_dynfors"]
)  # fmt: skip
_CURSORS: Final = frozenset(["PLpgSQL_stmt_open", "PLpgSQL_stmt_fetch", "PLpgSQL_stmt_close"])
_DYNAMIC: Final = {
    "PLpgSQL_stmt_dynexecute": "query",
    "PLpgSQL_stmt_dynfors": "query",
    "PLpgSQL_stmt_return_query": "dynquery",
    "PLpgSQL_stmt_open": "dynquery",
}
"""Where the text that an EXECUTE runs stands."""
_STATEMENT, _EXPRESSION = 0, 2
"""As ``RawParseMode`` in the server; beyond are assignments."""
_HANDED_ON: Final = frozenset(["new", "old", "null", "coalesce", "(", ")", ","])
"""What RETURN hands on in a trigger that makes no row of its own."""
_QUOTE: Final = "$holdgate$"


class PlPgSql:
    """Reads bodies in PL/pgSQL into the findings."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._world = findings.world

    def function(self, definition: str, frame: Frame) -> None:
        """A function, by its CREATE FUNCTION.  Raises GrammarError, Unreadable."""
        for body in self._world.body(definition):
            datums = body.get("datums", ())
            self._nodes(datums, frame)
            if any(datum.get("PLpgSQL_rec", {}).get("lineno") for datum in datums):  # type: ignore[attr-defined]
                self._declarations(definition, frame)
            self._nodes(body.get("action", {}), frame)

    def block(self, text: str, frame: Frame) -> None:
        """A DO block.  Raises GrammarError, Unreadable."""
        if _QUOTE in text:
            raise Unreadable("a DO block that quotes like its reader")
        self.function(f"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS {_QUOTE}{text}{_QUOTE}", frame)

    def filled(self, definition: str) -> frozenset[str]:
        """The columns of its row that a trigger function assigns; ``*`` where it may be any.

        Raises GrammarError, Unreadable.
        """
        columns: set[str] = set()
        for source in read_text(self._body(definition)):
            words = [token.value for token in source.tokens]
            for at, token in enumerate(source.tokens):
                following = words[at + 1 :]
                if token.word == "new":
                    # A comparison may be taken for an assignment, which does no harm.
                    if ":=" in following or "=" in following or "into" in words[:at]:
                        columns.add(following[1] if following[:1] == ["."] else ALL)
                elif token.word == "return" and not _HANDED_ON.issuperset(following):
                    columns.add(ALL)
        return frozenset(columns)

    def expression(self, text: str, frame: Frame) -> None:
        """An expression, or several with commas between them.  Raises GrammarError."""
        for kind, fields, _ in self._world.parsed(f"SELECT {text}").statements:
            shape = self._findings.reader.statement(kind, fields, frame, Scope(variables=True))
            if frame.exposes:
                self._findings.expose(shape.everything())

    def _nodes(self, node: Any, frame: Frame) -> None:
        if isinstance(node, list):
            for one in node:
                self._nodes(one, frame)
            return
        if not isinstance(node, dict):
            return
        for kind, fields in node.items():
            if kind == "PLpgSQL_expr":
                self._text(fields, frame)
                continue
            if kind == "PLpgSQL_type":
                self._type(fields["typname"], frame)
                continue
            self._findings.opens_cursors |= kind in _CURSORS
            inner = frame
            if kind in _LOOPS and not frame.repeated:
                inner = replace(frame, repeated=True)
            dynamic = _DYNAMIC.get(kind)
            if dynamic is not None and dynamic in fields:
                self._dynamic(fields[dynamic]["PLpgSQL_expr"]["query"], inner)
                fields = {name: value for name, value in fields.items() if name != dynamic}
            self._nodes(fields, inner)

    def _text(self, fields: Node, frame: Frame) -> None:
        """One SQL text: a statement, an expression, or an assignment."""
        text, mode = fields["query"], fields.get("parseMode", _STATEMENT)
        if mode == _STATEMENT:
            self._statements(text, frame)
        elif mode == _EXPRESSION:
            self.expression(text, frame)
        else:
            # variable := expression, also into a field or an element: the subscripts are code as well.
            (source,) = read_text(text)
            at = _sign_of_assignment(source.tokens)
            target, value = source.part(0, at), source.part(at + 1)
            if len(target.tokens) > 1:
                self.expression(target.sql, replace(frame, exposes=False))
            self.expression(value.sql, frame)

    def _statements(self, text: str, frame: Frame) -> None:
        for kind, each, _ in self._world.parsed(text).statements:
            shape = self._findings.reader.statement(kind, each, frame, Scope(variables=True))
            if frame.exposes:
                self._findings.expose(shape.everything())

    def _dynamic(self, text: str, frame: Frame) -> None:
        """EXECUTE: read where its text is a constant, opaque where it is computed."""
        try:
            _, select, _ = self._world.parsed(f"SELECT {text}").statements[0]
            constant = select["targetList"][0]["ResTarget"]["val"]["A_Const"]["sval"]["sval"]
        except (GrammarError, KeyError, IndexError):
            self._findings.opaque("EXECUTE", "EXECUTE of a text that is computed", frame.trail)
            self.expression(text, frame)
            return
        self._statements(constant, frame)

    # -- declarations ---------------------------------------------------------------------------------------

    def _type(self, name: str, frame: Frame) -> None:
        """A variable's type: a domain checks what is assigned to it."""
        if not self._world.catalog.types or name.upper() == "UNKNOWN":
            return
        written, copied, what = name.rpartition("%")
        if copied:
            oids = self._copied(split_name(written) or (), row=what.strip().upper() == "ROWTYPE", frame=frame)
            types = (self._world.catalog.types_by_oid.get(oid) for oid in oids)
            names = [f"{_quoted(one.schema)}.{_quoted(one.name)}" for one in types if one is not None]
        else:
            names = [name]
        for each in names:
            self.expression(f"NULL::{each}", frame)

    def _copied(self, names: tuple[str, ...], *, row: bool, frame: Frame) -> Iterable[int]:
        """The types (OIDs) in ``relation%ROWTYPE`` and ``relation.column%TYPE``."""
        relation = names if row else names[:-1]
        if not relation:
            return ()
        schema = relation[-2] if len(relation) > 1 else None
        known = self._findings.relation(schema, relation[-1], frame).known
        if known is None:
            return ()
        return (
            known.types
            if row
            else (known.types[known.columns.index(c)] for c in names[-1:] if c in known.columns)
        )

    def _declarations(self, definition: str, frame: Frame) -> None:
        """The trees leave out the types and default values of variables of row types and domains."""
        for declaration in _declared(self._body(definition)):
            tokens = declaration.tokens
            if (
                any(token.word == "cursor" for token in tokens)
                or len(tokens) < 2
                or tokens[1].word == "alias"
            ):
                continue
            at = next(
                (
                    i
                    for i, token in enumerate(tokens)
                    if token.value in (":=", "=") or token.word == "default"
                ),
                len(tokens),
            )
            first = 2 if tokens[1].word == "constant" else 1
            last = next(
                (i for i, token in enumerate(tokens[:at]) if i > first and token.word in ("collate", "not")),
                at,
            )
            self._type(declaration.part(first, last).sql, frame)
            if at < len(tokens):
                self.expression(declaration.part(at + 1).sql, frame)

    def _body(self, definition: str) -> str:
        _, created, _ = self._world.parsed(definition).statements[0]
        for option in created.get("options", ()):
            element = option["DefElem"]
            if element["defname"] == "as":
                return str(element["arg"]["List"]["items"][0]["String"].get("sval", ""))
        raise Unreadable("a function without a body")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sign_of_assignment(tokens: Sequence[Token]) -> int:
    depth = 0
    for at, token in enumerate(tokens):
        if token.value in ("(", "[") and token.kind is Kind.PUNCTUATION:
            depth += 1
        elif token.value in (")", "]") and token.kind is Kind.PUNCTUATION:
            depth -= 1
        elif not depth and (
            (token.value == ":=" and token.kind is Kind.PUNCTUATION)
            or (token.value == "=" and token.kind is Kind.OPERATOR)
        ):
            return at
    raise Unreadable("an assignment without its sign")


def _declared(text: str) -> Iterator[Source]:
    """What stands between DECLARE and BEGIN, one declaration at a time."""
    inside = False
    for source in read_text(text):
        tokens = source.tokens
        start = 0
        for at, token in enumerate(tokens):
            if token.word == "declare":
                inside, start = True, at + 1
            elif token.word == "begin" and at in (0, start):
                # Anywhere else it is a name.
                inside = False
        if inside and start < len(tokens):
            yield source.part(start)
