from datetime import UTC

from gateway import clock


def test_now_is_aware_and_in_utc() -> None:
    assert clock.now().tzinfo is UTC


def test_microseconds_are_those_of_now() -> None:
    before = clock.now().timestamp()
    assert before - 1 < clock.microseconds() / 1e6 < before + 60


def test_monotonic_does_not_run_backwards() -> None:
    assert clock.monotonic() <= clock.monotonic()


def test_the_clock_as_a_value_is_the_same_clock() -> None:
    before = clock.now(), clock.monotonic()
    value = clock.SYSTEM_CLOCK.now(), clock.SYSTEM_CLOCK.monotonic()
    assert before[0] <= value[0] <= clock.now()
    assert before[1] <= value[1] <= clock.monotonic()
