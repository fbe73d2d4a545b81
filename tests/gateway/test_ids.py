import re
from datetime import UTC, datetime, timedelta

from gateway.clock import Clock
from gateway.ids import Ulids


class FixedClock(Clock):
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def test_form() -> None:
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", Ulids().next())


def test_the_first_ten_characters_are_the_time() -> None:
    # The example of the specification: 1469918176385 ms is 01ARYZ6S41.
    clock = FixedClock(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1469918176385))
    assert Ulids(clock).next().startswith("01ARYZ6S41")


def test_each_is_greater_than_the_one_before() -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    ids = Ulids(clock)
    made = [ids.next() for _ in range(1000)]
    clock.moment -= timedelta(hours=1)
    made += [ids.next() for _ in range(1000)]
    clock.moment += timedelta(hours=2)
    made += [ids.next() for _ in range(1000)]
    assert made == sorted(set(made))


def test_two_makers_do_not_agree() -> None:
    assert Ulids().next() != Ulids().next()
