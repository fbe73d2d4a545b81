"""Requests that may change only so many rows: whole conversations, in every segmentation."""

import pytest

from protocol.ceiling import ANSWER_LIMIT, Ceiling
from protocol.connection import ProxyConnection
from protocol.enclosure import Enclosure
from protocol.events import RequestReady
from protocol.exchange import POISON
from protocol.frontend import Limits
from protocol.hidden import own_series
from protocol.messages import OWN_NAME
from tests.protocol.playbook import (
    asks,
    breaks,
    changed,
    client,
    commit_failed,
    downstream,
    fatal_seen,
    finished,
    is_ready,
    play,
    refusal,
    server,
    too_many,
    tries,
    upstream,
)
from tests.support.answers import (
    bind_complete,
    close_complete,
    command_complete,
    copy_in_response,
    data_row,
    error,
    fatal,
    notice,
    parameter_status,
    parse_complete,
    portal_suspended,
    ready,
    row_description,
)
from tests.support.wire import B, D, E, H, P, Q, S, X

DELETE = "DELETE FROM t"
SQL = f"Query {DELETE}"
RUNS = f"Execute {DELETE}"
POISON_QUERY = Q(POISON)
POISON_PARSE = P(POISON, OWN_NAME.decode())
SYNTAX_ERROR = error('syntax error at or near "holdgate"', "42601")
REFERRED = error("is still referenced", "23503")
SERIES = (P(DELETE), B(), D("P"), E())


def own(*statements: bytes) -> bytes:
    """What is sent for statements of the gateway's own."""
    return b"".join(raw for raw, _ in own_series(statements))


def owed(tag: str) -> bytes:
    """What the server answers to one of them."""
    closed = (close_complete(), close_complete())
    return b"".join((*closed, parse_complete(), bind_complete(), command_complete(tag), *closed))


def deleted(rows: int, *returned: str) -> tuple[bytes, ...]:
    described = (row_description("a"),) if returned else ()
    return (*described, *map(data_row, returned), command_complete(f"DELETE {rows}"))


def answer(rows: int, *returned: str) -> tuple[bytes, ...]:
    described = (row_description("a"),) if returned else ()
    return (
        parse_complete(),
        bind_complete(),
        *described,
        *map(data_row, returned),
        command_complete(f"DELETE {rows}"),
    )


class TestQueryAlone:
    """A Query with no transaction around it gets one."""

    def test_it_is_committed_when_it_was_counted(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(owed("BEGIN"), *deleted(3, "1", "2", "3"), ready("T")),
            upstream(own(b"COMMIT"), S()),
            finished(DELETE, "DELETE 3", rows=3),
            server(owed("COMMIT"), ready()),
            downstream(*deleted(3, "1", "2", "3"), ready()),
            is_ready("I", DELETE),
        )

    def test_it_is_rolled_back_when_it_went_too_far(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(owed("BEGIN"), *deleted(4, "1", "2", "3", "4"), ready("T")),
            upstream(own(b"ROLLBACK"), S()),
            downstream(refusal(too_many(4, 3))),
            finished(DELETE, sqlstate="54000", undone="DELETE 4"),
            server(owed("ROLLBACK"), ready()),
            downstream(ready()),
            is_ready("I", DELETE),
        )

    def test_several_statements_count_together(self) -> None:
        both = f"SELECT 1; {DELETE}; {DELETE}"
        front = (
            row_description("a"),
            data_row("1"),
            command_complete("SELECT 1"),
            command_complete("DELETE 2"),
        )
        play(
            client(Q(both)),
            asks(f"Query {both}"),
            tries(3),
            upstream(own(b"BEGIN"), Q(both)),
            server(owed("BEGIN"), *front, *deleted(2, "x"), command_complete("DELETE 9"), ready("T")),
            upstream(own(b"ROLLBACK"), S()),
            downstream(*front, refusal(too_many(4, 3))),
            finished(both, "SELECT 1", rows=1),
            finished(both, "DELETE 2", rows=2, index=1),
            finished(both, sqlstate="54000", index=2, undone="DELETE 2"),
            finished(both, sqlstate="54000", index=3, undone="DELETE 9"),
            server(owed("ROLLBACK"), ready()),
            downstream(ready()),
            is_ready("I", both),
        )

    def test_its_own_error_is_the_clients(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(owed("BEGIN"), row_description("a"), error(), ready("E")),
            upstream(own(b"ROLLBACK"), S()),
            downstream(row_description("a"), error()),
            finished(DELETE, sqlstate="22012"),
            server(owed("ROLLBACK"), ready()),
            downstream(ready()),
            is_ready("I", DELETE),
        )

    def test_its_own_error_behind_too_many_rows(self) -> None:
        """What was returned of them does not reach the client, though the server undoes it by itself."""
        both = f"{DELETE}; FAIL"
        play(
            client(Q(both)),
            asks(f"Query {both}"),
            tries(1),
            upstream(own(b"BEGIN"), Q(both)),
            server(owed("BEGIN"), *deleted(2, "1", "2"), error(), ready("E")),
            upstream(own(b"ROLLBACK"), S()),
            downstream(error()),
            finished(both, "DELETE 2", rows=2),
            finished(both, sqlstate="22012", index=1),
            server(owed("ROLLBACK"), ready()),
            downstream(ready()),
            is_ready("I", both),
        )

    def test_a_commit_that_fails(self) -> None:
        """Deferred constraints: as from the server alone, the rows come, and an error where the tag would."""
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(owed("BEGIN"), *deleted(1, "1"), ready("T")),
            upstream(own(b"COMMIT"), S()),
            finished(DELETE, "DELETE 1", rows=1),
            server(
                close_complete(),
                close_complete(),
                parse_complete(),
                bind_complete(),
                error("no", "23503"),
                ready(),
            ),
            downstream(row_description("a"), data_row("1"), error("no", "23503"), ready()),
            commit_failed("23503"),
            is_ready("I", DELETE),
        )

    def test_a_transaction_that_cannot_begin(self) -> None:
        """A cancel that hits the gateway's BEGIN: the Query behind it is skipped by the server."""
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(close_complete(), error("canceling", "57014")),
            upstream(S()),
            downstream(error("canceling", "57014")),
            finished(DELETE, sqlstate="57014"),
            server(ready()),
            downstream(ready()),
            is_ready("I", DELETE),
        )

    def test_what_is_no_answer_comes_whatever_is_found(self) -> None:
        said = (notice(), parameter_status("TimeZone", "UTC"))
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(0),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(
                owed("BEGIN"),
                row_description("a"),
                said[0],
                data_row("1"),
                said[1],
                command_complete("DELETE 1"),
                ready("T"),
            ),
            upstream(own(b"ROLLBACK"), S()),
            downstream(*said, refusal(too_many(1, 0))),
            changed("TimeZone", "UTC"),
            finished(DELETE, sqlstate="54000", undone="DELETE 1"),
            server(owed("ROLLBACK"), ready()),
            downstream(ready()),
            is_ready("I", DELETE),
        )

    def test_nothing_else_is_looked_at_before_it_is_decided(self) -> None:
        play(
            client(Q(DELETE), Q("SELECT 1"), X()),
            asks(SQL),
            tries(1),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(owed("BEGIN"), *deleted(1), ready("T")),
            upstream(own(b"COMMIT"), S()),
            finished(DELETE, "DELETE 1", rows=1),
            server(owed("COMMIT"), ready()),
            downstream(*deleted(1), ready()),
            is_ready("I", DELETE),
            asks("Query SELECT 1"),
        )

    def test_a_server_that_ends_the_session(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(own(b"BEGIN"), Q(DELETE)),
            server(owed("BEGIN"), row_description("a"), data_row("1"), fatal()),
            downstream(fatal()),
            fatal_seen("57P01"),
        )


class TestQueryInTransaction:
    def test_it_passes(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(Q(DELETE)),
            server(*deleted(3, "1"), ready("T")),
            downstream(*deleted(3, "1"), ready("T")),
            finished(DELETE, "DELETE 3", rows=3),
            is_ready("T", DELETE),
            status="T",
        )

    def test_its_transaction_fails_when_it_went_too_far(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(Q(DELETE)),
            server(*deleted(4, "1"), ready("T")),
            upstream(POISON_QUERY),
            finished(DELETE, sqlstate="54000", undone="DELETE 4"),
            server(SYNTAX_ERROR, ready("E")),
            downstream(refusal(too_many(4, 3)), ready("E")),
            is_ready("E", DELETE),
            status="T",
        )

    def test_its_own_error(self) -> None:
        play(
            client(Q(DELETE)),
            asks(SQL),
            tries(3),
            upstream(Q(DELETE)),
            server(error(), ready("E")),
            downstream(error(), ready("E")),
            finished(DELETE, sqlstate="22012"),
            is_ready("E", DELETE),
            status="T",
        )


@pytest.mark.parametrize("status", "IT")
class TestSeries:
    """The Sync waits: until then, nothing of the series commits."""

    def test_it_passes(self, status: str) -> None:
        play(
            client(*SERIES, S()),
            asks(RUNS, until="SYNC"),
            tries(3),
            upstream(*SERIES, H()),
            server(*answer(3, "1", "2")),
            upstream(S()),
            downstream(*answer(3, "1", "2")),
            finished(DELETE, "DELETE 3", rows=3),
            server(ready(status)),
            downstream(ready(status)),
            is_ready(status),
            status=status,
        )

    def test_it_fails_when_it_went_too_far(self, status: str) -> None:
        after = "E" if status == "T" else "I"
        play(
            client(*SERIES, S()),
            asks(RUNS, until="SYNC"),
            tries(3),
            upstream(*SERIES, H()),
            server(*answer(4, "1", "2", "3", "4")),
            upstream(POISON_PARSE, S()),
            downstream(parse_complete(), bind_complete(), row_description("a")),
            finished(DELETE, sqlstate="54000", undone="DELETE 4"),
            server(SYNTAX_ERROR, ready(after)),
            downstream(refusal(too_many(4, 3)), ready(after)),
            is_ready(after),
            status=status,
        )

    def test_its_own_error(self, status: str) -> None:
        play(
            client(*SERIES, S()),
            asks(RUNS, until="SYNC"),
            tries(3),
            upstream(*SERIES, H()),
            server(parse_complete(), bind_complete(), row_description("a"), error()),
            upstream(S()),
            downstream(parse_complete(), bind_complete(), row_description("a"), error()),
            finished(DELETE, sqlstate="22012"),
            server(ready(status)),
            downstream(ready(status)),
            is_ready(status),
            status=status,
        )

    def test_two_executions_count_together(self, status: str) -> None:
        after = "E" if status == "T" else "I"
        twice = (P(DELETE), B(), E(), B(), E(), B(), E())
        play(
            client(*twice, S()),
            asks(RUNS, RUNS, RUNS, until="SYNC"),
            tries(3),
            upstream(*twice, H()),
            server(*answer(2), bind_complete(), *deleted(2), bind_complete(), *deleted(0)),
            upstream(POISON_PARSE, S()),
            downstream(*answer(2), bind_complete()),
            finished(DELETE, "DELETE 2", rows=2),
            finished(DELETE, sqlstate="54000", undone="DELETE 2"),
            finished(DELETE, sqlstate="54000", undone="DELETE 0"),
            server(SYNTAX_ERROR, ready(after)),
            downstream(refusal(too_many(4, 3)), ready(after)),
            is_ready(after),
            status=status,
        )

    def test_a_row_limit_hides_the_count(self, status: str) -> None:
        """All rows are gone when the first of them are returned; the tag would come after the last."""
        after = "E" if status == "T" else "I"
        limited = (P(DELETE), B(), E(rows=1))
        play(
            client(*limited, S()),
            asks(RUNS, until="SYNC"),
            tries(3),
            upstream(*limited, H()),
            server(parse_complete(), bind_complete(), data_row("1"), portal_suspended()),
            upstream(POISON_PARSE, S()),
            downstream(parse_complete(), bind_complete()),
            finished(DELETE, sqlstate="54000", undone="(suspended)"),
            server(SYNTAX_ERROR, ready(after)),
            downstream(refusal(too_many(None, 3)), ready(after)),
            is_ready(after),
            status=status,
        )

    def test_a_flush_gets_its_answer_and_the_rest_is_skipped(self, status: str) -> None:
        after = "E" if status == "T" else "I"
        series = (P(DELETE), B(), E())
        play(
            client(*series, H()),
            asks(RUNS, until="FLUSH"),
            tries(0),
            upstream(*series, H()),
            server(*answer(1)),
            upstream(POISON_PARSE, H()),
            downstream(parse_complete(), bind_complete()),
            finished(DELETE, sqlstate="54000", undone="DELETE 1"),
            server(SYNTAX_ERROR),
            downstream(refusal(too_many(1, 0))),
            client(P("SELECT 1"), B(), E(), S()),
            upstream(S()),
            server(ready(after)),
            downstream(ready(after)),
            is_ready(after),
            status=status,
        )

    def test_a_flush_that_passes_leaves_the_series_open(self, status: str) -> None:
        series = (P(DELETE), B(), E())
        play(
            client(*series, H()),
            asks(RUNS, until="FLUSH"),
            tries(1),
            upstream(*series, H()),
            server(*answer(1)),
            upstream(H()),
            downstream(*answer(1)),
            finished(DELETE, "DELETE 1", rows=1),
            client(S()),
            upstream(S()),
            server(ready(status)),
            downstream(ready(status)),
            is_ready(status),
            status=status,
        )


class TestMemory:
    def conversation(self, rows: int, most: int) -> tuple[ProxyConnection, list[bytes]]:
        """A DELETE on trial that returns so many rows of 64 KiB, and what the client has got by its end."""
        from protocol.ceiling import Ceiling
        from protocol.events import RequestReady  # the only test that takes events by itself

        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join((*SERIES, S())))
        event = core.next_event()
        assert isinstance(event, RequestReady)
        ceiling = Ceiling(
            most, frozenset(event.request.executions), lambda n, long: too_many(n, most, too_long=long)
        )
        core.forward(event.request, ceiling=ceiling)
        core.data_to_upstream()
        core.receive_from_upstream(parse_complete() + bind_complete() + row_description("a"))
        for _ in range(rows):
            core.receive_from_upstream(data_row("x" * (64 << 10)))
            assert core.data_to_client() == []
        core.receive_from_upstream(command_complete(f"DELETE {rows}"))
        return core, core.data_to_client()

    def test_rows_are_held_back_and_then_come(self) -> None:
        core, got = self.conversation(100, 100)
        assert sum(map(len, got)) > 100 << 16
        assert core.data_to_upstream() == [S()]

    @pytest.mark.parametrize(
        ("most", "said"), [(1000, too_many(None, 1000, too_long=True)), (3, too_many(400, 3))]
    )
    def test_more_than_fits_does_not_pass(self, most: int, said: object) -> None:
        rows = 400
        assert rows << 16 > 3 * ANSWER_LIMIT
        core, got = self.conversation(rows, most)
        assert b"".join(got) == parse_complete() + bind_complete() + row_description("a")
        assert core.data_to_upstream() == [POISON_PARSE, S()]
        core.receive_from_upstream(SYNTAX_ERROR + ready())
        assert b"".join(core.data_to_client()) == refusal(said) + ready()  # type: ignore[arg-type]


def test_a_copy_from_the_client_is_none_of_it() -> None:
    play(
        client(Q(DELETE)),
        asks(SQL),
        tries(1),
        upstream(own(b"BEGIN"), Q(DELETE)),
        server(owed("BEGIN"), copy_in_response()),
        breaks("server", "the server asks for COPY data in a statement whose rows are counted"),
    )


def test_what_is_enclosed_is_not_tried() -> None:
    core = ProxyConnection(Limits())
    core.receive_from_client(Q(DELETE))
    event = core.next_event()
    assert isinstance(event, RequestReady)
    ceiling = Ceiling(1, frozenset(), lambda n, long: too_many(n, 1, too_long=long))
    with pytest.raises(AssertionError, match="not tried"):
        core.forward(event.request, enclosure=Enclosure({0: (b"BEGIN",)}, {0: (b"COMMIT",)}), ceiling=ceiling)
