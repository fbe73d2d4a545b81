"""What DROP … CASCADE takes along: the closure of what depends on the objects that go.

Followed are those dependencies that lose rows or values: inheritance, views on views, columns by their type or
collation, and generated columns.  Definitions name what they need in full, so that a name's mention tells of a
dependency; it may tell of one too many, never of one too few.
Source: documentation section 5.15, "Dependency Tracking".
"""

import re
from collections.abc import Iterable
from typing import Final

from rules.catalog import Relation
from rules.world import World

_NEEDED: Final = frozenset(["generated", "collation"])
"""Without these a column cannot be; checks, indexes, defaults and policies go by themselves."""
_VIEWS: Final = frozenset(["v", "m"])


class Dependents:
    """Gathers what goes with relations, types, or a whole schema."""

    def __init__(self, world: World) -> None:
        self._catalog = world.catalog
        self._world = world
        self._gone: dict[int, Relation] = {}
        self._types: set[int] = set()
        self._mentions: list[str] = []
        self._named: set[int] = set()

    def of(self, relations: Iterable[Relation] = (), types: Iterable[int] = ()) -> list[Relation]:
        """The relations that go, or lose columns, with these (which are among them)."""
        for relation in relations:
            self._lose(relation)
        self._types.update(types)
        return self._closed()

    def of_schema(self, schema: str) -> list[Relation] | None:
        """As ``of``, with all that is in a schema; None where that cannot be told."""
        catalog = self._catalog
        inside = {one.oid for one in catalog.functions if one.schema == schema}
        used = [
            trigger.function for one in catalog.relations if one.schema != schema for trigger in one.triggers
        ]
        used += [trigger.function for trigger in catalog.event_triggers]
        used += [cast.function for cast in catalog.casts]
        if (
            schema not in {one.name for one in catalog.namespaces}
            or schema in catalog.extensions.values()
            or not inside.isdisjoint(used)
        ):
            return None
        self._mentions.append(_either_way(schema) + r"\.")
        return self.of(
            [one for one in catalog.relations if one.schema == schema],
            [one.oid for one in catalog.types if one.schema == schema],
        )

    def _lose(self, relation: Relation) -> None:
        self._gone[relation.oid] = relation
        self._mention(relation.schema, relation.name)

    def _mention(self, schema: str, name: str) -> None:
        self._mentions.append(rf"{_either_way(schema)}\.{_either_way(name)}")

    def _closed(self) -> list[Relation]:
        while True:
            before = len(self._gone), len(self._types), len(self._mentions)
            self._follow_types()
            pattern = re.compile("|".join(self._mentions) or r"(?!)")
            for relation in self._catalog.relations:
                if relation.oid not in self._gone and self._goes(relation, pattern):
                    self._lose(relation)
            if before == (len(self._gone), len(self._types), len(self._mentions)):
                return list(self._gone.values())

    def _goes(self, relation: Relation, pattern: re.Pattern[str]) -> bool:
        if not self._types.isdisjoint(relation.types) or any(oid in self._gone for oid in relation.parents):
            return True
        if relation.kind in _VIEWS:
            return relation.definition is None or pattern.search(relation.definition) is not None
        return any(
            code.occasion in _NEEDED and (not code.text or pattern.search(code.text))
            for code in relation.code
        )

    def _follow_types(self) -> None:
        """Rows' types go with their relations, and functions and operators with their types."""
        for one in self._catalog.types:
            if one.oid not in self._types and (
                one.relation in self._gone or self._made_of(one.base, one.element)
            ):
                self._types.add(one.oid)
        for function in self._catalog.functions:
            if function.oid not in self._named and self._made_of(function.returns, *function.arguments):
                self._named.add(function.oid)
                self._mention(function.schema, function.name)
        for operator in self._catalog.operators:
            if self._made_of(operator.left, operator.right) or operator.function in self._named:
                text = rf"{_either_way(operator.schema)}\.{re.escape(operator.name)}"
                if text not in self._mentions:
                    self._mentions.append(text)

    def _made_of(self, *types: int) -> bool:
        return not self._types.isdisjoint(types)


def _either_way(name: str) -> str:
    """A name as it stands in a definition, with quotes or without."""
    quoted = re.escape(name.replace('"', '""'))
    return rf'(?:"{quoted}"|(?<![\w$"]){re.escape(name)}(?![\w$]))'
