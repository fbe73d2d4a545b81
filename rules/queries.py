"""What a query changes: INSERT, UPDATE, DELETE and MERGE, beside the SELECTs in them.

Source: PostgreSQL's ``parsenodes.h``; documentation chapter 6, "Data Manipulation".
"""

from rules.expressions import inner_nodes
from rules.facts import Action
from rules.findings import Findings, Frame, Write
from rules.lineage import NOTHING, Origins, Output, Reference, Scope, Shape, relation_shape
from rules.personal import ALL
from rules.pgquery import Node
from rules.reader import Unreadable
from rules.selects import Selects
from rules.settings import setting
from rules.sources import NO_COLUMN
from rules.targets import Targets


class Queries(Selects):
    """Reads one query tree, whatever it does, into the findings."""

    def __init__(self, findings: Findings, frame: Frame) -> None:
        super().__init__(findings, frame)
        self.targets = Targets(findings, self.bodies)

    def _query(self, kind: str, fields: Node, outer: Scope) -> Shape:
        match kind:
            case "InsertStmt":
                return self._insert(fields, outer)
            case "UpdateStmt":
                return self._update(fields, outer)
            case "DeleteStmt":
                return self._delete(fields, outer)
            case "MergeStmt":
                return self._merge(fields, outer)
            case _:
                return super()._query(kind, fields, outer)

    def target(self, fields: Node, scope: Scope) -> Reference:
        """The relation that is changed, which can be named in the rest of the statement."""
        self.seen_relations.add(id(fields))
        schema, name = fields.get("schemaname"), fields["relname"]
        alone = not fields.get("inh")
        named = self.findings.relation(schema, name, self.frame, alone=alone)
        reference = self.mention(named, alone=alone)
        reference.is_target = True
        shape = relation_shape(reference)
        known = named.known
        if known is not None and known.kind == "f":
            self.outside(known)
        if name == "pg_settings" and known is None:
            # An update of it is a SET of a setting that a condition picks.
            self.findings.session(setting(None, None))
        if known is not None and known.kind == "v" and known.definition is not None:
            shape = self._view(known, reference)
            for base in self.findings.in_order(shape.rows):
                base.is_target = True
        alias = fields.get("alias")
        scope.add(alias["aliasname"] if alias is not None else name, shape)
        return reference

    def changed(
        self,
        action: Action,
        reference: Reference,
        scope: Scope,
        columns: tuple[str, ...],
        *,
        erases: bool = False,
    ) -> None:
        """Rows of the target are changed: the write itself, and what follows from it."""
        shape = scope.sources[0][1]
        self.findings.write(Write(action, reference, columns, erases=erases))
        self.targets.follow(action, reference, columns, self.frame)
        known = reference.known
        if known is None or known.kind != "v":
            return
        for base in self.findings.in_order(shape.rows - {reference}):
            written = tuple(
                column
                for name in columns
                for column in sorted(
                    column for origin, column in (shape.column(name) or NO_COLUMN).origins if origin is base
                )
            )
            self.findings.write(Write(action, base, written, erases=erases))
            self.targets.follow(action, base, written, self.frame)

    def _insert(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self.target(fields["relation"], scope)
        columns = tuple(one["ResTarget"]["name"] for one in fields.get("cols", ()))
        columns = columns or self._columns_of(reference)
        select = fields.get("selectStmt")
        if select is None:
            reference.limits.append(1)
        else:
            kind, source = next(iter(select.items()))
            if "valuesLists" in source and source.get("op", "SETOPNO_COLUMN") == "SETOPNO_COLUMN":
                reference.limits.append(len(source["valuesLists"]))
            shape = self.statement(kind, source, Scope(outer))
            self.findings.expose(shape.everything())
            self._stored(scope, columns, shape)
        for one in fields.get("cols", ()):
            self.consider(list(inner_nodes(one["ResTarget"].get("indirection", []))), scope)
        self.changed(Action.INSERT, reference, scope, columns)
        scope.add("excluded", Shape(open_=True))
        conflict = fields.get("onConflictClause")
        if conflict is not None:
            infer = conflict.get("infer")
            if infer is not None:
                for one in infer.get("indexElems", ()):
                    self.consider(one["IndexElem"].get("expr"), scope)
                self.consider(infer.get("whereClause"), scope)
            self.consider(conflict.get("whereClause"), scope)
            if conflict.get("targetList"):
                written, erases = self._assign(conflict["targetList"], reference, scope)
                self.changed(Action.UPDATE, reference, scope, written, erases=erases)
        return self._returning(fields, scope)

    @staticmethod
    def _columns_of(reference: Reference) -> tuple[str, ...]:
        known = reference.known
        return known.columns if known is not None and known.columns else (ALL,)

    def _stored(self, scope: Scope, columns: tuple[str, ...], shape: Shape) -> None:
        """Rows of a shape are stored in columns of the target."""
        target = scope.sources[0][1]
        if shape.open:
            # Which of them comes to which column is not known.
            for column in columns:
                self.findings.fill(target.column(column), shape.everything())
            return
        for column, output in zip(columns, shape.outputs, strict=False):
            self.findings.fill(target.column(column), output.origins, direct=output.direct)

    def _update(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self.target(fields["relation"], scope)
        self._from(fields.get("fromClause"), scope)
        self._where(fields, scope)
        written, erases = self._assign(fields["targetList"], reference, scope)
        self.changed(Action.UPDATE, reference, scope, written, erases=erases)
        return self._returning(fields, scope)

    def _delete(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self.target(fields["relation"], scope)
        self._from(fields.get("usingClause"), scope)
        self._where(fields, scope)
        self.changed(Action.DELETE, reference, scope, ())
        return self._returning(fields, scope)

    def _merge(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self.target(fields["relation"], scope)
        self._source(fields["sourceRelation"], scope, scope)
        self.consider(fields["joinCondition"], scope)
        for one in fields["mergeWhenClauses"]:
            when = one["MergeWhenClause"]
            self.consider(when.get("condition"), scope)
            match when["commandType"]:
                case "CMD_DELETE":
                    self.changed(Action.DELETE, reference, scope, ())
                case "CMD_UPDATE":
                    written, erases = self._assign(when["targetList"], reference, scope)
                    self.changed(Action.UPDATE, reference, scope, written, erases=erases)
                case "CMD_INSERT":
                    columns = tuple(each["ResTarget"]["name"] for each in when.get("targetList", ()))
                    values = [self.origins(value, scope) for value in when.get("values", ())]
                    for column, value in zip(columns or self._columns_of(reference), values, strict=False):
                        self.findings.fill(scope.sources[0][1].column(column), value)
                    for value in values:
                        self.findings.expose(value)
                    self.changed(Action.INSERT, reference, scope, columns or (ALL,))
                case "CMD_NOTHING":
                    pass
                case action:
                    raise Unreadable(f"a MERGE action not known here ({action})")
        return self._returning(fields, scope)

    def _where(self, fields: Node, scope: Scope) -> None:
        where = fields.get("whereClause")
        if where is not None:
            self.consider(where, scope)
            self._filter(where, scope, scope.rows)

    def _assign(self, targets: list[Node], target: Reference, scope: Scope) -> tuple[tuple[str, ...], bool]:
        """The columns that SET writes, and whether it blanks a personal one.

        Values taken from elsewhere, or put where they are not personal, leave.
        """
        written: list[str] = []
        erases = False
        own = scope.sources[0][1].rows | {target}
        for one in targets:
            fields = one["ResTarget"]
            name = fields["name"]
            self.consider(list(inner_nodes(fields.get("indirection", []))), scope)
            origins = self.origins(fields["val"], scope)
            stays = self._is_personal(name, scope)
            self.findings.fill(scope.sources[0][1].column(name), origins)
            self.findings.expose(
                frozenset(
                    (reference, column)
                    for reference, column in origins
                    if reference not in own or (not stays and reference.holds(column))
                )
            )
            erases = erases or (stays and _is_blank(fields["val"]))
            written.append(name)
        return tuple(written), erases

    @staticmethod
    def _is_personal(name: str, scope: Scope) -> bool:
        found = scope.sources[0][1].column(name)
        return found is not None and any(reference.holds(column) for reference, column in found.origins)

    def _returning(self, fields: Node, scope: Scope) -> Shape:
        clause = fields.get("returningClause")
        targets = fields.get("returningList", [])
        if clause is not None:
            for option in clause.get("options", ()):
                scope.add(option["ReturningOption"]["value"], scope.sources[0][1])
            targets = clause["exprs"]
        elif not targets:
            return Shape()
        for word in ("old", "new"):
            if not scope.named(word):
                scope.add(word, scope.sources[0][1])
        outputs: list[Output] = []
        rest: Origins = NOTHING
        is_open = False
        for target in targets:
            fields_of = target["ResTarget"]
            value = fields_of["val"].get("ColumnRef")
            if value is not None and len(value["fields"]) == 1 and "A_Star" in value["fields"][0]:
                # RETURNING * leaves out what OLD and NEW repeat.
                shapes = [shape for alias, shape in scope.sources if alias not in ("old", "new", "excluded")]
                for shape in shapes:
                    outputs.extend(shape.outputs)
                    is_open, rest = is_open or shape.open, rest | shape.rest
                continue
            more = self._project(fields_of, scope, outputs)
            if more is not None:
                is_open, rest = True, rest | more
        return Shape(outputs, rest, open_=is_open)


def _is_blank(value: Node) -> bool:
    while "TypeCast" in value:
        value = value["TypeCast"]["arg"]
    if "SetToDefault" in value:
        return True
    constant = value.get("A_Const")
    if constant is None:
        return False
    return bool(constant.get("isnull")) or (
        "sval" in constant and not constant["sval"].get("sval", "").strip()
    )
