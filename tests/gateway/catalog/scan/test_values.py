"""What values look like: real forms are found, numbers of another meaning are not."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.catalog.scan.names import Kind
from gateway.catalog.scan.values import Evidence, examine, looks_like_address, looks_like_name

GOOD = {
    Kind.EMAIL: ["ann@example.org", "b.o+x@mail.example.co.uk", "ü@example.de", "cust1@pii.example"],
    Kind.PHONE: ["+49 30 901820", "+1 (650) 253-0000", "0044 20 7031 3000", "+33142685300"],
    Kind.IBAN: ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR1420041010050500013M02606"],
    Kind.CARD: ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009"],
    Kind.IP: ["10.9.0.1", "192.168.0.0/16", "2001:db8::1", "::1"],
}


@pytest.mark.parametrize("kind", GOOD)
def test_values_of_a_kind(kind: Kind) -> None:
    first = examine(GOOD[kind])[0]
    assert (first.kind, first.share, first.count, first.within) == (kind, 1.0, len(GOOD[kind]), False)


@pytest.mark.parametrize(
    ("values", "country"),
    [
        (["123-45-6789", "536-90-4399"], "United States"),
        (["36574261809"], "Germany"),
        (["2 95 10 99 126 111 93"], "France"),
        (["54362315K"], "Spain"),
        (["RCCMNL83S18D969H"], "Italy"),
        (["111222333"], "Netherlands"),
        (["131052-308T"], "Finland"),
        (["070362-1234"], "Denmark"),
        (["44051401359"], "Poland"),
    ],
)
def test_national_numbers(values: list[str], country: str) -> None:
    found = [one for one in examine(values) if one.kind is Kind.NATIONAL_ID]
    assert [(one.what, one.share) for one in found] == [(country, 1.0)]


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%Y%m%d", "%Y-%m-%d %H:%M", "%H:%M:%S", "%d/%m/%y"])
def test_days_and_times_are_nothing(form: str) -> None:
    start = datetime(1970, 1, 1, tzinfo=UTC)
    values = [(start + timedelta(days=97 * i, minutes=13 * i)).strftime(form) for i in range(200)]
    assert [one for one in examine(values, ["DE", "US"]) if one.share >= 0.3] == []


def test_many_numbers_in_a_row_are_nothing() -> None:
    for start in (1, 1000, 100_000_000, 4_000_000_000_000_000):
        values = [str(start + i) for i in range(200)]
        assert [one for one in examine(values) if one.share >= 0.3] == []


@pytest.mark.parametrize(
    "values",
    [
        ["user@localhost", "a@b", "@example.org", "ann@example", "ann @example.org"],
        ["1.2.3", "999.1.1.1", "12:30:00", "1.2.3.4.5", "300.1.1.1"],
        ["2024-01-01", "2024-02-02"],
        ["4111 1111 1111 1112", "1234567890123452"],
        ["DE89370400440532013001"],
        ["3.14159", "2.71828"],
        ["", "  "],
        [],
    ],
)
def test_values_of_no_kind(values: list[str]) -> None:
    assert [one for one in examine(values) if one.share >= 0.3] == []


def test_an_address_within_a_text() -> None:
    values = ['{"mail": "ann@example.org"}', "no address", "write to <bob@example.com>."]
    (found,) = examine(values)
    assert found == Evidence(Kind.EMAIL, 2 / 3, 3, within=True)


def test_numbers_without_a_country_need_a_region() -> None:
    values = ["030 901820", "(030) 901-821"]
    assert [one for one in examine(values) if one.kind is Kind.PHONE] == []
    assert examine(values, ["DE"])[0].kind is Kind.PHONE
    assert [one for one in examine(["30901820"], ["DE"]) if one.kind is Kind.PHONE] == []


def test_shares() -> None:
    found = examine(["ann@example.org", "x", "y", "bob@example.org"])
    assert (found[0].share, found[0].count) == (0.5, 4)


def test_a_few_among_many_others_are_counted_as_few() -> None:
    (found,) = examine(["x"] * 95 + ["10.0.0.1"] * 5)
    assert (found.kind, found.share) == (Kind.IP, 0.05)


def test_names_and_addresses_are_only_guessed() -> None:
    assert looks_like_name(["Ann", "Bo Li", "Jean-Luc O'Neill", "María José", "42"]) == 0.8
    assert looks_like_address(["1 Main St", "Hauptstr. 5", "Main", "12"]) == 0.5
    assert looks_like_name([]) == looks_like_address([]) == 0.0
