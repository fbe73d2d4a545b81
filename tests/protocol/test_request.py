"""Requests are compared by identity: two equal ones are still two, each with a ruling of its own."""

from protocol.errors import ServerError
from protocol.request import Delimiter, Execution, Fault, Kind, Request, Step


def test_two_requests_of_the_same_bytes_are_two() -> None:
    first, second = (Request(Kind.QUERY, [b"Q"], []) for _ in range(2))
    assert first != second
    assert first == first
    one, other = (Execution(Step.QUERY, 0, 0, sql=(b"SELECT 1",)) for _ in range(2))
    assert len({one: "first", other: "second"}) == 2


def test_a_request_without_more_ends_at_nothing_and_has_no_fault() -> None:
    request = Request(Kind.QUERY, [], [])
    assert request.delimiter is Delimiter.OTHER
    assert request.fault is None


def test_an_execution_without_more_has_neither_parameters_nor_a_limit() -> None:
    execution = Execution(Step.EXECUTE, 2, 1, sql=(b"SELECT 1",))
    assert (execution.unknown_name, execution.parameters, execution.row_limit) == ("", (), 0)
    assert (execution.portal, execution.function_oid) == (None, 0)


def test_a_fault_says_where_it_stands() -> None:
    fault = Fault(3, ServerError("54000", "too long"))
    assert (fault.at, fault.error.sqlstate) == (3, "54000")
