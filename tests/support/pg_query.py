"""libpg_query called by the tests themselves, so that a fault in the product's use of it does not hide itself."""

import ctypes
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Node", "parse_json", "parse_tree", "walk"]

Node = dict[str, Any]


class _Result(ctypes.Structure):
    _fields_ = [
        ("tree", ctypes.c_char_p),
        ("stderr", ctypes.c_char_p),
        ("error", ctypes.c_void_p),
    ]


def _library() -> ctypes.CDLL:
    spec = find_spec("postgast")
    assert spec is not None
    assert spec.submodule_search_locations
    (path,) = Path(spec.submodule_search_locations[0]).glob("libpg_query.*")
    library = ctypes.CDLL(str(path))
    library.pg_query_parse.argtypes = [ctypes.c_char_p]
    library.pg_query_parse.restype = _Result
    library.pg_query_free_parse_result.argtypes = [_Result]
    library.pg_query_free_parse_result.restype = None
    return library


_LIBRARY = _library()


def parse_json(sql: bytes) -> bytes | None:
    """The library's answer as it is; None where the text does not follow the grammar."""
    result = _LIBRARY.pg_query_parse(sql)
    try:
        tree: bytes | None = None if result.error else result.tree
        return tree
    finally:
        _LIBRARY.pg_query_free_parse_result(result)


def parse_tree(sql: bytes) -> list[Node] | None:
    """The statements' trees, each ``{kind: fields}``; None where the text does not follow the grammar."""
    answer = parse_json(sql)
    if answer is None:
        return None
    return [raw["stmt"] for raw in json.loads(answer)["stmts"] if raw.get("stmt")]


def walk(tree: Any) -> Iterator[tuple[str, Node]]:
    """Every mapping in a tree, with the key it stands under."""
    stack = [("", tree)]
    while stack:
        key, node = stack.pop()
        if isinstance(node, list):
            stack.extend((key, each) for each in node)
        elif isinstance(node, dict):
            yield key, node
            stack.extend(node.items())
