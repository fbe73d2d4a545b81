"""PostgreSQL's lexical rules (documentation section 4.1), for standard_conforming_strings = on and UTF-8.

Written after the server's own scanner rather than after SQL in general, because a text that two readers cut
differently is the oldest way past a gate: nested comments, dollar quotes, continued strings, Unicode escapes and
the odd rule for where an operator ends are all the server's.  Everything is linear in the length of the text.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rules.caps import MAX_COMMENT_DEPTH
from rules.names import MAX_NAME_BYTES, fold, truncate


class Kind(IntEnum):
    """What a token is."""

    WORD = 0
    """An unquoted identifier or key word; ``value`` is folded and cut to 63 bytes."""
    QUOTED = 1
    """A quoted identifier; ``value`` without quotes, escapes resolved."""
    STRING = 2
    """A string constant of any form; ``value`` is what the server sees (the digits of B'' and X'')."""
    NUMBER = 3
    PARAMETER = 4
    """``$1``; ``value`` holds the digits."""
    OPERATOR = 5
    PUNCTUATION = 6
    """One of ``, ( ) [ ] . ; :`` or ``::`` or ``:=``."""


@dataclass(slots=True, eq=False)
class Token:
    """One token; ``start`` and ``end`` are offsets in characters of the text."""

    kind: Kind
    value: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The folded word of an unquoted token, empty for anything else."""
        return self.value if self.kind is Kind.WORD else ""

    @property
    def is_name(self) -> bool:
        """Whether it may name something."""
        return self.kind <= Kind.QUOTED


class LexError(ValueError):
    """The text is not what the server would take, or not what can be read with certainty."""


_TOKEN: Final = re.compile(
    r"""
    (?P<space> [ \t\n\r\f\v]+ | --[^\n\r]* )
  | (?P<block> /\* )
  | (?P<unicode> [uU]&(?P<uquote>['"]) )
  | (?P<prefixed> [eEbBxXnN]' )
  | (?P<word> [A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]* )
  | (?P<string> ' )
  | (?P<quoted> "(?P<inner>[^"]*(?:""[^"]*)*)" )
  | (?P<dollar> \$(?:[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)?\$ )
  | (?P<parameter> \$[0-9]+ )
  | (?P<number> 0[xX](?:_?[0-9A-Fa-f])+ | 0[oO](?:_?[0-7])+ | 0[bB](?:_?[01])+
      | (?: [0-9](?:_?[0-9])* (?:\.(?!\.)(?:[0-9](?:_?[0-9])*)?)? | \.[0-9](?:_?[0-9])* )
        (?:[eE][+-]?[0-9](?:_?[0-9])*)? )
  | (?P<punctuation> :: | := | [,()\[\].;:] )
  | (?P<operator> [~!@\#^&|`?+\-*/%<>=]+ )
    """,
    re.VERBOSE,
)
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")
_PLAIN_END: Final = re.compile(r"[^']*(?:''[^']*)*'")
_ESCAPED_END: Final = re.compile(r"[^'\\]*(?:(?:''|\\[\s\S])[^'\\]*)*'")
_BITS_END: Final = re.compile(r"[^']*'")
_QUOTED_END: Final = re.compile(r'[^"]*(?:""[^"]*)*"')
# A string goes on in the next line: white space with at least one line end in it, comments allowed, then a quote.
_CONTINUATION: Final = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'")
_UESCAPE: Final = re.compile(r"(?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*[uU][eE][sS][cC][aA][pP][eE]")
_SPACES_THEN_QUOTE: Final = re.compile(r"(?:[ \t\n\r\f\v]|--[^\n\r]*[\n\r])*'")
_IDENTIFIER_START: Final = re.compile(r"[A-Za-z_\u0080-\U0010ffff]")
_ESCAPE: Final = re.compile(
    r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{1,2})|([0-7]{1,3})|([uU])|([\s\S]))"
)
_SIMPLE_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_KEEPS_SIGN: Final = frozenset("~!@#^&|`?%")


def lex(text: str) -> list[Token]:
    """The tokens of a text, comments and white space left out.

    Raises LexError where the server would reject the text, and where server versions differ on what it means.
    """
    if "\0" in text:
        raise LexError("a NUL character")
    tokens: list[Token] = []
    position, length = 0, len(text)
    match_token = _TOKEN.match
    while position < length:
        match = match_token(text, position)
        if match is None:
            raise LexError(f"unexpected character {text[position]!r}")
        group = match.lastgroup
        start, end = position, match.end()
        if group == "space":
            position = end
            continue
        if group == "word":
            word = fold(match[0])
            if word == "uescape":
                # Its clause was consumed with the string it belongs to; here it stands after a block comment, or
                # names something, and which of the two is not worth a guess.
                raise LexError("UESCAPE away from its string")
            tokens.append(Token(Kind.WORD, word, start, end))
        elif group == "punctuation":
            tokens.append(Token(Kind.PUNCTUATION, match[0], start, end))
        elif group == "operator":
            end = _operator(text, start, end, tokens)
        elif group == "number" or group == "parameter":
            if end < length and _IDENTIFIER_START.match(text, end):
                raise LexError("letters follow a number without a space")
            value = match[0] if group == "number" else match[0][1:]
            tokens.append(Token(Kind.NUMBER if group == "number" else Kind.PARAMETER, value, start, end))
        elif group == "string":
            value, end = _string(text, end, _PLAIN_END)
            tokens.append(Token(Kind.STRING, value.replace("''", "'"), start, end))
        elif group == "quoted":
            tokens.append(Token(Kind.QUOTED, _quoted_name(match["inner"]), start, end))
        elif group == "block":
            end = _block_comment(text, end)
        elif group == "dollar":
            closing = text.find(match[0], end)
            if closing < 0:
                raise LexError("unterminated dollar-quoted string")
            tokens.append(Token(Kind.STRING, text[end:closing], start, closing + len(match[0])))
            end = tokens[-1].end
        elif group == "prefixed":
            token = _prefixed(text, start, end, match[0][0])
            tokens.append(token)
            end = token.end
        else:
            token = _unicode(text, start, end, match["uquote"])
            tokens.append(token)
            end = token.end
        position = end
    return tokens


def continuations(text: str, tokens: Iterable[Token]) -> Iterator[tuple[int, int]]:
    """Where strings go on in the next line: the span between one closing quote and the next opening one."""
    for token in tokens:
        if token.kind is not Kind.STRING or text[token.start] == "$":
            continue
        ending = _ESCAPED_END if text[token.start] in "eE" else _PLAIN_END
        match = ending.match(text, text.index("'", token.start) + 1)
        while match is not None and (following := _CONTINUATION.match(text, match.end())) is not None:
            yield match.end(), following.end() - 1
            match = ending.match(text, following.end())


def _operator(text: str, start: int, end: int, tokens: list[Token]) -> int:
    """An operator ends before a comment; it gives up trailing signs unless it holds a character that keeps them."""
    run = text[start:end]
    for mark in ("/*", "--"):
        cut = run.find(mark)
        if cut >= 0:
            run = run[:cut]
    if len(run) > 1 and run[-1] in "+-" and _KEEPS_SIGN.isdisjoint(run):
        run = run.rstrip("+-") or run[0]
    if len(run) > MAX_NAME_BYTES:
        raise LexError("operator too long")
    tokens.append(Token(Kind.OPERATOR, run, start, start + len(run)))
    return start + len(run)


def _block_comment(text: str, position: int) -> int:
    depth = 1
    while depth:
        match = _COMMENT_MARK.search(text, position)
        if match is None:
            raise LexError("unterminated comment")
        depth += 1 if match[0] == "/*" else -1
        if depth > MAX_COMMENT_DEPTH:
            raise LexError("comments nested too deeply")
        position = match.end()
    return position


def _string(text: str, position: int, ending: re.Pattern[str]) -> tuple[str, int]:
    """The raw inside of a string whose opening quote is behind us, continuations joined, and its end."""
    pieces: list[str] = []
    while True:
        match = ending.match(text, position)
        if match is None:
            raise LexError("unterminated string")
        pieces.append(match[0][:-1])
        following = _CONTINUATION.match(text, match.end())
        if following is None:
            return "".join(pieces), match.end()
        position = following.end()


def _prefixed(text: str, start: int, position: int, prefix: str) -> Token:
    match prefix:
        case "e" | "E":
            raw, end = _string(text, position, _ESCAPED_END)
            return Token(Kind.STRING, _unescape(raw), start, end)
        case "n" | "N":
            raw, end = _string(text, position, _PLAIN_END)
            return Token(Kind.STRING, raw.replace("''", "'"), start, end)
        case _:
            raw, end = _string(text, position, _BITS_END)
            if text[end : end + 1] == "'":
                raise LexError("a quote inside a bit string")
            return Token(Kind.STRING, raw, start, end)


def _unescape(raw: str) -> str:
    """Resolve the escapes of an E'' string (documentation section 4.1.2.2)."""
    if "\\" not in raw:
        return raw.replace("''", "'")

    def one(match: re.Match[str]) -> str:
        short, long, hexadecimal, octal, broken, other = match.groups()
        if broken is not None:
            raise LexError("invalid Unicode escape")
        if other is not None:
            return _SIMPLE_ESCAPES.get(other, other)
        if short or long:
            return _character(int(short or long, 16))
        code = int(hexadecimal, 16) if hexadecimal else int(octal, 8) & 0xFF
        if code == 0:
            raise LexError("a NUL character")
        # A byte above 127 is part of a UTF-8 sequence; how it is shown here decides nothing.
        return chr(code)

    pieces: list[str] = []
    position = 0
    for match in _ESCAPE.finditer(raw):
        pieces.append(raw[position : match.start()].replace("''", "'"))
        pieces.append(one(match))
        position = match.end()
    pieces.append(raw[position:].replace("''", "'"))
    return "".join(pieces)


def _unicode(text: str, start: int, position: int, quote: str) -> Token:
    """U&'' and U&"" with an optional UESCAPE clause (documentation sections 4.1.1 and 4.1.2.3)."""
    if quote == "'":
        raw, end = _string(text, position, _PLAIN_END)
        raw = raw.replace("''", "'")
    else:
        match = _QUOTED_END.match(text, position)
        if match is None:
            raise LexError("unterminated quoted identifier")
        raw, end = match[0][:-1].replace('""', '"'), match.end()
    escape = "\\"
    clause = _UESCAPE.match(text, end)
    if clause is not None:
        after = _string_at(text, clause.end())
        if after is not None and after.kind is Kind.STRING:
            escape, end = after.value, after.end
            if len(escape) != 1 or escape in "'\"+" or escape.isspace() or escape in "0123456789abcdefABCDEF":
                raise LexError("invalid UESCAPE character")
    value = _unescape_unicode(raw, escape)
    if quote == "'":
        return Token(Kind.STRING, value, start, end)
    return Token(Kind.QUOTED, _quoted_name(value, doubled=False), start, end)


def _string_at(text: str, position: int) -> Token | None:
    """The plain string that follows at ``position``, white space and line comments skipped; None if none does."""
    match = _SPACES_THEN_QUOTE.match(text, position)
    if match is None:
        return None
    value, end = _string(text, match.end(), _PLAIN_END)
    return Token(Kind.STRING, value.replace("''", "'"), match.end() - 1, end)


def _unescape_unicode(raw: str, escape: str) -> str:
    if escape not in raw:
        return raw
    mark = re.escape(escape)
    pattern = re.compile(rf"{mark}(?:({mark})|\+([0-9A-Fa-f]{{6}})|([0-9A-Fa-f]{{4}})|)")

    def one(match: re.Match[str]) -> str:
        doubled, six, four = match.groups()
        if doubled:
            return escape
        if not (six or four):
            raise LexError("invalid Unicode escape")
        return _character(int(six or four, 16))

    return pattern.sub(one, raw)


def _character(code: int) -> str:
    if code == 0 or code > 0x10FFFF:
        raise LexError("invalid Unicode escape value")
    if 0xD800 <= code <= 0xDFFF:
        raise LexError("a surrogate pair in a Unicode escape")
    return chr(code)


def _quoted_name(inner: str, *, doubled: bool = True) -> str:
    if not inner:
        raise LexError("zero-length quoted identifier")
    return truncate(inner.replace('""', '"') if doubled else inner)
