"""One line of the audit, and how it hangs on the line before."""

import hashlib
import json
import re
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.record import FIRST_HASH, AuditRecord, Kind, Link, seal, unseal
from tests.gateway.audit.samples import NOON, record

ROOT = Path(__file__).resolve().parents[3]
TEXT = st.text(st.characters(), max_size=20)


def test_a_line_has_the_members_that_are_promised_in_their_order() -> None:
    line, _ = seal(record(), Link())
    promised = (
        "v seq at kind session_id statement_id user groups database client_addr application_name sql "
        "sql_digest parameters actions relations columns row_bound verdict rule obligations hold_id approved_by "
        "tag rows bytes sqlstate withheld duration_ms held_ms reason prev hash"
    )
    assert list(json.loads(line)) == promised.split()


def test_every_member_is_documented() -> None:
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(\w+)`", text))
    assert set(json.loads(seal(record(), Link())[0])) <= documented
    assert {str(kind) for kind in Kind} <= documented


def test_a_line_says_what_happened() -> None:
    line, link = seal(record(7, held_ms=2.00049, parameters=("5", None)), Link(41, "a" * 64))
    written = json.loads(line)
    assert (written["v"], written["seq"], written["prev"]) == (1, 42, "a" * 64)
    assert written["at"] == "2030-01-31T12:00:07.000Z"
    assert written["sql_digest"] == hashlib.sha256(b"SELECT 7").hexdigest()
    assert (written["duration_ms"], written["held_ms"]) == (1.5, 2.0)
    assert written["parameters"] == ["5", None]
    assert link == Link(42, written["hash"])


def test_the_first_record_follows_nothing() -> None:
    assert json.loads(seal(record(), Link())[0])["prev"] == FIRST_HASH == "0" * 64


def test_what_is_not_known_is_null() -> None:
    written = json.loads(seal(AuditRecord(Kind.GATEWAY, at=NOON, tag="start"), Link())[0])
    assert {name for name, value in written.items() if value is None} == {
        *("session_id", "statement_id", "user", "database", "client_addr", "application_name", "sql"),
        *("sql_digest", "parameters", "row_bound", "verdict", "rule", "hold_id", "rows", "bytes"),
        *("sqlstate", "duration_ms", "held_ms", "reason"),
    }


def test_a_time_elsewhere_is_written_in_utc() -> None:
    moment = datetime(2030, 1, 31, 13, 0, 0, 999_999, timezone(timedelta(hours=1)))
    assert json.loads(seal(record(at=moment), Link())[0])["at"] == "2030-01-31T12:00:00.999Z"


@given(TEXT, st.none() | st.lists(st.none() | TEXT, max_size=3), st.integers(0, 10**9))
def test_any_text_is_kept_on_one_line_of_ascii(sql: str, parameters: list[str] | None, seq: int) -> None:
    given = record(
        sql=sql, reason=sql, user=sql, parameters=None if parameters is None else tuple(parameters)
    )
    line, link = seal(given, Link(seq, "b" * 64))
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert not re.search(rb"[\x00-\x1f\x7f]", line[:-1])
    back, found = unseal(line[:-1])
    assert (back["sql"], back["parameters"], back["user"]) == (sql, parameters, sql)
    assert found == link


def test_the_hash_can_be_checked_with_what_every_system_has(tmp_path: Path) -> None:
    # The command of docs/audit.md, word for word.
    file = tmp_path / "audit.jsonl"
    link = Link()
    with file.open("wb") as opened:
        for number in range(1, 7):
            line, link = seal(record(number, sql="SELECT '\"}'"), link)
            opened.write(line)
            if number == 5:
                wanted = link.hash
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    command = re.search(r"^    (sed .*sha256sum)$", text, re.MULTILINE)
    assert command is not None
    shown = subprocess.run(command[1], shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == wanted


def test_every_changed_byte_is_found() -> None:
    line = seal(record(sql="SELECT 'a'", parameters=("1",), held_ms=1.0), Link(1, "c" * 64))[0][:-1]
    for position in range(len(line)):
        for other in (line[position] ^ 1, line[position] ^ 0x20, 0x0A, 0x00, 0xFF):
            if other == line[position]:
                continue
            changed = line[:position] + bytes((other,)) + line[position + 1 :]
            with pytest.raises(ValueError, match=r"not a record|was changed|which is not known here"):
                unseal(changed)
        for shorter in (line[:position], line[:position] + line[position + 1 :]):
            with pytest.raises(ValueError, match=r"not a record|was changed|which is not known here"):
                unseal(shorter)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"1",
        b"\xff",
        b'{"v":1}',
        b'{"hash":"' + b"0" * 64 + b'"}',
        b"[" * 10_000,
        b'{"v":' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a record|not known here|was changed"):
        unseal(line)


def _sealed(text: str) -> bytes:
    return f'{text[:-1]},"hash":"{hashlib.sha256(text.encode()).hexdigest()}"}}'.encode()


def test_a_record_of_another_version_is_named() -> None:
    with pytest.raises(ValueError, match="a record of version 2, which is not known here"):
        unseal(_sealed('{"v":2,"seq":1,"prev":"x"}'))


@pytest.mark.parametrize(
    ("name", "value"),
    [("seq", "1"), ("prev", None), ("at", 5), ("actions", None), ("relations", "x"), ("kind", [])],
)
def test_a_line_with_a_hash_of_its_own_but_not_the_members_of_a_record_is_refused(
    name: str, value: object
) -> None:
    members = json.loads(seal(record(), Link())[0])
    del members["hash"]
    assert unseal(_sealed(json.dumps(members)))
    with pytest.raises(ValueError, match="not a record"):
        unseal(_sealed(json.dumps({**members, name: value})))
    with pytest.raises(ValueError, match="not a record"):
        unseal(_sealed(json.dumps({key: kept for key, kept in members.items() if key != name})))
