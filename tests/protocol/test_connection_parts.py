"""The core's face where a batch is ruled on in parts, and what it says of where the session stands meanwhile."""

import pytest

from protocol.connection import ProxyConnection
from protocol.events import NEED_DATA, PAUSED, RequestReady, StatementFinished
from protocol.frontend import Limits
from protocol.hidden import Place
from protocol.request import Request
from tests.protocol.playbook import REFUSED, refusal
from tests.support.answers import bind_complete, command_complete, error, parse_complete, ready
from tests.support.wire import B, E, H, P, Q, S

OWN = "holdgate:own"
BOTH = (P("A"), B(), E(), P("B"), B(), E())


class TestParts:
    """A batch that is ruled on in two parts."""

    @staticmethod
    def cut(core: ProxyConnection, at: int = 3) -> Request:
        event = core.next_event()
        assert isinstance(event, RequestReady)
        return core.cut(event.request, at)

    @staticmethod
    def next_request(core: ProxyConnection) -> Request:
        event = core.next_event()
        assert isinstance(event, RequestReady)
        return event.request

    def test_what_is_left_is_asked_about_next(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join(BOTH) + S() + Q("C"))
        front = self.cut(core)
        assert core.next_event() is PAUSED
        core.forward(front)
        assert b"".join(core.data_to_upstream()) == b"".join(BOTH[:3]) + H()
        rest = self.next_request(core)
        assert core.next_event() is PAUSED
        core.receive_from_upstream(parse_complete() + bind_complete() + command_complete("A"))
        assert isinstance(core.next_event(), StatementFinished)
        core.forward(rest)
        assert b"".join(core.data_to_upstream()) == b"".join(BOTH[3:]) + S()
        assert self.next_request(core).messages == [Q("C")]

    def test_what_is_left_can_be_cut_again(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join(BOTH) + P("C") + B() + E() + H())
        core.forward(self.cut(core))
        core.forward(self.cut(core))
        core.forward(self.next_request(core))
        assert b"".join(core.data_to_upstream()) == (
            b"".join(BOTH[:3]) + H() + b"".join(BOTH[3:]) + H() + P("C") + B() + E() + H()
        )

    def test_nothing_is_sent_of_it_where_the_first_part_failed(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join(BOTH) + S())
        core.forward(self.cut(core))
        rest = self.next_request(core)
        core.receive_from_upstream(error())
        core.data_to_upstream()
        assert core.skipping
        core.forward(rest)
        assert b"".join(core.data_to_upstream()) == S()
        skipped = [core.next_event(), core.next_event()]
        assert all(isinstance(each, StatementFinished) for each in skipped)

    def test_nor_where_the_series_had_failed_before(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(P("0") + H() + b"".join(BOTH) + S())
        front = self.cut(core)
        core.receive_from_upstream(error())
        core.data_to_upstream()
        core.forward(front)
        assert b"".join(core.data_to_upstream()) == b""
        assert isinstance(core.next_event(), StatementFinished)
        core.forward(self.next_request(core))
        assert b"".join(core.data_to_upstream()) == S()

    def test_a_refusal_of_the_first_part_is_one_of_all(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join(BOTH) + S() + Q("C"))
        core.refuse(self.cut(core), REFUSED)
        assert self.next_request(core).messages == [Q("C")]
        assert b"".join(core.data_to_upstream()) == b""
        assert b"".join(core.data_to_client()) == refusal() + ready()

    def test_a_refusal_of_the_first_part_up_to_a_sync_that_is_still_to_come(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join(BOTH) + H())
        core.refuse(self.cut(core), REFUSED)
        assert core.next_event() is NEED_DATA
        assert b"".join(core.data_to_client()) == refusal()
        core.receive_from_client(S())
        assert core.next_event() is NEED_DATA
        assert b"".join(core.data_to_client()) == ready()

    def test_a_refusal_of_what_is_left_fails_all(self) -> None:
        core = ProxyConnection(Limits())
        core.receive_from_client(b"".join(BOTH) + S())
        core.forward(self.cut(core))
        rest = self.next_request(core)
        core.receive_from_upstream(parse_complete() + bind_complete() + command_complete("A"))
        core.data_to_upstream()
        core.refuse(rest, REFUSED)
        assert b"".join(core.data_to_upstream()) == P("holdgate refused this statement", OWN) + S()

    def test_behind_the_end_of_a_transaction_the_server_is_asked_where_it_stands(self) -> None:
        core = ProxyConnection(Limits(), ord("T"))
        core.receive_from_client(b"".join(BOTH) + S())
        event = core.next_event()
        assert isinstance(event, RequestReady)
        core.forward(core.cut(event.request, 3, ends=True))
        assert b"".join(core.data_to_upstream()) == b"".join(BOTH[:3]) + S()
        rest = self.next_request(core)
        core.receive_from_upstream(parse_complete() + bind_complete() + command_complete("COMMIT") + ready())
        assert b"".join(core.data_to_client()) == parse_complete() + bind_complete() + command_complete(
            "COMMIT"
        )
        assert (core.status, core.standing.status, core.place) == (ord("I"), ord("I"), Place.IDLE)
        core.forward(rest)
        assert b"".join(core.data_to_upstream()) == b"".join(BOTH[3:]) + S()

    @pytest.mark.parametrize(
        ("before", "command", "after", "place"),
        [
            ("I", "BEGIN", "T", Place.SERIES),
            ("I", "START TRANSACTION", "T", Place.SERIES),
            ("I", "INSERT 0 1", "I", Place.SERIES),
            ("T", "COMMIT", None, Place.SERIES),
            ("T", "ROLLBACK", None, Place.SERIES),
            ("T", "SELECT 1", "T", Place.SERIES),
            ("E", "ROLLBACK", None, Place.SERIES),
        ],
    )
    def test_where_it_stands_in_the_middle_of_a_series(
        self, before: str, command: str, after: str | None, place: Place
    ) -> None:
        core = ProxyConnection(Limits(), ord(before))
        core.receive_from_client(b"".join(BOTH[:3]) + H())
        core.forward(self.next_request(core))
        core.receive_from_upstream(parse_complete() + bind_complete() + command_complete(command))
        assert core.standing.status == (None if after is None else ord(after))
        assert core.place is place

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
