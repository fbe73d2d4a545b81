"""Lines of what is named in a JSON text."""

import json

import pytest

from gateway.catalog.places import line_of

TEXT = """
{
 "a": 1, "b.": {},
 "list": [
  [], "]}",
  {"deep": {"down": [1,
     2]},
   "last": null}
 ]
}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 2),
        ("a", 3),
        ("list", 4),
        ("list[0]", 5),
        ("list[1]", 5),
        ("list[2].deep.down[1]", 7),
        ("list[2].last", 8),
        ("list[9]", 4),
        ("list[2].nothing", 6),
        ("list[2].last.deeper", 8),
        ("a[0]", 3),
        ("list.a", 4),
        ("nothing[3]", 2),
    ],
)
def test_the_line_of_a_place(path: str, line: int) -> None:
    json.loads(TEXT)
    assert line_of(TEXT, path) == line
