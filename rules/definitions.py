"""CREATE, ALTER, DROP, TRUNCATE, GRANT and their kin: what they define, and what is lost or let out by it.

Source: PostgreSQL's ``parsenodes.h``; documentation part VI, "SQL Commands".
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rules.bodies import Bodies
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Frame
from rules.lineage import Output, Scope, Shape
from rules.personal import ALL
from rules.pgquery import Node
from rules.queries import Queries
from rules.reader import Unreadable
from rules.settings import assignment
from rules.titles import statement_name

if TYPE_CHECKING:
    from rules.statements import Statements

_RELATIONS: Final = {
    "OBJECT_TABLE": "table",
    "OBJECT_VIEW": "view",
    "OBJECT_MATVIEW": "materialized view",
    "OBJECT_FOREIGN_TABLE": "foreign table",
}
_BESIDE: Final = {"OBJECT_SEQUENCE": "sequence", "OBJECT_INDEX": "index"}
_LATER_CODE: Final = {
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreateCastStmt": "CREATE CAST",
    "CreateTransformStmt": "CREATE TRANSFORM",
    "CreateAmStmt": "CREATE ACCESS METHOD",
    "CreateConversionStmt": "CREATE CONVERSION",
    "CreateOpClassStmt": "CREATE OPERATOR CLASS",
    "DefineStmt": "CREATE",
}
"""What ties code to what others do later, unseen or under a name everybody uses."""
_DEFINED: Final = {"OBJECT_OPERATOR": "OPERATOR", "OBJECT_AGGREGATE": "AGGREGATE", "OBJECT_TYPE": "TYPE"}
_OUTSIDE: Final = {
    "CreateExtensionStmt": ("CREATE EXTENSION", Nature.OPAQUE),
    "AlterExtensionStmt": ("ALTER EXTENSION", Nature.OPAQUE),
    "AlterExtensionContentsStmt": ("ALTER EXTENSION", Nature.OPAQUE),
    "CreatePLangStmt": ("CREATE LANGUAGE", Nature.OPAQUE),
    "CreateForeignServerStmt": ("CREATE SERVER", Nature.SERVER_FILE),
    "AlterForeignServerStmt": ("ALTER SERVER", Nature.SERVER_FILE),
    "CreateForeignTableStmt": ("CREATE FOREIGN TABLE", Nature.SERVER_FILE),
    "CreateFdwStmt": ("CREATE FOREIGN DATA WRAPPER", Nature.SERVER_FILE),
    "AlterFdwStmt": ("ALTER FOREIGN DATA WRAPPER", Nature.SERVER_FILE),
    "CreateUserMappingStmt": ("CREATE USER MAPPING", Nature.SERVER_FILE),
    "AlterUserMappingStmt": ("ALTER USER MAPPING", Nature.SERVER_FILE),
    "CreateSubscriptionStmt": ("CREATE SUBSCRIPTION", Nature.SERVER_FILE),
    "AlterSubscriptionStmt": ("ALTER SUBSCRIPTION", Nature.SERVER_FILE),
    "ImportForeignSchemaStmt": ("IMPORT FOREIGN SCHEMA", Nature.SERVER_FILE),
    "CreateTableSpaceStmt": ("CREATE TABLESPACE", Nature.SERVER_FILE),
}
"""What brings code or data in from outside of the database, or lets it out."""
_ANY: Final = frozenset(
    [
        "AlterCollationStmt", "AlterDatabaseRefreshCollStmt", "AlterDatabaseStmt", "AlterEnumStmt",
        "AlterObjectDependsStmt", "AlterOpFamilyStmt", "AlterOperatorStmt", "AlterPublicationStmt", "AlterSeqStmt",
        "AlterStatsStmt", "AlterTSConfigurationStmt", "AlterTSDictionaryStmt", "AlterTableMoveAllStmt",
        "AlterTableSpaceOptionsStmt", "AlterTypeStmt", "CompositeTypeStmt", "CreateEnumStmt", "CreateOpFamilyStmt",
        "CreateRangeStmt", "CreateRoleStmt", "CreateSeqStmt", "CreatedbStmt", "DropRoleStmt", "DropSubscriptionStmt",
        "DropTableSpaceStmt", "DropUserMappingStmt", "SecLabelStmt", "CreatePublicationStmt",
    ]
)  # fmt: skip
"""Definitions that neither lose rows nor run code nor lead to it."""
_LOSING: Final = frozenset(
    ["AT_DropColumn", "AT_DropInherit", "AT_DetachPartition", "AT_DetachPartitionFinalize"]
)
_SWITCHES: Final = (
    "AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser", "AT_DisableRule", "AT_DisableRowSecurity",
    "AT_NoForceRowSecurity", "AT_EnableReplicaTrig", "AT_EnableReplicaRule",
)  # fmt: skip
_EXPRESSIONS: Final = ("raw_default", "raw_expr", "whereClause", "expr")


class Definitions:
    """Reads one definition at a time; what it cannot place raises Unreadable."""

    def __init__(self, statements: "Statements") -> None:
        self._statements = statements

    def read(self, kind: str, fields: Node, frame: Frame) -> None:
        """The effects of a statement that is neither a query nor about the session."""
        findings = self._statements.findings
        findings.changes_catalog = True
        self.events(frame)
        if kind in _OUTSIDE:
            name, nature = _OUTSIDE[kind]
            why = f"{name} brings in code or data from outside of the database"
            findings.note(EffectFacts(Action.DDL, nature=nature, detail=why))
            return
        if kind in _ANY:
            self._ddl(statement_name(kind, fields).lower(), self._relation_in(fields, frame))
            self._expressions(fields, frame)
            return
        handler = self._HANDLERS.get(kind)
        if handler is not None:
            handler(self, fields, frame)
            return
        if kind in _LATER_CODE:
            self._later_code(kind, fields, frame)
            return
        raise Unreadable(f"a statement of a kind not known here ({kind})")

    def events(self, frame: Frame) -> None:
        """Event triggers run on every definition."""
        if self._statements.findings.world.catalog.event_triggers and not frame.planned:
            Bodies(self._statements.findings).event_triggers(frame)

    def _ddl(self, detail: str, effect: EffectFacts | None = None) -> None:
        effect = effect or EffectFacts(Action.DDL, detail=detail)
        self._statements.findings.note(effect if effect.detail else replace(effect, detail=detail))

    def _relation_in(self, fields: Node, frame: Frame) -> EffectFacts | None:
        relation = fields.get("relation")
        if not isinstance(relation, dict) or "relname" not in relation:
            return None
        return self._statements.on_relation(relation, Action.DDL, frame, "changes")

    def _expressions(self, node: Any, frame: Frame) -> None:
        """Functions in the expressions of a definition: they may run right away, over the rows that are there."""
        stack = [node]
        while stack:
            one = stack.pop()
            if isinstance(one, list):
                stack.extend(one)
            elif isinstance(one, dict):
                for key, value in one.items():
                    if key in _EXPRESSIONS and isinstance(value, dict):
                        self._statements.expressions([value], frame)
                    elif isinstance(value, dict | list):
                        stack.append(value)

    # -- CREATE ---------------------------------------------------------------------------------------------

    def _create_table(self, fields: Node, frame: Frame) -> None:
        relation = fields["relation"]
        effect = self._statements.on_relation(relation, Action.DDL, frame, "creates")
        self._ddl("", effect)
        for parent in fields.get("inhRelations", ()):
            # Rows of the parent will be found under this name too.
            inherited = self._statements.on_relation(parent["RangeVar"], Action.DDL, frame, "adds a table to")
            self._ddl("", inherited)
        self._expressions(fields, frame)
        columns = [
            element["ColumnDef"]["colname"]
            for element in fields.get("tableElts", ())
            if "ColumnDef" in element
        ]
        like = any("TableLikeClause" in element for element in fields.get("tableElts", ()))
        plain = not like and not fields.get("inhRelations")
        shape = Shape([Output(name) for name in columns] if plain else (), open_=not plain)
        self._statements.made(relation, shape, frame)

    def _create_as(self, fields: Node, frame: Frame) -> None:
        """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
        statements = self._statements
        kind, query = next(iter(fields["query"].items()))
        if kind == "ExecuteStmt":
            shape = statements.executed(query, frame)
        else:
            shape = statements.query(kind, query, frame, Scope())
        into = fields["into"]
        statements.findings.expose(shape.everything())
        effect = statements.on_relation(into["rel"], Action.DDL, frame, "creates")
        self._ddl("", effect)
        self._statements.made(into["rel"], shape, frame, into.get("colNames", ()))

    def _create_view(self, fields: Node, frame: Frame) -> None:
        # What a view shows can be read under its name from now on: it counts as read here.
        statements = self._statements
        kind, query = next(iter(fields["query"].items()))
        before = len(statements.findings.references)
        shape = statements.query(kind, query, frame, Scope())
        statements.findings.expose(shape.everything())
        shows = any(
            reference.holds(column)
            for reference in statements.findings.references[before:]
            for column in reference.exposed
        )
        effect = statements.on_relation(fields["view"], Action.DDL, frame, "creates a view")
        self._ddl("", replace(effect, touches_personal=shows or effect.touches_personal))
        self._statements.made(fields["view"], shape, frame, fields.get("aliases", ()))

    def _create_rule(self, fields: Node, frame: Frame) -> None:
        """CREATE RULE: whatever its commands do will be done in someone's name."""
        self._ddl(
            "", self._statements.on_relation(fields["relation"], Action.DDL, frame, "creates a rule on")
        )
        why = "CREATE RULE adds commands to what others do later"
        self._statements.findings.opaque("create rule", why, frame.trail)

    def _create_function(self, fields: Node, frame: Frame) -> None:
        name = ".".join(part["String"]["sval"] for part in fields["funcname"])
        kind = "procedure" if fields.get("is_procedure") else "function"
        self._ddl("", EffectFacts(Action.DDL, name, detail=f"creates {kind} {name}"))
        if fields.get("replace"):
            # A trigger, a view or a default may call it already.
            why = f"replaces {kind} {name}, which others may call unseen"
            self._statements.findings.opaque(name, why, frame.trail)
        language = [
            option["DefElem"]["arg"]["String"]["sval"]
            for option in fields.get("options", ())
            if option["DefElem"]["defname"] == "language"
        ]
        if language and language[0].lower() in ("c", "internal"):
            why = f"{kind} {name} brings in compiled code"
            self._statements.findings.note(
                EffectFacts(Action.DDL, name, nature=Nature.SERVER_FILE, detail=why)
            )

    def _create_schema(self, fields: Node, frame: Frame) -> None:
        self._ddl(f"creates schema {fields.get('schemaname', '')}")
        for element in fields.get("schemaElts", ()):
            kind, each = next(iter(element.items()))
            self._statements.statement(kind, each, frame, Scope())

    def _create_index(self, fields: Node, frame: Frame) -> None:
        self._ddl(
            "", self._statements.on_relation(fields["relation"], Action.DDL, frame, "creates an index on")
        )
        self._expressions(fields, frame)

    def _create_policy(self, fields: Node, frame: Frame) -> None:
        self._ddl("", self._statements.on_relation(fields["table"], Action.DDL, frame, "changes a policy of"))
        self._statements.expressions([fields[key] for key in ("qual", "with_check") if key in fields], frame)

    def _create_domain(self, fields: Node, frame: Frame) -> None:
        self._ddl("creates a domain")
        self._expressions(fields, frame)

    def _create_statistics(self, fields: Node, frame: Frame) -> None:
        self._ddl("creates statistics")
        self._expressions(fields, frame)

    def _later_code(self, kind: str, fields: Node, frame: Frame) -> None:
        if kind == "DefineStmt" and fields.get("kind") not in _DEFINED:
            self._ddl(
                "creates " + str(fields.get("kind", "")).removeprefix("OBJECT_").lower().replace("_", " ")
            )
            return
        name = _LATER_CODE[kind]
        if kind == "DefineStmt":
            name = f"CREATE {_DEFINED[fields['kind']]}"
        effect = self._relation_in(fields, frame)
        self._ddl(name.lower(), effect)
        why = f"{name} ties code to what others do later"
        self._statements.findings.opaque(name.lower(), why, frame.trail)

    # -- ALTER ----------------------------------------------------------------------------------------------

    def _alter_table(self, fields: Node, frame: Frame) -> None:
        statements = self._statements
        effect = statements.on_relation(fields["relation"], Action.DDL, frame, "alters")
        self._ddl("", effect)
        self._expressions(fields, frame)
        for one in fields.get("cmds", ()):
            command = one["AlterTableCmd"]
            what = command["subtype"]
            name = effect.relation
            if what in _LOSING:
                detail = "drops a column" if what == "AT_DropColumn" else "takes a partition out of"
                statements.lost(fields["relation"], frame, f"{detail} of {name}")
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
                    self._ddl("", statements.on_relation(child, Action.DDL, frame, "attaches"))

    def _rename(self, fields: Node, frame: Frame) -> None:
        self._moved(fields, frame, fields.get("renameType", ""), "renames")

    def _set_schema(self, fields: Node, frame: Frame) -> None:
        self._moved(fields, frame, fields.get("objectType", ""), "moves")

    def _moved(self, fields: Node, frame: Frame, kind: str, verb: str) -> None:
        """A name that the rules speak of stands for something else afterwards."""
        statements = self._statements
        relation = fields.get("relation")
        if kind == "OBJECT_SCHEMA":
            self._ddl(f"{verb} schema {fields.get('subname', '')}")
            self._schema_lost(fields.get("subname", ""), f"{verb} all of it")
            return
        if not isinstance(relation, dict):
            self._ddl(f"{verb} something")
            if kind in ("OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_OPERATOR"):
                # What calls it by name calls something else from now on.
                why = f"{verb} code that others call by its name"
                statements.findings.opaque(verb, why, frame.trail)
            return
        effect = statements.on_relation(relation, Action.DDL, frame, verb)
        self._ddl("", effect)
        if effect.touches_personal:
            statements.lost(relation, frame, f"{verb} what the rules about {effect.relation} name")

    def _alter_owner(self, fields: Node, frame: Frame) -> None:
        self._ddl("changes an owner", self._relation_in(fields, frame))

    def _alter_settings(self, fields: Node, frame: Frame) -> None:
        """ALTER ROLE, DATABASE and SYSTEM … SET."""
        self._ddl("changes settings for later sessions")
        self._statements.findings.note(assignment(fields["setstmt"]))

    def _alter_function(self, fields: Node, frame: Frame) -> None:
        self._ddl("alters a function")
        for action in fields.get("actions", ()):
            element = action["DefElem"]
            if element["defname"] == "set":
                self._statements.findings.note(assignment(element["arg"]["VariableSetStmt"]))
        why = "changes how code that others call runs"
        self._statements.findings.opaque("alter function", why, frame.trail)

    def _alter_role(self, fields: Node, frame: Frame) -> None:
        self._ddl("alters a role")

    def _alter_policy(self, fields: Node, frame: Frame) -> None:
        self._create_policy(fields, frame)

    def _alter_domain(self, fields: Node, frame: Frame) -> None:
        self._ddl("alters a domain")
        if fields.get("behavior") == "DROP_CASCADE":
            self._anything_lost("ALTER DOMAIN … CASCADE")
        self._expressions(fields, frame)

    def _alter_event_trigger(self, fields: Node, frame: Frame) -> None:
        self._ddl("alters an event trigger")
        guarded = "switches an event trigger"
        self._statements.findings.note(EffectFacts(Action.DDL, nature=Nature.GUARDED, detail=guarded))

    def _replica_identity(self, fields: Node, frame: Frame) -> None:
        self._ddl("changes a replica identity")

    # -- DROP and TRUNCATE ----------------------------------------------------------------------------------

    def _drop(self, fields: Node, frame: Frame) -> None:
        statements = self._statements
        kind = fields["removeType"]
        cascade = fields.get("behavior") == "DROP_CASCADE"
        if kind == "OBJECT_SCHEMA":
            for one in fields["objects"]:
                name = one["String"]["sval"]
                self._ddl(f"drops schema {name}")
                self._schema_lost(name, "drops all of it")
            if cascade:
                self._anything_lost("DROP SCHEMA … CASCADE")
            return
        if kind in _RELATIONS or kind in _BESIDE:
            for one in fields["objects"]:
                relation = _range_var(one)
                what = _RELATIONS.get(kind) or _BESIDE[kind]
                self._ddl("", statements.on_relation(relation, Action.DDL, frame, f"drops {what}"))
                if kind in _RELATIONS:
                    statements.lost(relation, frame, f"drops {what} {relation['relname']}")
                    if cascade:
                        self._dropped_with(relation, frame)
            return
        if kind in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
            names = [part["String"]["sval"] for part in fields["objects"][0]["List"]["items"]]
            relation = _names(names[:-1])
            effect = statements.on_relation(relation, Action.DDL, frame, f"drops a {kind[7:].lower()} of")
            self._ddl("", effect)
            guarded = f"takes a {kind[7:].lower()} of {effect.relation} away"
            statements.findings.note(replace(effect, nature=Nature.GUARDED, detail=guarded))
        else:
            self._ddl(f"drops {kind.removeprefix('OBJECT_').lower().replace('_', ' ')}")
        if cascade:
            self._anything_lost("DROP … CASCADE")

    def _dropped_with(self, relation: Node, frame: Frame) -> None:
        """DROP TABLE … CASCADE takes children and partitions along."""
        world = self._statements.findings.world
        known = world.relation(relation.get("schemaname"), relation["relname"], frame.path).known
        if known is None:
            return
        for child in world.descendants(known):
            fields = {"schemaname": child.schema, "relname": child.name}
            self._statements.lost(fields, frame, f"drops {child.full_name} with {known.full_name}")

    def _truncate(self, fields: Node, frame: Frame) -> None:
        statements, world = self._statements, self._statements.findings.world
        cascade = fields.get("behavior") == "DROP_CASCADE"
        for one in fields["relations"]:
            relation = one["RangeVar"]
            statements.lost(relation, frame, "")
            known = world.relation(relation.get("schemaname"), relation["relname"], frame.path).known
            if known is None:
                if cascade:
                    self._anything_lost("TRUNCATE … CASCADE")
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
                Bodies(self._statements.findings).triggers(world.catalog.by_oid[oid], "truncate", (), frame)

    def _drop_owned(self, fields: Node, frame: Frame) -> None:
        self._ddl("drops all of a role")
        self._anything_lost("DROP OWNED")

    def _drop_database(self, fields: Node, frame: Frame) -> None:
        self._ddl("drops a database")
        self._anything_lost("DROP DATABASE")

    def _schema_lost(self, schema: str, what: str) -> None:
        """Everything in a schema goes, or goes by another name."""
        findings = self._statements.findings
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

    def _anything_lost(self, what: str) -> None:
        """Rows are lost, and the text does not say of which relations."""
        self._statements.findings.note(
            EffectFacts(
                Action.DELETE,
                None,
                personal=(ALL,),
                touches_personal=True,
                detail=f"{what} can reach any relation",
            )
        )

    # -- GRANT and the rest ---------------------------------------------------------------------------------

    def _grant(self, fields: Node, frame: Frame) -> None:
        verb = "grants" if fields.get("is_grant") else "revokes"
        findings = self._statements.findings
        for one in fields.get("objects", ()):
            if "RangeVar" in one:
                findings.note(
                    self._statements.on_relation(one["RangeVar"], Action.GRANT, frame, f"{verb} on")
                )
            elif fields.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA":
                schema = one["String"]["sval"]
                inside = findings.world.personal.in_schema(schema)
                findings.note(
                    EffectFacts(
                        Action.GRANT,
                        f"{schema}.*",
                        touches_personal=bool(inside),
                        classes=frozenset().union(*(each.classes for each in inside)),
                        detail=f"{verb} on all of {schema}",
                    )
                )
            else:
                findings.note(EffectFacts(Action.GRANT, detail=f"{verb} on an object"))

    def _grant_role(self, fields: Node, frame: Frame) -> None:
        self._statements.findings.note(EffectFacts(Action.GRANT, detail="grants or revokes roles"))

    def _default_privileges(self, fields: Node, frame: Frame) -> None:
        self._statements.findings.note(EffectFacts(Action.GRANT, detail="changes default privileges"))

    def _comment(self, fields: Node, frame: Frame) -> None:
        self._ddl("comments on an object")

    def _refresh(self, fields: Node, frame: Frame) -> None:
        """REFRESH MATERIALIZED VIEW runs the view's query, in its owner's name."""
        statements = self._statements
        relation = fields["relation"]
        statements.findings.note(statements.on_relation(relation, Action.UTILITY, frame, "refreshes"))
        if fields.get("skipData"):
            statements.lost(relation, frame, f"empties {relation['relname']}")
        known = statements.findings.world.relation(
            relation.get("schemaname"), relation["relname"], frame.path
        ).known
        if known is not None and known.definition is not None:
            Queries(statements.findings, frame).view_shape(known, Scope())

    def _reassign(self, fields: Node, frame: Frame) -> None:
        self._ddl("gives a role's objects to another")

    _HANDLERS: Final[Mapping[str, Callable[["Definitions", Node, Frame], None]]] = {
        "CreateStmt": _create_table,
        "CreateTableAsStmt": _create_as,
        "ViewStmt": _create_view,
        "RuleStmt": _create_rule,
        "CreateFunctionStmt": _create_function,
        "CreateSchemaStmt": _create_schema,
        "IndexStmt": _create_index,
        "CreatePolicyStmt": _create_policy,
        "CreateDomainStmt": _create_domain,
        "CreateStatsStmt": _create_statistics,
        "AlterTableStmt": _alter_table,
        "RenameStmt": _rename,
        "AlterObjectSchemaStmt": _set_schema,
        "AlterOwnerStmt": _alter_owner,
        "AlterRoleSetStmt": _alter_settings,
        "AlterDatabaseSetStmt": _alter_settings,
        "AlterSystemStmt": _alter_settings,
        "AlterFunctionStmt": _alter_function,
        "AlterRoleStmt": _alter_role,
        "AlterPolicyStmt": _alter_policy,
        "AlterDomainStmt": _alter_domain,
        "AlterEventTrigStmt": _alter_event_trigger,
        "ReplicaIdentityStmt": _replica_identity,
        "DropStmt": _drop,
        "TruncateStmt": _truncate,
        "DropOwnedStmt": _drop_owned,
        "DropdbStmt": _drop_database,
        "GrantStmt": _grant,
        "GrantRoleStmt": _grant_role,
        "AlterDefaultPrivilegesStmt": _default_privileges,
        "CommentStmt": _comment,
        "RefreshMatViewStmt": _refresh,
        "ReassignOwnedStmt": _reassign,
    }


def _range_var(node: Node) -> Node:
    return _names([part["String"]["sval"] for part in node["List"]["items"]])


def _names(names: list[str]) -> Node:
    return {"relname": names[-1], **({"schemaname": names[-2]} if len(names) > 1 else {})}
