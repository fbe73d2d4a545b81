"""Relations that hold copies of personal data, known by the statements that made them.

The server's catalog does not tell a copy from anything else. What a statement is about to make of personal columns is
expected by its name from the moment it goes to the server, so that nobody can find it unmarked, and followed by its OID
from the first reading that shows it: renaming it does not help, and what gets its name later is no copy.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from rules.catalog import Relation, SchemaSnapshot
from rules.personal import ALL

__all__ = ["Copies", "Copy", "Expected", "filled"]

logger = logging.getLogger(__name__)

MAX_EXPECTED: Final = 10_000
"""Copies that are waited for at once; the oldest are given up first."""

_ROWS: Final = frozenset("rpf")
"""Kinds of relations that have rows of their own. A view shows what it is made of, which can be read."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A relation that a statement makes or fills, with the columns that hold copies of personal ones (``*``: any may)
    and of those that tell people apart. ``oid`` is its number, 0 of one that is not there yet."""

    schema: str
    name: str
    columns: tuple[str, ...]
    subject: tuple[str, ...] = ()
    oid: int = 0

    @staticmethod
    def among(relations: Iterable[Relation]) -> "tuple[Copy, ...]":
        """The copies among relations that a message creates or fills."""
        return tuple(
            # What has no number of the server's yet is known by its name alone.
            Copy(one.schema, one.name, one.copied, one.copied_subject, max(one.oid, 0))
            for one in relations
            if one.copied
        )


@dataclass(slots=True, eq=False)
class Expected:
    """A copy nobody has seen yet. ``before`` is the OID of what had its name, which it is not; ``since`` counts the
    changes of the catalog after which it must be there, None while nobody can tell."""

    copy: Copy
    before: int | None
    since: int | None = None


class Copies:
    """The copies in one database, or those that only one session sees. ``label`` names the database in the log; none:
    nothing is logged."""

    def __init__(self, label: str = "") -> None:
        self._label = label
        self._expected: dict[Expected, None] = {}
        self._numbered: dict[int, Copy] = {}
        self._seen: set[int] = set()

    def expect(self, copies: Iterable[Copy], snapshot: SchemaSnapshot | None) -> list[Expected]:
        """These are about to be made, in a database that looks like ``snapshot``."""
        made = []
        for copy in copies:
            known = snapshot.by_name.get((copy.schema, copy.name)) if snapshot is not None else None
            made.append(Expected(copy, None if known is None else known.oid))
        self._expected.update(dict.fromkeys(made))
        while len(self._expected) > MAX_EXPECTED:
            del self._expected[next(iter(self._expected))]
        return made

    @staticmethod
    def settle(expected: Iterable[Expected], changes: int) -> None:
        """The transactions of these are over, and ``changes`` changes of the catalog are known: a reading that takes
        account of them shows what is there, and what it does not show was rolled back."""
        for one in expected:
            one.since = changes

    def give_up(self, expected: Iterable[Expected]) -> None:
        """These were rolled back."""
        for one in expected:
            self._expected.pop(one, None)

    def fill(self, copies: Iterable[Copy]) -> bool:
        """Copies are put into relations that are there; whether anything of that is new."""
        new = False
        for copy in copies:
            known = self._numbered.get(copy.oid)
            if known is not None:
                columns = tuple(dict.fromkeys((*known.columns, *copy.columns)))
                copy = replace(copy, columns=columns, subject=known.subject or copy.subject)
            if known is None or copy.columns != known.columns:
                new = True
                self._follow(copy)
        return new

    def marked(
        self, snapshot: SchemaSnapshot, changes: int | None = None, generation: int | None = None
    ) -> SchemaSnapshot:
        """The snapshot with copies marked, under another ``generation`` if one is given.

        ``changes`` says how many it takes account of; None: it is one session's own, and proves nothing for others.
        """
        for one in list(self._expected):
            copy = one.copy
            found = snapshot.by_name.get((copy.schema, copy.name))
            if found is not None and found.oid != one.before:
                if found.kind in _ROWS:
                    self._follow(replace(copy, oid=found.oid))
                if changes is not None:
                    del self._expected[one]
            elif changes is not None and one.since is not None and changes >= one.since:
                del self._expected[one]
        if changes is not None:
            # What was never there for others may be in a transaction that is still open.
            gone = {oid for oid in self._seen if oid not in snapshot.by_oid}
            self._numbered = {oid: copy for oid, copy in self._numbered.items() if oid not in gone}
            self._seen = {oid for oid in self._numbered if oid in snapshot.by_oid}
        copies = tuple(
            _as_copy(relation, copy)
            for oid, copy in self._numbered.items()
            if (relation := snapshot.by_oid.get(oid)) is not None
        )
        if not copies:
            return snapshot
        number = snapshot.generation if generation is None else generation
        return snapshot.extended(SchemaSnapshot(relations=copies), number)

    def _follow(self, copy: Copy) -> None:
        if copy.oid not in self._numbered and self._label:
            logger.warning(
                "%s.%s in database %s holds copies of personal data (%s); the gateway forgets it when restarted: "
                "list it in personal_data",
                copy.schema,
                copy.name,
                self._label,
                ", ".join(copy.columns),
            )
        self._numbered[copy.oid] = copy


def filled(snapshot: SchemaSnapshot, fills: Iterable[Relation], generation: int) -> SchemaSnapshot:
    """The snapshot once copies have been put into these relations."""
    known = (
        replace(
            found,
            copied=(*found.copied, *one.copied),
            copied_subject=found.copied_subject or one.copied_subject,
        )
        for one in fills
        if (found := snapshot.by_oid.get(one.oid)) is not None
    )
    return snapshot.extended(SchemaSnapshot(relations=tuple(known)), generation)


def _as_copy(relation: Relation, copy: Copy) -> Relation:
    """The relation with its mark: on all of it once a marked column goes by another name."""
    there = copy.columns == (ALL,) or set(copy.columns) <= set(relation.columns)
    subject = tuple(column for column in copy.subject if column in relation.columns)
    return replace(relation, copied=copy.columns if there else (ALL,), copied_subject=subject)
