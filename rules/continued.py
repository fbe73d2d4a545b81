"""Strings that go on in the next line, with a comment in between: libpg_query, unlike the server, does not read them.

PostgreSQL counts the comment as white space (documentation section 4.1.2.1), so with blanks in its place the text
means the same, and is as long.
"""

from rules.lexer import LexError, continuations, lex


def without_comments(sql: bytes) -> bytes | None:
    """The text with blanks in place of the comments inside of strings that go on; None where there are none.

    Made only where the tokens are the same with them and without.
    """
    try:
        text = sql.decode("utf-8")
        tokens = lex(text)
    except (UnicodeDecodeError, LexError):
        return None
    pieces: list[str] = []
    end = 0
    for start, stop in continuations(text, tokens):
        pieces += [text[end:start], _blanked(text[start:stop])]
        end = stop
    blanked = "".join([*pieces, text[end:]])
    if blanked == text or [(one.kind, one.value) for one in lex(blanked)] != [
        (one.kind, one.value) for one in tokens
    ]:
        return None
    return blanked.encode()


def _blanked(between: str) -> str:
    """Only line ends left, and as many bytes."""
    return "".join(sign if sign in "\r\n" else " " * len(sign.encode()) for sign in between)
