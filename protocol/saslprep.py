"""SASLprep: one spelling for passwords that look the same.

Source: RFC 4013 and RFC 3454, with the exceptions of PostgreSQL's ``pg_saslprep``.
"""

import stringprep
import unicodedata
from typing import Final

__all__ = ["saslprep"]

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def saslprep(password: str) -> bytes:
    """The bytes of ``password`` that SCRAM works on.

    As in PostgreSQL, a password that is pure ASCII or cannot be prepared is used as it is; bytes that were no
    UTF-8 arrive as surrogate escapes.
    """
    raw = password.encode("utf-8", "surrogateescape")
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c
        for c in password
        if stringprep.in_table_c12(c) or not stringprep.in_table_b1(c)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(test(c) for c in prepared for test in _PROHIBITED) or not _bidi_allowed(prepared):
        return raw
    return prepared.encode("utf-8")


def _bidi_allowed(text: str) -> bool:
    """RFC 3454, section 6: right-to-left text starts and ends so and holds nothing left-to-right."""
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    if any(stringprep.in_table_d2(c) for c in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
