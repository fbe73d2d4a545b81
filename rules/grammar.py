"""Read one query (SELECT, VALUES, TABLE, WITH, INSERT, UPDATE, DELETE, MERGE) with sqlglot, without trusting it.

sqlglot never sees the text.  It gets a rendering of our own tokens in which every name is a number (``i7``), every
string a short label, comments and exotic operators are gone: so nothing in a name or a literal can pass for
grammar, and sqlglot's ideas of which words are special (ANTI, FINAL, QUALIFY, TOP …) never meet the user's names.
Afterwards all of it must be found again in the tree: each name as often as it was written, and each key word that
reads or changes data.  Whatever was dropped, doubled or taken for something else makes the text unreadable.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import Dialect, exp
from sqlglot.errors import SqlglotError

from rules.builtin import (
    KEYWORDS,
    RESERVED_KEYWORDS,
    TYPE_FUNCTION_KEYWORDS,
    UNRESERVED_KEYWORDS,
    words,
)
from rules.lexer import Kind, Token
from rules.reader import Source, Unreadable

POSTGRES: Final = Dialect.get_or_raise("postgres")
"""Looked up once: by its name it is made anew for each text."""

MAX_QUERY_DEPTH: Final = 40
"""Brackets inside one another in a query: what sqlglot reads without trying its patience or its stack."""

ARRAY_NAME: Final = "zarray"
"""Stands for ARRAY[…]: sqlglot takes twice the time for each level of the real thing."""

CURRENT_OF: Final = "zcurrentof"
"""Stands for CURRENT OF a cursor: one row."""

_NUMBERED: Final = re.compile(r"i([0-9]+)")
_PLAIN_OPERATORS: Final = frozenset(["=", "<", ">", "<=", ">=", "<>", "+", "-", "*", "/", "%", "||", "=>"])
_VALUES: Final = words(
    """null true false default current_date current_time current_timestamp current_user current_role current_catalog
    current_schema localtime localtimestamp session_user system_user user end all"""
)
"""Key words after which an operator has a left operand."""
_BEFORE_NAME: Final = words(
    """select distinct all where and or not on by having when then else case in is like ilike between using returning
    from join into update set limit offset any some only lateral as with recursive"""
)
_AFTER_NAME: Final = words(
    """from where and or as is in like ilike between not asc desc nulls group order having limit offset union except
    intersect then else end when join left right inner cross full natural on using set fetch for returning window
    values default similar isnull notnull"""
)
_LONG_TYPES: Final = words(
    "double character char national nchar varchar time timestamp interval bit dec decimal numeric float setof"
)
_INTERVAL_FIELDS: Final = frozenset(["year", "month", "day", "hour", "minute", "second", "to"])
_GRAMMAR_BEFORE_BRACKET: Final = words(
    "join like ilike overlaps similar is isnull notnull inner outer cross full natural tablesample"
)
_GRAMMAR_PAIRS: Final = frozenset(
    [(before, word) for before in ("then", "(", "as") for word in ("delete", "insert", "update", "merge")]
    + [("when", "matched"), ("not", "matched"), ("with", "ordinality"), ("with", "recursive")]
    + [
        ("into", "temp"),
        ("into", "temporary"),
        ("into", "unlogged"),
        ("where", "current"),
        ("on", "conflict"),
    ]
)
"""Words that are grammar after these, whatever follows."""
_GRAMMAR_AFTER: Final = {
    "over": (")",),
    "filter": (")",),
    "repeatable": (")",),
    "sets": ("grouping",),
    "conflict": ("on",),
    "materialized": ("as", "not"),
    "insert": ("then",),
    "by": ("group", "order", "partition", "first"),
    "zone": ("time",),
    "first": ("fetch",),
    "next": ("fetch",),
}
"""Unreserved key words that, in front of a bracket, are grammar after these and a function's name after others."""
_STRING_TYPES: Final = frozenset(["text", "name", "xml", "json"])
_COUNTED: Final = ("select", "insert", "update", "delete", "merge", "into", "union", "except", "intersect")


@dataclass(frozen=True, slots=True)
class Query:
    """A tree with the names it was rendered with."""

    root: exp.Expression
    names: tuple[str, ...]

    def name(self, text: str) -> str:
        """The name behind a rendered one; key words used as names stand for themselves."""
        match = _NUMBERED.fullmatch(text)
        return self.names[int(match[1])] if match else text.lower()


def parse(source: Source) -> Query:
    """The tree of a query.  Raises Unreadable."""
    rendering = _Rendering(source.tokens)
    text = rendering.render()
    try:
        roots = POSTGRES.parse(text)
    except (SqlglotError, RecursionError) as error:
        raise Unreadable(_first_line(error)) from None
    except Exception as error:
        # sqlglot raises TypeError, AttributeError and others on odd input; whatever it is, the text was not read.
        raise Unreadable(f"the SQL reader failed ({type(error).__name__})") from None
    if len(roots) != 1 or not isinstance(roots[0], exp.Expression):
        raise Unreadable("the SQL reader saw a different number of statements")
    root = roots[0]
    query = Query(root, tuple(rendering.names))
    _account(query, rendering)
    return query


def _first_line(error: Exception) -> str:
    """What the reader minded, without the rendering it saw."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error).partition(". Line")[0].partition("\n")[0][:120] or "a syntax not known here"


class _Rendering:
    """Renders tokens for sqlglot; remembers what it named how, and how often."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._out: list[str] = []
        self._numbers: dict[str, int] = {}
        self._brackets: list[str] = []
        self._clauses: list[str] = [""]
        self.names: list[str] = []
        self._strings = 0
        self.uses: Counter[str] = Counter()
        self.words: Counter[str] = Counter()

    def render(self) -> str:
        """The text for sqlglot.  Raises Unreadable."""
        position = 0
        while position < len(self._tokens):
            position = self._render_one(position)
        return " ".join(self._out)

    def _at(self, position: int) -> Token | None:
        return self._tokens[position] if 0 <= position < len(self._tokens) else None

    def _is(self, position: int, value: str) -> bool:
        token = self._at(position)
        return token is not None and token.value == value and token.kind in (Kind.WORD, Kind.PUNCTUATION)

    def _number(self, name: str) -> str:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        text = f"i{number}"
        self.uses[text] += 1
        return text

    def _render_one(self, position: int) -> int:
        token = self._tokens[position]
        match token.kind:
            case Kind.WORD:
                return self._word(token, position)
            case Kind.QUOTED:
                if self._typed_string(position):
                    return position + 1
                self._out.append(self._number(token.value))
            case Kind.STRING:
                self._out.append(f"'k{self._strings}'")
                self._strings += 1
            case Kind.NUMBER:
                self._out.append(_plain_number(token.value))
            case Kind.PARAMETER:
                self._out.append(f"${token.value}")
            case Kind.OPERATOR:
                self._operator(token.value, position)
            case Kind.PUNCTUATION:
                self._punctuation(token.value, position)
        return position + 1

    def _word(self, token: Token, position: int) -> int:
        word = token.value
        if self._is(position - 1, "(") and self._is(position - 2, "extract"):
            self._out.append("year")
            return position + 1
        after_dot = self._is(position - 1, ".")
        if word not in KEYWORDS or after_dot or self._is(position + 1, "."):
            if not self._typed_string(position):
                self._out.append(self._number(word))
            return position + 1
        if self._is(position - 1, "as") and self._is_label(position):
            self._out.append(self._number(word))
            return position + 1
        match word:
            case "operator" if self._is(position + 1, "("):
                return self._qualified_operator(position)
            case "collate":
                return self._skip_name(position + 1)
            case "limit" if self._is(position + 1, "all"):
                return position + 2
            case "current" if self._is(position + 1, "of") and self._is(position - 1, "where"):
                self._out.append(f"{CURRENT_OF} ( )")
                return position + 3
            case "only" if self._is(position + 1, "("):
                return self._only(position + 1)
            case "time" | "timestamp" if not self._is(position + 1, ","):
                return self._time_type(position)
            case "varying" if self._tokens[position - 1].word in ("character", "char", "nchar", "bit"):
                return position + 1
            case "interval" if self._is(position - 1, "::") or self._is(position - 1, "as"):
                self._out.append(word)
                return self._skip_words(position + 1, _INTERVAL_FIELDS)
            case "double" if self._is(position + 1, "precision"):
                self._out.append("float8")
                return position + 2
            case "overriding" if self._is(position + 2, "value"):
                return position + 3
            case "using" if (
                operator := self._at(position + 1)
            ) is not None and operator.kind is Kind.OPERATOR:
                return position + 2
            case "table":
                if not self._is(position - 1, "into") and self._tokens[position - 1].word not in (
                    "temp",
                    "temporary",
                    "unlogged",
                ):
                    self.words["select"] += 1
                    self._out.append("SELECT * FROM")
                return position + 1
            case "tablesample":
                self._out.append(word)
                return self._sampling_method(position + 1)
        if word in _STRING_TYPES and self._typed_string(position):
            return position + 1
        if self._is(position + 1, "(") and self._is_function_keyword(word, position):
            self._out.append(self._number(word))
            return position + 1
        if word in UNRESERVED_KEYWORDS and self._stands_alone(position):
            self._out.append(self._number(word))
            return position + 1
        if word in RESERVED_KEYWORDS:
            self._clauses[-1] = word
        self.words[word] += 1
        self._out.append(word)
        return position + 1

    def _is_label(self, position: int) -> bool:
        """Whether the key word after AS is a label, not the start of a type or a query."""
        word = self._tokens[position].value
        if word in ("not", "materialized"):
            return False
        following = self._at(position + 1)
        if following is not None and following.value == "(":
            return False
        return word not in _LONG_TYPES

    def _is_function_keyword(self, word: str, position: int) -> bool:
        """Whether a key word before a bracket calls a function of that name."""
        before = self._at(position - 1)
        if word in UNRESERVED_KEYWORDS:
            if before is None:
                return True
            if word == "set":
                # UPDATE t SET (a, b) = …: no function call can follow a name.
                return not (
                    before.is_name and (before.kind is Kind.QUOTED or before.value not in RESERVED_KEYWORDS)
                )
            if word in ("rollup", "cube"):
                return self._clauses[-1] != "group"
            return (before.word or before.value) not in _GRAMMAR_AFTER.get(word, ())
        return word in TYPE_FUNCTION_KEYWORDS and word not in _GRAMMAR_BEFORE_BRACKET

    def _stands_alone(self, position: int) -> bool:
        """Whether the words around leave nothing but a name to be here."""
        before, after = self._at(position - 1), self._at(position + 1)
        if before is None:
            return False
        left = (
            before.word in _BEFORE_NAME
            or before.kind is Kind.OPERATOR
            or (before.kind is Kind.PUNCTUATION and before.value in ",([")
        )
        if (before.word or before.value, self._tokens[position].value) in _GRAMMAR_PAIRS:
            return False
        right = (
            after is None
            or after.word in _AFTER_NAME
            or after.kind is Kind.OPERATOR
            or (after.kind is Kind.PUNCTUATION and after.value in ",)]::")
        )
        return left and right

    def _typed_string(self, position: int) -> bool:
        """``date '2020-01-01'``: the type's name in front of a string is left out, with its schema."""
        following = self._at(position + 1)
        if following is None or following.kind is not Kind.STRING:
            return False
        back = position
        while self._is(back - 1, ".") and len(self._out) >= 2:
            self._out.pop()
            self.uses[self._out.pop()] -= 1
            back -= 2
        return True

    def _skip_name(self, position: int) -> int:
        """Behind a collation's name: collations run no code and name no relation."""
        if position >= len(self._tokens) or not self._tokens[position].is_name:
            raise Unreadable("COLLATE without a name")
        position += 1
        while self._is(position, "."):
            position += 2
        return position

    def _only(self, position: int) -> int:
        """``ONLY (t)``: as ONLY t."""
        self._out.append("only")
        while (token := self._at(position + 1)) is not None and token.value != ")":
            position = self._render_one(position + 1) - 1
        return position + 2

    def _time_type(self, position: int) -> int:
        """``timestamp (3) with time zone``: neither the precision nor the zone matters to anything here."""
        self._out.append(self._tokens[position].value)
        position += 1
        if self._is(position, "(") and self._is(position + 2, ")"):
            position += 3
        if (self._is(position, "with") or self._is(position, "without")) and self._is(position + 1, "time"):
            position += 3
        return position

    def _skip_words(self, position: int, words: frozenset[str]) -> int:
        while (token := self._at(position)) is not None and token.word in words:
            position += 1
        return position

    def _sampling_method(self, position: int) -> int:
        token = self._at(position)
        if token is None or token.value not in ("bernoulli", "system"):
            raise Unreadable("a sampling method that is not PostgreSQL's own")
        self._out.append(token.value)
        return position + 1

    def _operator(self, name: str, position: int) -> None:
        if name == "!=":
            name = "<>"
        if name in _PLAIN_OPERATORS:
            self._out.append(name)
        else:
            self._out.append("-" if self._is_prefix(position) else "||")

    def _qualified_operator(self, position: int) -> int:
        """OPERATOR(schema.name): PostgreSQL gives all of these one precedence, that of ``||``."""
        start = position
        position += 2
        first = self._at(position)
        if first is None or first.value == ")":
            raise Unreadable("OPERATOR() without a name")
        while (token := self._at(position)) is not None and token.value != ")":
            position += 1
        self._out.append("-" if self._is_prefix(start) else "||")
        return position + 1

    def _is_prefix(self, position: int) -> bool:
        before = self._at(position - 1)
        if before is None or before.kind is Kind.OPERATOR:
            return True
        if before.kind is Kind.PUNCTUATION:
            return before.value not in ")]"
        return (
            before.word
            in (RESERVED_KEYWORDS | TYPE_FUNCTION_KEYWORDS | {"by", "between", "values"}) - _VALUES
        )

    def _punctuation(self, sign: str, position: int) -> None:
        match sign:
            case "(":
                self._open(sign)
                self._out.append("(")
            case "[":
                array = self._is(position - 1, "array") or (
                    self._brackets[-1:] == ["array"]
                    and (self._is(position - 1, "[") or self._is(position - 1, ","))
                )
                if self._is(position - 1, "array"):
                    self._out.pop()
                    self.words["array"] -= 1
                self._open("array" if array else sign)
                self._out.append(f"{ARRAY_NAME} (" if array else "[")
            case ")" | "]":
                opened = self._brackets.pop()
                self._clauses.pop()
                self._out.append(")" if opened in ("(", "array") else "]")
            case _:
                self._out.append(sign)

    def _open(self, kind: str) -> None:
        self._brackets.append(kind)
        self._clauses.append("")
        if len(self._brackets) > MAX_QUERY_DEPTH:
            raise Unreadable(f"a query nested more than {MAX_QUERY_DEPTH} deep")


def _plain_number(value: str) -> str:
    digits = value.replace("_", "").lower()
    if digits[:2] in ("0x", "0o", "0b"):
        return str(int(digits, 0))
    return digits


def _account(query: Query, rendering: _Rendering) -> None:
    """Raise Unreadable unless names and data-touching key words of the rendering are all found in the tree."""
    names: Counter[str] = Counter()
    words: Counter[str] = Counter()
    spelled_out = 0
    for node in query.root.walk():
        match node:
            case exp.Select():
                words["select"] += 1
                # sqlglot spells VALUES in a UNION as SELECT * FROM VALUES.
                source = node.args.get("from_")
                spelled_out += source is not None and isinstance(source.this, exp.Values)
            case exp.Insert():
                words["insert"] += 1
                if not isinstance(node.parent, exp.When):
                    words["into"] += 1
            case exp.Update():
                words["update"] += 1
            case exp.Delete():
                words["delete"] += 1
            case exp.Merge():
                words["merge"] += 1
                words["into"] += 1
            case exp.Into():
                words["into"] += 1
            case exp.Union():
                words["union"] += 1
            case exp.Except():
                words["except"] += 1
            case exp.Intersect():
                words["intersect"] += 1
            case exp.OnConflict() if str(node.args.get("action") or "").upper() == "DO UPDATE":
                words["update"] += 1
            case exp.Lock() if node.args.get("update"):
                words["update"] += 1
            case exp.When() if isinstance(node.args.get("then"), exp.Var):
                words[node.args["then"].name.lower()] += 1
        for text in _texts(node):
            if _NUMBERED.fullmatch(text):
                names[text] += 1
            elif text.lower() in _COUNTED and isinstance(node, exp.Identifier):
                words[text.lower()] += 1
    for text, count in rendering.uses.items():
        if names[text] != count:
            raise Unreadable(f"the SQL reader lost sight of {query.name(text)}")
    for word in _COUNTED:
        excess = words[word] - rendering.words[word]
        if excess < 0 or excess > (spelled_out if word == "select" else 0):
            raise Unreadable(f"the SQL reader does not account for every {word.upper()}")


def _texts(node: exp.Expr) -> Iterator[str]:
    """The texts a node itself holds, dotted ones in their parts."""
    for key, value in node.args.items():
        if isinstance(value, str):
            if isinstance(node, exp.Literal):
                continue
            yield from value.split(".") if "." in value else (value,)
        elif key == "kind" and isinstance(value, exp.Expression):
            continue
