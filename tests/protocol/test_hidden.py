"""Statements of the gateway's own, of which the client sees nothing, wherever they run."""

import pytest

from protocol.connection import ProxyConnection
from protocol.events import NEED_DATA, HiddenFinished, RequestReady, StatementFinished
from protocol.frontend import Limits
from protocol.hidden import Analysis, Place
from tests.protocol.playbook import (
    asks,
    changed,
    client,
    downstream,
    fatal_seen,
    finished,
    forward,
    hidden,
    hide,
    is_ready,
    play,
    refuse,
    said,
    server,
    tell,
    upstream,
)
from tests.protocol.playbook import refusal as refused
from tests.support.answers import (
    bind_complete,
    close_complete,
    command_complete,
    copy_in_response,
    data_row,
    error,
    fatal,
    no_data,
    notice,
    notification,
    parameter_status,
    parse_complete,
    portal_suspended,
    ready,
)
from tests.support.wire import B, C, D, E, H, P, Q, S, d

OWN = "holdgate:own"
ASKED = "SELECT pg_catalog.now()"


def statement(sql: str) -> bytes:
    """One statement as it is sent in a series."""
    return b"".join((P(sql, OWN), B(portal=OWN, statement=OWN), E(OWN), C("P", OWN), C("S", OWN)))


def series(*statements: str, end: bytes) -> bytes:
    return b"".join((C("P", OWN), C("S", OWN), *map(statement, statements), end))


def answer(tag: str = "SELECT 1", *rows: bytes) -> bytes:
    """What the server says to one statement."""
    return b"".join(
        (parse_complete(), bind_complete(), *rows, command_complete(tag), close_complete(), close_complete())
    )


ROW = data_row("x", None)
CLOSED = close_complete() + close_complete()
ONE = CLOSED + answer("SELECT 1", ROW)


class TestIdle:
    def test_a_question_is_a_transaction_of_its_own(self) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(ONE, ready()),
            hidden([("x", None)], ["SELECT 1"]),
        )

    def test_several_statements_run_in_order(self) -> None:
        play(
            hide("BEGIN READ ONLY", "SET LOCAL work_mem = 64"),
            upstream(series("BEGIN READ ONLY", "SET LOCAL work_mem = 64", end=S())),
            server(CLOSED, answer("BEGIN"), answer("SET"), ready("T")),
            hidden(tags=["BEGIN", "SET"]),
            client(Q("SELECT 1")),
            asks("Query SELECT 1"),
            refuse(),
            upstream(Q("holdgate refused this statement")),
            server(error(), ready("E")),
            downstream(refused(), ready("E")),
            is_ready("E"),
        )

    def test_a_failure_is_told_and_cleared_away(self) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(CLOSED, parse_complete(), error(code="42501"), ready()),
            upstream(series(end=S())),
            server(CLOSED, ready()),
            hidden(sqlstate="42501"),
        )

    def test_a_transaction_of_its_own_that_failed_is_ended(self) -> None:
        play(
            hide("BEGIN", ASKED, "ROLLBACK", passing=True),
            upstream(series("BEGIN", ASKED, "ROLLBACK", end=S())),
            server(CLOSED, answer("BEGIN"), error(code="42501"), ready("E")),
            upstream(series("ROLLBACK", end=S())),
            server(CLOSED, answer("ROLLBACK"), ready()),
            hidden(tags=["BEGIN"], sqlstate="42501"),
        )

    def test_nothing_is_guarded_where_no_transaction_is_open(self) -> None:
        play(
            hide(ASKED, guarded=True),
            upstream(series(ASKED, end=S())),
            server(ONE, ready()),
            hidden([("x", None)], ["SELECT 1"]),
        )

    def test_what_is_only_analysed_is_neither_bound_nor_executed(self) -> None:
        analysed = P("SELECT $1", OWN, [23]) + C("P", OWN) + C("S", OWN)
        play(
            hide("BEGIN", Analysis(b"SELECT $1", (23,)), "ROLLBACK"),
            upstream(C("P", OWN), C("S", OWN), statement("BEGIN"), analysed, statement("ROLLBACK"), S()),
            server(CLOSED, answer("BEGIN"), parse_complete(), CLOSED, answer("ROLLBACK"), ready()),
            hidden(tags=["BEGIN", "ROLLBACK"]),
        )

    def test_what_the_client_sends_meanwhile_waits(self) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            client(Q("SELECT 1"), P("SELECT 2"), S()),
            server(ONE, ready()),
            hidden([("x", None)], ["SELECT 1"]),
            asks("Query SELECT 1"),
            forward(),
            upstream(Q("SELECT 1"), P("SELECT 2"), S()),
            server(data_row("1"), command_complete("SELECT 1"), ready(), parse_complete(), ready()),
            downstream(data_row("1"), command_complete("SELECT 1"), ready(), parse_complete(), ready()),
            finished("SELECT 1", "SELECT 1", rows=1),
            is_ready("I", "SELECT 1"),
            is_ready("I"),
        )

    def test_behind_what_was_only_prepared(self) -> None:
        """The Sync takes nothing from the client: a statement outlives it, and there is nothing else."""
        play(
            client(P("SELECT 1"), H()),
            upstream(P("SELECT 1"), H()),
            server(parse_complete()),
            downstream(parse_complete()),
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(ONE, ready()),
            hidden([("x", None)], ["SELECT 1"]),
            client(B(), E(), S()),
            asks("Execute SELECT 1", until="SYNC"),
            refuse(),
            downstream(refused(), ready()),
        )


class TestTransaction:
    def test_an_open_transaction_stays_open(self) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(ONE, ready("T")),
            hidden([("x", None)], ["SELECT 1"]),
            status="T",
        )

    def test_guarded(self) -> None:
        play(
            hide(ASKED, guarded=True),
            upstream(series(f'SAVEPOINT "{OWN}"', ASKED, f'RELEASE SAVEPOINT "{OWN}"', end=S())),
            server(CLOSED, answer("SAVEPOINT"), answer("SELECT 1", ROW), answer("RELEASE"), ready("T")),
            hidden([("x", None)], ["SELECT 1"]),
            status="T",
        )

    def test_a_guarded_failure_leaves_no_trace(self) -> None:
        play(
            hide(ASKED, "SELECT 2", guarded=True),
            upstream(series(f'SAVEPOINT "{OWN}"', ASKED, "SELECT 2", f'RELEASE SAVEPOINT "{OWN}"', end=S())),
            server(
                CLOSED,
                answer("SAVEPOINT"),
                answer(),
                parse_complete(),
                error(code="57014"),
                ready("E"),
            ),
            upstream(series(f'ROLLBACK TO SAVEPOINT "{OWN}"', f'RELEASE SAVEPOINT "{OWN}"', end=S())),
            client(Q("COMMIT")),
            server(CLOSED, answer("ROLLBACK"), answer("RELEASE"), ready("T")),
            hidden(tags=["SELECT 1"], sqlstate="57014"),
            asks("Query COMMIT"),
            forward(),
            upstream(Q("COMMIT")),
            status="T",
        )

    def test_passing_statements_are_undone_where_they_succeed(self) -> None:
        ends = f'ROLLBACK TO SAVEPOINT "{OWN}"', f'RELEASE SAVEPOINT "{OWN}"'
        play(
            hide("SET LOCAL a = b", ASKED, passing=True),
            upstream(series(f'SAVEPOINT "{OWN}"', "SET LOCAL a = b", ASKED, *ends, end=S())),
            server(CLOSED, answer("SAVEPOINT"), answer("SET"), answer("SELECT 1", ROW)),
            server(answer("ROLLBACK"), answer("RELEASE"), ready("T")),
            hidden([("x", None)], ["SET", "SELECT 1"]),
            status="T",
        )

    def test_what_cannot_be_undone_stays_failed(self) -> None:
        play(
            hide(ASKED, guarded=True),
            upstream(series(f'SAVEPOINT "{OWN}"', ASKED, f'RELEASE SAVEPOINT "{OWN}"', end=S())),
            server(CLOSED, parse_complete(), error(code="57014"), ready("E")),
            upstream(series(f'ROLLBACK TO SAVEPOINT "{OWN}"', f'RELEASE SAVEPOINT "{OWN}"', end=S())),
            server(CLOSED, parse_complete(), bind_complete(), error("3B001"), ready("E")),
            hidden(sqlstate="57014"),
            status="T",
        )

    def test_a_cursor_stays_known(self) -> None:
        play(
            client(P("SELECT 1"), B(portal="c"), E("c", 1), S()),
            asks("Execute SELECT 1", until="SYNC"),
            forward(),
            upstream(P("SELECT 1"), B(portal="c"), E("c", 1), S()),
            server(
                parse_complete(), bind_complete(), data_row("1"), command_complete("SELECT 1"), ready("T")
            ),
            downstream(
                parse_complete(), bind_complete(), data_row("1"), command_complete("SELECT 1"), ready("T")
            ),
            finished("SELECT 1", "SELECT 1", rows=1),
            is_ready("T"),
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(ONE, ready("T")),
            hidden([("x", None)], ["SELECT 1"]),
            client(E("c"), S()),
            asks("Execute SELECT 1", until="SYNC"),
            status="T",
        )


class TestSeries:
    BEGUN = (
        client(P("INSERT"), B(), E(), H()),
        asks("Execute INSERT", until="FLUSH"),
        forward(),
        upstream(P("INSERT"), B(), E(), H()),
        server(parse_complete(), bind_complete(), command_complete("INSERT 0 1")),
        downstream(parse_complete(), bind_complete(), command_complete("INSERT 0 1")),
        finished("INSERT", "INSERT 0 1", rows=1),
    )

    @pytest.mark.parametrize("guarded", [True, False])
    def test_nothing_is_committed(self, guarded: bool) -> None:
        play(
            *self.BEGUN,
            hide(ASKED, guarded=guarded),
            upstream(series(ASKED, end=H())),
            client(S()),
            server(ONE),
            upstream(S()),
            hidden([("x", None)], ["SELECT 1"]),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_a_failure_is_that_of_the_clients_series(self) -> None:
        play(
            *self.BEGUN,
            client(P("SELECT 1"), B(), E(), S()),
            asks("Execute SELECT 1", until="SYNC"),
            hide(ASKED),
            upstream(series(ASKED, end=H())),
            server(CLOSED, parse_complete(), error(code="57014")),
            downstream(error(code="57014")),
            hidden(sqlstate="57014"),
            forward(),
            upstream(S()),
            finished("SELECT 1", skipped=True),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_a_failure_drops_what_the_client_sends_up_to_its_sync(self) -> None:
        play(
            *self.BEGUN,
            hide(ASKED),
            upstream(series(ASKED, end=H())),
            client(P("SELECT 1"), Q("SELECT 2"), S(), Q("SELECT 3")),
            server(CLOSED, error(code="57014")),
            downstream(error(code="57014")),
            upstream(S()),
            hidden(sqlstate="57014"),
            asks("Query SELECT 3"),
        )


class TestMeanwhile:
    def test_what_the_server_says_of_its_own_accord_reaches_the_client(self) -> None:
        news = notice(), notification("news"), parameter_status("TimeZone", "UTC")
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(news[0], CLOSED, news[1], answer("SELECT 1", ROW), news[2], ready()),
            downstream(*news),
            changed("TimeZone", "UTC"),
            hidden([("x", None)], ["SELECT 1"]),
        )

    @pytest.mark.parametrize("severity", ["DEBUG", "LOG"])
    def test_but_not_what_it_says_of_a_statement_that_is_not_the_clients(self, severity: str) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(CLOSED, notice(severity=severity), answer("SELECT 1", ROW), ready()),
            hidden([("x", None)], ["SELECT 1"]),
            server(notice(severity=severity)),
            downstream(notice(severity=severity)),
        )

    def test_a_notice_of_the_gateway_comes_between(self) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(CLOSED, answer("SELECT 1", ROW)[:40]),
            tell("news"),
            downstream(said("news")),
            server(answer("SELECT 1", ROW)[40:], ready()),
            hidden([("x", None)], ["SELECT 1"]),
        )

    def test_a_large_row_in_many_pieces(self) -> None:
        text = "x" * 3_000_000
        core = ProxyConnection(Limits())
        asked = core.hide([b"SELECT 1"])
        data = CLOSED + answer("SELECT 1", data_row(text)) + ready()
        for start in range(0, len(data), 65_536):
            core.receive_from_upstream(data[start : start + 65_536])
            assert core.at_client_boundary
        assert core.data_to_client() == []
        assert core.next_event() == HiddenFinished(asked)
        assert [answer.rows for answer in asked.answers] == [[(text,)]]

    def test_the_end_of_the_session_is_the_clients_to_know(self) -> None:
        play(
            hide(ASKED),
            upstream(series(ASKED, end=S())),
            server(CLOSED, fatal()),
            downstream(fatal()),
            fatal_seen("57P01"),
        )

    def test_bytes_are_counted_to_the_statement_they_answer(self) -> None:
        core = ProxyConnection(Limits())
        core.hide([b"SELECT 1"])
        core.receive_from_upstream(ONE + ready())
        assert isinstance(core.next_event(), HiddenFinished)
        core.receive_from_client(Q("SELECT 1"))
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
        core.receive_from_upstream(data_row("1") + command_complete("SELECT 1") + ready())
        answered = core.next_event()
        assert isinstance(answered, StatementFinished)
        assert answered.size == len(data_row("1") + command_complete("SELECT 1"))

    @pytest.mark.parametrize(
        ("said_by_server", "fault"),
        [
            (copy_in_response(), "COPY data in a statement of the gateway's own"),
            (ready(), "ReadyForQuery though it was not due"),
            (no_data(), "message type 110 while"),
            (portal_suspended() + CLOSED + ready(), "did not answer a statement of the gateway's own"),
            (data_row("x")[:1] + (9).to_bytes(4, "big") + b"\0\1\0\0\7", "malformed DataRow"),
        ],
    )
    def test_nonsense(self, said_by_server: bytes, fault: str) -> None:
        core = ProxyConnection(Limits())
        core.hide([b"SELECT 1"])
        with pytest.raises(Exception, match=fault):
            core.receive_from_upstream(CLOSED + parse_complete() + bind_complete() + said_by_server)


def place(core: ProxyConnection) -> Place:
    return core.place


class TestPlace:
    def test_nowhere_in_a_failed_transaction(self) -> None:
        core = ProxyConnection(Limits(), ord("E"))
        assert place(core) is Place.NOWHERE
        with pytest.raises(AssertionError, match="would not run"):
            core.hide([b"SELECT 1"])

    def test_nowhere_while_the_server_owes_an_answer(self) -> None:
        core = ProxyConnection(Limits())
        assert place(core) is Place.IDLE
        core.hide([b"SELECT 1"])
        assert core.hiding
        assert place(core) is Place.NOWHERE

    def test_nowhere_behind_an_error_that_the_client_has_not_synced(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("SELEC") + H())
        assert core.next_event() is NEED_DATA
        core.receive_from_upstream(error())
        assert core.settled
        assert place(core) is Place.NOWHERE
        core.receive_from_client(S())
        assert core.next_event() is NEED_DATA
        core.receive_from_upstream(ready())
        assert place(core) is Place.IDLE

    def test_nowhere_inside_copy_data(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(d(b"12345")[:7])
        assert core.next_event() is NEED_DATA
        assert core.settled
        assert place(core) is Place.NOWHERE

    def test_a_transaction(self) -> None:
        assert place(ProxyConnection(Limits(), ord("T"))) is Place.TRANSACTION

    def test_a_series_in_a_transaction_may_have_ended_it(self) -> None:
        core = ProxyConnection(Limits(), ord("T"))
        core.receive_from_client(P("COMMIT") + B() + E() + H())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
        core.receive_from_upstream(parse_complete() + bind_complete() + command_complete("COMMIT"))
        assert place(core) is Place.SERIES

    def test_only_described_in_a_transaction(self) -> None:
        core = ProxyConnection(Limits(), ord("T"))
        core.receive_from_client(P("SELECT 1") + D("S") + H())
        assert core.next_event() is NEED_DATA
        assert place(core) is Place.NOWHERE
        core.receive_from_upstream(parse_complete() + b"t\0\0\0\6\0\0" + no_data())
        assert place(core) is Place.TRANSACTION
