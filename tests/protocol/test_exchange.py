"""Where a session stands with its server, one message after the other."""

import pytest

from protocol.copying import FENCE
from protocol.events import StatementFinished
from protocol.exchange import Exchange
from protocol.messages import FLUSH, SYNC
from protocol.pipeline import Disposition, Expected
from protocol.request import Execution, Step
from protocol.state import Reply
from protocol.statements import PreparedStatement
from tests.support.wire import B, C, D, E, P

IDLE, OPEN, FAILED = (ord(status) for status in "ITE")
OWN = "holdgate:own"


def opened(exchange: Exchange) -> tuple[bool, bool, bool]:
    return exchange.unsynced, exchange.unsynced_work, exchange.unflushed


def sent(exchange: Exchange) -> bytes:
    data, exchange.to_upstream = b"".join(exchange.to_upstream), []
    return data


class TestSeries:
    @pytest.mark.parametrize(
        ("raw", "works"), [(P("A"), False), (D("S"), False), (C("S"), False), (B(), True), (E(), True)]
    )
    def test_what_only_prepares_is_no_work(self, raw: bytes, works: bool) -> None:
        exchange = Exchange(IDLE)
        assert exchange.settled
        exchange.send_expecting(raw, Expected(Reply.PARSE))
        assert sent(exchange) == raw
        assert (exchange.unsynced_work, len(exchange.queue)) == (works, 1)

    def test_a_change_that_was_sent_is_marked(self) -> None:
        exchange = Exchange(IDLE)
        change = exchange.names.statements.change(b"s", PreparedStatement(b"s", (b"A",)), 0)
        exchange.send_expecting(P("A", "s"), Expected(Reply.PARSE, change=change))
        assert change.sent

    def test_a_sync_begins_the_next_segment(self) -> None:
        exchange = Exchange(IDLE)
        exchange.unsynced = exchange.unsynced_work = exchange.unflushed = True
        exchange.send_sync()
        assert sent(exchange) == SYNC
        assert (exchange.segment, opened(exchange)) == (1, (False, False, False))
        owed = exchange.queue.ready()
        assert owed is not None
        assert owed.disposition is Disposition.FORWARD

    def test_a_flush_is_sent_only_where_answers_may_be_held_back(self) -> None:
        exchange = Exchange(IDLE)
        exchange.request_answers()
        assert sent(exchange) == b""
        exchange.unflushed = True
        exchange.request_answers()
        exchange.request_answers()
        assert sent(exchange) == FLUSH

    def test_a_failure_drops_what_was_gathered(self) -> None:
        exchange = Exchange(IDLE)
        exchange.gatherer.add(ord("P"), P("A"))
        exchange.unsynced = True
        exchange.fail_series()
        assert exchange.skipping
        assert (len(exchange.gatherer), opened(exchange)) == (0, (False, False, False))


class TestAround:
    def test_statements_around_what_the_client_asked(self) -> None:
        exchange = Exchange(IDLE)
        exchange.send_enclosing(())
        assert exchange.settled
        exchange.send_enclosing((b"BEGIN READ ONLY",))
        closed = C("P", OWN) + C("S", OWN)
        own = P("BEGIN READ ONLY", OWN) + B(portal=OWN, statement=OWN) + E(OWN)
        assert sent(exchange) == closed + own + closed
        assert not exchange.unsynced_work, "the client's series did nothing yet"
        head = exchange.queue.head()
        assert head is not None
        assert (head.disposition, head.leaves) == (Disposition.ENCLOSE, False)

    def test_a_sync_behind_them_ends_the_transaction_first(self) -> None:
        exchange = Exchange(IDLE)
        exchange.closing = b"COMMIT"
        exchange.send_sync()
        assert exchange.closing == b""
        data = sent(exchange)
        assert data.startswith(SYNC)
        assert P("COMMIT", OWN) in data
        assert data.endswith(SYNC)
        assert data.count(SYNC) == 2
        first = exchange.queue.ready()
        assert first is not None
        assert first.unready, "the client is not ready before the transaction has ended"

    def test_a_sync_of_the_gateways_own_does_not(self) -> None:
        exchange = Exchange(IDLE)
        exchange.closing = b"COMMIT"
        exchange.send_sync(Disposition.SKIP)
        assert (sent(exchange), exchange.closing) == (SYNC, b"COMMIT")


class TestFence:
    def test_it_is_sent_once(self) -> None:
        exchange = Exchange(IDLE)
        exchange.send_fence()
        exchange.send_fence()
        assert sent(exchange) == FENCE + SYNC
        assert exchange.copy.fenced
        close, _ = exchange.queue.advance(ord("3"))
        sync = exchange.queue.ready()
        assert sync is not None
        assert (close.disposition, sync.disposition) == (Disposition.SKIP, Disposition.SKIP)

    def test_with_answers_in_doubt_nothing_is_settled(self) -> None:
        exchange = Exchange(IDLE)
        exchange.copy.doubtful = 1
        assert not exchange.settled


@pytest.mark.parametrize(
    ("before", "command", "after"),
    [
        (IDLE, "BEGIN", OPEN),
        (IDLE, "START TRANSACTION", OPEN),
        (IDLE, "SELECT 1", IDLE),
        (OPEN, "INSERT 0 1", OPEN),
        (OPEN, "COMMIT", None),
        (OPEN, "ROLLBACK", None),
        (OPEN, "PREPARE TRANSACTION", None),
        (FAILED, "ROLLBACK", None),
    ],
)
def test_what_a_command_says_of_the_transaction(before: int, command: str, after: int | None) -> None:
    exchange = Exchange(before)
    exchange.completed(command)
    assert exchange.within == after


def test_what_the_server_will_not_carry_out_is_taken_back() -> None:
    exchange = Exchange(IDLE)
    statements = exchange.names.statements
    changes = [
        Expected(Reply.PARSE, change=statements.change(b"s", PreparedStatement(b"s", (text,)), 0))
        for text in (b"A", b"B")
    ]
    exchange.undo([*changes, Expected(Reply.SYNC)])
    assert statements.get(b"s") is None


def test_what_the_server_was_not_given_is_told() -> None:
    exchange = Exchange(IDLE)
    execution = Execution(Step.EXECUTE, 0, 0, sql=(b"A",))
    exchange.skipped([Expected(Reply.BIND), Expected(Reply.EXECUTE, execution=execution)])
    assert list(exchange.events) == [StatementFinished(execution, 0, "", None, 0, {}, skipped=True)]
