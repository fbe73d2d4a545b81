"""The comparison runs; its figures are for people."""

import json
from pathlib import Path

import pytest

from tests.bench.bulk import BULK
from tests.bench.traffic import Figures, main, median, ratios, table, workloads


@pytest.mark.timeout(120)
@pytest.mark.parametrize("only", ["select, prepared, 1", "2M rows, COPY in"])
def test_the_table_is_printed_and_written(
    only: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGBOUNCER", str(tmp_path / "nowhere"))
    file = tmp_path / "figures.json"
    arguments = ["--quick", "--rounds", "1", "--scale", "1", "--only", only, "--json", str(file)]
    assert main(arguments) == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    assert set(report["ratios"]) == {one.name for one in workloads(quick=True) if only in one.name}
    for by_way in report["workloads"].values():
        assert set(by_way) == {"direct", "holdgate"}
        assert by_way["direct"]["cpu_us"] is None
        assert by_way["holdgate"]["rate"] > 0
    printed, said = capsys.readouterr()
    assert only in printed
    assert "pgbouncer is not here" in said


def test_every_way_of_much_data_is_a_workload() -> None:
    assert {one.bulk for one in workloads(quick=False)} == {"", *BULK}
    assert set(workloads(quick=True)) < set(workloads(quick=False))


def test_medians_leave_out_what_was_not_taken() -> None:
    taken = [Figures(1.0, None, 5.0), Figures(3.0, None, None), Figures(2.0, None, 7.0)]
    assert median(taken) == Figures(2.0, None, 6.0)


BY_WAY = {
    "direct": Figures(100.0, None, 10.0, 11.0, 12.0),
    "holdgate": Figures(50.0, 30.0, 16.0, 20.0, 24.0),
    "pgbouncer": Figures(80.0, 20.0, 13.0, 14.0, 15.0),
}


def test_latency_is_compared_beyond_the_direct_one() -> None:
    assert ratios(BY_WAY) == {
        "rate/direct": 0.5,
        "rate/pgbouncer": 0.625,
        "cpu/pgbouncer": 1.5,
        "added p50/pgbouncer": 2.0,
        "added p99/pgbouncer": 4.0,
    }


def test_what_did_not_run_is_compared_with_nothing() -> None:
    idle = Figures(0.0)
    assert ratios({"direct": idle, "holdgate": idle, "pgbouncer": idle}) == {}
    assert ratios(BY_WAY | {"holdgate": idle}) == {"rate/direct": 0.0, "rate/pgbouncer": 0.0}


def test_what_adds_nothing_is_no_measure() -> None:
    assert "added p50/pgbouncer" not in ratios(BY_WAY | {"pgbouncer": Figures(80.0, 20.0, 9.0, 9.0, 15.0)})


def test_nothing_between_leaves_its_columns_empty() -> None:
    _, second, *_ = table({"select": BY_WAY}).splitlines()
    assert second.split() == ["select", "direct", "100", "10", "11", "12"]
