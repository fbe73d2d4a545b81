"""The measurement runs; its figures are for people."""

import pytest

from tests.bench.turns import TEXTS, main


@pytest.mark.timeout(60)
def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    some = {name: TEXTS[name] for name in ("a lookup", "the same, held")}
    assert main(some) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.endswith("longest turn, ms")
    assert [line[:30].strip() for line in lines] == list(some)
    assert all(float(line.split()[-1]) > 0 for line in lines)
