"""The shape of a statement: what it has in common with others that a grant is for.

An approver who allows more of the same must know what may differ: a literal, or a parameter, that a name is compared
with by ``=``, that is listed behind IN, or that stands in a row behind VALUES. Nothing else does. Other comparisons
(``<``, LIKE, ``<>``), LIMIT and arguments of functions stay as they were written, and so does every literal of a text
with anything in it that a regular expression could misread: comments, escapes, dollar quotes, bytes beyond ASCII.

What two statements of a shape do, on what and to how many rows at most, is compared besides, as it was read.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from struct import pack
from typing import Final

from rules.bulk import narrow
from rules.context import Parameter
from rules.facts import Action, EffectFacts, Facts, Nature

__all__ = ["Shape", "is_bounded", "shape_digest", "shape_of"]

MAX_LENGTH: Final = 4096

_DOUBTFUL: Final = (b"\\", b"\0", b"--", b"/*")
_KINDS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})
_ROWS: Final = frozenset({Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE})

# No part of these can match the same text in two ways, so none takes more than linear time.
_PARAMETER: Final = rb"(?<![\w$])\$[1-9]\d{0,4}(?![\w$])"
_LITERAL: Final = (
    rb"(?>(?<![\w.$])\d{1,18}(?![\w.$])|(?<![\w$])'\ *+[!-&(-\[\]-~][^'\\]*+'|" + _PARAMETER + rb")"
)
"""A whole number, a string that is not blank (blanking is something of its own), or a parameter."""
_NEXT: Final = rb"""
(?=\s*+(?>\Z|[),;]|(?>AND|OR|ORDER|GROUP|LIMIT|OFFSET|FETCH|FOR|RETURNING|WHERE|FROM|UNION|ON)\b))
"""
_NO_NAME: Final = (
    rb"(?!(?>TRUE|FALSE|NULL|UNKNOWN|USER|CURRENT_\w++|SESSION_USER|SYSTEM_USER|LOCALTIME\w*+)\b)"
)
_NAME: Final = rb"(?>\"[^\"]*+\"|(?<![\w\"$])" + _NO_NAME + rb"[A-Za-z_]\w*+)"
_COMPARED: Final = _NAME + rb"\s*+=\s*+" + _LITERAL + _NEXT
_LISTED: Final = rb"\bIN\s*+\(\s*+" + _LITERAL + rb"(?>\s*+,\s*+" + _LITERAL + rb")*+\s*+\)"
_ITEM: Final = rb"(?>" + _LITERAL + rb"|-?\d++(?>\.\d++)?+|(?>NULL|DEFAULT|TRUE|FALSE|CURRENT_TIMESTAMP)\b)"
_ROW: Final = rb"(?>\(\s*+" + _ITEM + rb"(?>\s*+,\s*+" + _ITEM + rb")*+\s*+\))"
_VALUES: Final = rb"\bVALUES\s*+" + _ROW + rb"(?>\s*+,\s*+" + _ROW + rb")*+"
_PLACES: Final = re.compile(
    rb"(?P<taken>"
    + rb"|".join((_COMPARED, _LISTED, _VALUES))
    + rb")|'[^']*+'|\"[^\"]*+\"|(?P<fixed>"
    + _PARAMETER
    + rb")|(?P<doubt>\$)",
    re.IGNORECASE | re.VERBOSE,
)
"""Where values may differ; and strings and quoted names, so that nothing is looked for inside of them."""
_TAKEN: Final = re.compile(rb"(\"[^\"]*+\")|" + _LITERAL, re.VERBOSE)

_MARKS: Final = {b"$": b"\0p", b"'": b"\0s"}
_NUMBER: Final = b"\0n"


@dataclass(frozen=True, slots=True)
class Shape:
    """A text without what may differ, and the numbers of the parameters (from 0) whose values may."""

    template: bytes
    free: frozenset[int] = frozenset()

    def __str__(self) -> str:
        """For people: an ellipsis stands for what may differ."""
        text = re.sub(rb"\0[nsp]", b"\x1a", self.template).decode("utf-8", "backslashreplace")
        return text.replace("\x1a", "\N{HORIZONTAL ELLIPSIS}")


def shape_of(sql: bytes) -> Shape:
    """What of a text may not differ; all of it where it cannot be told."""
    if len(sql) > MAX_LENGTH or not sql.isascii() or any(doubtful in sql for doubtful in _DOUBTFUL):
        return Shape(sql)
    free: set[int] = set()
    fixed: set[int] = set()

    def mark(match: "re.Match[bytes]") -> bytes:
        if match[1] is not None:
            return match[1]
        if match[0].startswith(b"$"):
            free.add(int(match[0][1:]) - 1)
        return _MARKS.get(match[0][:1], _NUMBER)

    def without(match: "re.Match[bytes]") -> bytes:
        if match["doubt"] is not None:
            fixed.add(-1)
        elif match["fixed"] is not None:
            fixed.add(int(match["fixed"][1:]) - 1)
        elif match["taken"] is not None:
            return _TAKEN.sub(mark, match[0])
        return match[0]

    template = _PLACES.sub(without, sql)
    if -1 in fixed or free & fixed:
        # A dollar quote, or a parameter that is used in two ways.
        return Shape(sql)
    return Shape(template, frozenset(free))


def is_plain(facts: Facts) -> bool:
    """Whether nothing but rows is read and written by it, all of which was read with certainty by both readers."""
    return (
        facts.unreadable is None
        and not facts.missing
        and bool(facts.statements)
        and not (facts.changes_context or facts.changes_catalog or facts.session_dependent or facts.prepares)
        and all(one.kind in _KINDS and one.readings == "both" for one in facts.statements)
        and all(one.nature is Nature.PLAIN and one.action in _ROWS for one in facts.effects)
    )


def is_bounded(facts: Facts, parameters: Sequence[Parameter]) -> bool:
    """Whether the text itself says how many rows each of its effects reaches at most."""
    return all(one.row_bound.n is not None for one in _effects(facts, parameters))


def shape_digest(
    shape: Shape, facts: Facts, parameters: Sequence[Parameter], bound_to: Iterable[str]
) -> str | None:
    """SHA-256 over the shape, what it does, and ``bound_to``, in hexadecimal; None where it is not plain.

    Every part is preceded by its length, so that no two different statements read the same.
    """
    if not is_plain(facts):
        return None
    parts = [b"shape", *(text.encode("utf-8", "backslashreplace") for text in bound_to), shape.template]
    for number, parameter in enumerate(parameters):
        if number not in shape.free:
            head = pack("!IIh?", number, parameter.type_oid, parameter.format, parameter.value is None)
            parts += [head, parameter.value or b""]
    parts += [_told(effect).encode("utf-8", "backslashreplace") for effect in _effects(facts, parameters)]
    hashed = sha256()
    for part in parts:
        hashed.update(pack("!Q", len(part)) + part)
    return hashed.hexdigest()


def _effects(facts: Facts, parameters: Sequence[Parameter]) -> list[EffectFacts]:
    return [replace(narrow(effect, parameters), parameter_bounds=()) for effect in facts.effects]


def _told(effect: EffectFacts) -> str:
    """An effect as the same text in every process."""
    return repr(
        (
            *(effect.action.value, effect.relation, effect.columns, str(effect.row_bound), effect.personal),
            *(effect.touches_personal, sorted(effect.classes), effect.erases, effect.resets, effect.detail),
        )
    )
