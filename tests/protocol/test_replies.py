"""The server's half of a session: what is passed, replaced, left out, and what breaks the protocol."""

import pytest

from protocol.connection import ProxyConnection
from protocol.copying import FENCE
from protocol.enclosure import Enclosure
from protocol.errors import ServerError, UpstreamViolation
from protocol.events import NEED_DATA, RequestReady, StatementFinished, Withheld
from protocol.frontend import Limits
from tests.protocol.playbook import (
    asks,
    breaks,
    changed,
    client,
    commit_failed,
    downstream,
    fatal_seen,
    finished,
    forward,
    hidden,
    hide,
    is_ready,
    play,
    refusal,
    refuse,
    release_locks,
    released,
    server,
    upstream,
    withheld,
)
from tests.support.answers import (
    bind_complete,
    close_complete,
    command_complete,
    copy_both_response,
    copy_in_response,
    data_row,
    error,
    fatal,
    no_data,
    notice,
    notification,
    parameter_description,
    parameter_status,
    parse_complete,
    portal_suspended,
    ready,
    row_description,
)
from tests.support.wire import B, C, D, E, H, P, Q, S, c, d, message

ONE = (row_description("a"), data_row("1"), command_complete("SELECT 1"), ready())


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


# --- what goes around a request so that it cannot write --------------------------------------------------

OWN = "holdgate:own"


def around(*statements: str) -> bytes:
    """Statements of the gateway's own, as they are sent around a request."""
    closing = C("P", OWN) + C("S", OWN)
    return closing + b"".join(
        P(sql, OWN) + B(portal=OWN, statement=OWN) + E(OWN) + closing for sql in statements
    )


def done(*tags: str) -> bytes:
    """What the server says to them."""
    closing = close_complete() * 2
    return closing + b"".join(
        parse_complete() + bind_complete() + command_complete(tag) + closing for tag in tags
    )


ALONE = Enclosure({0: (b"BEGIN READ ONLY",)}, {0: (b"COMMIT",)})
INSIDE = Enclosure({0: (b"SAVEPOINT a", b"SET LOCAL b")}, {0: (b"RELEASE a",)})
SERIES = Enclosure({0: (b"BEGIN READ ONLY",)}, {}, b"COMMIT")
MIDDLE = Enclosure({1: (b"BEGIN", b"SAVEPOINT a")}, {2: (b"RELEASE a",)}, b"COMMIT")
SELECT = (row_description("a"), data_row("1"), command_complete("SELECT 1"))
BATCH = (P("SELECT 1"), B(), E())
BOUND = (parse_complete(), bind_complete(), data_row("1"), command_complete("SELECT 1"))


def test_an_enclosed_query_is_answered_as_if_it_were_not() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=ALONE),
        upstream(around("BEGIN READ ONLY"), Q("SELECT 1"), around("COMMIT"), S()),
        server(done("BEGIN"), *SELECT, ready("T"), done("COMMIT"), ready()),
        downstream(*SELECT, ready()),
        finished("SELECT 1", "SELECT 1", rows=1),
        is_ready("I", "SELECT 1"),
    )


def test_its_error_is_the_clients_and_what_follows_is_not() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=ALONE),
        upstream(around("BEGIN READ ONLY"), Q("SELECT 1"), around("COMMIT"), S()),
        server(done("BEGIN"), error(), ready("E"), done("ROLLBACK"), ready()),
        downstream(error(), ready()),
        finished("SELECT 1", sqlstate="22012"),
        is_ready("I", "SELECT 1"),
        status="I",
    )
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=INSIDE),
        upstream(around("SAVEPOINT a", "SET LOCAL b"), Q("SELECT 1"), around("RELEASE a"), S()),
        server(done("SAVEPOINT", "SET"), error(), ready("E")),
        downstream(error()),
        finished("SELECT 1", sqlstate="22012"),
        server(close_complete() * 2, error("aborted", "25P02"), ready("E")),
        downstream(ready("E")),
        is_ready("E", "SELECT 1"),
        status="T",
    )


def test_a_query_whose_enclosure_fails_is_skipped_and_told_the_reason() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=ALONE),
        upstream(around("BEGIN READ ONLY"), Q("SELECT 1"), around("COMMIT"), S()),
        server(close_complete() * 2, error("canceled", "57014"), ready()),
        downstream(error("canceled", "57014"), ready()),
        finished("SELECT 1", sqlstate="57014"),
        is_ready("I", "SELECT 1"),
    )


def test_what_cannot_be_left_is_an_error_behind_the_answer() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=INSIDE),
        upstream(around("SAVEPOINT a", "SET LOCAL b"), Q("SELECT 1"), around("RELEASE a"), S()),
        server(done("SAVEPOINT", "SET"), *SELECT, ready("T")),
        downstream(*SELECT),
        finished("SELECT 1", "SELECT 1", rows=1),
        server(close_complete() * 2, parse_complete(), error("canceled", "57014"), ready("E")),
        downstream(error("canceled", "57014"), ready("E")),
        commit_failed("57014"),
        is_ready("E", "SELECT 1"),
        status="T",
    )


def test_an_enclosed_series_ends_with_its_sync() -> None:
    play(
        client(*BATCH, S()),
        asks("Execute SELECT 1", until="SYNC"),
        forward(enclosure=SERIES),
        upstream(around("BEGIN READ ONLY"), *BATCH, S(), around("COMMIT"), S()),
        client(Q("SELECT 2")),
        asks("Query SELECT 2"),
        server(done("BEGIN"), *BOUND, ready("T"), done("COMMIT"), ready()),
        downstream(*BOUND, ready()),
        finished("SELECT 1", "SELECT 1", rows=1),
        is_ready("I"),
    )


def test_a_failed_series_is_left_behind_its_sync_too() -> None:
    play(
        client(*BATCH, S()),
        asks("Execute SELECT 1", until="SYNC"),
        forward(enclosure=SERIES),
        upstream(around("BEGIN READ ONLY"), *BATCH, S(), around("COMMIT"), S()),
        server(done("BEGIN"), parse_complete(), error(), ready("E"), done("ROLLBACK"), ready()),
        downstream(parse_complete(), error(), ready()),
        finished("SELECT 1", sqlstate="22012"),
        is_ready("I"),
    )


def test_a_commit_that_fails_is_that_of_the_sync() -> None:
    play(
        client(*BATCH, S()),
        asks("Execute SELECT 1", until="SYNC"),
        forward(enclosure=MIDDLE),
        upstream(
            BATCH[0],
            around("BEGIN", "SAVEPOINT a"),
            *BATCH[1:],
            around("RELEASE a"),
            S(),
            around("COMMIT"),
            S(),
        ),
        server(parse_complete(), done("BEGIN", "SAVEPOINT"), *BOUND[1:], done("RELEASE"), ready("T")),
        downstream(*BOUND),
        finished("SELECT 1", "SELECT 1", rows=1),
        server(close_complete() * 2, parse_complete(), bind_complete(), error("deferred", "23503"), ready()),
        downstream(error("deferred", "23503"), ready()),
        commit_failed("23503"),
        is_ready("I"),
    )


def test_behind_a_flush_the_enclosure_lasts_to_the_clients_sync() -> None:
    play(
        client(*BATCH, H()),
        asks("Execute SELECT 1", until="FLUSH"),
        forward(enclosure=MIDDLE),
        upstream(BATCH[0], around("BEGIN", "SAVEPOINT a"), *BATCH[1:], around("RELEASE a"), H()),
        server(parse_complete(), done("BEGIN", "SAVEPOINT"), *BOUND[1:], done("RELEASE")),
        downstream(*BOUND),
        finished("SELECT 1", "SELECT 1", rows=1),
        client(S()),
        upstream(S(), around("COMMIT"), S()),
        server(ready("T"), done("COMMIT"), ready()),
        downstream(ready()),
        is_ready("I"),
    )


def test_after_an_error_behind_a_flush_the_clients_sync_leaves_it() -> None:
    play(
        client(*BATCH, H()),
        asks("Execute SELECT 1", until="FLUSH"),
        forward(enclosure=MIDDLE),
        upstream(BATCH[0], around("BEGIN", "SAVEPOINT a"), *BATCH[1:], around("RELEASE a"), H()),
        server(parse_complete(), done("BEGIN", "SAVEPOINT"), bind_complete(), error()),
        downstream(parse_complete(), bind_complete(), error()),
        finished("SELECT 1", sqlstate="22012"),
        client(*BATCH, S()),
        upstream(S(), around("COMMIT"), S()),
        server(ready("E"), done("ROLLBACK"), ready()),
        downstream(ready()),
        is_ready("I"),
    )


def test_a_refusal_inside_the_gateways_transaction_ends_it_with_the_clients_query() -> None:
    poison = P("holdgate refused this statement", OWN)
    play(
        client(*BATCH, H()),
        asks("Execute SELECT 1", until="FLUSH"),
        forward(enclosure=MIDDLE),
        upstream(BATCH[0], around("BEGIN", "SAVEPOINT a"), *BATCH[1:], around("RELEASE a"), H()),
        server(parse_complete(), done("BEGIN", "SAVEPOINT"), *BOUND[1:], done("RELEASE")),
        downstream(*BOUND),
        finished("SELECT 1", "SELECT 1", rows=1),
        client(Q("COMMIT")),
        asks("Query COMMIT"),
        refuse(),
        upstream(poison, S(), around("COMMIT"), S()),
        server(error("syntax", "42601"), ready("E"), done("ROLLBACK"), ready()),
        downstream(refusal(), ready()),
        is_ready("I"),
    )


def test_what_the_server_tells_of_the_course_of_the_gateways_statements_is_kept_back() -> None:
    debug = b"SDEBUG\0VDEBUG\0C00000\0Mrewritten\0\0"
    debug = b"N" + (len(debug) + 4).to_bytes(4, "big") + debug
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=ALONE),
        upstream(around("BEGIN READ ONLY"), Q("SELECT 1"), around("COMMIT"), S()),
        server(debug, done("BEGIN"), debug, *SELECT, ready("T"), debug, done("COMMIT"), ready()),
        downstream(debug, *SELECT, ready()),
        finished("SELECT 1", "SELECT 1", rows=1),
        is_ready("I", "SELECT 1"),
    )


def test_rows_where_none_are_due_break_the_protocol() -> None:
    play(
        client(Q("SELECT 1")),
        asks("Query SELECT 1"),
        forward(enclosure=ALONE),
        upstream(around("BEGIN READ ONLY"), Q("SELECT 1"), around("COMMIT"), S()),
        server(close_complete() * 2, parse_complete(), bind_complete(), data_row("1")),
        breaks("server", "the server sent message type 68 though no result is due"),
    )


# --- what answers settle --------------------------------------------------------------------------------


def test_a_described_statement_and_what_was_prepared_are_known() -> None:
    core = ProxyConnection(Limits())
    core.receive_from_client(P("A", "s") + D("S", "s") + S())
    assert core.next_event() is NEED_DATA
    core.receive_from_upstream(parse_complete() + parameter_description(23) + no_data() + ready())
    statement = core.names.statements.get(b"s")
    assert statement is not None
    assert (statement.sql, statement.parameter_types) == ((b"A",), (23,))


def test_a_sync_of_the_gateways_own_is_not_shown_and_its_error_is() -> None:
    for failure in (b"", error(code="23503")):
        play(
            client(P("A"), H(), B(), E(), S()),
            upstream(P("A"), H()),
            asks("Execute A", until="SYNC"),
            server(parse_complete()),
            downstream(parse_complete()),
            release_locks(),
            released(True),
            upstream(S()),
            server(failure, ready()),
            *((downstream(failure), commit_failed("23503")) if failure else ()),
            is_ready("I"),
        )


@pytest.mark.parametrize("answer", [command_complete("A"), ready("E")])
def test_what_is_meant_to_fail_must(answer: bytes) -> None:
    core = ProxyConnection(Limits(), ord("T"))
    core.receive_from_client(Q("A"))
    event = core.next_event()
    assert isinstance(event, RequestReady)
    core.refuse(event.request, ServerError("42501", "no"))
    with pytest.raises(UpstreamViolation, match="accepted what was meant to fail"):
        core.receive_from_upstream(answer)


COPY = (P("COPY t FROM STDIN"), B(), E(), S())
ASKED = (parse_complete(), bind_complete(), copy_in_response())


def test_the_sync_of_a_copy_gets_no_answer() -> None:
    play(
        client(*COPY, d(b"1\n"), c(), S()),
        asks("Execute COPY t FROM STDIN", until="SYNC"),
        forward(),
        upstream(*COPY),
        server(*ASKED),
        downstream(*ASKED),
        upstream(d(b"1\n"), c(), H()),
        server(command_complete("COPY 1")),
        downstream(command_complete("COPY 1")),
        upstream(S()),
        finished("COPY t FROM STDIN", "COPY 1", rows=1),
        server(ready()),
        downstream(ready()),
        is_ready("I"),
    )


@pytest.mark.parametrize("fence", [close_complete(), error(code="25P02")])
def test_after_a_copy_that_failed_a_fence_tells_which_syncs_were_answered(fence: bytes) -> None:
    play(
        client(*COPY),
        asks("Execute COPY t FROM STDIN", until="SYNC"),
        forward(),
        upstream(*COPY),
        server(*ASKED, error(code="22P04")),
        downstream(*ASKED, error(code="22P04")),
        finished("COPY t FROM STDIN", sqlstate="22P04"),
        client(c(), S(), Q("B")),
        upstream(S(), FENCE, S()),
        server(ready(), fence, ready()),
        downstream(ready()),
        is_ready("I"),
        is_ready("I"),
        asks("Query B"),
    )


def test_a_sync_that_was_read_behind_the_failure_ends_the_skipping() -> None:
    play(
        client(*COPY),
        asks("Execute COPY t FROM STDIN", until="SYNC"),
        forward(),
        upstream(*COPY),
        server(*ASKED, error(code="57014"), ready()),
        downstream(*ASKED, error(code="57014"), ready()),
        finished("COPY t FROM STDIN", sqlstate="57014"),
        is_ready("I"),
        client(Q("B")),
        asks("Query B"),
    )


def test_what_the_server_says_of_its_own_accord_passes() -> None:
    stray = (notice(), parameter_status("TimeZone", "UTC"), notification("news", "hello"))
    play(server(*stray), downstream(*stray), changed("TimeZone", "UTC"))


def test_a_copy_of_a_query_leaves_its_ready() -> None:
    play(
        client(Q("COPY t FROM STDIN"), c()),
        asks("Query COPY t FROM STDIN"),
        forward(),
        upstream(Q("COPY t FROM STDIN")),
        server(copy_in_response()),
        downstream(copy_in_response()),
        upstream(c()),
        server(command_complete("COPY 0"), ready()),
        downstream(command_complete("COPY 0"), ready()),
        finished("COPY t FROM STDIN", "COPY 0", rows=0),
        is_ready("I", "COPY t FROM STDIN"),
    )


def test_both_ways() -> None:
    play(
        client(Q("START_REPLICATION 0/0")),
        asks("Query START_REPLICATION 0/0"),
        forward(),
        upstream(Q("START_REPLICATION 0/0")),
        server(copy_both_response(), d(b"wal")),
        downstream(copy_both_response(), d(b"wal")),
        client(d(b"status")),
        upstream(d(b"status")),
    )


# --- statements of the gateway's own ----------------------------------------------------------------------

CLOSED = close_complete() + close_complete()
DONE = parse_complete() + bind_complete() + command_complete("SET") + CLOSED


def sent_for(*statements: str) -> bytes:
    closed = C("P", OWN) + C("S", OWN)
    return closed + b"".join(
        P(sql, OWN) + B(portal=OWN, statement=OWN) + E(OWN) + closed for sql in statements
    )


def test_nothing_of_their_answers_is_shown() -> None:
    play(
        hide("SET a = 1"),
        upstream(sent_for("SET a = 1"), S()),
        server(CLOSED, DONE, notice(), ready()),
        downstream(notice()),
        hidden([], ["SET"]),
    )


def test_what_failed_is_cleared_away() -> None:
    play(
        hide("SET a = 1", guarded=True),
        upstream(sent_for('SAVEPOINT "holdgate:own"', "SET a = 1", 'RELEASE SAVEPOINT "holdgate:own"'), S()),
        server(CLOSED, DONE, error(code="42704"), ready("E")),
        upstream(sent_for('ROLLBACK TO SAVEPOINT "holdgate:own"', 'RELEASE SAVEPOINT "holdgate:own"'), S()),
        server(CLOSED, DONE, DONE, ready("T")),
        hidden(sqlstate="42704"),
        status="T",
    )


SERIES_BEGUN = (
    client(P("A"), B(), E(), H()),
    asks("Execute A", until="FLUSH"),
    forward(),
    upstream(P("A"), B(), E(), H()),
    server(parse_complete(), bind_complete(), command_complete("A")),
    downstream(parse_complete(), bind_complete(), command_complete("A")),
    finished("A", "A"),
    hide("SET a = 1"),
    upstream(sent_for("SET a = 1"), H()),
)


def test_in_a_series_they_end_without_a_sync() -> None:
    play(*SERIES_BEGUN, server(CLOSED, DONE), hidden([], ["SET"]))


def test_in_a_series_their_failure_is_the_clients() -> None:
    play(
        *SERIES_BEGUN,
        server(CLOSED, error(code="42704")),
        downstream(error(code="42704")),
        hidden(sqlstate="42704"),
        client(P("B"), B(), E(), S()),
        upstream(S()),
    )


def test_they_cannot_ask_for_copy_data_or_be_left_unanswered() -> None:
    for answer, fault in (
        (copy_in_response(), "COPY data in a statement"),
        (portal_suspended() + CLOSED + ready(), "did not answer a statement"),
    ):
        core = ProxyConnection(Limits())
        core.hide([b"SET a = 1"])
        with pytest.raises(UpstreamViolation, match=fault):
            core.receive_from_upstream(CLOSED + parse_complete() + bind_complete() + answer)


# --- violations and ends ------


class TestViolationsOfTheServer:
    @pytest.mark.parametrize(
        "raw",
        [
            data_row("1"),
            d(b"1"),
            command_complete("A"),
            error(),
            ready(),
            parse_complete(),
            message("R", bytes(4)),
            message("?", b""),
        ],
        ids=lambda raw: raw[:1].decode(),
    )
    def test_an_answer_to_nothing(self, raw: bytes) -> None:
        core = ProxyConnection(Limits())
        with pytest.raises(UpstreamViolation):
            core.receive_from_upstream(raw)
        assert core.data_to_client() == []

    @pytest.mark.parametrize(
        "raw",
        [
            d(b"1")[:4] + b"\x05x",
            bind_complete(),
            ready("X"),
            message("Z", b""),
            message("S", b"x"),
            b"T\0\0\0\0",
        ],
    )
    def test_an_answer_to_something_else(self, raw: bytes) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + S())
        assert core.next_event() is NEED_DATA
        with pytest.raises(UpstreamViolation):
            core.receive_from_upstream(raw)
        assert core.data_to_client() == []

    def test_rows_where_none_can_be(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + S())
        core.next_event()
        with pytest.raises(UpstreamViolation, match="though no result is due"):
            core.receive_from_upstream(data_row("1"))

    def test_what_came_before_is_passed(self) -> None:
        play(
            client(Q("A")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            server(row_description("a"), data_row("1"), parse_complete()),
            downstream(row_description("a"), data_row("1")),
            breaks("server", "the server sent message type 49 while Query was being answered"),
        )

    def test_types_that_are_malformed(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + D("S") + S())
        core.next_event()
        with pytest.raises(UpstreamViolation, match="malformed ParameterDescription"):
            core.receive_from_upstream(parse_complete() + message("t", b"\0\1"))


class TestFatalErrors:
    @pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
    def test_a_fatal_error_is_passed_whenever_it_comes(self, severity: str) -> None:
        last = error("terminating connection", "57P01", severity=severity)
        play(server(last), downstream(last), fatal_seen("57P01"))

    def test_a_fatal_error_inside_a_query(self) -> None:
        play(
            client(Q("A")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            server(row_description("a"), fatal()),
            downstream(row_description("a"), fatal()),
            fatal_seen("57P01"),
        )

    def test_a_server_that_names_the_severity_in_its_own_language(self) -> None:
        translated = message("E", b"SSCHWERWIEGEND\0VFATAL\0C57P01\0Mende\0\0")
        play(
            client(Q("A")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            server(message("E", b"SFATAL\0C57P01\0Mold\0\0")),
            downstream(message("E", b"SFATAL\0C57P01\0Mold\0\0")),
            fatal_seen("57P01"),
        )
        play(
            server(translated),
            downstream(translated),
            fatal_seen("57P01"),
        )


def test_sizes_of_answers_add_up() -> None:
    core = ProxyConnection(Limits())
    core.receive_from_client(Q("A; B") + Q("C"))
    answer = b"".join(
        (*SELECT, *SELECT, ready(), row_description("a"), data_row("x" * 1000), error(), ready())
    )
    for _ in range(2):
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
    core.receive_from_upstream(answer)
    sizes = []
    while (event := core.next_event()) is not NEED_DATA:
        if isinstance(event, StatementFinished):
            sizes.append(event.size)
    rows = len(b"".join(SELECT))
    assert sizes == [rows, rows, len(answer) - 2 * rows - len(ready())]
