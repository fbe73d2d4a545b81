"""VACUUM, ANALYZE, CLUSTER, REINDEX, REFRESH: upkeep, which evaluates whatever indexes and views are made of.

Source: documentation chapter 24, "Routine Database Maintenance Tasks".
"""

from collections.abc import Mapping
from typing import Final

from rules.bodies import Bodies
from rules.definer import Definer, Handler
from rules.facts import Action, EffectFacts
from rules.findings import Frame
from rules.lineage import Scope
from rules.pgquery import Node
from rules.queries import Queries
from rules.titles import statement_name


class Maintenance(Definer):
    """Reads upkeep."""

    def _kept(self, kind: str, fields: Node, relations: list[Node], frame: Frame) -> None:
        """Upkeep of relations, of all there are where none is named."""
        name = statement_name(kind, fields)
        statements = self.statements
        if not relations:
            statements.findings.note(EffectFacts(Action.UTILITY, detail=name))
            self._everything(None, frame)
        for relation in relations:
            statements.findings.note(statements.on_relation(relation, Action.UTILITY, frame, name))
            self.rebuilt(relation, frame)

    def _everything(self, schema: str | None, frame: Frame) -> None:
        """All relations, or those of a schema."""
        findings = self.statements.findings
        for relation in findings.world.catalog.relations if not frame.planned else ():
            if relation.code and schema in (None, relation.schema):
                Bodies(findings).rebuilt(relation, frame)

    def _vacuum(self, fields: Node, frame: Frame) -> None:
        relations = [one["VacuumRelation"]["relation"] for one in fields.get("rels", ())]
        self._kept("VacuumStmt", fields, relations, frame)

    def _cluster(self, fields: Node, frame: Frame) -> None:
        self._kept("ClusterStmt", fields, [fields["relation"]] if "relation" in fields else [], frame)

    def _reindex(self, fields: Node, frame: Frame) -> None:
        kind = fields["kind"]
        self.statements.definitions.events(frame)
        if kind == "REINDEX_OBJECT_TABLE":
            self._kept("ReindexStmt", fields, [fields["relation"]], frame)
            return
        self.statements.findings.note(EffectFacts(Action.UTILITY, detail="REINDEX"))
        # Which relation an index is of is not known.
        self._everything(fields.get("name") if kind == "REINDEX_OBJECT_SCHEMA" else None, frame)

    def _refresh(self, fields: Node, frame: Frame) -> None:
        """REFRESH MATERIALIZED VIEW runs the view's query, in its owner's name."""
        statements = self.statements
        statements.definitions.events(frame)
        relation = fields["relation"]
        statements.findings.note(statements.on_relation(relation, Action.UTILITY, frame, "refreshes"))
        if fields.get("skipData"):
            statements.lost(relation, frame, f"empties {relation['relname']}")
        known = statements.findings.world.relation(
            relation.get("schemaname"), relation["relname"], frame.path
        ).known
        if known is not None and known.definition is not None:
            self.rebuilt(relation, frame)
            Queries(statements.findings, frame).view_shape(known, Scope())

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return _HANDLERS


_HANDLERS: Final[Mapping[str, Handler]] = {
    "VacuumStmt": Maintenance._vacuum,
    "ClusterStmt": Maintenance._cluster,
    "ReindexStmt": Maintenance._reindex,
    "RefreshMatViewStmt": Maintenance._refresh,
}
