"""What can go wrong, as values."""

import pytest

from protocol.errors import FrontendViolation, ProtocolViolation, ServerError, UpstreamViolation


@pytest.mark.parametrize("kind", [FrontendViolation, UpstreamViolation])
def test_a_violation_carries_what_its_peer_is_told(kind: type[ProtocolViolation]) -> None:
    plain = kind("too short")
    assert (plain.message, plain.sqlstate, plain.detail, str(plain)) == (
        "too short",
        "08P01",
        "",
        "too short",
    )
    exact = kind("too long", sqlstate="54000", detail="by a byte")
    assert (exact.message, exact.sqlstate, exact.detail) == ("too long", "54000", "by a byte")
    assert isinstance(exact, ProtocolViolation)


def test_neither_side_is_blamed_for_the_other() -> None:
    assert not issubclass(FrontendViolation, UpstreamViolation)
    assert not issubclass(UpstreamViolation, FrontendViolation)


def test_a_report_is_an_error_without_more_unless_told() -> None:
    report = ServerError("42501", "no")
    assert (report.severity, report.detail, report.hint, report.extra) == ("ERROR", "", "", {})
    assert report == ServerError("42501", "no")
    assert report != ServerError("42501", "no", hint="ask")
