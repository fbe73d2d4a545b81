"""What is known of the database's own definitions.

A SchemaSnapshot is a value.  The empty one knows nothing: then names stand for themselves, and an unqualified
name is looked for along the search path among the relations that the policy names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class SchemaSnapshot:
    """Relations by schema: ``relations[schema]`` holds the names in it; ``generation`` goes up with each change."""

    generation: int = 0
    relations: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known, so that a name not listed is no surprise."""
        return not self.relations

    def schema_of(self, name: str, search_path: tuple[str, ...]) -> str | None:
        """The first schema on the path that has the relation; pg_catalog comes first unless it is listed."""
        path = search_path if "pg_catalog" in search_path else ("pg_catalog", *search_path)
        return next((schema for schema in path if name in self.relations.get(schema, ())), None)


EMPTY: Final = SchemaSnapshot()
