"""Briefs: what they say is to the letter what a record says that was written out in full."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import AuditRecord, Brief, Outline
from gateway.audit.record import encode
from tests.gateway.audit.samples import record

TEXT = st.text(max_size=30) | st.sampled_from(
    [
        '","parameters":null,',
        '"statement_id":null',
        "\\",
        '\\","sql":null',
        "\0\ud800",
        ',"tag":null,"rows":null,',
    ]
)
NAMES = st.lists(TEXT, max_size=2).map(tuple)
COMMON = st.fixed_dictionaries(
    {
        "user": TEXT,
        "groups": NAMES,
        "database": TEXT,
        "client_addr": st.none() | TEXT,
        "application_name": TEXT,
        "relations": NAMES,
        "columns": NAMES,
        "row_bound": TEXT,
        "rule": TEXT,
        "obligations": NAMES,
    }
)
BOUND = st.none() | st.lists(
    st.tuples(st.sampled_from([0, 23, 25]), st.sampled_from([0, 1]), st.none() | st.binary(max_size=9)),
    max_size=3,
).map(
    lambda all: (tuple(one[0] for one in all)[:2], tuple(one[1] for one in all), tuple(one[2] for one in all))
)


@given(
    common=COMMON,
    sql=TEXT,
    several=st.booleans(),
    at=st.integers(0, 1 << 51),
    rows=st.none() | st.integers(0, 1 << 60),
    seconds=st.floats(0, 1e6),
    bound=BOUND,
    tag=TEXT,
)
def test_a_brief_says_what_its_record_says(
    common: dict[str, Any],
    sql: str,
    several: bool,
    at: int,
    rows: int | None,
    seconds: float,
    bound: Any,
    tag: str,
) -> None:
    outline = Outline(record(9, sql=sql, **common), "S-1", several=several)
    brief = Brief(outline, at, 12, tag, rows, 345, seconds, sql if several else None, bound)
    whole = brief.record()
    assert brief.encoded() == encode(whole)
    assert whole.sql == brief.text == sql
    assert whole.statement_id == "S-1.12"
    assert (whole.tag, whole.rows, whole.bytes) == (tag, rows, 345)
    assert [getattr(whole, name) for name in common] == list(common.values())


def test_moments_are_cut_to_milliseconds() -> None:
    outline = Outline(record(), "S-1", several=False)
    moment = datetime(2030, 1, 31, 12, 0, 0, 999_999, UTC)
    at = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    brief = Brief(outline, at, 1, "SELECT 1", 1, 20, 0.0015, None, None)
    assert brief.moment == moment
    assert brief.encoded().startswith('"at":"2030-01-31T12:00:00.999Z"')


def test_types_that_are_not_known_are_shown_as_far_as_they_can_be() -> None:
    outline = Outline(record(), "S-1", several=False)
    bound = ((23,), (1, 1, 0), (b"\0\0\0\5", b"\0\0\0\6", None))
    brief = Brief(outline, 0, 1, "SELECT 1", 1, 20, 0.0, None, bound)
    assert brief.parameters == ("5", "\\x00000006", None)
    assert isinstance(brief.record(), AuditRecord)
