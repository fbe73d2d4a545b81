"""Which relations hold personal data, in which columns, and whose (the subject)."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from rules.names import is_glob, pattern

ALL: Final = "*"
"""Stands for every column: of a relation declared without columns, or of one read as a whole."""

STATISTICS: Final = "statistics"


@dataclass(frozen=True)
class PersonalRelation:
    """One entry of ``personal_data``: schema and name may be globs; ``columns`` is ``("*",)`` for all of them.

    ``subject`` is the column that tells one person from another; None where no such column was given.
    """

    schema: str
    name: str
    columns: tuple[str, ...]
    subject: str | None = None
    data_class: str | None = None

    @cached_property
    def _schema_pattern(self) -> re.Pattern[str]:
        return pattern(self.schema)

    @cached_property
    def _name_pattern(self) -> re.Pattern[str]:
        return pattern(self.name)

    @cached_property
    def _columns(self) -> frozenset[str]:
        return frozenset(column.lower() for column in self.columns)

    @property
    def classes(self) -> frozenset[str]:
        """Its class, as a set that may be empty."""
        return frozenset() if self.data_class is None else frozenset([self.data_class])

    def holds(self, column: str) -> bool:
        """Whether a column (folded name, or ``*`` for the whole row) carries personal data."""
        return ALL in self._columns or column == ALL or column.lower() in self._columns

    def is_subject(self, column: str) -> bool:
        """Whether equality on the column picks one person."""
        return self.subject is not None and column.lower() == self.subject.lower()

    def named(self, name: str) -> bool:
        """Whether the bare relation name is this one's."""
        return self._name_pattern.match(name) is not None

    def in_schema(self, schema: str) -> bool:
        """Whether the schema is this one's."""
        return self._schema_pattern.match(schema) is not None


def _statistics(name: str, *columns: str) -> PersonalRelation:
    return PersonalRelation("pg_catalog", name, columns, None, STATISTICS)


SYSTEM: Final = (
    _statistics(
        "pg_stats", "most_common_vals", "histogram_bounds", "most_common_elems", "range_bounds_histogram"
    ),
    _statistics("pg_statistic", *(f"stavalues{slot}" for slot in range(1, 6))),
    _statistics("pg_stats_ext", "most_common_vals"),
    _statistics("pg_stats_ext_exprs", "most_common_vals", "histogram_bounds", "most_common_elems"),
    _statistics("pg_statistic_ext_data", "stxdmcv", "stxdexpr"),
    _statistics("pg_stat_activity", "query"),
    _statistics("pg_largeobject", "data"),
    PersonalRelation("pg_toast", ALL, (ALL,), None, STATISTICS),
)
"""System relations that show values of other relations, or other sessions' statements, to ordinary roles."""


@dataclass(frozen=True)
class PersonalData:
    """All entries; the configured ones come before the system's."""

    relations: tuple[PersonalRelation, ...]

    @cached_property
    def _plain(self) -> dict[str, list[PersonalRelation]]:
        plain: dict[str, list[PersonalRelation]] = {}
        for relation in self.relations:
            if not is_glob(relation.name):
                plain.setdefault(relation.name.lower(), []).append(relation)
        return plain

    @cached_property
    def _globs(self) -> tuple[PersonalRelation, ...]:
        return tuple(r for r in self.relations if is_glob(r.name))

    def find(self, schema: str | None, name: str, search_path: tuple[str, ...]) -> PersonalRelation | None:
        """The entry a relation name stands for, or None.

        An unqualified name prefers the schemas of the search path in their order, but matches outside of it too:
        without a catalog nobody can say where it would be found.  A temporary table that carries the name of a
        personal relation counts as that relation.
        """
        candidates = list(self._plain.get(name.lower(), ()))
        candidates += [r for r in self._globs if r.named(name)]
        if schema is not None and not schema.startswith("pg_temp"):
            return next((r for r in candidates if r.in_schema(schema)), None)
        if not candidates:
            return None
        for place in ("pg_catalog", *search_path):
            for relation in candidates:
                if relation.in_schema(place):
                    return relation
        return candidates[0] if candidates[0].schema not in ("pg_catalog", "pg_toast") else None

    def in_schema(self, schema: str) -> tuple[PersonalRelation, ...]:
        """The configured entries that a schema holds."""
        return tuple(r for r in self.relations if r.data_class != STATISTICS and r.in_schema(schema))

    @cached_property
    def configured(self) -> tuple[PersonalRelation, ...]:
        """The entries of the policy, without the system's."""
        return tuple(r for r in self.relations if r.data_class != STATISTICS)
