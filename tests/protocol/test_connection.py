"""The core as one face: whole conversations, in every segmentation."""

import pytest

from protocol.connection import ProxyConnection
from protocol.copying import FENCE
from protocol.enclosure import Enclosure
from protocol.errors import ServerError, UpstreamViolation
from protocol.events import NEED_DATA, PAUSED, RequestReady
from protocol.exchange import POISON
from protocol.frontend import Limits
from protocol.hidden import Place
from protocol.messages import OWN_NAME, SYNC
from tests.protocol.playbook import (
    asks,
    breaks,
    changed,
    client,
    commit_failed,
    downstream,
    ends,
    finished,
    forward,
    is_ready,
    play,
    refusal,
    refuse,
    release_locks,
    released,
    request_answers,
    said,
    server,
    tell,
    upstream,
)
from tests.support.answers import (
    bind_complete,
    close_complete,
    command_complete,
    copy_both_response,
    copy_in_response,
    copy_out_response,
    data_row,
    empty_query_response,
    error,
    function_call_response,
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
from tests.support.wire import B, C, D, E, F, H, P, Q, S, X, c, d, f, message

ROWS = (row_description("a"), data_row("1"), command_complete("SELECT 1"))
ONE = (*ROWS, ready())
FAILED = (error(), ready())
POISON_QUERY = Q(POISON)
POISON_PARSE = P(POISON, OWN_NAME.decode())
SYNTAX_ERROR = error('syntax error at or near "holdgate"', "42601")


class TestQuery:
    def test_it_passes(self) -> None:
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

    def test_an_empty_one(self) -> None:
        play(
            client(Q("")),
            asks("Query "),
            forward(),
            upstream(Q("")),
            server(empty_query_response(), ready()),
            downstream(empty_query_response(), ready()),
            finished(""),
            is_ready("I", ""),
        )

    def test_several_statements_and_the_error_of_one(self) -> None:
        answer = (command_complete("BEGIN"), *ROWS, error(), ready("E"))
        play(
            client(Q("BEGIN; SELECT 1; FAIL; SELECT 2")),
            asks("Query BEGIN; SELECT 1; FAIL; SELECT 2"),
            forward(),
            upstream(Q("BEGIN; SELECT 1; FAIL; SELECT 2")),
            server(*answer),
            downstream(*answer),
            finished("BEGIN; SELECT 1; FAIL; SELECT 2", "BEGIN"),
            finished("BEGIN; SELECT 1; FAIL; SELECT 2", "SELECT 1", rows=1, index=1),
            finished("BEGIN; SELECT 1; FAIL; SELECT 2", sqlstate="22012", index=2),
            is_ready("E", "BEGIN; SELECT 1; FAIL; SELECT 2"),
        )

    def test_the_next_is_asked_about_only_after_the_first(self) -> None:
        play(
            client(Q("A"), Q("B"), X()),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            asks("Query B"),
            forward(),
            upstream(Q("B")),
            ends(),
        )

    def test_what_the_server_says_of_its_own_accord_is_passed_anywhere(self) -> None:
        stray = (notice(), parameter_status("TimeZone", "UTC"), notification("news", "hello"))
        play(
            server(*stray),
            downstream(*stray),
            changed("TimeZone", "UTC"),
            client(Q("SELECT 1")),
            asks("Query SELECT 1"),
            server(*stray),
            downstream(*stray),
            changed("TimeZone", "UTC"),
            forward(),
            upstream(Q("SELECT 1")),
            server(
                row_description("a"), *stray, data_row("1"), notice(), command_complete("SELECT 1"), ready()
            ),
            downstream(
                row_description("a"), *stray, data_row("1"), notice(), command_complete("SELECT 1"), ready()
            ),
            changed("TimeZone", "UTC"),
            finished("SELECT 1", "SELECT 1", rows=1),
            is_ready("I", "SELECT 1"),
        )


class TestFunctionCall:
    def test_it_passes(self) -> None:
        play(
            client(F(2000, [b"a"])),
            asks("FunctionCall 2000"),
            forward(),
            upstream(F(2000, [b"a"])),
            server(function_call_response(b"x"), ready()),
            downstream(function_call_response(b"x"), ready()),
            finished("2000"),
            is_ready("I", "2000"),
        )

    def test_it_fails(self) -> None:
        play(
            client(F(2000, [])),
            asks("FunctionCall 2000"),
            forward(),
            upstream(F(2000, [])),
            server(*FAILED),
            downstream(*FAILED),
            finished("2000", sqlstate="22012"),
            is_ready("I", "2000"),
        )

    def test_a_malformed_one_is_a_fault(self) -> None:
        play(
            client(message("F", b"\0")),
            asks(fault="08P01"),
            refuse(),
            downstream(refusal(), ready()),
        )


BATCH = (P("SELECT $1"), B(["x"]), D("P"), E(), S())
ANSWER = (parse_complete(), bind_complete(), *ROWS, ready())


class TestBatch:
    def test_it_passes(self) -> None:
        play(
            client(*BATCH),
            asks("Execute SELECT $1", until="SYNC"),
            forward(),
            upstream(*BATCH),
            server(*ANSWER),
            downstream(*ANSWER),
            finished("SELECT $1", "SELECT 1", rows=1),
            is_ready("I"),
        )

    def test_nothing_is_sent_before_it_is_whole(self) -> None:
        play(client(*BATCH[:-1]), client(BATCH[-1]), asks("Execute SELECT $1", until="SYNC"))

    def test_what_executes_nothing_needs_no_ruling(self) -> None:
        batch = (P("SELECT 1", "s"), D("S", "s"), C("P"), S())
        answer = (parse_complete(), parameter_description(), no_data(), close_complete(), ready())
        play(client(*batch), upstream(*batch), server(*answer), downstream(*answer), is_ready("I"))

    def test_flush_ends_it_too(self) -> None:
        play(
            client(P("SELECT 1"), B(), E(), H()),
            asks("Execute SELECT 1", until="FLUSH"),
            forward(),
            upstream(P("SELECT 1"), B(), E(), H()),
            server(parse_complete(), bind_complete(), command_complete("SELECT 0")),
            downstream(parse_complete(), bind_complete(), command_complete("SELECT 0")),
            finished("SELECT 1", "SELECT 0", rows=0),
            client(S()),
            upstream(S()),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_a_flush_and_a_sync_alone(self) -> None:
        play(
            client(H(), S(), S()),
            upstream(H(), S(), S()),
            server(ready(), ready()),
            downstream(ready(), ready()),
            is_ready("I"),
            is_ready("I"),
        )

    def test_a_query_ends_it_too(self) -> None:
        play(
            client(P("A"), B(), E(), Q("B")),
            asks("Execute A", until="OTHER"),
            forward(),
            upstream(P("A"), B(), E()),
            asks("Query B"),
            forward(),
            upstream(Q("B")),
            server(parse_complete(), bind_complete(), command_complete("A"), command_complete("B"), ready()),
            downstream(
                parse_complete(), bind_complete(), command_complete("A"), command_complete("B"), ready()
            ),
            finished("A", "A"),
            finished("B", "B"),
            is_ready("I", "B"),
        )

    def test_what_is_larger_than_a_batch_is_passed_on(self) -> None:
        parse, bind = P("A"), B(["x" * 50])
        play(
            client(parse, bind, E()),
            asks("Bind A", until="SIZE"),
            forward(),
            upstream(parse, bind),
            client(S()),
            asks("Execute A", until="SYNC"),
            forward(),
            upstream(E(), S()),
            limits=Limits(batch=60),
        )

    def test_what_is_larger_than_a_batch_and_executes_nothing_is_passed_on_unasked(self) -> None:
        parse = P("A" * 100)
        play(client(parse, S()), upstream(parse, S()), limits=Limits(batch=60))

    def test_a_portal_is_suspended_and_goes_on(self) -> None:
        play(
            client(P("A"), B(portal="p"), E("p", 1), S()),
            asks("Execute A", until="SYNC"),
            forward(),
            upstream(P("A"), B(portal="p"), E("p", 1), S()),
            server(parse_complete(), bind_complete(), data_row("1"), portal_suspended(), ready("T")),
            downstream(parse_complete(), bind_complete(), data_row("1"), portal_suspended(), ready("T")),
            finished("A", suspended=True),
            is_ready("T"),
            client(E("p", 1), S()),
            asks("Execute A", until="SYNC"),
            forward(),
            upstream(E("p", 1), S()),
            server(command_complete("SELECT 0"), ready("I")),
            downstream(command_complete("SELECT 0"), ready("I")),
            finished("A", "SELECT 0", rows=0),
            is_ready("I"),
            client(E("p"), S()),
            asks("Execute ?p", until="SYNC"),
            status="T",
        )

    def test_an_error_skips_to_the_sync(self) -> None:
        play(
            client(P("A"), B(), E(), P("B", "s"), B(statement="s"), E(), S()),
            asks("Execute A", "Execute B", until="SYNC"),
            forward(),
            upstream(P("A"), B(), E(), P("B", "s"), B(statement="s"), E(), S()),
            server(parse_complete(), bind_complete(), *FAILED),
            downstream(parse_complete(), bind_complete(), *FAILED),
            finished("A", sqlstate="22012"),
            finished("B", skipped=True),
            is_ready("I"),
            client(B(statement="s"), E(), S()),
            asks("Execute ?s", until="SYNC"),
        )

    def test_after_an_error_nothing_is_looked_at_up_to_the_clients_sync(self) -> None:
        play(
            client(P("A"), B(), E(), H()),
            asks("Execute A", until="FLUSH"),
            forward(),
            upstream(P("A"), B(), E(), H()),
            server(error()),
            downstream(error()),
            finished("A", sqlstate="22012"),
            client(P("B"), B(), E(), Q("C"), F(1, []), H(), message("P", b"malformed"), d(b"x"), c()),
            client(S(), Q("D")),
            upstream(S()),
            asks("Query D"),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_what_was_gathered_when_an_error_came_is_skipped_too(self) -> None:
        play(
            client(P("A"), B(), E(), H(), P("B"), B()),
            asks("Execute A", until="FLUSH"),
            forward(),
            upstream(P("A"), B(), E(), H()),
            server(parse_complete(), bind_complete(), error()),
            downstream(parse_complete(), bind_complete(), error()),
            finished("A", sqlstate="22012"),
            client(E(), S()),
            upstream(S()),
        )

    def test_the_commit_at_a_sync_can_fail(self) -> None:
        play(
            client(*BATCH),
            asks("Execute SELECT $1", until="SYNC"),
            forward(),
            upstream(*BATCH),
            server(parse_complete(), bind_complete(), *ROWS, error(code="23503"), ready()),
            downstream(parse_complete(), bind_complete(), *ROWS, error(code="23503"), ready()),
            finished("SELECT $1", "SELECT 1", rows=1),
            commit_failed("23503"),
            is_ready("I"),
        )

    def test_two_segments_in_one_go(self) -> None:
        play(
            client(*BATCH, *BATCH),
            asks("Execute SELECT $1", until="SYNC"),
            forward(),
            upstream(*BATCH),
            asks("Execute SELECT $1", until="SYNC"),
            forward(),
            upstream(*BATCH),
            server(parse_complete(), *FAILED, *ANSWER),
            downstream(parse_complete(), *FAILED, *ANSWER),
            finished("SELECT $1", sqlstate="22012"),
            is_ready("I"),
            finished("SELECT $1", "SELECT 1", rows=1),
            is_ready("I"),
        )


class TestOwed:
    def test_a_client_waits_while_the_server_owes_too_much(self) -> None:
        play(
            client(Q("A"), Q("B"), Q("C")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            asks("Query B"),
            forward(),
            upstream(Q("B")),
            server(*ONE),
            downstream(*ONE),
            finished("A", "SELECT 1", rows=1),
            is_ready("I", "A"),
            asks("Query C"),
            limits=Limits(owed=2),
        )

    def test_and_the_server_is_made_to_answer(self) -> None:
        play(
            client(P("A"), B(), E(), Q("B")),
            asks("Execute A", until="OTHER"),
            forward(),
            upstream(P("A"), B(), E(), H()),
            server(parse_complete()),
            downstream(parse_complete()),
            asks("Query B"),
            limits=Limits(owed=3),
        )


class TestNames:
    def test_a_statement_of_an_earlier_segment_is_waited_for(self) -> None:
        play(
            client(P("A", "s"), S(), B(statement="s"), E(), S()),
            upstream(P("A", "s"), S()),
            server(parse_complete(), ready()),
            downstream(parse_complete(), ready()),
            is_ready("I"),
            asks("Execute A", until="SYNC"),
        )

    def test_whatever_ends_the_batch_waits_with_it(self) -> None:
        play(
            client(P("A", "s"), S(), B(statement="s"), E(), Q("B")),
            upstream(P("A", "s"), S()),
            server(parse_complete(), ready()),
            downstream(parse_complete(), ready()),
            is_ready("I"),
            asks("Execute A", until="OTHER"),
            forward(),
            upstream(B(statement="s"), E()),
            asks("Query B"),
        )

    def test_the_server_is_made_to_answer_where_nobody_else_would(self) -> None:
        play(
            client(P("A", "s"), F(1, [])),
            upstream(P("A", "s")),
            asks("FunctionCall 1"),
            forward(),
            upstream(F(1, [])),
            client(P("B", "s"), B(statement="s", portal="p"), E("p"), Q("C")),
            asks("Execute B", until="OTHER"),
            forward(),
            upstream(P("B", "s"), B(statement="s", portal="p"), E("p")),
            asks("Query C"),
            forward(),
            upstream(Q("C")),
            client(B(statement="s"), H()),
            server(parse_complete(), function_call_response(), ready(), error(code="42P05")),
            downstream(parse_complete(), function_call_response(), ready(), error(code="42P05")),
            finished("1"),
            is_ready("I", "1"),
            finished("B", sqlstate="42P05"),
            finished("C", skipped=True),
        )

    def test_a_statement_that_the_server_refused_leaves_the_old_one(self) -> None:
        play(
            client(P("A", "s"), S()),
            upstream(P("A", "s"), S()),
            server(parse_complete(), ready()),
            downstream(parse_complete(), ready()),
            is_ready("I"),
            client(P("B", "s"), S(), B(statement="s"), E(), S()),
            upstream(P("B", "s"), S()),
            server(error(code="42P05"), ready()),
            downstream(error(code="42P05"), ready()),
            is_ready("I"),
            asks("Execute A", until="SYNC"),
        )

    def test_what_is_closed_is_gone(self) -> None:
        play(
            client(P("A", "s"), C("S", "s"), S(), B(statement="s"), E(), S()),
            upstream(P("A", "s"), C("S", "s"), S()),
            server(parse_complete(), close_complete(), ready()),
            downstream(parse_complete(), close_complete(), ready()),
            is_ready("I"),
            asks("Execute ?s", until="SYNC"),
        )

    def test_a_described_statement_has_the_types_the_server_found(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A", "s") + D("S", "s") + S())
        assert core.next_event() is NEED_DATA
        core.receive_from_upstream(parse_complete() + parameter_description(23, 25) + no_data() + ready())
        statement = core.names.statements.get(b"s")
        assert statement is not None
        assert statement.parameter_types == (23, 25)


class TestRefusalWithNothingOpen:
    def test_a_query_is_answered_alone(self) -> None:
        play(
            client(Q("A"), Q("B")),
            asks("Query A"),
            refuse(),
            downstream(refusal(), ready()),
            asks("Query B"),
        )

    def test_a_function_call_too(self) -> None:
        play(client(F(1, [])), asks("FunctionCall 1"), refuse(), downstream(refusal(), ready()))

    def test_a_batch_is_answered_once(self) -> None:
        play(
            client(P("A"), B(), D("P"), E(), S(), Q("B")),
            asks("Execute A", until="SYNC"),
            refuse(1),
            downstream(refusal(), ready()),
            asks("Query B"),
        )

    def test_a_batch_without_its_sync_is_answered_when_that_comes(self) -> None:
        play(
            client(P("A"), B(), E(), H()),
            asks("Execute A", until="FLUSH"),
            refuse(),
            downstream(refusal()),
            client(P("B"), Q("C"), H()),
            client(S(), Q("D")),
            downstream(ready()),
            asks("Query D"),
        )

    def test_what_it_prepared_never_was(self) -> None:
        play(
            client(P("A", "s"), B(statement="s"), E(), S()),
            asks("Execute A", until="SYNC"),
            refuse(1),
            downstream(refusal(), ready()),
            client(B(statement="s"), E(), S()),
            asks("Execute ?s", until="SYNC"),
        )


class TestRefusalInATransaction:
    def test_a_query_fails_the_transaction(self) -> None:
        play(
            client(Q("A")),
            asks("Query A"),
            refuse(),
            upstream(POISON_QUERY),
            server(SYNTAX_ERROR, ready("E")),
            downstream(refusal(), ready("E")),
            is_ready("E"),
            status="T",
        )

    def test_a_batch_fails_the_transaction(self) -> None:
        play(
            client(P("A"), B(), E(), S()),
            asks("Execute A", until="SYNC"),
            refuse(),
            upstream(POISON_PARSE, S()),
            server(SYNTAX_ERROR, ready("E")),
            downstream(refusal(), ready("E")),
            is_ready("E"),
            status="T",
        )

    def test_what_is_allowed_in_front_runs_and_is_undone(self) -> None:
        play(
            client(P("A"), B(), E(), P("B"), B(), E(), S()),
            asks("Execute A", "Execute B", until="SYNC"),
            refuse(4),
            upstream(P("A"), B(), E(), P("B"), POISON_PARSE, S()),
            server(
                parse_complete(),
                bind_complete(),
                command_complete("A"),
                parse_complete(),
                SYNTAX_ERROR,
                ready(),
            ),
            downstream(
                parse_complete(), bind_complete(), command_complete("A"), parse_complete(), refusal(), ready()
            ),
            finished("A", "A"),
            is_ready("I"),
        )

    def test_what_was_flushed_before_is_undone(self) -> None:
        play(
            client(P("A"), B(), E(), H()),
            asks("Execute A", until="FLUSH"),
            forward(),
            upstream(P("A"), B(), E(), H()),
            server(parse_complete(), bind_complete(), command_complete("A")),
            downstream(parse_complete(), bind_complete(), command_complete("A")),
            finished("A", "A"),
            client(P("B"), B(), E(), H()),
            asks("Execute B", until="FLUSH"),
            refuse(),
            upstream(POISON_PARSE, H()),
            server(SYNTAX_ERROR),
            downstream(refusal()),
            client(P("C"), S()),
            upstream(S()),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_the_unnamed_statement_of_the_client_survives(self) -> None:
        play(
            client(P("A"), H()),
            upstream(P("A"), H()),
            server(parse_complete()),
            downstream(parse_complete()),
            client(B(), E(), S()),
            asks("Execute A", until="SYNC"),
            refuse(),
            upstream(POISON_PARSE, S()),
            server(SYNTAX_ERROR, ready("E")),
            downstream(refusal(), ready("E")),
            is_ready("E"),
            client(B(), E(), S()),
            asks("Execute A", until="SYNC"),
            status="T",
        )

    @pytest.mark.parametrize(
        ("request_of_the_client", "asked", "accepted"),
        [
            (Q("A"), asks("Query A"), command_complete("A")),
            (Q("A"), asks("Query A"), ready("T")),
            (P("A") + B() + E() + S(), asks("Execute A", until="SYNC"), parse_complete()),
        ],
    )
    def test_a_server_that_accepts_what_must_fail_is_no_server(
        self, request_of_the_client: bytes, asked: object, accepted: bytes
    ) -> None:
        core = ProxyConnection(Limits(), ord("T"))
        core.receive_from_client(request_of_the_client)
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.refuse(event.request, ServerError("42501", "no"))
        with pytest.raises(UpstreamViolation, match="accepted what was meant to fail"):
            core.receive_from_upstream(accepted)


class TestRulingThatCameTooLate:
    """A ruling about what the server would skip by then."""

    EARLIER = (
        client(P("A"), B(), E(), H(), P("B"), B(), E(), S()),
        asks("Execute A", until="FLUSH"),
        forward(),
        upstream(P("A"), B(), E(), H()),
        asks("Execute B", until="SYNC"),
        server(parse_complete(), bind_complete(), error()),
        downstream(parse_complete(), bind_complete(), error()),
        finished("A", sqlstate="22012"),
    )
    LATER = (upstream(S()), finished("B", skipped=True), server(ready()), downstream(ready()), is_ready("I"))

    def test_allowed(self) -> None:
        play(*self.EARLIER, forward(), *self.LATER)

    def test_refused(self) -> None:
        play(*self.EARLIER, refuse(), *self.LATER)

    @pytest.mark.parametrize("ruling", [forward(), refuse(1)])
    def test_about_what_could_only_be_refused(self, ruling: object) -> None:
        play(
            client(P("A"), B(), E(), H(), P("B"), message("B", b"malformed")),
            *self.EARLIER[1:4],
            asks(fault="08P01", until="FAULT"),
            *self.EARLIER[5:],
            ruling,  # type: ignore[arg-type]
            client(E(), S()),
            upstream(S()),
        )

    def test_without_a_sync(self) -> None:
        play(
            client(P("A"), B(), E(), H(), P("B"), B(), E(), H()),
            *self.EARLIER[1:4],
            asks("Execute B", until="FLUSH"),
            *self.EARLIER[5:],
            forward(),
            finished("B", skipped=True),
            client(S()),
            upstream(S()),
        )


class TestReleaseLocks:
    def test_what_only_parse_opened_is_ended_without_the_client_seeing_it(self) -> None:
        play(
            client(P("A"), D("S"), H(), B(), E(), S()),
            upstream(P("A"), D("S"), H()),
            asks("Execute A", until="SYNC"),
            server(parse_complete(), parameter_description(), no_data()),
            downstream(parse_complete(), parameter_description(), no_data()),
            release_locks(),
            released(True),
            upstream(S()),
            server(ready()),
            is_ready("I"),
            forward(),
            upstream(B(), E(), S()),
            server(bind_complete(), command_complete("A"), ready()),
            downstream(bind_complete(), command_complete("A"), ready()),
            finished("A", "A"),
            is_ready("I"),
        )

    def test_an_error_at_that_sync_is_the_clients_and_skips_to_its_own(self) -> None:
        play(
            client(P("A"), H(), B(), E(), S()),
            upstream(P("A"), H()),
            asks("Execute A", until="SYNC"),
            server(parse_complete()),
            downstream(parse_complete()),
            release_locks(),
            released(True),
            upstream(S()),
            server(error(code="23503"), ready()),
            downstream(error(code="23503")),
            commit_failed("23503"),
            is_ready("I"),
            forward(),
            upstream(S()),
            finished("A", skipped=True),
        )

    def test_there_is_nothing_to_release_where_nothing_is_open(self) -> None:
        play(client(Q("A")), asks("Query A"), release_locks(), released(False))

    def test_not_while_the_server_owes_answers(self) -> None:
        play(
            client(P("A"), H(), B(), E(), S()),
            upstream(P("A"), H()),
            asks("Execute A", until="SYNC"),
            release_locks(),
            released(False),
        )

    def test_not_what_ran(self) -> None:
        play(
            client(P("A"), B(), E(), H()),
            asks("Execute A", until="FLUSH"),
            forward(),
            upstream(P("A"), B(), E(), H()),
            server(parse_complete(), bind_complete(), command_complete("A")),
            downstream(parse_complete(), bind_complete(), command_complete("A")),
            finished("A", "A"),
            client(P("B"), B(), E(), S()),
            asks("Execute B", until="SYNC"),
            release_locks(),
            released(False),
        )

    def test_not_in_a_transaction(self) -> None:
        play(
            client(P("A"), H(), B(), E(), S()),
            upstream(P("A"), H()),
            asks("Execute A", until="SYNC"),
            server(parse_complete()),
            downstream(parse_complete()),
            release_locks(),
            released(False),
            status="T",
        )


class TestRequestAnswers:
    def test_it_flushes_what_nobody_would(self) -> None:
        play(
            client(P("A"), Q("B")),
            upstream(P("A")),
            asks("Query B"),
            request_answers(),
            upstream(H()),
            request_answers(),
        )

    def test_never_inside_copy_data(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + H()[:0] + d(b"stray")[:-1])
        core.next_event()
        core.data_to_upstream()
        core.request_answers()
        assert core.data_to_upstream() == []


class TestFaults:
    LIMITS = Limits(statement=20, request=30)

    @pytest.mark.parametrize("raw", [Q("x" * 30), F(1, [b"x" * 40])], ids=["Q", "F"])
    def test_a_request_that_is_too_large_is_refused_and_the_next_is_read(self, raw: bytes) -> None:
        play(
            client(raw, Q("B")),
            asks(fault="54000"),
            refuse(),
            downstream(refusal(), ready()),
            asks("Query B"),
            limits=self.LIMITS,
        )

    @pytest.mark.parametrize(
        ("raw", "sqlstate"),
        [
            (P("x" * 30), "54000"),
            (B(["x" * 40]), "54000"),
            (message("E", b"malformed"), "08P01"),
            (D("S", "sü"), "0A000"),
        ],
    )
    def test_a_batch_with_a_message_that_cannot_be_forwarded(self, raw: bytes, sqlstate: str) -> None:
        play(
            client(P("A"), raw, S(), Q("B")),
            asks(fault=sqlstate, until="FAULT"),
            refuse(1),
            downstream(refusal()),
            downstream(ready()),
            asks("Query B"),
            limits=self.LIMITS,
        )

    @pytest.mark.parametrize("raw", [Q("x" * 30), F(1, [b"x" * 40])], ids=["Q", "F"])
    def test_a_message_that_is_too_large_behind_a_batch_is_a_fault_of_the_batch(self, raw: bytes) -> None:
        play(
            client(P("A"), raw),
            asks(fault="54000", until="FAULT"),
            refuse(1),
            downstream(refusal()),
            client(S()),
            downstream(ready()),
            limits=self.LIMITS,
        )

    @pytest.mark.parametrize(
        ("raw", "why"),
        [
            (b"?\0\0\0\4", "invalid frontend message type 63"),
            (message("p", b"secret\0"), "invalid frontend message type 112"),
            (b"Q\0\0\0\3", "invalid message length"),
            (message("S", b"x"), "invalid message length"),
            (message("E", b"x" * 10_001), "invalid message length"),
            (message("f", b"x" * 10_001), "invalid message length"),
        ],
    )
    def test_what_loses_the_boundaries_of_messages_ends_the_session(self, raw: bytes, why: str) -> None:
        play(client(raw[:5]), breaks("client", why))

    def test_a_copyfail_over_the_limit_is_no_copyfail(self) -> None:
        play(client(f("x" * 40)), breaks("client", "invalid message length"), limits=self.LIMITS)


class TestCopyIn:
    START = (
        client(Q("COPY t FROM STDIN")),
        asks("Query COPY t FROM STDIN"),
        forward(),
        upstream(Q("COPY t FROM STDIN")),
        server(copy_in_response()),
        downstream(copy_in_response()),
    )

    def test_data_passes_as_it_comes(self) -> None:
        play(
            *self.START,
            client(d(b"1\n2"), d(b"\n"), d(b""), c()),
            upstream(d(b"1\n2"), d(b"\n"), d(b""), c()),
            server(command_complete("COPY 2"), ready()),
            downstream(command_complete("COPY 2"), ready()),
            finished("COPY t FROM STDIN", "COPY 2", rows=2),
            is_ready("I", "COPY t FROM STDIN"),
        )

    def test_the_client_gives_up(self) -> None:
        play(
            *self.START,
            client(d(b"1\n"), f("no more")),
            upstream(d(b"1\n"), f("no more")),
            server(error(code="57014"), ready()),
            downstream(error(code="57014"), ready()),
            finished("COPY t FROM STDIN", sqlstate="57014"),
            is_ready("I", "COPY t FROM STDIN"),
        )

    def test_the_server_gives_up_and_what_comes_still_goes_nowhere(self) -> None:
        play(
            *self.START,
            client(d(b"bad\n")),
            upstream(d(b"bad\n")),
            server(error(code="22P04"), ready()),
            downstream(error(code="22P04"), ready()),
            finished("COPY t FROM STDIN", sqlstate="22P04"),
            is_ready("I", "COPY t FROM STDIN"),
            client(d(b"more"), c(), Q("B")),
            asks("Query B"),
        )

    def test_nothing_is_looked_at_before_the_server_asked(self) -> None:
        play(
            client(Q("COPY t FROM STDIN"), d(b"1\n"), c(), Q("B")),
            asks("Query COPY t FROM STDIN"),
            forward(),
            upstream(Q("COPY t FROM STDIN")),
            server(copy_in_response()),
            downstream(copy_in_response()),
            upstream(d(b"1\n"), c()),
            server(command_complete("COPY 1"), ready()),
            downstream(command_complete("COPY 1"), ready()),
            finished("COPY t FROM STDIN", "COPY 1", rows=1),
            is_ready("I", "COPY t FROM STDIN"),
            asks("Query B"),
        )

    def test_what_only_looks_like_a_copy_costs_an_answer(self) -> None:
        play(
            client(P("SELECT copyright"), B(), E(), H(), Q("B")),
            asks("Execute SELECT copyright", until="FLUSH"),
            forward(),
            upstream(P("SELECT copyright"), B(), E(), H()),
            server(parse_complete(), bind_complete(), command_complete("SELECT 0")),
            downstream(parse_complete(), bind_complete(), command_complete("SELECT 0")),
            finished("SELECT copyright", "SELECT 0", rows=0),
            asks("Query B"),
        )

    def test_several_in_one_query(self) -> None:
        sql = "COPY t FROM STDIN; COPY u FROM STDIN"
        play(
            client(Q(sql), d(b"1\n"), c(), d(b"2\n"), c(), Q("B")),
            asks(f"Query {sql}"),
            forward(),
            upstream(Q(sql)),
            server(copy_in_response()),
            downstream(copy_in_response()),
            upstream(d(b"1\n"), c()),
            server(command_complete("COPY 1"), copy_in_response()),
            downstream(command_complete("COPY 1"), copy_in_response()),
            finished(sql, "COPY 1", rows=1),
            upstream(d(b"2\n"), c()),
            server(command_complete("COPY 1"), ready()),
            downstream(command_complete("COPY 1"), ready()),
            finished(sql, "COPY 1", rows=1, index=1),
            is_ready("I", sql),
            asks("Query B"),
        )

    def test_stray_data_goes_nowhere(self) -> None:
        play(
            client(d(b"x"), c(), f("why"), Q("A"), d(b"y"), c(), Q("B")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            asks("Query B"),
        )

    @pytest.mark.parametrize("raw", [Q("DELETE"), P("DELETE"), B(), E(), D("P"), C("S"), F(1, [])])
    def test_anything_else_inside_ends_the_session(self, raw: bytes) -> None:
        play(
            *self.START,
            client(d(b"1\n"), raw),
            upstream(d(b"1\n")),
            breaks("client", "unexpected message during COPY from stdin"),
        )

    def test_what_was_asked_about_before_the_server_asked_ends_the_session(self) -> None:
        # Only a server that asks for data though nothing like COPY was sent can do that.
        play(
            client(Q("A"), Q("B")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            asks("Query B"),
            server(copy_in_response()),
            downstream(copy_in_response()),
            breaks("client", "unexpected message during COPY from stdin"),
        )

    def test_a_ruling_about_it_ends_the_session_too(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(Q("A") + Q("B"))
        first = core.next_event()
        assert isinstance(first, RequestReady)
        core.forward(first.request)
        second = core.next_event()
        assert isinstance(second, RequestReady)
        core.receive_from_upstream(copy_in_response())
        with pytest.raises(Exception, match="unexpected message during COPY"):
            core.forward(second.request)

    def test_terminate_inside(self) -> None:
        play(*self.START, client(d(b"1\n"), X()), upstream(d(b"1\n")), ends())


COPY = (P("COPY t FROM STDIN"), B(), E())


class TestCopyInABatch:
    def begins(self, *behind: bytes, until: str = "SYNC") -> tuple[object, ...]:
        return (
            client(*COPY, *behind),
            asks("Execute COPY t FROM STDIN", until=until),
            forward(),
        )

    def test_its_sync_is_not_the_one_that_counts(self) -> None:
        play(
            client(*COPY, S(), d(b"1\n"), c(), S()),
            asks("Execute COPY t FROM STDIN", until="SYNC"),
            forward(),
            upstream(*COPY, S()),
            server(parse_complete(), bind_complete(), copy_in_response()),
            downstream(parse_complete(), bind_complete(), copy_in_response()),
            upstream(d(b"1\n"), c(), H()),
            server(command_complete("COPY 1")),
            downstream(command_complete("COPY 1")),
            finished("COPY t FROM STDIN", "COPY 1", rows=1),
            upstream(S()),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_syncs_and_flushes_between_the_data(self) -> None:
        play(
            client(*COPY, H()),
            asks("Execute COPY t FROM STDIN", until="FLUSH"),
            forward(),
            upstream(*COPY, H()),
            server(parse_complete(), bind_complete(), copy_in_response()),
            downstream(parse_complete(), bind_complete(), copy_in_response()),
            client(d(b"1\n"), S(), H(), d(b"2\n"), S(), c(), S()),
            upstream(d(b"1\n"), S(), H(), d(b"2\n"), S(), c(), H()),
            server(command_complete("COPY 2")),
            downstream(command_complete("COPY 2")),
            finished("COPY t FROM STDIN", "COPY 2", rows=2),
            upstream(S()),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
        )

    def test_a_sync_around_one_that_failed_may_have_been_answered(self) -> None:
        play(
            client(*COPY, S()),
            asks("Execute COPY t FROM STDIN", until="SYNC"),
            forward(),
            upstream(*COPY, S()),
            server(parse_complete(), bind_complete(), copy_in_response(), error(code="57014")),
            downstream(parse_complete(), bind_complete(), copy_in_response(), error(code="57014")),
            finished("COPY t FROM STDIN", sqlstate="57014"),
            server(ready()),
            downstream(ready()),
            is_ready("I"),
            client(d(b"late"), Q("B")),
            asks("Query B"),
        )

    def test_a_sync_around_one_that_failed_may_have_been_ignored(self) -> None:
        play(
            client(*COPY, S()),
            asks("Execute COPY t FROM STDIN", until="SYNC"),
            forward(),
            upstream(*COPY, S()),
            server(parse_complete(), bind_complete(), copy_in_response()),
            downstream(parse_complete(), bind_complete(), copy_in_response()),
            client(d(b"bad")),
            upstream(d(b"bad")),
            server(error(code="22P04")),
            downstream(error(code="22P04")),
            finished("COPY t FROM STDIN", sqlstate="22P04"),
            client(d(b"late"), c(), P("B"), S(), Q("C")),
            upstream(S(), FENCE, SYNC),
            server(ready(), close_complete(), ready()),
            downstream(ready()),
            is_ready("I"),
            is_ready("I"),
            asks("Query C"),
        )

    def test_in_a_transaction_the_fence_fails_and_nobody_sees_it(self) -> None:
        play(
            client(*COPY, S()),
            asks("Execute COPY t FROM STDIN", until="SYNC"),
            forward(),
            upstream(*COPY, S()),
            server(copy_both_response()[:0], parse_complete(), bind_complete(), copy_in_response()),
            downstream(parse_complete(), bind_complete(), copy_in_response()),
            client(f("no"), S()),
            upstream(f("no"), H()),
            server(error(code="57014")),
            downstream(error(code="57014")),
            finished("COPY t FROM STDIN", sqlstate="57014"),
            upstream(S(), FENCE, SYNC),
            server(ready("E"), error(code="25P02"), ready("E")),
            downstream(ready("E")),
            is_ready("E"),
            is_ready("E"),
            status="T",
        )

    def test_more_in_the_same_batch_breaks_it(self) -> None:
        play(
            client(*COPY, P("B"), S()),
            asks("Execute COPY t FROM STDIN", until="SYNC"),
            forward(),
            upstream(*COPY, P("B"), S()),
            server(parse_complete(), bind_complete(), copy_in_response()),
            downstream(parse_complete(), bind_complete(), copy_in_response()),
            breaks("client", "unexpected message during COPY from stdin"),
        )


class TestOtherCopies:
    def test_out(self) -> None:
        answer = (copy_out_response(), d(b"1\n"), d(b"2\n"), c(), command_complete("COPY 2"), ready())
        play(
            client(Q("COPY t TO STDOUT")),
            asks("Query COPY t TO STDOUT"),
            forward(),
            upstream(Q("COPY t TO STDOUT")),
            server(*answer),
            downstream(*answer),
            finished("COPY t TO STDOUT", "COPY 2", rows=2),
            is_ready("I", "COPY t TO STDOUT"),
        )

    def test_both_ways(self) -> None:
        play(
            client(Q("START_REPLICATION 0/0")),
            asks("Query START_REPLICATION 0/0"),
            forward(),
            upstream(Q("START_REPLICATION 0/0")),
            server(copy_both_response(), d(b"wal")),
            downstream(copy_both_response(), d(b"wal")),
            client(d(b"status"), c()),
            upstream(d(b"status"), c()),
            server(d(b"more"), c(), command_complete("COPY 0"), ready()),
            downstream(d(b"more"), c(), command_complete("COPY 0"), ready()),
            finished("START_REPLICATION 0/0", "COPY 0", rows=0),
            is_ready("I", "START_REPLICATION 0/0"),
        )


class TestNotices:
    def test_a_notice_between_messages(self) -> None:
        play(tell("hello"), downstream(said("hello")))

    def test_a_notice_waits_for_the_end_of_a_message(self) -> None:
        row = data_row("x" * 40)
        play(
            client(Q("A")),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            server(row[:20]),
            tell("first"),
            tell("second"),
            server(row[20:30]),
            server(row[30:], *FAILED),
            downstream(row, said("first"), said("second"), *FAILED),
            finished("A", sqlstate="22012"),
            is_ready("I", "A"),
        )


class TestTerminate:
    def test_what_was_asked_before_is_answered_and_what_follows_is_not_looked_at(self) -> None:
        play(
            client(Q("A"), X(), Q("B"), b"junk"),
            asks("Query A"),
            forward(),
            upstream(Q("A")),
            ends(),
            client(Q("C")),
            server(*ONE),
            downstream(*ONE),
            finished("A", "SELECT 1", rows=1),
            is_ready("I", "A"),
        )

    def test_behind_a_batch_it_ends_that_unasked(self) -> None:
        play(client(P("A"), B(), E(), X(), Q("B")), ends())


OWN = "holdgate:own"
ALONE = Enclosure({0: (b"BEGIN READ ONLY",)}, {0: (b"COMMIT",)})
AROUND = Enclosure({0: (b"BEGIN READ ONLY",)}, {}, b"COMMIT")


def own(*statements: str) -> bytes:
    """Statements of the gateway's own as they are sent."""
    closed = C("P", OWN) + C("S", OWN)
    return closed + b"".join(
        P(sql, OWN) + B(portal=OWN, statement=OWN) + E(OWN) + closed for sql in statements
    )


class TestStatementsOfTheGatewaysOwn:
    def test_where_a_session_stands(self) -> None:
        places = []
        core = ProxyConnection(Limits())
        places.append(core.place)
        core.receive_from_client(P("A") + H() + B() + E() + H())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        places.append(core.place)
        core.receive_from_upstream(parse_complete())
        places.append(core.place)
        core.forward(event.request)
        core.receive_from_upstream(bind_complete() + command_complete("A"))
        places.append(core.place)
        assert places == [Place.IDLE, Place.NOWHERE, Place.IDLE, Place.SERIES]
        assert ProxyConnection(Limits(), ord("T")).place is Place.TRANSACTION
        assert ProxyConnection(Limits(), ord("E")).place is Place.NOWHERE

    def test_nowhere_while_copy_data_is_wanted(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(Q("COPY t FROM STDIN"))
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
        core.receive_from_upstream(copy_in_response())
        assert core.place is Place.NOWHERE

    def test_nor_inside_copy_data_that_goes_nowhere(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(d(b"stray")[:-1])
        assert core.next_event() is NEED_DATA
        assert core.place is Place.NOWHERE
        with pytest.raises(AssertionError, match="would not run"):
            core.hide([b"A"])

    def test_what_the_client_sends_meanwhile_waits(self) -> None:
        core = ProxyConnection(Limits())
        core.hide([b"A"])
        assert core.hiding
        core.receive_from_client(Q("B"))
        assert core.next_event() is PAUSED
        assert b"".join(core.data_to_upstream()) == own("A") + S()

    def test_a_query_goes_between_them_and_a_sync(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(Q("SELECT 1"))
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request, enclosure=ALONE)
        assert (
            b"".join(core.data_to_upstream()) == own("BEGIN READ ONLY") + Q("SELECT 1") + own("COMMIT") + S()
        )

    def test_a_series_is_left_behind_its_sync(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + B() + E() + H())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request, enclosure=AROUND)
        assert core.standing.enclosed
        assert b"".join(core.data_to_upstream()) == own("BEGIN READ ONLY") + P("A") + B() + E() + H()
        core.receive_from_client(S())
        assert core.next_event() is NEED_DATA
        assert b"".join(core.data_to_upstream()) == S() + own("COMMIT") + S()


class TestWhatTheGatewayAsks:
    def test_a_session_at_rest(self) -> None:
        core = ProxyConnection(Limits(), ord("T"))
        assert chr(core.status) == "T"
        assert core.settled
        assert core.in_transaction
        assert not core.copying
        assert core.at_client_boundary
        assert core.buffered == 0

    def test_what_is_under_way(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("A") + B() + E() + H()[:3])
        assert core.next_event() is NEED_DATA
        assert core.buffered == len(P("A") + B() + E()) + 3
        core.receive_from_client(H()[3:])
        event = core.next_event()
        assert isinstance(event, RequestReady)
        assert core.next_event() is PAUSED
        assert not core.in_transaction
        core.forward(event.request)
        assert core.next_event() is NEED_DATA
        assert (core.settled, core.in_transaction, core.buffered) == (False, True, 0)
        core.receive_from_upstream(parse_complete() + bind_complete() + data_row("x" * 10)[:-1])
        assert not core.at_client_boundary

    def test_copy_data_is_wanted(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(Q("COPY t FROM STDIN"))
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
        core.receive_from_upstream(copy_in_response())
        assert core.copying
        core.receive_from_client(c())
        core.next_event()
        assert not core.copying

    def test_a_ruling_nobody_asked_for_is_a_bug(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(Q("A"))
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(event.request)
        with pytest.raises(AssertionError, match="no request is outstanding"):
            core.forward(event.request)
