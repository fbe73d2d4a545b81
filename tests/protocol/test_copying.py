"""Which Syncs around a COPY get an answer."""

import pytest

from protocol.copying import FENCE, CopyIn, may_copy
from protocol.request import Execution, Step
from tests.support.wire import C


def flags(copy: CopyIn) -> tuple[bool, int, int, bool]:
    return copy.wanted, copy.ignored, copy.doubtful, copy.undecided


@pytest.mark.parametrize(
    ("texts", "may"),
    [
        ((b"COPY t FROM STDIN",), True),
        ((b"/* x */ cOpY t from stdin",), True),
        ((b"SELECT 1", b"copy t FROM STDIN"), True),
        ((b"START_REPLICATION 0/0",), True),
        ((b"SELECT 1; SELECT 2",), False),
        ((b"\xff\xfe",), False),
        ((), False),
    ],
)
def test_what_may_ask_for_data(texts: tuple[bytes, ...], may: bool) -> None:
    assert may_copy(Execution(Step.QUERY, 0, 0, sql=texts)) is may


def test_nothing_is_under_way_at_first() -> None:
    copy = CopyIn()
    assert flags(copy) == (False, 0, 0, False)
    assert not copy.fenced
    assert not copy.passing
    assert not copy.broken
    assert not copy.answered()


def test_nothing_is_looked_at_behind_what_may_be_a_copy() -> None:
    copy = CopyIn()
    copy.possible = True
    assert copy.undecided
    copy.started(ignored=0, broken=False)
    assert flags(copy) == (True, 0, 0, False)
    copy.ended(more=True)
    assert copy.undecided, "another COPY of the same Query may follow"
    copy.started(ignored=0, broken=True)
    assert copy.broken
    copy.ended(more=False)
    assert not copy.undecided


def test_the_fence_is_a_close_of_a_name_that_no_client_should_use() -> None:
    assert C("S", "holdgate:own") == FENCE


def test_syncs_around_a_copy_that_succeeds_are_never_answered() -> None:
    copy = CopyIn()
    copy.started(ignored=2, broken=False)
    copy.ignored += 1
    assert flags(copy) == (True, 3, 0, False)
    copy.ended(more=False)
    assert copy.undecided, "the data ended, and the server has not said how"
    copy.succeeded()
    assert flags(copy) == (False, 0, 0, False)
    assert not copy.answered()


def test_syncs_around_a_copy_that_fails_may_be_answered_each_once() -> None:
    copy = CopyIn()
    copy.started(ignored=2, broken=False)
    copy.failed()
    assert flags(copy) == (False, 0, 2, False)
    assert [copy.answered() for _ in range(3)] == [True, True, False]


def test_doubts_of_two_copies_add_up_and_a_fence_ends_them() -> None:
    copy = CopyIn()
    for _ in range(2):
        copy.started(ignored=1, broken=False)
        copy.failed()
    assert copy.doubtful == 2
    copy.fenced = True
    assert copy.undecided
    copy.fence_passed()
    assert flags(copy) == (False, 0, 0, False)


def test_without_a_sync_there_is_nothing_to_decide() -> None:
    copy = CopyIn()
    copy.started(ignored=0, broken=False)
    copy.ended(more=False)
    assert not copy.undecided
