"""PostgreSQL's isolation schedule, as a list of tests."""

from tests.drivers.isolation import digest
from tests.drivers.isolation import tests_of as names

SCHEDULE = """# a comment
test: read-only-anomaly
test: one two  three

ignore: one
test:
"""


def test_a_schedule() -> None:
    assert list(names(SCHEDULE)) == ["read-only-anomaly", "one", "two", "three"]


def test_a_digest_is_that_of_all_but_the_places_of_notices() -> None:
    one, other = b"s1: NOTICE:  a\nstep x\n", b"step x\ns1: NOTICE:  a\n"
    assert digest(one) == digest(other)
    assert digest(one) != digest(b"step x\ns1: NOTICE:  b\n")
    assert digest(b"step x\nstep y\n") != digest(b"step y\nstep x\n")
