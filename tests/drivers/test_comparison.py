"""Two runs beside each other: what differs, what of it on purpose, and the table."""

from tests.drivers.comparison import Result, table
from tests.drivers.results import FAILED, PASSED, SKIPPED
from tests.drivers.suite import Run, Suite, Target, Workshop


async def nothing(shop: Workshop) -> None:
    """Prepares nothing."""


async def no_run(shop: Workshop, target: Target) -> Run:
    raise AssertionError("not run here")


SUITE = Suite("driver", nothing, no_run, on_purpose={"*.test_tls*": "asks the server"})


def test_what_differs_and_why() -> None:
    result = Result(
        SUITE,
        direct={"a.same": FAILED, "a.worse": PASSED, "a.test_tls_1": PASSED, "a.gone": SKIPPED},
        through={"a.same": FAILED, "a.worse": FAILED, "a.test_tls_1": FAILED},
    )
    assert result.differences() == [
        ("a.gone", SKIPPED, "-", ""),
        ("a.test_tls_1", PASSED, FAILED, "asks the server"),
        ("a.worse", PASSED, FAILED, ""),
    ]
    assert result.unexplained()
    assert result.report().splitlines() == [
        "  a.gone: skipped directly, - through the gateway",
        "  a.test_tls_1: passed directly, failed through the gateway (asks the server)",
        "  a.worse: passed directly, failed through the gateway",
    ]
    assert table([result]).splitlines()[1].split() == ["driver", "4", "2/1/1", "0/3/0", "2", "1"]


def test_what_differs_on_purpose_is_no_failure() -> None:
    assert not Result(SUITE, direct={"a.test_tls": PASSED}, through={"a.test_tls": FAILED}).unexplained()


def test_a_suite_that_did_not_run() -> None:
    result = Result(SUITE, problem="not installed: go\nand more")
    assert not result.unexplained()
    assert result.report() == "  driver did not run: not installed: go\nand more\n"
    assert table([result]).splitlines()[1].endswith("did not run: not installed: go")
