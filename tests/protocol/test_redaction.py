"""Reports without values: whatever comes in, nothing of it goes out but codes, known texts and names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.conditions import CONDITIONS, WITHOUT_PARAMETERS, words
from protocol.messages import decode_report
from protocol.redaction import redacted
from protocol.tags import BackendTag

HINT = "ask the audit"


def report(fields: dict[str, str], *, cut: int | None = None) -> dict[str, str]:
    """The fields that the client gets for a report with ``fields``, of which the first ``cut`` bytes are seen."""
    payload = b"".join(f"{code}{value}\0".encode() for code, value in fields.items()) + b"\0"
    raw = redacted(BackendTag.ERROR_RESPONSE, payload[:cut], HINT)
    assert raw[0] == BackendTag.ERROR_RESPONSE
    assert int.from_bytes(raw[1:5], "big") == len(raw) - 1
    assert raw.endswith(b"\0\0")
    return decode_report(raw[5:])


UNIQUE = {
    "S": "FEHLER",
    "V": "ERROR",
    "C": "23505",
    "M": 'duplicate key value violates unique constraint "customer_email_key"',
    "D": "Key (email)=(ada@example.com) already exists.",
    "H": "ada@example.com",
    "P": "17",
    "p": "3",
    "q": "INSERT ada@example.com",
    "W": "COPY customer, line 1: ada@example.com",
    "s": "public",
    "t": "customer",
    "n": "customer_email_key",
    "F": "nbtinsert.c",
    "L": "664",
    "R": "_bt_check_unique",
    "X": "ada@example.com",
}


def test_what_stays_of_a_servers_own_error() -> None:
    assert report(UNIQUE) == {
        "S": "FEHLER",
        "V": "ERROR",
        "C": "23505",
        "M": 'duplicate key value violates unique constraint "customer_email_key"',
        "H": HINT,
        "P": "17",
        "s": "public",
        "t": "customer",
        "n": "customer_email_key",
        "F": "nbtinsert.c",
        "L": "664",
        "R": "_bt_check_unique",
    }


MISSPELT = {
    "S": "ERROR",
    "V": "ERROR",
    "C": "42703",
    "M": 'column "emial" does not exist',
    "H": 'Perhaps you meant to reference the column "customer.email".',
    "P": "8",
    "F": "parse_relation.c",
    "L": "3861",
    "R": "errorMissingColumn",
}


def test_what_the_parser_says_of_the_clients_text_is_left_as_it_is() -> None:
    assert report(MISSPELT) == MISSPELT


@pytest.mark.parametrize(
    "changed",
    [
        {"F": "regproc.c"},
        {"F": "parse_type.c"},
        {"P": ""},
        {"P": "0x1"},
        {"p": "8"},
        {"q": "SELECT ada"},
        {"W": "PL/pgSQL function"},
    ],
)
def test_what_it_says_of_any_other_text_is_not(changed: dict[str, str]) -> None:
    told = report({**MISSPELT, **changed})
    assert told["M"] == "column does not exist"
    assert told["H"] == HINT


def test_nor_what_was_cut_short() -> None:
    assert report(MISSPELT, cut=-1)["M"] == "column does not exist"


def test_what_a_function_raises_keeps_its_sqlstate_and_nothing_that_it_wrote() -> None:
    raised = {**UNIQUE, "F": "pl_exec.c", "R": "exec_stmt_raise", "n": "ada@example.com", "t": "ada"}
    assert report(raised) == {
        "S": "FEHLER",
        "V": "ERROR",
        "C": "23505",
        "M": "duplicate key value violates unique constraint",
        "H": HINT,
        "P": "17",
        "F": "pl_exec.c",
        "L": "664",
        "R": "exec_stmt_raise",
    }


@pytest.mark.parametrize(
    ("sqlstate", "names", "text"),
    [
        (
            "23502",
            {"t": "a", "c": "b"},
            'null value in column "b" of relation "a" violates not-null constraint',
        ),
        ("23502", {"d": "dom"}, "null value violates not-null constraint"),
        ("23503", {"t": "a", "n": "k"}, 'row of table "a" violates foreign key constraint "k"'),
        ("23514", {"t": "a", "n": "k"}, 'new row for relation "a" violates check constraint "k"'),
        ("23514", {"t": "a"}, "row violates check constraint"),
        ("23P01", {"n": "k"}, 'conflicting key value violates exclusion constraint "k"'),
        ("23505", {"n": "%(t)b %s"}, 'duplicate key value violates unique constraint "%(t)b %s"'),
    ],
)
def test_texts_with_names(sqlstate: str, names: dict[str, str], text: str) -> None:
    found = report({"V": "ERROR", "C": sqlstate, "M": "?", "F": "execMain.c", **names})
    assert found["M"] == text
    assert {code: found[code] for code in names} == names


@pytest.mark.parametrize("text", ["division by zero", "canceling statement due to statement timeout"])
def test_a_message_without_parameters_stays_what_it_is(text: str) -> None:
    assert report({"V": "ERROR", "C": "22012", "M": text})["M"] == text


def test_texts_in_another_language_become_the_condition() -> None:
    assert report({"V": "ERROR", "C": "22012", "M": "Division durch Null"})["M"] == "division by zero"


@pytest.mark.parametrize("cut", range(0, 40))
def test_a_report_cut_short_shows_no_half_field(cut: int) -> None:
    found = report({"V": "ERROR", "C": "23505", "n": "customer", "F": "nbtinsert.c"}, cut=cut)
    assert found["V"] == "ERROR"
    assert found["C"] in ("23505", "XX000")
    assert found.get("n", "customer") == "customer"


def test_a_severity_that_does_not_exist_is_an_error() -> None:
    assert report({"V": "ada", "C": "23505"})["V"] == "ERROR"
    assert report({"C": "lower"})["C"] == "XX000"
    assert len(report({"S": "x" * 900, "V": "ERROR"})["S"]) == 32


_TEXT = st.text(st.characters(blacklist_characters="\0", codec="utf-8"), max_size=60)
_FORMS = {
    "V": r"ERROR|FATAL|PANIC|WARNING|NOTICE|DEBUG|INFO|LOG",
    "C": r"[0-9A-Z]{5}",
    "P": r"[0-9]{1,10}",
    "L": r"[0-9]{1,10}",
    "F": r"[A-Za-z0-9_.]{1,64}",
    "R": r"[A-Za-z0-9_.]{1,64}",
    "H": HINT,
}


@given(
    st.dictionaries(st.sampled_from("SVCMDHPpqWstcdnFLRXz"), _TEXT),
    st.sampled_from([*sorted(CONDITIONS)[:20], "P0001", "23505", "23514"]),
)
def test_whatever_a_report_says_only_forms_and_known_texts_go_on(
    fields: dict[str, str], sqlstate: str
) -> None:
    found = report({**fields, "V": "ERROR", "C": sqlstate, "S": "ERROR"})
    for code, form in _FORMS.items():
        assert code not in found or re.fullmatch(form, found[code])
    assert found["M"] == words(sqlstate) or found["M"] in WITHOUT_PARAMETERS
    assert found.keys() <= {"S", "M", *_FORMS}
