"""CREATE: what definitions bring in, and what their making reads or runs.

Source: PostgreSQL's ``parsenodes.h``; documentation part VI, "SQL Commands".
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from rules.bodies import Bodies
from rules.definer import Definer, Handler
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Frame
from rules.lineage import Output, Scope, Shape
from rules.pgquery import Node
from rules.reader import Unreadable
from rules.titles import statement_name

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


class Definitions(Definer):
    """Reads one definition at a time; what it cannot place raises Unreadable."""

    def read(self, kind: str, fields: Node, frame: Frame) -> None:
        """The effects of a statement that is neither a query nor about the session."""
        statements = self.statements
        findings = statements.findings
        findings.changes_catalog = True
        self.events(frame)
        if kind in _OUTSIDE:
            name, nature = _OUTSIDE[kind]
            why = f"{name} brings in code or data from outside of the database"
            findings.note(EffectFacts(Action.DDL, nature=nature, detail=why))
        elif kind in _ANY:
            self.ddl(statement_name(kind, fields).lower(), self.relation_in(fields, frame))
            self.expressions(fields, frame)
        elif any(
            room.handles(kind, fields, frame)
            for room in (self, statements.alterations, statements.losses, statements.privileges)
        ):
            return
        elif kind in _LATER_CODE:
            self._later_code(kind, fields, frame)
        else:
            raise Unreadable(f"a statement of a kind not known here ({kind})")

    def events(self, frame: Frame) -> None:
        """Event triggers run on every definition."""
        if self.statements.findings.world.catalog.event_triggers and not frame.planned:
            Bodies(self.statements.findings).event_triggers(frame)

    def _create_table(self, fields: Node, frame: Frame) -> None:
        relation = fields["relation"]
        effect = self.statements.on_relation(relation, Action.DDL, frame, "creates")
        self.ddl("", effect)
        for parent in fields.get("inhRelations", ()):
            # Rows of the parent will be found under this name too.
            inherited = self.statements.on_relation(parent["RangeVar"], Action.DDL, frame, "adds a table to")
            self.ddl("", inherited)
            if "partbound" in fields:
                # The default partition is searched for rows that belong here.
                self.rebuilt(parent["RangeVar"], frame)
        self.expressions(fields, frame)
        columns = [
            element["ColumnDef"]["colname"]
            for element in fields.get("tableElts", ())
            if "ColumnDef" in element
        ]
        like = any("TableLikeClause" in element for element in fields.get("tableElts", ()))
        plain = not like and not fields.get("inhRelations")
        shape = Shape([Output(name) for name in columns] if plain else (), open_=not plain)
        self.statements.made(relation, shape, frame)

    def _create_as(self, fields: Node, frame: Frame) -> None:
        """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
        statements = self.statements
        kind, query = next(iter(fields["query"].items()))
        if kind == "ExecuteStmt":
            shape = statements.executed(query, frame)
        else:
            shape = statements.query(kind, query, frame, Scope())
        into = fields["into"]
        statements.findings.expose(shape.everything())
        effect = statements.on_relation(into["rel"], Action.DDL, frame, "creates")
        self.ddl("", effect)
        self.statements.made(into["rel"], shape, frame, into.get("colNames", ()))

    def _create_view(self, fields: Node, frame: Frame) -> None:
        # What a view shows can be read under its name from now on: it counts as read here.
        statements = self.statements
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
        self.ddl("", replace(effect, touches_personal=shows or effect.touches_personal))
        self.statements.made(fields["view"], shape, frame, fields.get("aliases", ()))

    def _create_rule(self, fields: Node, frame: Frame) -> None:
        """CREATE RULE: whatever its commands do will be done in someone's name."""
        self.ddl("", self.statements.on_relation(fields["relation"], Action.DDL, frame, "creates a rule on"))
        why = "CREATE RULE adds commands to what others do later"
        self.statements.findings.opaque("create rule", why, frame.trail)

    def _create_function(self, fields: Node, frame: Frame) -> None:
        name = ".".join(part["String"]["sval"] for part in fields["funcname"])
        kind = "procedure" if fields.get("is_procedure") else "function"
        self.ddl("", EffectFacts(Action.DDL, name, detail=f"creates {kind} {name}"))
        if fields.get("replace"):
            # A trigger, a view or a default may call it already.
            why = f"replaces {kind} {name}, which others may call unseen"
            self.statements.findings.opaque(name, why, frame.trail)
        language = [
            option["DefElem"]["arg"]["String"]["sval"]
            for option in fields.get("options", ())
            if option["DefElem"]["defname"] == "language"
        ]
        if language and language[0].lower() in ("c", "internal"):
            why = f"{kind} {name} brings in compiled code"
            self.statements.findings.note(
                EffectFacts(Action.DDL, name, nature=Nature.SERVER_FILE, detail=why)
            )

    def _create_schema(self, fields: Node, frame: Frame) -> None:
        self.ddl(f"creates schema {fields.get('schemaname', '')}")
        for element in fields.get("schemaElts", ()):
            kind, each = next(iter(element.items()))
            self.statements.statement(kind, each, frame, Scope())

    def _create_index(self, fields: Node, frame: Frame) -> None:
        self.ddl(
            "", self.statements.on_relation(fields["relation"], Action.DDL, frame, "creates an index on")
        )
        self.expressions(fields, frame)
        self.rebuilt(fields["relation"], frame)

    def _create_policy(self, fields: Node, frame: Frame) -> None:
        self.ddl("", self.statements.on_relation(fields["table"], Action.DDL, frame, "changes a policy of"))
        self.statements.expressions([fields[key] for key in ("qual", "with_check") if key in fields], frame)

    def _create_domain(self, fields: Node, frame: Frame) -> None:
        self.ddl("creates a domain")
        self.expressions(fields, frame)

    def _create_statistics(self, fields: Node, frame: Frame) -> None:
        self.ddl("creates statistics")
        self.expressions(fields, frame)

    def _later_code(self, kind: str, fields: Node, frame: Frame) -> None:
        if kind == "DefineStmt" and fields.get("kind") not in _DEFINED:
            self.ddl(
                "creates " + str(fields.get("kind", "")).removeprefix("OBJECT_").lower().replace("_", " ")
            )
            return
        name = _LATER_CODE[kind]
        if kind == "DefineStmt":
            name = f"CREATE {_DEFINED[fields['kind']]}"
        effect = self.relation_in(fields, frame)
        self.ddl(name.lower(), effect)
        why = f"{name} ties code to what others do later"
        self.statements.findings.opaque(name.lower(), why, frame.trail)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return _HANDLERS


_HANDLERS: Final[Mapping[str, Handler]] = {
    "CreateStmt": Definitions._create_table,
    "CreateTableAsStmt": Definitions._create_as,
    "ViewStmt": Definitions._create_view,
    "RuleStmt": Definitions._create_rule,
    "CreateFunctionStmt": Definitions._create_function,
    "CreateSchemaStmt": Definitions._create_schema,
    "IndexStmt": Definitions._create_index,
    "CreatePolicyStmt": Definitions._create_policy,
    "CreateDomainStmt": Definitions._create_domain,
    "CreateStatsStmt": Definitions._create_statistics,
}
