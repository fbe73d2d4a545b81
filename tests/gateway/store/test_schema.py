"""What goes into a column comes out of it."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from gateway.store.schema import Json, Moment

DIALECT = sqlite.dialect()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_is_kept_to_the_microsecond(moment: datetime) -> None:
    kept = Moment().process_bind_param(moment, DIALECT)
    assert isinstance(kept, int)
    assert Moment().process_result_value(kept, DIALECT) == moment


def test_a_moment_comes_back_in_utc() -> None:
    noon = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=5)))
    kept = Moment().process_bind_param(noon, DIALECT)
    back = Moment().process_result_value(kept, DIALECT)
    assert back == noon
    assert back is not None
    assert back.tzinfo is UTC


@pytest.mark.parametrize("column", [Moment(), Json()])
def test_nothing_stays_nothing(column: Moment | Json) -> None:
    assert column.process_result_value(None, DIALECT) is None
    assert Moment().process_bind_param(None, DIALECT) is None


@given(VALUES)
def test_json_is_kept_as_text_in_ascii(value: Any) -> None:
    kept = Json().process_bind_param(value, DIALECT)
    assert kept.isascii()
    assert "\0" not in kept
    assert Json().process_result_value(kept, DIALECT) == value
