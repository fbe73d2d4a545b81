"""From a DELETE or UPDATE to the SELECT over the rows it would change.

The SELECT is cut from the statement's own text along its key words, and believed only when PostgreSQL's grammar finds
in it the very trees of the statement: its WITH, its tables, its condition.

Source: PostgreSQL documentation, reference pages of DELETE and UPDATE.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rules.lexer import Kind, LexError, Token, lex
from rules.pgquery import GrammarError, Node, parse

CHANGES: Final = {"DeleteStmt": "delete", "UpdateStmt": "update"}
"""The statements that are counted, and what they do."""

_OTHER_TABLES: Final = {"DeleteStmt": "usingClause", "UpdateStmt": "fromClause"}
_CHANGING: Final = frozenset(["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"])
_PLACES: Final = ("location", "list_start", "list_end")
"""How the names of fields end that say where in the text something stood."""


class NotCounted(Exception):
    """Why the rows of a statement cannot be counted; the message is for people."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows a statement would change, as the parts of a SELECT.

    ``ctes`` is its WITH clause without the word WITH (``RECURSIVE`` included), empty for none; ``source`` what follows
    FROM, the condition included. ``name`` is what the changed table is called there, quoted. ``joined`` says that
    other tables stand beside it, so that one row may be met more than once.
    """

    kind: str
    relation: Node
    ctes: str
    source: str
    name: str
    joined: bool

    def select(self, columns: str, *, distinct: bool = False) -> str:
        """The SELECT of these columns of the rows, without the WITH clause."""
        return f"SELECT {'DISTINCT ' if distinct else ''}{columns} FROM {self.source}"

    def whole(self, columns: str) -> str:
        """The same with the WITH clause, a statement by itself."""
        return (f"WITH {self.ctes} " if self.ctes else "") + self.select(columns)


@dataclass(frozen=True, slots=True)
class Changing:
    """A statement that changes rows, wherever in a message it stands: its kind, its tree and its text.

    ``beside`` are the names of the other parts where it is itself a part of WITH.
    """

    kind: str
    fields: Node
    text: str
    beside: frozenset[str] = frozenset()


def changing(kind: str, fields: Node, text: str) -> Iterator[Changing]:
    """Everything in one statement that changes rows: the parts of its WITH first, in order."""
    ctes = [one["CommonTableExpr"] for one in fields.get("withClause", {}).get("ctes", ())]
    names = frozenset(cte["ctename"] for cte in ctes)
    for cte in ctes:
        inner, tree = next(iter(cte["ctequery"].items()))
        if inner in _CHANGING:
            yield Changing(inner, tree, _text_of(cte["ctename"], text), names)
    if kind in _CHANGING:
        yield Changing(kind, fields, text)


def rows_of(one: Changing) -> Rows:
    """The rows that a DELETE or UPDATE would change. Raises NotCounted."""
    fields = one.fields
    if "CurrentOfExpr" in fields.get("whereClause", {}):
        raise NotCounted("it changes the row that a cursor stands on")
    if _names_any(fields, one.beside):
        raise NotCounted("its rows depend on another part of the statement")
    clause = fields.get("withClause", {})
    if any(next(iter(each["CommonTableExpr"]["ctequery"])) in _CHANGING for each in clause.get("ctes", ())):
        if _names_any(fields, frozenset(each["CommonTableExpr"]["ctename"] for each in clause["ctes"])):
            raise NotCounted("its rows depend on another part of the statement")
        clause = {}
    parts = _parts(one.kind, one.text)
    relation: Node = fields["relation"]
    others = fields.get(_OTHER_TABLES[one.kind], [])
    alias = relation.get("alias", {}).get("aliasname", relation["relname"])
    source = ", ".join(filter(None, (parts["target"], parts["others"])))
    if parts["where"]:
        source += f"\nWHERE {parts['where']}"
    rows = Rows(one.kind, relation, parts["ctes"] if clause else "", source, quoted(alias), bool(others))
    _check(rows, fields, clause, others)
    return rows


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def parameters_of(text: str) -> frozenset[int]:
    """The numbers of the parameters in a text that was read. Raises LexError."""
    return frozenset(int(token.value) for token in lex(text) if token.kind is Kind.PARAMETER)


def bracketed(text: str, word: str) -> str:
    """What stands in the first brackets behind the first ``word``. Raises NotCounted."""
    tokens = _tokens(text)
    for at, token in enumerate(tokens[:-1]):
        if token.word == word and tokens[at + 1].value == "(":
            return _inside(text, tokens, at + 1)
    raise NotCounted("its text is laid out in a way not foreseen")


def _tokens(text: str) -> list[Token]:
    try:
        return lex(text)
    except LexError as error:
        raise NotCounted(f"its text is not cut into words here: {error}") from None


def _inside(text: str, tokens: list[Token], opening: int) -> str:
    """The text between the bracket that is token ``opening`` and the one that closes it."""
    depth = 0
    for token in tokens[opening:]:
        if token.kind is Kind.PUNCTUATION:
            depth += (token.value in "([") - (token.value in ")]")
            if not depth:
                return text[tokens[opening].end : token.start]
    raise NotCounted("its brackets do not match")


def _text_of(name: str, text: str) -> str:
    """The text of the part of WITH of that name; empty where it is not found, which is then not counted."""
    try:
        tokens = lex(text)
        depth = 0
        for at, token in enumerate(tokens):
            if token.kind is Kind.PUNCTUATION:
                depth += (token.value in "([") - (token.value in ")]")
            if depth or not token.is_name or token.value != name:
                continue
            behind = at + 1
            if behind < len(tokens) and tokens[behind].value == "(":
                # The names of its columns.
                while tokens[behind].value != ")":
                    behind += 1
                behind += 1
            if tokens[behind].word == "as":
                while tokens[behind].value != "(":
                    behind += 1
                return _inside(text, tokens, behind)
    except (LexError, IndexError, NotCounted):
        pass
    return ""


def _parts(kind: str, text: str) -> dict[str, str]:
    """The clauses of a statement as text, by their names; empty where there is none."""
    tokens = _tokens(text)
    verb = CHANGES[kind]
    # A word behind a dot names a column or table, whatever the word.
    plain = [
        at for at in _outside_brackets(tokens) if tokens[at].word and not (at and tokens[at - 1].value == ".")
    ]
    start = next((at for at in plain if tokens[at].word == verb), None)
    if start is None:
        raise NotCounted("its text is laid out in a way not foreseen")
    ctes = text[tokens[0].end : tokens[start].start] if start else ""
    begin = start + (2 if kind == "DeleteStmt" else 1)
    marks: list[tuple[str, int]] = [("target", begin)]
    order = ("using", "where", "returning") if kind == "DeleteStmt" else ("set", "from", "where", "returning")
    for at in plain:
        word = tokens[at].word
        if at <= begin or word not in order or (word == "from" and tokens[at - 1].word == "distinct"):
            continue
        # Each clause once, in their order: what comes out of it is read again anyway.
        if marks[-1][0] == "target" or order.index(word) > order.index(marks[-1][0]):
            marks.append((word, at))
    found = dict.fromkeys(("target", "others", "where"), "")
    for number, (word, at) in enumerate(marks):
        end = marks[number + 1][1] if number + 1 < len(marks) else len(tokens)
        first = at if word == "target" else at + 1
        if first < end:
            name = "others" if word in ("using", "from") else word
            found[name] = text[tokens[first].start : tokens[end - 1].end]
    return {**found, "ctes": ctes.strip()}


def _outside_brackets(tokens: list[Token]) -> Iterator[int]:
    depth = 0
    for at, token in enumerate(tokens):
        if token.kind is Kind.PUNCTUATION:
            depth += (token.value in "([") - (token.value in ")]")
        elif not depth:
            yield at


def _check(rows: Rows, fields: Node, clause: Node, others: list[Node]) -> None:
    """Whether the SELECT holds the statement's own trees. Raises NotCounted."""
    try:
        statements = parse(rows.whole("1").encode()).statements
    except (GrammarError, RecursionError) as error:
        raise NotCounted(f"its rows cannot be selected: {error}") from None
    kind, select, _ = statements[0] if len(statements) == 1 else ("", {}, b"")
    allowed = {"targetList", "fromClause", "whereClause", "withClause", "limitOption", "op"}
    if (
        kind != "SelectStmt"
        or not select.keys() <= allowed
        or _bare(select.get("withClause", {})) != _bare(clause)
        or _bare(select["fromClause"]) != _bare([{"RangeVar": rows.relation}, *others])
        or _bare(select.get("whereClause")) != _bare(fields.get("whereClause"))
    ):
        raise NotCounted("its text is laid out in a way not foreseen")


def _bare(tree: Any) -> Any:
    """A tree without the places in the text where its nodes stood."""
    if isinstance(tree, list):
        return [_bare(one) for one in tree]
    if isinstance(tree, dict):
        return {key: _bare(value) for key, value in tree.items() if not key.endswith(_PLACES)}
    return tree


def _names_any(tree: Node, names: frozenset[str]) -> bool:
    """Whether a tree names one of these relations without a schema, outside of its own WITH."""
    stack: list[Any] = [value for key, value in tree.items() if key != "withClause"]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            if node.get("relname") in names and "schemaname" not in node:
                return True
            stack.extend(node.values())
    return False
