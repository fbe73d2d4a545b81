import pytest

from gateway.config import ConfigError, ConfigProblem


def test_one_line_each_in_the_order_of_the_file() -> None:
    late = ConfigProblem("f.yaml", 9, 1, "b", "is wrong")
    early = ConfigProblem("f.yaml", 2, 5, "a.c[0]", "is wrong too")
    error = ConfigError([late, early, late])
    assert str(error) == "f.yaml:2:5: a.c[0]: is wrong too\nf.yaml:9:1: b: is wrong"
    assert error.problems == (early, late)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (ConfigProblem("f.yaml", 0, 0, "", "cannot read"), "f.yaml: cannot read"),
        (ConfigProblem("f.yaml", 3, 4, "", "not YAML"), "f.yaml:3:4: not YAML"),
    ],
)
def test_places(problem: ConfigProblem, text: str) -> None:
    assert str(problem) == text
