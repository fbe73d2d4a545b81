"""What is said in comments in front of a statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import Intent, spoken_in
from rules.intent import MAX_REASON, MAX_TICKET


@pytest.mark.parametrize(
    ("sql", "reason", "ticket"),
    [
        ("DELETE FROM t", None, None),
        ("", None, None),
        ("/* reason: erasure request ticket: GDPR-4711 */ DELETE FROM t", "erasure request", "GDPR-4711"),
        ("/* Ticket: GDPR-4711, REASON :  erasure */DELETE FROM t", "erasure", "GDPR-4711,"),
        ("  \n-- reason: line by line\n\t-- ticket: T-1\nDELETE FROM t", "line by line", "T-1"),
        ("-- reason: to the end", "to the end", None),
        ("/* reason: a /* nested */ one */ DELETE", "a /* nested */ one", None),
        ("/*+ hint */ /* ticket: 5 */ DELETE", None, "5"),
        ("/* reason: first */ /* reason: second */ DELETE", "first", None),
        ("/* reason: ticket: 7 */ DELETE", None, "7"),
        ("/* reason: */ DELETE", None, None),
        # Only what stands in front of the statement says something of it.
        ("DELETE /* reason: no */ FROM t", None, None),
        ("DELETE FROM t -- ticket: no", None, None),
        ("SELECT '/* reason: no */'", None, None),
        # What lets it run at once is not said by a line that may have been copied.
        ("/* break_glass: now */ DELETE", None, None),
        ("/* treason: no */ DELETE", None, None),
        ("/* reasons: no */ DELETE", None, None),
        ("/* reason: not closed", "not closed", None),
    ],
)
def test_what_is_said(sql: str, reason: str | None, ticket: str | None) -> None:
    assert spoken_in(sql) == Intent(reason, ticket)


def test_nobody_reads_a_book() -> None:
    said = spoken_in(f"/* reason: {'x' * 9_999} ticket: {'y' * 9_999} */")
    assert said.reason == "x" * MAX_REASON
    assert said.ticket == "y" * MAX_TICKET


def test_what_is_nearer_counts() -> None:
    assert Intent("a", None).over(Intent("b", "c")) == Intent("a", "c")
    assert Intent.of("  ", "\t x ") == Intent(None, "x")
    assert not Intent()
    assert Intent(ticket="x").to_dict() == {"reason": None, "ticket": "x", "break_glass": None}


@given(st.text("/*- \nreasonticket:x"))
def test_any_text_can_be_read(sql: str) -> None:
    spoken_in(sql)
