"""The second reader: sqlglot reads the same query, and both must have seen the same.

Compared are the relations named and the parts that change data.  sqlglot sees the text as it is first; where that
does not agree it sees it once more in the careful rendering of rules.grammar, in which nothing in a name, a
literal or a comment can pass for grammar.  What disagrees even then is a difference between two readers, and what
sqlglot cannot read at all has been read by one of them alone.
"""

import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from sqlglot import exp

from rules.grammar import POSTGRES
from rules.grammar import parse as parse_rendered
from rules.names import fold, truncate
from rules.pgquery import Node
from rules.reader import Unreadable, read_text

MAX_TEXT: Final = 64 * 1024
"""Beyond this sqlglot takes longer than its answer is worth."""

_SHALLOW: Final = 5
_BRACKETS: Final = re.compile(r"[][()]")
_BRACKETS_AND_QUOTED: Final = re.compile(r"""'[^']*'|"[^"]*"|[][()]""")
_HIDES: Final = re.compile(r"\\|\$(?!\d)|--|/\*")
"""What makes it more than a matter of pairs where strings and comments end."""

_CHANGES: Final[Mapping[str, str]] = {
    "InsertStmt": "insert",
    "UpdateStmt": "update",
    "DeleteStmt": "delete",
    "MergeStmt": "merge",
}


_CHANGE_MARKS: Final = tuple((f'"{kind}":{{'.encode(), word) for kind, word in _CHANGES.items())
_RELNAME: Final = re.compile(rb'"relname":"((?:[^"\\]|\\.)*)"')


class Agreement(StrEnum):
    """What the second reader says of the first one's reading."""

    BOTH = "both"
    ONE = "one"
    DIFFER = "differ"


Seen = tuple[frozenset[str], Counter[str]]
"""The bare names of relations, and how often each kind of change."""


def crosscheck(kind: str, fields: Node, text: str, answer: bytes | None = None) -> tuple[Agreement, str]:
    """Whether sqlglot reads the query as the grammar did, and if not, why not.

    ``answer``: what libpg_query said of it, where that is of this one statement.
    """
    if len(text) > MAX_TEXT:
        return Agreement.ONE, f"longer than {MAX_TEXT} characters"
    seen = _seen_in_answer(answer) or _seen_by_grammar(kind, fields)
    if is_shallow(text) and _seen_as_it_is(text) == seen:
        return Agreement.BOTH, ""
    try:
        sources = read_text(text)
        if len(sources) != 1:
            return Agreement.DIFFER, f"one statement, or {len(sources)}"
        query = parse_rendered(sources[0])
    except Unreadable as error:
        return Agreement.ONE, str(error)
    theirs = _seen_by_sqlglot(query.root, query.name)
    if theirs == seen:
        return Agreement.BOTH, ""
    return Agreement.DIFFER, _difference(seen, theirs)


def both_readings(kind: str, fields: Node, text: str | None) -> tuple[Seen, tuple[str, Seen] | None, str]:
    """What the grammar saw, what sqlglot saw and takes it for (None: nothing), and why they do not agree.

    Without a text there is nothing for sqlglot to see.
    """
    seen = _seen_by_grammar(kind, fields)
    if text is None:
        return seen, None, ""
    _, why = crosscheck(kind, fields, text)
    if len(text) > MAX_TEXT:
        return seen, None, why
    try:
        (source,) = read_text(text)
        query = parse_rendered(source)
    except (Unreadable, ValueError):
        return seen, None, why
    return seen, (query.root.key.upper(), _seen_by_sqlglot(query.root, query.name)), why


def _seen_as_it_is(text: str) -> Seen | None:
    try:
        roots = POSTGRES.parse(text)
        return _seen_by_sqlglot(roots[0]) if len(roots) == 1 and roots[0] is not None else None
    except Exception:
        # Whatever it is (TypeErrors and RecursionErrors are among them), the careful reading comes next.
        return None


def is_shallow(text: str) -> bool:
    """Whether brackets nest so little that sqlglot, which may take twice the time for each level, can see it as is."""
    hidden = _HIDES.search(text) is not None
    depth = 0
    for found in (_BRACKETS if hidden else _BRACKETS_AND_QUOTED).findall(text):
        if found in ("(", "["):
            depth += 1
            if depth > _SHALLOW:
                return False
        elif found in (")", "]") and not hidden:
            # Where it may be inside of a string or a comment, a bracket that closes does not count.
            depth -= 1
    return True


def _seen_in_answer(answer: bytes | None) -> Seen | None:
    """What the grammar saw, taken from the library's answer at a fifth of a walk's cost; None where that is not plain.

    In a JSON string every quote is escaped, so what looks like a field's name is one.
    """
    if answer is None or b'"lockedRels"' in answer:
        return None
    names = _RELNAME.findall(answer)
    if any(b"\\" in name for name in names):
        return None
    counts = {word: answer.count(mark) for mark, word in _CHANGE_MARKS}
    return frozenset(name.decode() for name in names), Counter({word: n for word, n in counts.items() if n})


def _seen_by_grammar(kind: str, fields: Node) -> Seen:
    names: set[str] = set()
    changes: Counter[str] = Counter()
    stack: list[Any] = [{kind: fields}]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(one for one in node if isinstance(one, dict | list))
            continue
        for key, value in node.items():
            if key == "relname":
                names.add(value)
            elif isinstance(value, dict):
                if key in _CHANGES:
                    changes[_CHANGES[key]] += 1
                stack.append(value)
            elif isinstance(value, list) and key != "lockedRels":
                stack.extend(value)
    return frozenset(names), changes


def _seen_by_sqlglot(root: exp.Expr, name: Any = None) -> Seen:
    names: set[str] = set()
    changes: Counter[str] = Counter()
    # Whatever else is in the tree is passed over by sqlglot's own compiled code.
    for node in root.find_all(exp.Table, exp.Insert, exp.Update, exp.Delete, exp.Merge):
        key = node.key
        if key == "table":
            identifier = node.this
            if isinstance(identifier, exp.Identifier) and not isinstance(node.parent, exp.Lock):
                if name is not None:
                    names.add(name(identifier.this))
                elif identifier.args.get("quoted"):
                    names.add(truncate(identifier.this))
                else:
                    names.add(fold(identifier.this))
        elif key in ("insert", "update", "delete", "merge") and not isinstance(node.parent, exp.When):
            changes[key] += 1
    return frozenset(names), changes


def _difference(grammar: Seen, other: Seen) -> str:
    names = sorted(grammar[0] ^ other[0])
    if names:
        return f"the readers differ about {', '.join(names[:3])}"
    return "the readers differ about what is changed"
