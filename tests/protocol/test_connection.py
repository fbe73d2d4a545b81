"""The core as one face: whole conversations, in every segmentation."""

from protocol.connection import ProxyConnection
from protocol.events import NEED_DATA, PAUSED, RequestReady, StatementFinished, Withheld
from protocol.frontend import Limits
from tests.protocol.playbook import (
    asks,
    client,
    commit_failed,
    downstream,
    fatal_seen,
    finished,
    forward,
    is_ready,
    play,
    server,
    upstream,
    withheld,
)
from tests.support.answers import (
    bind_complete,
    command_complete,
    data_row,
    error,
    fatal,
    notice,
    parse_complete,
    ready,
    row_description,
)
from tests.support.wire import B, E, H, P, Q, S

ONE = (row_description("a"), data_row("1"), command_complete("SELECT 1"), ready())


def test_a_query_passes() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(),
        upstream(Q("SELECT 1")),
        server(*ONE),
        downstream(*ONE),
        finished("SELECT 1", "SELECT 1", rows=1),
        is_ready("I", "SELECT 1"),
    )


# --- reports without values -----------------------------------------------------------------------------

HINT = "ask the audit"


def bare(tag: str, code: str, text: str, severity: str = "ERROR") -> bytes:
    """What the client gets in place of a report."""
    fields = f"S{severity}\0V{severity}\0C{code}\0M{text}\0H{HINT}\0\0".encode()
    return tag.encode() + (len(fields) + 4).to_bytes(4, "big") + fields


def test_errors_and_notices_of_a_redacted_query_lose_their_values() -> None:
    play(
        client(Q("SELECT f()")),
        asks("Query SELECT f()"),
        forward(redact=HINT),
        upstream(Q("SELECT f()")),
        server(notice("ada@example.com"), error("ada@example.com", "P0001"), ready()),
        downstream(
            bare("N", "00000", "message of the server", "NOTICE"),
            bare("E", "P0001", "exception raised by a function"),
            ready(),
        ),
        withheld("00000", "ada@example.com"),
        withheld("P0001", "ada@example.com"),
        finished("SELECT f()", sqlstate="P0001"),
        is_ready("I", "SELECT f()"),
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(),
        upstream(Q("SELECT 1")),
        server(notice("plain"), error("plain"), ready()),
        downstream(notice("plain"), error("plain"), ready()),
        finished("SELECT 1", sqlstate="22012"),
        is_ready("I", "SELECT 1"),
    )


def test_reports_are_redacted_to_the_end_of_the_transaction() -> None:
    play(
        client(Q("INSERT")),
        asks("Query INSERT"),
        forward(redact=HINT),
        upstream(Q("INSERT")),
        server(command_complete("INSERT 0 1"), ready("T")),
        downstream(command_complete("INSERT 0 1"), ready("T")),
        finished("INSERT", "INSERT 0 1", rows=1),
        is_ready("T", "INSERT"),
        client(Q("COMMIT")),
        asks("Query COMMIT"),
        forward(),
        upstream(Q("COMMIT")),
        server(error("ada@example.com", "23505"), ready()),
        downstream(bare("E", "23505", "duplicate key value violates unique constraint"), ready()),
        withheld("23505", "ada@example.com"),
        finished("COMMIT", sqlstate="23505"),
        is_ready("I", "COMMIT"),
    )


def test_the_failing_commit_of_a_sync_is_redacted_and_what_was_sent_in_front_is_not() -> None:
    batch = (P("INSERT"), B(), E(), S())
    play(
        client(Q("SELECT 1"), *batch),
        asks("Query SELECT 1"),
        forward(),
        asks("Execute INSERT", until="SYNC"),
        upstream(Q("SELECT 1")),
        forward(redact=HINT),
        upstream(*batch),
        server(error("mine"), ready()),
        downstream(error("mine"), ready()),
        finished("SELECT 1", sqlstate="22012"),
        is_ready("I", "SELECT 1"),
        server(parse_complete(), bind_complete(), command_complete("INSERT 0 1")),
        downstream(parse_complete(), bind_complete(), command_complete("INSERT 0 1")),
        finished("INSERT", "INSERT 0 1", rows=1),
        server(error("ada@example.com", "23503"), ready()),
        downstream(bare("E", "23503", "row violates foreign key constraint"), ready()),
        withheld("23503", "ada@example.com"),
        commit_failed("23503"),
        is_ready("I"),
    )


def test_a_long_report_is_replaced_as_a_whole_and_its_beginning_is_told() -> None:
    long = error("ada@example.com", "P0001", extra=b"D" + b"x" * 40_000 + b"\0")
    core = ProxyConnection(Limits())
    core.receive_from_client(Q("SELECT f()"))
    event = core.next_event()
    assert isinstance(event, RequestReady)
    core.forward(event.request, redact=HINT)
    for start in range(0, len(long), 3_000):
        core.receive_from_upstream(long[start : start + 3_000])
    core.receive_from_upstream(ready())
    assert b"".join(core.data_to_client()) == bare("E", "P0001", "exception raised by a function") + ready()
    told = core.next_event()
    assert isinstance(told, Withheld)
    assert told.report["M"] == "ada@example.com"


def test_the_farewell_of_the_server_is_redacted_too() -> None:
    text = "terminating connection due to administrator command"
    play(
        client(Q("SELECT f()")),
        asks("Query SELECT f()"),
        forward(redact=HINT),
        upstream(Q("SELECT f()")),
        server(fatal(text)),
        downstream(bare("E", "57P01", text, "FATAL")),
        withheld("57P01", text),
        fatal_seen("57P01"),
    )


class TestParts:
    """A batch that goes up in two parts."""

    def test_what_is_left_is_asked_about_next(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + B() + E() + P("B") + B() + E() + S())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward_part(event.request, 3)
        assert b"".join(core.data_to_upstream()) == P("A") + B() + E() + H()
        rest = core.next_event()
        assert isinstance(rest, RequestReady)
        assert core.next_event() is PAUSED
        core.receive_from_upstream(parse_complete() + bind_complete() + command_complete("A"))
        done = core.next_event()
        assert isinstance(done, StatementFinished)
        core.forward(rest.request)
        assert b"".join(core.data_to_upstream()) == P("B") + B() + E() + S()

    def test_nothing_is_left_where_the_first_part_failed(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + B() + E() + P("B") + B() + E() + S())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward_part(event.request, 3)
        rest = core.next_event()
        assert isinstance(rest, RequestReady)
        core.receive_from_upstream(error())
        core.data_to_upstream()
        assert core.skipping
        core.forward(rest.request)
        assert b"".join(core.data_to_upstream()) == S()
        skipped = [core.next_event(), core.next_event()]
        assert all(isinstance(each, StatementFinished) for each in skipped)

    def test_nothing_is_sent_where_its_series_has_failed(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + H() + P("B") + B() + E() + S())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.receive_from_upstream(error())
        core.data_to_upstream()
        core.forward_part(event.request, 2)
        assert b"".join(core.data_to_upstream()) == S()

    def test_whether_what_it_reported_last_is_what_it_has(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + H())
        assert core.next_event() is NEED_DATA
        assert core.synced
        core.receive_from_client(B() + E() + H())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
        assert not core.synced
