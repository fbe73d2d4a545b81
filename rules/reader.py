"""From bytes to statements, or to the reason why they cannot be read.

This is the first gate: what does not pass here was not understood, and is judged as such.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rules.caps import MAX_BYTES, MAX_DEPTH, MAX_NESTING, MAX_TOKENS
from rules.lexer import Kind, LexError, Token, lex

_OPENING: Final = {"(": ")", "[": "]"}
_NO_BRACKET: Final = re.compile(r"[^][()]+")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]()"))


class Unreadable(Exception):
    """Why a text cannot be read with certainty; the message is for people."""


@dataclass(frozen=True, slots=True)
class Source:
    """One statement: its tokens, without the semicolon, and its text."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def sql(self) -> str:
        """The statement as it was written, from its first token to its last."""
        return self.text[self.tokens[0].start : self.tokens[-1].end]

    def part(self, start: int, end: int | None = None) -> "Source":
        """The statement inside this one that runs from token ``start`` to before ``end``."""
        return Source(self.text, self.tokens[start:end])


def guard(sql: bytes) -> None:
    """The gate before the grammar.  Raises Unreadable where the bytes are not strict UTF-8 or pass a cap."""
    if len(sql) > MAX_BYTES:
        raise Unreadable(f"longer than {MAX_BYTES} bytes")
    if b"\0" in sql:
        raise Unreadable("a NUL byte")
    try:
        text = sql.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("not valid UTF-8") from None
    if _depth(sql.translate(None, _NOT_BRACKETS).decode()) > MAX_NESTING:
        # Brackets in strings and comments were counted too: only now it is worth to tell them apart.
        tokens = _lexed(text)
        signs = "".join(token.value for token in tokens if token.kind is Kind.PUNCTUATION)
        if _depth(_NO_BRACKET.sub("", signs)) > MAX_NESTING:
            raise Unreadable(f"nested more than {MAX_NESTING} deep")


def _depth(brackets: str) -> int:
    deepest = depth = 0
    if len(brackets) <= MAX_NESTING:
        return 0
    for bracket in brackets:
        if bracket in _OPENING:
            depth += 1
            deepest = max(depth, deepest)
        else:
            depth -= 1
    return deepest


def read(sql: bytes) -> list[Source]:
    """Cut a message into its statements, empty ones left out.

    Raises Unreadable where the bytes are not strict UTF-8, pass a cap, or do not follow the lexical rules.
    """
    if len(sql) > MAX_BYTES:
        raise Unreadable(f"longer than {MAX_BYTES} bytes")
    try:
        text = sql.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("not valid UTF-8") from None
    return read_text(text)


def read_text(text: str) -> list[Source]:
    """As read(), of text."""
    return [Source(text, tuple(part)) for part in _split(_lexed(text)) if part]


def _lexed(text: str) -> Sequence[Token]:
    try:
        tokens = lex(text)
    except LexError as error:
        raise Unreadable(str(error)) from None
    if len(tokens) > MAX_TOKENS:
        raise Unreadable(f"more than {MAX_TOKENS} words and signs")
    return tokens


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    """Cut at semicolons outside of brackets and of BEGIN ATOMIC … END (CREATE FUNCTION, section 36.5)."""
    parts: list[list[Token]] = [[]]
    closers: list[str] = []
    body: _AtomicBody | None = None
    cases = 0
    for token in tokens:
        part = parts[-1]
        if body is not None:
            part.append(token)
            if body.closed_by(token):
                body = None
            continue
        if token.kind is Kind.PUNCTUATION:
            sign = token.value
            if sign in _OPENING:
                closers.append(_OPENING[sign])
                if len(closers) > MAX_DEPTH:
                    raise Unreadable(f"nested more than {MAX_DEPTH} deep")
            elif sign in ")]":
                if not closers or closers.pop() != sign:
                    raise Unreadable("brackets do not match")
            elif sign == ";" and not closers:
                cases = 0
                parts.append([])
                continue
        elif token.kind is Kind.WORD:
            if token.value == "atomic" and part and part[-1].word == "begin" and part[0].word == "create":
                body = _AtomicBody()
            elif token.value == "case":
                cases += 1
                if cases > MAX_DEPTH * 5:
                    raise Unreadable("too many CASEs in one statement")
        part.append(token)
    if closers:
        raise Unreadable("an opening bracket is never closed")
    if body is not None:
        raise Unreadable("BEGIN ATOMIC without its END")
    return parts


class _AtomicBody:
    """Finds the END of BEGIN ATOMIC.

    END closes the body where a statement would begin, after a semicolon or ATOMIC itself.  Anywhere else it
    closes a CASE or is a label, neither of which can stand there.
    """

    __slots__ = ("_at_start",)

    def __init__(self) -> None:
        self._at_start = True

    def closed_by(self, token: Token) -> bool:
        """Take the next token; true if it closes the body."""
        if self._at_start and token.word == "end":
            return True
        self._at_start = token.kind is Kind.PUNCTUATION and token.value == ";"
        return False
