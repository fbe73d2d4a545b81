"""What texts have in common that differ in literals only.

Applications that write values into SQL never send the same text twice.  Where a value stands decides whether it can
matter: compared with a column, in a list behind IN, or in a row behind VALUES it is one value among others, and what is
read of the text is the same for each.  Only there, and only where the text has nothing in it that would make a
tokenizer of a few lines doubtful (comments, escapes, dollar quotes), literals are taken out.  Everything else, LIMIT
and the arguments of functions above all, stays in the template as it was written.

What is known of a template was read twice, with the literals of a text and with others, and only if both readings are
the same and nothing in them is out of the ordinary it is taken for a third text (``Template.of``).
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from rules.facts import Action, Facts, Nature

__all__ = ["Template", "other_literals", "pattern_of", "template_of"]

MAX_LENGTH: Final = 4096

_DOUBTFUL: Final = (b"\\", b"$", b"\0", b"--", b"/*", b"pg_")
"""Comments, escapes, parameters and dollar quotes; and the system's relations, some of whose rows are settings."""

# No part of these can match the same text in two ways, so none takes more than linear time.
_LITERAL: Final = rb"(?<![\w.])(?>\d{1,9}(?![\w.])|'\ *+[!-&(-\[\]-~][^'\\]*+')"
"""An integer as int4 has it, or a string that is not blank: blanking what is personal is something of its own."""
_NEXT: Final = rb"""
(?=\s*+(?>\Z|[),;]|(?>AND|ORDER|OR|GROUP|LIMIT|OFFSET|FETCH|FOR|RETURNING|WHERE|FROM|UNION|ON)\b))
"""
_COMPARED: Final = rb"""
(?>"[^"]*+"|(?<![\w"])[A-Za-z_]\w*+) \s*+ (?>=|<>|!=|<=|>=|<|>|\+|-|I?LIKE\b) \s*+
(?>-(?=\d))?+
""" + (_LITERAL + _NEXT)
_LISTED: Final = rb"\bIN\s*+\(\s*+" + _LITERAL + rb"(?>\s*+,\s*+" + _LITERAL + rb")*+\s*+\)"
_ITEM: Final = rb"(?>" + _LITERAL + rb"|-?\d++(?>\.\d++)?+|(?>NULL|DEFAULT|TRUE|FALSE|CURRENT_TIMESTAMP)\b)"
_ROW: Final = rb"(?>\(\s*+" + _ITEM + rb"(?>\s*+,\s*+" + _ITEM + rb")*+\s*+\))"
_ROWS: Final = rb"\bVALUES\s*+" + _ROW + rb"(?>\s*+,\s*+" + _ROW + rb")*+"
_PLACES: Final = re.compile(
    rb"(?P<taken>" + rb"|".join((_COMPARED, _LISTED, _ROWS)) + rb""")|'[^']*+'|"[^"]*+\"""",
    re.IGNORECASE | re.VERBOSE,
)
"""Where literals are taken out; and strings and quoted names, so that nothing is looked for inside of them."""
_TAKEN: Final = re.compile(rb"(\"[^\"]*+\")|" + _LITERAL, re.VERBOSE)

_NUMBER: Final = b"\0n"
_STRING: Final = b"\0s"

_KINDS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
_ACTIONS: Final = frozenset({Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE})


def template_of(sql: bytes) -> bytes | None:
    """The text with marks in place of the literals that cannot matter; None if there are none such."""
    if len(sql) > MAX_LENGTH or not sql.isascii():
        return None
    lowered = sql.lower()
    if any(doubtful in lowered for doubtful in _DOUBTFUL):
        return None
    template = _PLACES.sub(_without_literals, sql)
    return template if b"\0" in template else None


def other_literals(template: bytes) -> bytes:
    """A text of the template, with literals that nobody is likely to have written."""
    return template.replace(_NUMBER, b"739405182").replace(_STRING, b"'holdgate'")


def pattern_of(sql: bytes) -> "re.Pattern[bytes] | None":
    """What fully matches only texts that have the same template as this one: those with other whole numbers in the
    places of the ones that are taken out of it.  None if it has no template, or strings are taken out of it.

    A template asks of a digit only that it is one, and of a number only that it has between one and nine of them.
    """
    template = template_of(sql)
    if template is None or _STRING in template:
        return None
    return re.compile(rb"\d{1,9}".join(map(re.escape, template.split(_NUMBER))))


def _without_literals(match: "re.Match[bytes]") -> bytes:
    return match[0] if match["taken"] is None else _TAKEN.sub(_mark, match[0])


def _mark(match: "re.Match[bytes]") -> bytes:
    if match[1] is not None:
        return match[1]
    return _STRING if match[0].endswith(b"'") else _NUMBER


@dataclass(frozen=True, slots=True)
class Template:
    """What is read of every text of a template: the facts of one of them, whose own statement begins after ``lead``
    characters and ends ``tail`` before the end."""

    facts: Facts
    lead: int
    tail: int

    @classmethod
    def of(cls, sql: bytes, facts: Facts, others: Facts) -> "Template | None":
        """From the readings of a text and of one with other literals; None where they say that these may matter."""
        if len(facts.statements) != 1 or len(others.statements) != 1:
            return None
        (statement,) = facts.statements
        same = replace(others, statements=(replace(others.statements[0], sql=statement.sql),))
        if facts != same or facts.session_dependent or others.session_dependent:
            return None
        if statement.kind not in _KINDS or statement.readings != "both":
            return None
        plain = all(
            effect.action in _ACTIONS
            and effect.nature is Nature.PLAIN
            and not (effect.erases or effect.resets)
            for effect in statement.effects
        )
        # Nothing but rows is read and written, and the session stays as it is.
        if not plain or facts != Facts(facts.statements):
            return None
        text = sql.decode("ascii")
        lead = text.find(statement.sql)
        return None if lead < 0 else cls(facts, lead, len(text) - lead - len(statement.sql))

    def read(self, sql: bytes) -> Facts:
        """The facts of another text of the template."""
        own = sql[self.lead : len(sql) - self.tail].decode("ascii")
        return Facts((replace(self.facts.statements[0], sql=own),))
