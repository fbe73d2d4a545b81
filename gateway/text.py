"""Text for people: what is from outside is made fit for a terminal and a log, so that nothing moves the cursor, hides
or reorders."""

import unicodedata

__all__ = ["kind_of", "one_line", "same_name", "visible"]

_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
# Characters that count as letters or blanks, yet leave a gap where a reader expects nothing.
_BLANK = frozenset("\u00a0\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5")


def visible(text: str) -> str:
    """``text`` with every character that moves the cursor, colours, reorders or hides text as an escape.

    Line ends and tabs stay.
    """
    return "".join(char if char in "\n\t" or not _hidden(char) else _escape(char) for char in text)


def one_line(text: object, width: int | None = None) -> str:
    """``text`` on one line, cut to ``width`` characters."""
    shown = " ".join(visible(str(text)).split())
    return shown if width is None or len(shown) <= width else shown[: width - 1] + "…"


def kind_of(value: object) -> str:
    """What a value of a YAML or JSON document is, in words; never the value itself."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping"


def _hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN or char in _BLANK


def _escape(char: str) -> str:
    number = ord(char)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def same_name(text: str) -> str:
    """What the spellings of one name have in common: two people are not told apart by case or width of letters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
