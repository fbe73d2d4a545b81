"""What DROP, TRUNCATE and their kin take away, and what goes along with it.

Source: PostgreSQL's ``parsenodes.h``; documentation section 5.15, "Dependency Tracking".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rules.bodies import Bodies
from rules.catalog import Relation
from rules.definer import Definer, Handler
from rules.dependents import Dependents
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
_BESIDE: Final = frozenset(["OBJECT_SEQUENCE", "OBJECT_INDEX"])
_CASCADES_FOLLOWED: Final = frozenset(
    [*_RELATIONS, "OBJECT_INDEX", "OBJECT_SCHEMA", "OBJECT_TYPE", "OBJECT_DOMAIN"]
)
_WITHOUT_ROWS: Final = frozenset(["S", "c"])


class Losses(Definer):
    """Reads DROP and TRUNCATE, and notes losses of other definitions."""

    def _drop(self, fields: Node, frame: Frame) -> None:
        kind = fields["removeType"]
        what = kind.removeprefix("OBJECT_").lower().replace("_", " ")
        cascade = fields.get("behavior") == "DROP_CASCADE"
        for one in fields["objects"]:
            if kind in _RELATIONS:
                self._drop_relation(fields, _range_var(one), frame)
            elif kind == "OBJECT_SCHEMA":
                self._drop_schema(one["String"]["sval"], frame, cascade=cascade)
            elif kind in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
                names = [part["String"]["sval"] for part in one["List"]["items"]]
                effect = self.statements.on_relation(
                    _names(names[:-1]), Action.DDL, frame, f"drops a {what} of"
                )
                self.ddl("", effect)
                guarded = f"takes a {what} of {effect.relation} away"
                self.statements.findings.note(replace(effect, nature=Nature.GUARDED, detail=guarded))
            elif kind in ("OBJECT_TYPE", "OBJECT_DOMAIN"):
                self.ddl(f"drops {what}")
                if cascade:
                    self._drop_type(fields, one["TypeName"], frame)
            elif kind in _BESIDE:
                self.ddl("", self.statements.on_relation(_range_var(one), Action.DDL, frame, f"drops {what}"))
            else:
                self.ddl(f"drops {what}")
        if cascade and kind not in _CASCADES_FOLLOWED:
            self.anything(f"DROP {what.upper()} … CASCADE")

    def _drop_relation(self, fields: Node, relation: Node, frame: Frame) -> None:
        statements = self.statements
        findings = statements.findings
        what = _RELATIONS[fields["removeType"]]
        named = findings.relation(relation.get("schemaname"), relation["relname"], frame)
        if fields.get("missing_ok") and not named.exists and named.mark is None and self._is_certain(frame):
            # Whoever judges by this looks once more whether it is so.
            findings.missing[named.full_name] = None
            self.ddl(f"drops {what} {named.full_name}, which is not there")
            return
        self.ddl("", statements.on_relation(relation, Action.DDL, frame, f"drops {what}"))
        statements.lost(relation, frame, f"drops {what} {relation['relname']}")
        if fields.get("behavior") == "DROP_CASCADE" and named.known is not None:
            self.with_dependents([named.known], (), named.full_name, frame)

    def _is_certain(self, frame: Frame) -> bool:
        """Whether the catalog tells what there will be when the statement runs."""
        catalog = self.statements.findings.world.catalog
        known = not catalog.is_empty and catalog.unavailable is None
        return known and not self.statements.changes_catalog and not frame.depth

    def _drop_schema(self, name: str, frame: Frame, *, cascade: bool) -> None:
        self.ddl(f"drops schema {name}")
        self.schema(name, "drops all of it")
        if cascade:
            lost = (
                Dependents(self.statements.findings.world).of_schema(name)
                if self._is_certain(frame)
                else None
            )
            if lost is None:
                self.anything("DROP SCHEMA … CASCADE")
            else:
                self._all_lost(lost, f"schema {name}", frame)

    def _drop_type(self, fields: Node, type_name: Node, frame: Frame) -> None:
        catalog = self.statements.findings.world.catalog
        names = [part["String"]["sval"] for part in type_name["names"]]
        places = names[:-1] or list(frame.path)
        found = next(
            (one for place in places if (one := catalog.types_by_name.get((place, names[-1])))), None
        )
        if found is not None and self._is_certain(frame):
            self.with_dependents((), (found.oid,), ".".join(names), frame)
        elif found is None and fields.get("missing_ok") and self._is_certain(frame):
            self.statements.findings.missing[".".join(names)] = None
        else:
            self.anything("DROP TYPE … CASCADE")

    def with_dependents(
        self, relations: Sequence[Relation], types: Sequence[int], what: str, frame: Frame
    ) -> None:
        """All that cannot be without these relations and types is lost as well."""
        found = Dependents(self.statements.findings.world).of(relations, types)
        self._all_lost([one for one in found if one not in relations], what, frame)

    def _all_lost(self, relations: Iterable[Relation], what: str, frame: Frame) -> None:
        for one in relations:
            if one.kind not in _WITHOUT_ROWS:
                fields = {"schemaname": one.schema, "relname": one.name}
                self.statements.lost(fields, frame, f"drops {one.full_name} or columns of it with {what}")

    def _truncate(self, fields: Node, frame: Frame) -> None:
        statements, world = self.statements, self.statements.findings.world
        cascade = fields.get("behavior") == "DROP_CASCADE"
        for one in fields["relations"]:
            relation = one["RangeVar"]
            statements.lost(relation, frame, "")
            known = self.known(relation, frame)
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

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return _HANDLERS


_HANDLERS: Final[Mapping[str, Handler]] = {
    "DropStmt": Losses._drop,
    "TruncateStmt": Losses._truncate,
    "DropOwnedStmt": Losses._drop_owned,
    "DropdbStmt": Losses._drop_database,
}


def _range_var(node: Node) -> Node:
    return _names([part["String"]["sval"] for part in node["List"]["items"]])


def _names(names: list[str]) -> Node:
    return {"relname": names[-1], **({"schemaname": names[-2]} if len(names) > 1 else {})}
