"""What DROP, TRUNCATE and their kin take away, and what goes along with it.

Source: PostgreSQL's ``parsenodes.h``; documentation section 5.15, "Dependency Tracking".
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from rules.bodies import Bodies
from rules.definer import Definer
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Frame
from rules.personal import ALL
from rules.pgquery import Node

_RELATIONS: Final = {
    "OBJECT_TABLE": "table",
    "OBJECT_VIEW": "view",
    "OBJECT_MATVIEW": "materialized view",
    "OBJECT_FOREIGN_TABLE": "foreign table",
}
_BESIDE: Final = {"OBJECT_SEQUENCE": "sequence", "OBJECT_INDEX": "index"}


class Losses(Definer):
    """Reads DROP and TRUNCATE, and notes losses of other definitions."""

    def _drop(self, fields: Node, frame: Frame) -> None:
        statements = self.statements
        kind = fields["removeType"]
        cascade = fields.get("behavior") == "DROP_CASCADE"
        if kind == "OBJECT_SCHEMA":
            for one in fields["objects"]:
                name = one["String"]["sval"]
                self.ddl(f"drops schema {name}")
                self.schema(name, "drops all of it")
            if cascade:
                self.anything("DROP SCHEMA … CASCADE")
            return
        if kind in _RELATIONS or kind in _BESIDE:
            for one in fields["objects"]:
                relation = _range_var(one)
                what = _RELATIONS.get(kind) or _BESIDE[kind]
                self.ddl("", statements.on_relation(relation, Action.DDL, frame, f"drops {what}"))
                if kind in _RELATIONS:
                    statements.lost(relation, frame, f"drops {what} {relation['relname']}")
                    if cascade:
                        self._dropped_with(relation, frame)
            return
        if kind in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
            names = [part["String"]["sval"] for part in fields["objects"][0]["List"]["items"]]
            relation = _names(names[:-1])
            effect = statements.on_relation(relation, Action.DDL, frame, f"drops a {kind[7:].lower()} of")
            self.ddl("", effect)
            guarded = f"takes a {kind[7:].lower()} of {effect.relation} away"
            statements.findings.note(replace(effect, nature=Nature.GUARDED, detail=guarded))
        else:
            self.ddl(f"drops {kind.removeprefix('OBJECT_').lower().replace('_', ' ')}")
        if cascade:
            self.anything("DROP … CASCADE")

    def _dropped_with(self, relation: Node, frame: Frame) -> None:
        """DROP TABLE … CASCADE takes children and partitions along."""
        world = self.statements.findings.world
        known = world.relation(relation.get("schemaname"), relation["relname"], frame.path).known
        if known is None:
            return
        for child in world.descendants(known):
            fields = {"schemaname": child.schema, "relname": child.name}
            self.statements.lost(fields, frame, f"drops {child.full_name} with {known.full_name}")

    def _truncate(self, fields: Node, frame: Frame) -> None:
        statements, world = self.statements, self.statements.findings.world
        cascade = fields.get("behavior") == "DROP_CASCADE"
        for one in fields["relations"]:
            relation = one["RangeVar"]
            statements.lost(relation, frame, "")
            known = world.relation(relation.get("schemaname"), relation["relname"], frame.path).known
            if known is None:
                if cascade:
                    self.anything("TRUNCATE … CASCADE")
                continue
            family = [known, *world.descendants(known)]
            seen = {member.oid for member in family}
            while cascade and family:
                member = family.pop()
                for key in world.catalog.referring.get(member.oid, ()):
                    child = world.catalog.by_oid.get(key.child)
                    if child is not None and child.oid not in seen:
                        seen.add(child.oid)
                        family.append(child)
                        named = {"schemaname": child.schema, "relname": child.name}
                        statements.lost(named, frame, f"TRUNCATE … CASCADE from {known.full_name}")
            for oid in seen:
                Bodies(self.statements.findings).triggers(world.catalog.by_oid[oid], "truncate", (), frame)

    def _drop_owned(self, fields: Node, frame: Frame) -> None:
        self.ddl("drops all of a role")
        self.anything("DROP OWNED")

    def _drop_database(self, fields: Node, frame: Frame) -> None:
        self.ddl("drops a database")
        self.anything("DROP DATABASE")

    def schema(self, schema: str, what: str) -> None:
        """Everything in a schema goes, or goes by another name."""
        findings = self.statements.findings
        world = findings.world
        marks = [
            mark
            for relation in world.catalog.relations
            if relation.schema == schema and (mark := world.mark(relation)) is not None
        ]
        inside = world.personal.in_schema(schema)
        columns = {column for mark in marks for column in mark.columns}
        columns.update(column for one in inside for column in one.columns)
        classes = frozenset().union(*(mark.classes for mark in marks), *(one.classes for one in inside))
        findings.note(
            EffectFacts(
                Action.DELETE,
                f"{schema}.*",
                personal=tuple(sorted(columns)),
                touches_personal=bool(marks or inside),
                classes=classes,
                detail=f"schema {schema}: {what}",
            )
        )

    def anything(self, what: str) -> None:
        """Rows are lost, and the text does not say of which relations."""
        self.statements.findings.note(
            EffectFacts(
                Action.DELETE,
                None,
                personal=(ALL,),
                touches_personal=True,
                detail=f"{what} can reach any relation",
            )
        )

    HANDLERS: ClassVar[Mapping[str, Callable[[Any, Node, Frame], None]]] = {
        "DropStmt": _drop,
        "TruncateStmt": _truncate,
        "DropOwnedStmt": _drop_owned,
        "DropdbStmt": _drop_database,
    }


def _range_var(node: Node) -> Node:
    return _names([part["String"]["sval"] for part in node["List"]["items"]])


def _names(names: list[str]) -> Node:
    return {"relname": names[-1], **({"schemaname": names[-2]} if len(names) > 1 else {})}
