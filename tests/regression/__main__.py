"""``python -m tests.regression [FOLDER] [--package NAME] [--show KIND]``, see ``make regression-sql``."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.regression.readers import ReadingKind, read_all
from tests.regression.script import spec_statements, statements
from tests.regression.source import FetchError, fetch, scripts
from tests.regression.table import Table

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache"
_PRINTED = 400


def main(arguments: Sequence[str] | None = None) -> int:
    """Read them all and print the table; 1 if a reader crashed or stalled, 2 if there is nothing to read."""
    parser = argparse.ArgumentParser(prog="make regression-sql", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="an unpacked source of PostgreSQL")
    parser.add_argument("--package", default="postgresql-15", help="the Debian source to fetch otherwise")
    parser.add_argument("--show", action="append", default=[], type=ReadingKind, metavar="KIND")
    chosen = parser.parse_args(arguments)
    try:
        source = chosen.folder or fetch(chosen.package, CACHE)
        files = scripts(source)
    except FetchError as error:
        print(f"no regression tests to read: {error}", file=sys.stderr)
        return 2
    table = Table()
    texts = [(str(file.relative_to(source)), sql) for file in files for sql in _texts(file)]
    for (name, _), reading in zip(texts, read_all(texts), strict=True):
        table.add(_group(name), reading)
        if reading.kind in chosen.show:
            print(f"{reading.kind}: {reading.why} | {' '.join(reading.sql.split())[:_PRINTED]}")
    print("\n".join(table.lines()))
    return 1 if table.broken else 0


def _texts(file: Path) -> Iterator[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    return spec_statements(text) if file.suffix == ".spec" else statements(text)


def _group(name: str) -> str:
    parts = Path(name).parts
    return "contrib" if parts[0] == "contrib" else "/".join(parts[:3])


if __name__ == "__main__":
    sys.exit(main())
