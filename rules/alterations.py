"""ALTER: definitions that become others, and what is lost or moved out of sight by that.

Source: PostgreSQL's ``parsenodes.h``; documentation part VI, "SQL Commands", ALTER and what follows.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from rules.definer import Definer, Handler
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Frame
from rules.pgquery import Node
from rules.settings import assignment

_LOSING: Final = frozenset(
    ["AT_DropColumn", "AT_DropInherit", "AT_DetachPartition", "AT_DetachPartitionFinalize"]
)
_EXPRESSIONS: Final = frozenset(["AT_ColumnDefault", "AT_SetExpression"])
_SWITCHES: Final = (
    "AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser", "AT_DisableRule", "AT_DisableRowSecurity",
    "AT_NoForceRowSecurity", "AT_EnableReplicaTrig", "AT_EnableReplicaRule",
)  # fmt: skip


class Alterations(Definer):
    """Reads ALTER, COMMENT and REASSIGN OWNED."""

    def _alter_table(self, fields: Node, frame: Frame) -> None:
        statements = self.statements
        effect = statements.on_relation(fields["relation"], Action.DDL, frame, "alters")
        self.ddl("", effect)
        self.expressions(fields, frame)
        self.rebuilt(fields["relation"], frame)
        for one in fields.get("cmds", ()):
            command = one["AlterTableCmd"]
            what = command["subtype"]
            name = effect.relation
            if what in _EXPRESSIONS and "def" in command:
                self.statements.expressions([command["def"]], frame, shown=True)
            elif what in _LOSING:
                detail = "drops a column" if what == "AT_DropColumn" else "takes a partition out of"
                statements.lost(fields["relation"], frame, f"{detail} of {name}")
                self._lost_with(command, fields["relation"], frame)
            elif what == "AT_AlterColumnType":
                definition = command.get("def", {}).get("ColumnDef", {})
                if "raw_default" in definition:
                    statements.lost(fields["relation"], frame, f"rewrites a column of {name}")
            elif what in _SWITCHES:
                guarded = f"switches triggers, rules or row security of {name} off"
                statements.findings.note(replace(effect, nature=Nature.GUARDED, detail=guarded))
            elif what == "AT_AttachPartition":
                child = command.get("def", {}).get("PartitionCmd", {}).get("name")
                if child is not None:
                    self.ddl("", statements.on_relation(child, Action.DDL, frame, "attaches"))
                    self.rebuilt(child, frame)

    def _lost_with(self, command: Node, relation: Node, frame: Frame) -> None:
        """A column takes views along that show it; an attribute is in every column of the composite type."""
        known = self.known(relation, frame)
        if known is not None and (command.get("behavior") == "DROP_CASCADE" or known.kind == "c"):
            self.statements.losses.with_dependents([known], (), known.full_name, frame)

    def _rename(self, fields: Node, frame: Frame) -> None:
        self._moved(fields, frame, fields.get("renameType", ""), "renames")

    def _set_schema(self, fields: Node, frame: Frame) -> None:
        self._moved(fields, frame, fields.get("objectType", ""), "moves")

    def _moved(self, fields: Node, frame: Frame, kind: str, verb: str) -> None:
        """A name that the rules speak of stands for something else afterwards."""
        statements = self.statements
        relation = fields.get("relation")
        if kind == "OBJECT_SCHEMA":
            self.ddl(f"{verb} schema {fields.get('subname', '')}")
            self.statements.losses.schema(fields.get("subname", ""), f"{verb} all of it")
            return
        if not isinstance(relation, dict):
            self.ddl(f"{verb} something")
            if kind in ("OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_OPERATOR"):
                # What calls it by name calls something else from now on.
                why = f"{verb} code that others call by its name"
                statements.findings.opaque(verb, why, frame.trail)
            return
        effect = statements.on_relation(relation, Action.DDL, frame, verb)
        self.ddl("", effect)
        if effect.touches_personal:
            statements.lost(relation, frame, f"{verb} what the rules about {effect.relation} name")

    def _alter_owner(self, fields: Node, frame: Frame) -> None:
        self.ddl("changes an owner", self.relation_in(fields, frame))

    def _alter_settings(self, fields: Node, frame: Frame) -> None:
        """ALTER ROLE, DATABASE and SYSTEM … SET."""
        self.ddl("changes settings for later sessions")
        self.statements.findings.note(assignment(fields["setstmt"]))

    def _alter_function(self, fields: Node, frame: Frame) -> None:
        self.ddl("alters a function")
        for action in fields.get("actions", ()):
            element = action["DefElem"]
            if element["defname"] == "set":
                self.statements.findings.note(assignment(element["arg"]["VariableSetStmt"]))
        why = "changes how code that others call runs"
        self.statements.findings.opaque("alter function", why, frame.trail)

    def _alter_role(self, fields: Node, frame: Frame) -> None:
        self.ddl("alters a role")

    def _alter_policy(self, fields: Node, frame: Frame) -> None:
        relation = fields["table"]
        self.ddl("", self.statements.on_relation(relation, Action.DDL, frame, "changes a policy of"))
        self.statements.expressions([fields[key] for key in ("qual", "with_check") if key in fields], frame)

    def _alter_domain(self, fields: Node, frame: Frame) -> None:
        self.ddl("alters a domain")
        if fields.get("behavior") == "DROP_CASCADE":
            self.statements.losses.anything("ALTER DOMAIN … CASCADE")
        self.expressions(fields, frame)
        if fields["subtype"] == "T" and "def" in fields:
            self.statements.expressions([fields["def"]], frame, shown=True)
        # A new constraint, or one to be validated, is checked in every column of the domain.
        self.statements.types([{"names": fields["typeName"]}], frame)

    def _alter_event_trigger(self, fields: Node, frame: Frame) -> None:
        self.ddl("alters an event trigger")
        guarded = "switches an event trigger"
        self.statements.findings.note(EffectFacts(Action.DDL, nature=Nature.GUARDED, detail=guarded))

    def _replica_identity(self, fields: Node, frame: Frame) -> None:
        self.ddl("changes a replica identity")

    def _comment(self, fields: Node, frame: Frame) -> None:
        self.ddl("comments on an object")

    def _reassign(self, fields: Node, frame: Frame) -> None:
        self.ddl("gives a role's objects to another")

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return _HANDLERS


_HANDLERS: Final[Mapping[str, Handler]] = {
    "AlterTableStmt": Alterations._alter_table,
    "RenameStmt": Alterations._rename,
    "AlterObjectSchemaStmt": Alterations._set_schema,
    "AlterOwnerStmt": Alterations._alter_owner,
    "AlterRoleSetStmt": Alterations._alter_settings,
    "AlterDatabaseSetStmt": Alterations._alter_settings,
    "AlterSystemStmt": Alterations._alter_settings,
    "AlterFunctionStmt": Alterations._alter_function,
    "AlterRoleStmt": Alterations._alter_role,
    "AlterPolicyStmt": Alterations._alter_policy,
    "AlterDomainStmt": Alterations._alter_domain,
    "AlterEventTrigStmt": Alterations._alter_event_trigger,
    "ReplicaIdentityStmt": Alterations._replica_identity,
    "CommentStmt": Alterations._comment,
    "ReassignOwnedStmt": Alterations._reassign,
}
