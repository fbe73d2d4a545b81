"""Statements recorded from real clients: ``corpus/traffic``, one file a client.

A file begins with comment lines that say which client, on what server, doing what, and when; then come statements
as psql takes them, each ended by a line ``\\g``, or ``\\bind 'a' NULL \\g`` where parameters were bound.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rules import NO_CURSORS, Context, Judge, Judgement, Parameter
from rules.catalog import EMPTY, SchemaSnapshot
from tests.rules.policies import context

__all__ = ["FILES", "Recorded", "Session", "read_traffic"]

FILES = sorted((Path(__file__).parent / "corpus" / "traffic").glob("*.sql"))

_STATEMENT = re.compile(r"(.*?)\n(?:\\bind ([^\n]*) )?\\g\n", re.DOTALL)
_VALUE = re.compile(r"NULL|'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One statement and the values bound to it."""

    sql: str
    parameters: tuple[str | None, ...] = ()


def read_traffic(file: Path) -> list[Recorded]:
    """The statements of a file, in the order in which they were first sent."""
    header, _, body = file.read_text(encoding="utf-8").partition("\n\n")
    assert all(line.startswith("--") for line in header.splitlines()), f"{file.name} has no header"
    found = list(_STATEMENT.finditer(body))
    assert found, f"{file.name} has no statement"
    assert sum(len(match[0]) for match in found) == len(body), f"{file.name} ends within a statement"
    return [Recorded(match[1], tuple(_values(match[2] or ""))) for match in found]


def _values(text: str) -> Iterable[str | None]:
    for match in _VALUE.finditer(text):
        yield None if match[1] is None else match[1].replace("''", "'")


class Session:
    """Judges the statements of one session in order, and follows what they prepare, declare and create."""

    def __init__(self, judge: Judge, catalog: SchemaSnapshot = EMPTY, **surroundings: object) -> None:
        self._judge = judge
        self._catalog = catalog
        self._surroundings = surroundings
        self._prepared: dict[str, tuple[str, ...]] = {}
        self._cursors = NO_CURSORS

    @property
    def context(self) -> Context:
        """The session as it stands."""
        return context(
            catalog=self._catalog,
            prepared=dict(self._prepared),
            cursors=self._cursors,
            **self._surroundings,
        )

    def judge(self, sql: bytes, parameters: Sequence[str | None] | None = None) -> Judgement:
        """The judgement on one message, which is then taken to have run."""
        values = None
        if parameters is not None:
            values = [Parameter(0, 0, None if value is None else value.encode()) for value in parameters]
        judgement = self._judge.judge(sql, self.context, values)
        for name, text in judgement.facts.prepares:
            self._prepared[name] = (*self._prepared.get(name, ()), text)
        self._cursors = self._cursors.after(judgement.facts.cursors)
        if judgement.facts.creates and not self._catalog.is_empty:
            self._catalog = replace(
                self._catalog,
                generation=self._catalog.generation + 1,
                relations=(*self._catalog.relations, *judgement.facts.creates),
            )
        return judgement
