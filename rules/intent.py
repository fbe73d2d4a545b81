"""Why somebody runs a statement, in their own words: a reason and a ticket, from a comment in front of it."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_REASON", "MAX_TICKET", "UNSAID", "Intent", "spoken_in"]

MAX_REASON: Final = 2_000
MAX_TICKET: Final = 200

_SPACE: Final = re.compile(r"[ \t\n\r\f\v]*")
_LINE: Final = re.compile(r"[^\n\r]*")
_MARK: Final = re.compile(r"/\*|\*/")
_KEY: Final = re.compile(r"\b(reason|ticket)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Intent:
    """What was said; None where nothing was. Longer texts than anybody reads are cut."""

    reason: str | None = None
    ticket: str | None = None
    break_glass: str | None = None
    """Why it cannot wait for anybody's approval."""

    @classmethod
    def of(cls, reason: str | None, ticket: str | None, break_glass: str | None = None) -> "Intent":
        """The words without white space around them."""
        return cls(_said(reason, MAX_REASON), _said(ticket, MAX_TICKET), _said(break_glass, MAX_REASON))

    def __bool__(self) -> bool:
        return self != UNSAID

    def over(self, other: "Intent") -> "Intent":
        """This, and what ``other`` says where this says nothing."""
        return Intent(
            self.reason or other.reason,
            self.ticket or other.ticket,
            self.break_glass or other.break_glass,
        )

    def to_dict(self) -> dict[str, str | None]:
        """Ready for JSON."""
        return {"reason": self.reason, "ticket": self.ticket, "break_glass": self.break_glass}


UNSAID: Final = Intent()


def spoken_in(sql: str) -> Intent:
    """What the comments in front of a statement say: ``/* reason: erasure request ticket: GDPR-4711 */``.

    Comments of both kinds count, ``reason:`` and ``ticket:`` in any order, each up to the next or to the end of its
    comment; of a word said twice the first counts.
    """
    said: dict[str, str] = {}
    for comment in _leading_comments(sql):
        keys = list(_KEY.finditer(comment))
        for number, key in enumerate(keys):
            end = keys[number + 1].start() if number + 1 < len(keys) else len(comment)
            text = comment[key.end() : end].strip()
            if text:
                said.setdefault(key[1].lower(), text)
    return Intent.of(said.get("reason"), said.get("ticket"))


def _leading_comments(sql: str) -> list[str]:
    """The comments before anything else (documentation section 4.1.5); block comments nest."""
    found: list[str] = []
    at = _skipped(_SPACE, sql, 0)
    while sql.startswith(("--", "/*"), at):
        block = sql[at] == "/"
        end = _comment_end(sql, at) if block else _skipped(_LINE, sql, at)
        found.append(sql[at + 2 : end])
        at = _skipped(_SPACE, sql, end + 2 if block else end)
    return found


def _skipped(what: re.Pattern[str], sql: str, at: int) -> int:
    match = what.match(sql, at)
    return at if match is None else match.end()


def _comment_end(sql: str, at: int) -> int:
    """Where the mark that ends it begins; the end of the text where none does."""
    depth = 0
    for mark in _MARK.finditer(sql, at):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.start()
    return len(sql)


def _said(text: str | None, most: int) -> str | None:
    text = (text or "").strip()
    return text[:most] or None
