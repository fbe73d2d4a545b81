"""The codes under PostgreSQL's own names for them, as psycopg lists them."""

import psycopg
import pytest

from protocol import sqlstate

CODES = {name: value for name, value in vars(sqlstate).items() if name.isupper()}

NAMES = {
    "CANNOT_CONNECT": "SqlclientUnableToEstablishSqlconnection",
    "INSUFFICIENT_PRIVILEGE": "InsufficientPrivilege",
    "INVALID_AUTHORIZATION": "InvalidAuthorizationSpecification",
    "INVALID_STATEMENT_NAME": "InvalidSqlStatementName",
}
"""Where the name here is shorter than PostgreSQL's."""


@pytest.mark.parametrize("name", [name for name in CODES if name != "WARNING"])
def test_a_code_stands_for_what_its_name_says(name: str) -> None:
    condition = NAMES.get(name, name.title().replace("_", ""))
    assert psycopg.errors.lookup(CODES[name]).__name__.removesuffix("_") in (condition, condition + "Error")


def test_a_warning_is_none_of_the_errors() -> None:
    assert sqlstate.WARNING == "01000"


def test_no_code_has_two_names() -> None:
    assert len(set(CODES.values())) == len(CODES)
