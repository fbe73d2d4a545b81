"""What the commands print: aligned tables, JSON, and nothing that a terminal would obey."""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime

from gateway.text import one_line, visible

__all__ = ["moment", "print_fields", "print_json", "print_table"]


def moment(text: object) -> str:
    """A time of the management port in this machine's time zone, to the second; empty for None."""
    if not isinstance(text, str):
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def print_json(value: object) -> None:
    """``value`` on one line as JSON, in ASCII so that no reader's terminal is spoken to."""
    print(json.dumps(value, separators=(",", ":")), flush=True)


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Aligned columns; the last one may be cut to the width of a terminal. ``empty`` is printed to stderr."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    table = [list(header), *([one_line("" if cell is None else cell) for cell in row] for row in rows)]
    widths = [max(_width(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def print_fields(fields: Mapping[str, object]) -> None:
    """``name: value`` lines, aligned; fields without a value are left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [])}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        first, *rest = visible(str(value)).split("\n")
        print(f"{name + ':':<{width + 1}} {first}".rstrip())
        for line in rest:
            print(f"{'':<{width + 1}} {line}".rstrip())


def _width(text: str) -> int:
    """Columns on a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
