"""Places for sessions."""

from gateway.seats import Seats


async def test_there_are_as_many_as_the_limit_says_now() -> None:
    limit = 2
    seats = Seats(lambda: limit)
    assert [await seats.take() for _ in range(3)] == [True, True, False]
    seats.give()
    limit = 1
    assert (await seats.take(), seats.taken) == (False, 1)
    limit = 5
    assert (await seats.take(), seats.taken) == (True, 2)
