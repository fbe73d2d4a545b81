"""Reading ``tests:``: what a test may say, and every mistake in one."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, PolicyTest, load_config

_BASE = "databases: {shop: {host: db}}\n"


def load(tmp_path: Path, text: str) -> tuple[PolicyTest, ...]:
    file = tmp_path / "holdgate.yaml"
    file.write_text(_BASE + text, encoding="utf-8")
    return load_config(file, environment={}).tests


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    return [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in raised.value.problems]


def test_what_is_not_written_is_left_open(tmp_path: Path) -> None:
    assert load(tmp_path, "") == ()
    assert load(tmp_path, "tests: []") == ()
    (test,) = load(tmp_path, "tests:\n  - {sql: SELECT 1, expect: deny}")
    assert test == PolicyTest("SELECT 1", "deny", line=3, column=5)


def test_everything_that_can_be_written(tmp_path: Path) -> None:
    text = """\
tests:
  - sql: |
      SELECT 1;
      SELECT 2
    user: alice
    database: shop
    groups: [support]
    expect: hold
    rule: bulk
    obligations: [redact_errors]
  - {sql: "", expect: allow, groups: [], obligations: []}
"""
    assert load(tmp_path, text) == (
        PolicyTest(
            "SELECT 1;\nSELECT 2\n",
            "hold",
            user="alice",
            database="shop",
            groups=frozenset(["support"]),
            rule="bulk",
            obligations=frozenset(["redact_errors"]),
            line=3,
            column=5,
        ),
        PolicyTest("", "allow", groups=frozenset(), obligations=frozenset(), line=12, column=5),
    )


def test_every_mistake_at_once(tmp_path: Path) -> None:
    text = """\
tests:
  - {sql: 5, expect: maybe}
  - {sq: SELECT 1}
  - SELECT 1
  -
  - {sql: SELECT 1, expect: allow, obligations: [mask, read_only], groups: dpo, user: [a]}
"""
    assert faults(tmp_path, text) == [
        "3:11: tests[0].sql: expected the text of a statement, found a number",
        "3:22: tests[0].expect: expected one of allow, hold, deny, found 'maybe'",
        "4:5: tests[1].expect: is missing; one of allow, hold, deny",
        "4:5: tests[1].sql: expected the text of a statement, found nothing",
        "4:6: tests[1].sq: unknown key; did you mean sql?",
        "5:5: tests[2]: expected a mapping of keys and values, found text",
        "5:5: tests[2].expect: is missing; one of allow, hold, deny",
        "5:5: tests[2].sql: expected the text of a statement, found nothing",
        "6:4: tests[3]: expected a mapping with sql and expect, found nothing",
        "7:49: tests[4].obligations: mask: expected some of read_only, redact_errors",
        "7:76: tests[4].groups: expected a list of names such as [groups], found text",
        "7:87: tests[4].user: expected text, found a list",
    ]


def test_tests_are_a_list(tmp_path: Path) -> None:
    assert faults(tmp_path, "tests: {sql: SELECT 1}") == [
        "2:8: tests: expected a list of statements, found a mapping"
    ]
