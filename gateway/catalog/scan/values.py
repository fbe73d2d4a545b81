"""What values look like. They are looked at and forgotten: what is said of them is how many look like what.

Telephone numbers are told by phonenumbers, national numbers by python-stdnum: by check digits and built-in dates. A
number with one check digit looks right by chance once in ten times, so that of the numbers of an ordinary column too
few do.
"""

import importlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import phonenumbers
from stdnum.exceptions import ValidationError

from gateway.catalog.scan.names import Kind

__all__ = ["Evidence", "examine", "looks_like_address", "looks_like_name"]

_EMAIL: Final = re.compile(r"[^\s@<>()\[\]\",;:]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_]{2,24}")
_PHONE: Final = re.compile(r"\+?[0-9 ()./-]{6,25}")
_DATE: Final = re.compile(r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{1,4}")
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}")
_CARD: Final = re.compile(r"(?:4|5[1-5]|2[2-7]|3[47]|6(?:011|5))[0-9]{11,17}")
_NUMBER: Final = re.compile(r"(?=.*[0-9])[0-9A-Za-z .+/-]{6,25}")
_NAME: Final = re.compile(r"[^\W\d_][^\W\d_'’.-]+(?:[ '’-][^\W\d_][^\W\d_'’.-]*){0,4}")
_ADDRESS: Final = re.compile(r"(?=.*[0-9])(?=.*[^\W\d_]{2}).*\s.*", re.DOTALL)

_WRITTEN: Final[Mapping[str, str]] = {
    "cl.rut": r"[0-9]{1,2}\.?[0-9]{3}\.?[0-9]{3}-[0-9Kk]",
    "cz.rc": r"[0-9]{6}/[0-9]{3,4}",
    "sk.rc": r"[0-9]{6}/[0-9]{3,4}",
    "us.ssn": r"[0-9]{3}-[0-9]{2}-[0-9]{4}",
    "dk.cpr": r"[0-9]{6}-[0-9]{4}",
    "my.nric": r"[0-9]{6}-[0-9]{2}-[0-9]{4}",
    "pk.cnic": r"[0-9]{5}-[0-9]{7}-[0-9]",
    "id.nik": r"[0-9]{16}",
    "is_.kennitala": r"[0-9]{6}-[0-9]{4}",
    "gb.nhs": r"[0-9]{3} [0-9]{3} [0-9]{4}",
    "ca.sin": r"[0-9]{3}[ -][0-9]{3}[ -][0-9]{3}",
    "se.personnummer": r"(?:[0-9]{2})?[0-9]{6}[+-][0-9]{4}",
}
"""Numbers with a check too weak for bare digits count only as they are written."""

_COUNTRIES: Final[Mapping[str, str]] = {
    "at.vnr": "Austria",
    "be.nn": "Belgium",
    "bg.egn": "Bulgaria",
    "br.cpf": "Brazil",
    "ca.sin": "Canada",
    "ch.ssn": "Switzerland",
    "cl.rut": "Chile",
    "cn.ric": "China",
    "cz.rc": "Czechia",
    "de.idnr": "Germany",
    "dk.cpr": "Denmark",
    "ee.ik": "Estonia",
    "es.dni": "Spain",
    "es.nie": "Spain",
    "fi.hetu": "Finland",
    "fr.nir": "France",
    "gb.nhs": "United Kingdom",
    "gr.amka": "Greece",
    "hr.oib": "Croatia",
    "id.nik": "Indonesia",
    "ie.pps": "Ireland",
    "il.idnr": "Israel",
    "in_.aadhaar": "India",
    "in_.pan": "India",
    "is_.kennitala": "Iceland",
    "it.codicefiscale": "Italy",
    "jp.in_": "Japan",
    "kr.rrn": "South Korea",
    "lt.asmens": "Lithuania",
    "mx.curp": "Mexico",
    "my.nric": "Malaysia",
    "nl.bsn": "Netherlands",
    "no.fodselsnummer": "Norway",
    "pk.cnic": "Pakistan",
    "pl.pesel": "Poland",
    "ro.cnp": "Romania",
    "se.personnummer": "Sweden",
    "si.emso": "Slovenia",
    "sk.rc": "Slovakia",
    "th.pin": "Thailand",
    "tr.tckimlik": "Turkey",
    "us.ssn": "United States",
    "za.idnr": "South Africa",
}
"""Modules of python-stdnum for numbers of people."""

_Validator = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much of ``count`` values is of a kind: the whole value, or ``within`` some of them only a part of it.

    ``what`` is the country of a national number.
    """

    kind: Kind
    share: float
    count: int
    within: bool = False
    what: str = ""


def examine(values: Sequence[str], regions: Iterable[str] = ()) -> list[Evidence]:
    """What the values look like, the largest share first; kinds that none of them is of are left out.

    ``regions`` are two-letter codes of countries whose telephone numbers are known without the country's code.
    """
    values = [value.strip() for value in values if value.strip()]
    if not values:
        return []
    found = [
        _emails(values),
        _counted(Kind.PHONE, values, lambda value: _is_phone(value, tuple(regions))),
        _counted(Kind.IBAN, values, _is_iban),
        _counted(Kind.CARD, values, _is_card),
        _counted(Kind.IP, values, _is_ip),
        _national(values),
    ]
    order = list(Kind)
    return sorted((one for one in found if one.share), key=lambda one: (-one.share, order.index(one.kind)))


def looks_like_name(values: Sequence[str]) -> float:
    """The share of values that could be a person's name, which many other things could be too."""
    named = sum(bool(_NAME.fullmatch(value)) and not value.islower() for value in values)
    return named / len(values) if values else 0.0


def looks_like_address(values: Sequence[str]) -> float:
    """The share of values that could be a line of an address: words and a number."""
    return sum(bool(_ADDRESS.fullmatch(value)) for value in values) / len(values) if values else 0.0


def _counted(kind: Kind, values: Sequence[str], is_one: Callable[[str], bool], what: str = "") -> Evidence:
    return Evidence(kind, sum(map(is_one, values)) / len(values), len(values), what=what)


def _emails(values: Sequence[str]) -> Evidence:
    whole = sum(bool(_EMAIL.fullmatch(value)) for value in values)
    within = sum(bool(_EMAIL.search(value)) for value in values)
    return Evidence(Kind.EMAIL, within / len(values), len(values), within=within > whole)


def _is_phone(value: str, regions: tuple[str, ...]) -> bool:
    if not _PHONE.fullmatch(value) or _DATE.fullmatch(value):
        return False
    tried: list[tuple[str, str | None]] = []
    if value.startswith("+"):
        tried = [(value, None)]
    elif value.startswith("00"):
        tried = [("+" + value[2:], None)]
    elif value.startswith(("0", "(")) or not value.isdigit():
        tried = [(value, region) for region in regions]
    return any(_is_number(number, region) for number, region in tried)


def _is_number(value: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _is_iban(value: str) -> bool:
    compact = value.replace(" ", "").upper()
    if not _IBAN.fullmatch(compact):
        return False
    return int("".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])) % 97 == 1


def _is_card(value: str) -> bool:
    compact = value.replace(" ", "").replace("-", "")
    if not _CARD.fullmatch(compact):
        return False
    total = 0
    for place, digit in enumerate(map(int, reversed(compact))):
        doubled = digit * (place % 2 + 1)
        total += doubled if doubled < 10 else doubled - 9
    return total % 10 == 0


def _is_ip(value: str) -> bool:
    try:
        return bool(ipaddress.ip_interface(value))
    except ValueError:
        return False


def _validators() -> dict[str, _Validator]:
    return {name: importlib.import_module(f"stdnum.{name}").validate for name in _COUNTRIES}


_VALIDATORS: Final = _validators()


def _national(values: Sequence[str]) -> Evidence:
    numbers = [value for value in values if _NUMBER.fullmatch(value)]
    counts = {name: sum(_is_national(name, value) for value in numbers) for name in _COUNTRIES}
    best = max(counts, key=lambda name: counts[name])
    return Evidence(Kind.NATIONAL_ID, counts[best] / len(values), len(values), what=_COUNTRIES[best])


def _is_national(name: str, value: str) -> bool:
    written = _WRITTEN.get(name)
    if written is not None and not re.fullmatch(written, value):
        return False
    try:
        _VALIDATORS[name](value)
    except ValidationError:
        return False
    return True
