"""PostgreSQL's isolation schedule, as a list of tests."""

from tests.drivers.isolation import tests_of as names

SCHEDULE = """# a comment
test: read-only-anomaly
test: one two  three

ignore: one
test:
"""


def test_a_schedule() -> None:
    assert list(names(SCHEDULE)) == ["read-only-anomaly", "one", "two", "three"]
