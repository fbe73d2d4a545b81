"""The benchmark runs; its figures are for people."""

import pytest

from rules import Judge
from rules.catalog import SchemaSnapshot
from tests.bench.reading import main, measure
from tests.bench.statements import STATEMENTS
from tests.rules.policies import context, strict_judge


@pytest.mark.parametrize(("name", "size"), [("short", 50), ("orm", 1000), ("report", 4000)])
def test_the_statements_have_their_sizes_and_are_read(name: str, size: int) -> None:
    assert abs(len(STATEMENTS[name]) - size) < size / 4
    judge: Judge = strict_judge()
    assert judge.judge(STATEMENTS[name].encode(), context()).facts.unreadable is None


def test_a_verdict_from_the_cache_costs_less_than_a_new_one() -> None:
    row = measure(STATEMENTS["orm"], SchemaSnapshot(), rounds=9)
    assert 0 < row["hit"] < row["miss"]
    assert row["facts"] > 0


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(rounds=1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["statement", *STATEMENTS]
    assert all(len(line.split()) == 11 for line in lines[1:])
