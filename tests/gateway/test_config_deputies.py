"""Who decides in whose name, and when."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from gateway.config import ConfigError, load_config

HEAD = """\
databases: {shop: {host: db}}
users:
  carol: {groups: [dpo], roles: [approver]}
  dave: {roles: [approver]}
  frank: {}
  vic: {roles: [viewer]}
  gone: {groups: [dpo], enabled: false}
"""


def write(folder: Path, deputies: str) -> Path:
    file = folder / "holdgate.yaml"
    file.write_text(HEAD + deputies, encoding="utf-8")
    return file


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_deputy_stands_in_on_the_days_that_are_said(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            "deputies:\n"
            "  - {deputy: dave, for: carol, from: 2030-01-10, until: 2030-01-12}\n"
            "  - {deputy: frank, for: carol, until: 2030-01-12}\n"
            "  - {deputy: dave, for: gone, until: 2030-12-31}\n",
        )
    )
    dpo = {"carol": frozenset({"dpo"})}
    assert config.stands_in_for("dave", day("2030-01-09T23:59:59")) == {}
    assert config.stands_in_for("dave", day("2030-01-10T00:00:00")) == dpo
    assert config.stands_in_for("dave", day("2030-01-12T23:59:59")) == dpo
    assert config.stands_in_for("dave", day("2030-01-13T00:00:00")) == {}
    assert config.stands_in_for("frank", day("2020-01-01T00:00:00")) == dpo
    assert config.stands_in_for("carol", day("2030-01-11T00:00:00")) == {}
    # Days are days in UTC, wherever the clock stands.
    assert config.stands_in_for("dave", datetime(2030, 1, 9, 20, tzinfo=timezone(timedelta(hours=-5)))) == dpo


def test_without_deputies_nobody_stands_in(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")).deputies == ()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("deputies: dave\n", "8:11: deputies: expected a list of deputies, found text"),
        (
            "deputies:\n  - {deputy: dave, for: carol}\n",
            "9:5: deputies[0].until: is missing; the time of a deputy ends, for example until: 2030-01-31",
        ),
        (
            "deputies:\n  - {for: carol, until: 2030-01-31}\n",
            "9:5: deputies[0].deputy: is missing; for example deputy: dave",
        ),
        (
            "deputies:\n  - {deputy: dan, for: carol, until: 2030-01-31}\n",
            "9:14: deputies[0].deputy: no user dan under users",
        ),
        (
            "deputies:\n  - {deputy: dave, for: cora, until: 2030-01-31}\n",
            "9:25: deputies[0].for: no user cora under users",
        ),
        (
            "deputies:\n  - {deputy: dave, for: dave, until: 2030-01-31}\n",
            "9:25: deputies[0].for: nobody is their own deputy",
        ),
        (
            "deputies:\n  - {deputy: vic, for: carol, until: 2030-01-31}\n",
            "9:14: deputies[0].deputy: vic has not the role approver, and could decide nothing",
        ),
        (
            "deputies:\n  - {deputy: dave, for: carol, until: 31.1.2030}\n",
            "9:39: deputies[0].until: expected a day such as 2030-01-31",
        ),
        (
            "deputies:\n  - {deputy: dave, for: carol, from: 2030-02-01, until: 2030-01-31}\n",
            "9:57: deputies[0].until: is before from",
        ),
        (
            "deputies:\n  - {deputy: dave, for: carol, until: 2030-01-31, why: holiday}\n",
            "9:51: deputies[0].why: unknown key; known here: deputy, for, from, until",
        ),
    ],
)
def test_what_is_wrong(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, written))
    assert [str(problem).removeprefix(f"{tmp_path}/holdgate.yaml:") for problem in error.value.problems] == [
        said
    ]
