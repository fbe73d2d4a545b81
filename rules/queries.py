"""What a query does: which relations it reads, what of them it exposes, what it writes.

One Queries reads one tree from the inside out; views are read in place of their names, so that conditions and
limits around a view are conditions and limits on what it is made of.
Source: PostgreSQL's ``parsenodes.h``; documentation chapter 7, "Queries".
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

from rules.bounds import Conditions, row_limit
from rules.catalog import Relation
from rules.expressions import Expressions, inner_nodes
from rules.facts import Action, EffectFacts, Nature, ParameterBound
from rules.findings import Findings, Frame, Write
from rules.lineage import NOTHING, Found, Mark, Origins, Output, Reference, Scope, Shape, relation_shape
from rules.personal import ALL
from rules.pgquery import GrammarError, Node
from rules.reader import Unreadable
from rules.settings import setting
from rules.targets import Targets
from rules.world import Named

_READ_CODE: Final = frozenset(["policy"])
_TARGET: Final = "SelectStmt"


@dataclass(slots=True)
class _Cte:
    """One WITH entry: where it stands and, once read, its shape."""

    fields: Node
    outer: Scope
    depth: int
    shape: Shape | None = None
    in_progress: bool = False
    read_back: bool = False


class Queries(Expressions):
    """Reads one query tree into the findings."""

    def __init__(self, findings: Findings, frame: Frame) -> None:
        super().__init__(findings, frame)
        self._ctes: list[dict[str, _Cte]] = []
        self._mentions: Counter[str] | None = None
        self.targets = Targets(findings, self.bodies)

    # -- statements -----------------------------------------------------------------------------------------

    def statement(self, kind: str, fields: Node, outer: Scope) -> Shape:
        """A whole SELECT, INSERT, UPDATE, DELETE or MERGE; what it returns."""
        if self._mentions is None:
            self._mentions = _mentions(fields)
        pushed = self._with(fields, outer)
        try:
            match kind:
                case "SelectStmt":
                    return self._select(fields, outer)
                case "InsertStmt":
                    return self._insert(fields, outer)
                case "UpdateStmt":
                    return self._update(fields, outer)
                case "DeleteStmt":
                    return self._delete(fields, outer)
                case "MergeStmt":
                    return self._merge(fields, outer)
                case _:
                    raise Unreadable(f"a query of a kind not known here ({kind})")
        finally:
            if pushed:
                self._ctes.pop()

    def subselect(self, fields: Node, outer: Scope | None) -> Shape:
        """A SELECT inside of another statement; ``outer`` is what it can see."""
        return self.statement(_TARGET, fields, outer if outer is not None else Scope())

    def _with(self, fields: Node, outer: Scope) -> bool:
        clause = fields.get("withClause")
        if clause is None:
            return False
        names: dict[str, _Cte] = {}
        self._ctes.append(names)
        depth = len(self._ctes)
        entries = []
        for one in clause["ctes"]:
            cte = one["CommonTableExpr"]
            entries.append((cte["ctename"], _Cte(cte, outer, depth)))
        if clause.get("recursive"):
            names.update(entries)
        for name, entry in entries:
            self._evaluate(name, entry)
            names[name] = entry
        return True

    def _evaluate(self, name: str, entry: _Cte) -> Shape:
        if entry.shape is not None:
            return entry.shape
        if entry.in_progress:
            # What a recursive term reads of itself adds nothing to what the whole is made of.
            entry.read_back = True
            return Shape(open_=True)
        entry.in_progress = True
        hidden, self._ctes = self._ctes[entry.depth :], self._ctes[: entry.depth]
        kind, fields = next(iter(entry.fields["ctequery"].items()))
        start = len(self.findings.references)
        shape = self.statement(kind, fields, Scope(entry.outer))
        self._ctes.extend(hidden)
        assert self._mentions is not None
        if entry.read_back:
            # Run again and again: no limit inside of it is one on the whole.
            self._unlimited(start)
            rows = self.findings.refer(Reference("", hidden=True))
            shape = Shape(rest=shape.everything() | {(rows, ALL)}, open_=True)
        elif self._mentions[name] > 1:
            shape = shape.aside()
        names = [one["String"]["sval"] for one in entry.fields.get("aliascolnames", ())]
        for clause, keys in (
            ("search_clause", ("search_seq_column",)),
            ("cycle_clause", ("cycle_mark_column", "cycle_path_column")),
        ):
            added = entry.fields.get(clause)
            if added is not None:
                self.consider(list(inner_nodes(added)) if clause == "cycle_clause" else None, entry.outer)
                everything = shape.everything()
                extra = [Output(added[key], everything) for key in keys if key in added]
                shape = Shape([*shape.outputs, *extra], shape.rest, shape.rows, open_=shape.open)
        entry.shape = shape.renamed(names)
        entry.in_progress = False
        return entry.shape

    def _cte(self, name: str) -> Shape | None:
        for names in reversed(self._ctes):
            if name in names:
                return self._evaluate(name, names[name])
        return None

    # -- SELECT ---------------------------------------------------------------------------------------------

    def _select(self, fields: Node, outer: Scope) -> Shape:
        if fields.get("op", "SETOP_NONE") != "SETOP_NONE":
            return self._set_operation(fields, outer)
        if "valuesLists" in fields:
            return self._values(fields, outer)
        start = len(self.findings.references)
        scope = Scope(outer)
        self._from(fields.get("fromClause"), scope)
        self._merges.append(False)
        outputs: list[Output] = []
        rest: Origins = NOTHING
        is_open = False
        for target in fields.get("targetList", ()):
            more = self._project(target["ResTarget"], scope, outputs)
            if more is not None:
                is_open, rest = True, rest | more
        merges = self._merges.pop()
        where = fields.get("whereClause")
        self.consider(where, scope)
        for key in ("groupClause", "havingClause", "windowClause", "sortClause", "limitCount", "limitOffset"):
            self.consider(fields.get(key), scope)
        if fields.get("distinctClause") not in (None, [{}]):
            self.consider([one for one in fields["distinctClause"] if one], scope)
        if where is not None:
            self._filter(where, scope, scope.rows)
        rows = scope.rows
        if not merges:
            self._limit(fields, rows)
        if scope.reached_out:
            self._unlimited(start)
        gathered = merges or "groupClause" in fields or "havingClause" in fields
        shape = Shape(outputs, rest, () if gathered else rows, open_=is_open)
        into = fields.get("intoClause")
        if into is not None:
            self.findings.reader.created(into, shape, fields, self.frame)
            self.findings.expose(shape.everything())
        for lock in fields.get("lockingClause", ()):
            self._locked(lock["LockingClause"])
        return shape

    def _locked(self, clause: Node) -> None:
        """FOR UPDATE OF names sources of this SELECT again."""
        for one in clause.get("lockedRels", ()):
            self.seen_relations.add(id(one["RangeVar"]))

    def _unlimited(self, start: int) -> None:
        """What was read since runs once for each row of something outside: a limit of its own limits nothing."""
        for reference in self.findings.references[start:]:
            reference.limits = [limit for limit in reference.limits if limit == 0]
            reference.parameter_bounds = [one for one in reference.parameter_bounds if one.kind != "limit"]

    def _project(self, target: Node, scope: Scope, outputs: list[Output]) -> Origins | None:
        """Add one entry of a select list; returns the rest of a source whose columns are not all known."""
        value = target["val"]
        reference = value.get("ColumnRef")
        if reference is not None and "A_Star" in reference["fields"][-1]:
            return self._star(reference, scope, outputs)
        if "A_Indirection" in value and "A_Star" in value["A_Indirection"].get("indirection", [{}])[-1]:
            # (t).*: as many columns as the value has.
            return self.origins(value, scope)
        origins = self.origins(value, scope)
        name, direct = target.get("name"), False
        if reference is not None:
            parts = [part["String"]["sval"] for part in reference["fields"]]
            name = name or parts[-1]
            if len(parts) <= 3:
                found = scope.find(parts[-2] if len(parts) > 1 else None, parts[-1])
                direct = found is not None and found.direct
        outputs.append(Output(name or _implied_name(value), origins, direct))
        return None

    def _star(self, reference: Node, scope: Scope, outputs: list[Output]) -> Origins | None:
        parts = reference["fields"]
        if len(parts) == 1:
            shapes = scope.stars
        else:
            name = parts[-2]["String"]["sval"]
            shapes = scope.named(name)
            if not shapes:
                return scope.resolve(None, name) or NOTHING
        is_open, rest = False, NOTHING
        for shape in shapes:
            outputs.extend(shape.outputs)
            is_open, rest = is_open or shape.open, rest | shape.rest
        return rest if is_open else None

    def _set_operation(self, fields: Node, outer: Scope) -> Shape:
        # The left side of a long chain is a chain itself: walked, not descended into.
        start = len(self.findings.references)
        chain: list[Node] = []
        left = fields
        while left.get("op", "SETOP_NONE") != "SETOP_NONE":
            if left is not fields and any(key in left for key in ("withClause", "limitCount", "sortClause")):
                break
            chain.append(left["rarg"])
            left = left["larg"]
        sides = [self.statement(_TARGET, side, outer) for side in (left, *reversed(chain))]
        if not any(side.open for side in sides) and len({len(side.outputs) for side in sides}) == 1:
            outputs = [
                Output(
                    column[0].name,
                    frozenset().union(*(one.origins for one in column)),
                    all(one.direct or not one.origins for one in column),
                )
                for column in zip(*(side.outputs for side in sides), strict=True)
            ]
            shape = Shape(outputs, rows=frozenset().union(*(side.rows for side in sides)))
        else:
            everything: Origins = frozenset().union(*(side.everything() for side in sides))
            rows: frozenset[Reference] = frozenset().union(*(side.rows for side in sides))
            shape = Shape(rest=everything, rows=rows, open_=True)
        scope = Scope(outer)
        scope.add("", shape)
        for key in ("sortClause", "limitCount", "limitOffset"):
            self.consider(fields.get(key), scope)
        self._limit(fields, shape.rows)
        if scope.reached_out:
            self._unlimited(start)
        if fields.get("intoClause") is not None:
            raise Unreadable("INTO in a set operation")
        return shape

    def _values(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        columns: list[Origins] = []
        for row in fields["valuesLists"]:
            for index, item in enumerate(row["List"]["items"]):
                origins = self.origins(item, scope)
                if index < len(columns):
                    columns[index] |= origins
                else:
                    columns.append(origins)
        for key in ("sortClause", "limitCount", "limitOffset"):
            self.consider(fields.get(key), scope)
        rows = self.findings.refer(Reference("", limits=[len(fields["valuesLists"])], hidden=True))
        outputs = [
            Output(name, origins | {(rows, name)}, not origins)
            for name, origins in ((f"column{index + 1}", one) for index, one in enumerate(columns))
        ]
        return Shape(outputs, rows=(rows,))

    def _limit(self, fields: Node, rows: frozenset[Reference]) -> None:
        found = row_limit(fields)
        if isinstance(found, ParameterBound):
            if not self.frame.variables:
                for reference in rows:
                    reference.parameter_bounds.append(found)
        elif found is not None:
            for reference in rows:
                reference.limits.append(found)

    def _filter(self, condition: Node, scope: Scope, reach: frozenset[Reference]) -> None:
        Conditions(scope, reach, self.sublink_output).apply(condition)

    # -- FROM -----------------------------------------------------------------------------------------------

    def _from(self, items: list[Node] | None, scope: Scope) -> None:
        for item in items or ():
            scope.stars.append(self._source(item, scope, scope))

    def _source(self, node: Node, scope: Scope, sees: Scope) -> Shape:
        """Add one item of FROM to the scope and return what ``*`` stands for in it.

        ``sees`` is what it can see when it is LATERAL.
        """
        kind, fields = next(iter(node.items()))
        match kind:
            case "RangeVar":
                shape, name = self._relation(fields)
                return self._named(fields.get("alias"), name, shape, scope)
            case "JoinExpr":
                return self._join(fields, scope, sees)
            case "RangeSubselect":
                outer = sees if fields.get("lateral") else (sees.outer or Scope(variables=sees.variables))
                inner = Scope(outer)
                each, select = next(iter(fields["subquery"].items()))
                return self._named(fields.get("alias"), "", self.statement(each, select, inner), scope)
            case "RangeFunction":
                return self._functions(fields, scope, sees)
            case "RangeTableFunc" | "JsonTable":
                everything = NOTHING
                for one in inner_nodes({key: value for key, value in fields.items() if key != "alias"}):
                    everything |= self.origins(one, sees)
                return self._named(fields.get("alias"), "", Shape(rest=everything, open_=True), scope)
            case "RangeTableSample":
                self.consider(fields.get("args"), sees)
                self.consider(fields.get("repeatable"), sees)
                method = [part["String"]["sval"] for part in fields["method"]]
                if method[-1] not in ("bernoulli", "system", "system_rows", "system_time"):
                    self.findings.opaque(method[-1], f"sampling method {method[-1]} is not PostgreSQL's own")
                return self._source(fields["relation"], scope, sees)
            case _:
                raise Unreadable(f"something in FROM of a kind not known here ({kind})")

    @staticmethod
    def _named(alias: Node | None, name: str, shape: Shape, scope: Scope) -> Shape:
        if alias is not None:
            name = alias["aliasname"]
            shape = shape.renamed([one["String"]["sval"] for one in alias.get("colnames", ())])
        scope.add(name, shape)
        return shape

    def _join(self, fields: Node, scope: Scope, sees: Scope) -> Shape:
        alias = fields.get("alias")
        inner = Scope(scope.outer) if alias is not None else scope
        before = inner.rows
        first = len(inner.sources)
        left_star = self._source(fields["larg"], inner, sees if alias is None else inner)
        left_rows, middle = inner.rows - before, len(inner.sources)
        right_star = self._source(fields["rarg"], inner, sees if alias is None else inner)
        right_rows = inner.rows - before - left_rows
        reach = {
            "JOIN_INNER": left_rows | right_rows,
            "JOIN_LEFT": right_rows,
            "JOIN_RIGHT": left_rows,
        }.get(fields["jointype"], frozenset())
        condition = fields.get("quals")
        if condition is not None:
            self.consider(condition, inner)
            self._filter(condition, inner, reach)
        columns = [one["String"]["sval"] for one in fields.get("usingClause", ())]
        left, right = inner.sources[first:middle], inner.sources[middle:]
        if fields.get("isNatural"):
            columns = [
                output.name
                for output in left_star.outputs
                if any(output.name == other.name for other in right_star.outputs)
            ]
        if columns:
            self._operator(None, "=")
        conditions = Conditions(inner, reach, self.sublink_output)
        for column in columns:
            conditions.equal(_of(left, column), _of(right, column))
        joined = [
            Output(column, (_of(left, column) or _NONE).origins | (_of(right, column) or _NONE).origins)
            for column in columns
        ]
        using = fields.get("join_using_alias")
        if using is not None:
            scope.add(using["aliasname"], Shape(joined))
        # The joined columns come first, once.
        outputs = [
            *joined,
            *(one for star in (left_star, right_star) for one in star.outputs if one.name not in columns),
        ]
        is_open = left_star.open or right_star.open
        star = Shape(outputs, left_star.rest | right_star.rest, left_rows | right_rows, open_=is_open)
        return star if alias is None else self._named(alias, "", star, scope)

    def _functions(self, fields: Node, scope: Scope, sees: Scope) -> Shape:
        shapes: list[Shape] = []
        name = ""
        for item in fields["functions"]:
            function, definitions = item["List"]["items"][0], item["List"]["items"][1:]
            shape, name = self._function(function, sees)
            columns = [
                one["ColumnDef"]["colname"]
                for part in definitions
                if part
                for one in part.get("List", {}).get("items", ())
            ]
            shapes.append(shape.renamed(columns))
        columns = [one["ColumnDef"]["colname"] for one in fields.get("coldeflist", ())]
        for one in fields.get("coldeflist", ()):
            self.type_used(one["ColumnDef"]["typeName"])
        outputs = [output for shape in shapes for output in shape.outputs]
        rest: Origins = frozenset().union(*(shape.rest for shape in shapes))
        if fields.get("ordinality"):
            outputs.append(Output("ordinality"))
        whole = Shape(outputs, rest, open_=any(shape.open for shape in shapes))
        return self._named(fields.get("alias"), name, whole.renamed(columns), scope)

    def _function(self, node: Node, sees: Scope) -> tuple[Shape, str]:
        """A function in FROM: its result's shape and the name it goes by."""
        call = node.get("FuncCall")
        if call is None:
            return Shape(rest=self.origins(node, sees), open_=True), ""
        self.seen_calls.add(id(call))
        names = [part["String"]["sval"] for part in call["funcname"]]
        inside: Origins = NOTHING
        for argument in call.get("args", ()):
            inside |= self.origins(argument, sees)
        schema = names[-2] if len(names) > 1 else None
        shape = self.call(schema, names[-1], call, inside, sees, once=True)
        if shape is None:
            rows = self._rows_of(call)
            return Shape(rest=inside | {(rows, ALL)}, rows=(rows,), open_=True), names[-1]
        outputs = [Output(one.name, one.origins | inside, one.direct and not inside) for one in shape.outputs]
        return Shape(outputs, shape.rest | inside, shape.rows, open_=shape.open or bool(inside)), names[-1]

    def _rows_of(self, call: Node) -> Reference:
        """The rows that a function returns: of an array written out, as many as it has; else any number."""
        reference = self.findings.refer(Reference("", hidden=True))
        arguments = call.get("args", ())
        if call["funcname"][-1]["String"]["sval"] == "unnest" and len(arguments) == 1:
            array = arguments[0]
            while "TypeCast" in array:
                array = array["TypeCast"]["arg"]
            if "A_ArrayExpr" in array:
                reference.limits.append(len(array["A_ArrayExpr"].get("elements", ())))
            elif "sval" in array.get("A_Const", {}):
                reference.limits.append(array["A_Const"]["sval"].get("sval", "").count(",") + 1)
        return reference

    def _relation(self, fields: Node) -> tuple[Shape, str]:
        """A name in FROM: a CTE, a relation, or a view in place of which its query is read."""
        self.seen_relations.add(id(fields))
        schema, name = fields.get("schemaname"), fields["relname"]
        if schema is None:
            shape = self._cte(name)
            if shape is not None:
                return shape, name
        return self.relation(schema, name, alone=not fields.get("inh")), name

    def relation(self, schema: str | None, name: str, *, alone: bool = False) -> Shape:
        """The shape of a relation that is read."""
        named = self.world.relation(schema, name, self.frame.path, alone=alone)
        known = named.known
        mark = named.mark
        if known is not None and known.kind == "m" and known.oid not in self.world.derived:
            self._derive(known)
            mark = self.world.mark(known, alone=alone)
        reference = self.mention(replace(named, mark=mark), alone=alone)
        if known is None:
            return relation_shape(reference)
        if known.kind == "f":
            self.outside(known)
        if known.kind == "v" and known.definition is not None:
            return self._view(known, reference)
        if known.row_security:
            self.bodies.code(known, _READ_CODE, self.frame)
        if self.world.catalog.casts:
            self.bodies.casts(known, self.frame)
        return relation_shape(reference)

    def outside(self, known: Relation) -> None:
        """A foreign table: its rows are another server's, or a file's."""
        why = f"{known.full_name} is a foreign table: it reaches beyond the database"
        self.findings.note(EffectFacts(Action.CALL, known.full_name, nature=Nature.SERVER_FILE, detail=why))

    def mention(self, named: Named, *, alone: bool = False) -> Reference:
        """A new mention of a relation in this frame."""
        frame = self.frame
        return self.findings.refer(
            Reference(
                named.full_name,
                named.known,
                named.mark,
                per=frame.per,
                repeated=frame.repeated,
                exists=named.exists,
                planned=frame.planned,
                alone=alone,
                trail=frame.trail,
            )
        )

    def _view(self, known: Relation, reference: Reference) -> Shape:
        """A view: its query's shape under the view's column names, with the view's own mark beside it."""
        inner = self.view_shape(known, Scope())
        own = relation_shape(reference)
        if inner.open or len(inner.outputs) != len(known.columns):
            return Shape(own.outputs, inner.everything() | own.everything(), inner.rows, open_=True)
        outputs = [
            Output(name, output.origins | {(reference, name)}, output.direct or not output.origins)
            for name, output in zip(known.columns, inner.outputs, strict=True)
        ]
        return Shape(outputs, rows=inner.rows | {reference})

    def _derive(self, known: Relation) -> None:
        """Work out what of a materialised view is personal: what its query takes from personal columns."""
        if known.definition is None:
            self.world.derive(known, None)
            return
        apart = Queries(Findings(self.world, self.findings.reader), Frame(_NO_PATH))
        self.world.derive(known, None)
        shape = apart.view_shape(known, Scope())
        marks = [(output, *_marks_of(output.origins)) for output in shape.outputs]
        if len(marks) != len(known.columns) or shape.open:
            personal = any(reference.holds(column) for reference, column in shape.everything())
            self.world.derive(known, Mark(frozenset([ALL])) if personal else None)
            return
        pairs = list(zip(known.columns, marks, strict=True))
        personal_columns = frozenset(name.lower() for name, (_, classes, _) in pairs if classes is not None)
        if not personal_columns:
            return
        subjects = [name.lower() for name, (output, _, subject) in pairs if subject and output.direct]
        classes = frozenset().union(*(found for _, (_, found, _) in pairs if found is not None))
        self.world.derive(known, Mark(personal_columns, frozenset(subjects[:1]), classes))

    def view_shape(self, known: Relation, scope: Scope) -> Shape:
        """What a view's query returns.  Raises Unreadable."""
        assert known.definition is not None
        if known.oid in self.findings.running:
            raise Unreadable(f"view {known.full_name} is made of itself")
        self.findings.running.append(known.oid)
        try:
            kind, fields, _ = self.world.parsed(known.definition).statements[0]
            frame = self.frame.into(f"view {known.full_name}", path=_NO_PATH)
            return Queries(self.findings, frame).statement(kind, fields, scope)
        except GrammarError as error:
            raise Unreadable(f"view {known.full_name} cannot be read: {error}") from None
        finally:
            self.findings.running.pop()

    # -- INSERT, UPDATE, DELETE, MERGE ----------------------------------------------------------------------

    def _target(self, fields: Node, scope: Scope) -> Reference:
        """The relation that is changed, which can be named in the rest of the statement."""
        self.seen_relations.add(id(fields))
        schema, name = fields.get("schemaname"), fields["relname"]
        alone = not fields.get("inh")
        named = self.world.relation(schema, name, self.frame.path, alone=alone)
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
            for base in shape.rows:
                base.is_target = True
        alias = fields.get("alias")
        scope.add(alias["aliasname"] if alias is not None else name, shape)
        return reference

    def _changed(
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
        for base in shape.rows - {reference}:
            written = tuple(
                column
                for name in columns
                for origin, column in ((shape.column(name) or _NONE).origins)
                if origin is base
            )
            self.findings.write(Write(action, base, written, erases=erases))
            self.targets.follow(action, base, written, self.frame)

    def _insert(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self._target(fields["relation"], scope)
        known = reference.known
        columns = tuple(one["ResTarget"]["name"] for one in fields.get("cols", ()))
        if not columns:
            columns = known.columns if known is not None and known.columns else (ALL,)
        select = fields.get("selectStmt")
        if select is None:
            reference.limits.append(1)
        else:
            kind, source = next(iter(select.items()))
            if "valuesLists" in source and source.get("op", "SETOP_NONE") == "SETOP_NONE":
                reference.limits.append(len(source["valuesLists"]))
            self.findings.expose(self.statement(kind, source, Scope(outer)).everything())
        for one in fields.get("cols", ()):
            self.consider(list(inner_nodes(one["ResTarget"].get("indirection", []))), scope)
        self._changed(Action.INSERT, reference, scope, columns)
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
                self._changed(Action.UPDATE, reference, scope, written, erases=erases)
        return self._returning(fields, scope)

    def _update(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self._target(fields["relation"], scope)
        self._from(fields.get("fromClause"), scope)
        self._where(fields, scope)
        written, erases = self._assign(fields["targetList"], reference, scope)
        self._changed(Action.UPDATE, reference, scope, written, erases=erases)
        return self._returning(fields, scope)

    def _delete(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self._target(fields["relation"], scope)
        self._from(fields.get("usingClause"), scope)
        self._where(fields, scope)
        self._changed(Action.DELETE, reference, scope, ())
        return self._returning(fields, scope)

    def _merge(self, fields: Node, outer: Scope) -> Shape:
        scope = Scope(outer)
        reference = self._target(fields["relation"], scope)
        self._source(fields["sourceRelation"], scope, scope)
        self.consider(fields["joinCondition"], scope)
        for one in fields["mergeWhenClauses"]:
            when = one["MergeWhenClause"]
            self.consider(when.get("condition"), scope)
            match when["commandType"]:
                case "CMD_DELETE":
                    self._changed(Action.DELETE, reference, scope, ())
                case "CMD_UPDATE":
                    written, erases = self._assign(when["targetList"], reference, scope)
                    self._changed(Action.UPDATE, reference, scope, written, erases=erases)
                case "CMD_INSERT":
                    columns = tuple(each["ResTarget"]["name"] for each in when.get("targetList", ()))
                    for value in when.get("values", ()):
                        self.findings.expose(self.origins(value, scope))
                    self._changed(Action.INSERT, reference, scope, columns or (ALL,))
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


def _marks_of(origins: Origins) -> tuple[frozenset[str] | None, bool]:
    """The classes of the personal data in origins (None: there is none), and whether it is a subject."""
    classes: frozenset[str] | None = None
    subject = False
    for reference, column in origins:
        if reference.mark is not None and reference.mark.holds(column):
            classes = (classes or frozenset()) | reference.mark.classes
        subject = subject or reference.is_subject(column)
    return classes, subject


_NONE: Final = Found(NOTHING, False, False)
_NO_PATH: Final[tuple[str, ...]] = ()
"""Inside of a definition every name is qualified, or PostgreSQL's own."""


def _of(sources: list[tuple[str, Shape]], column: str) -> Found | None:
    finds = [found for _, shape in sources if (found := shape.column(column)) is not None]
    certain = [found for found in finds if found.certain] or finds
    if len(certain) == 1:
        return certain[0]
    return Found(frozenset().union(*(one.origins for one in certain)), False, True) if certain else None


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


def _implied_name(value: Node) -> str:
    """The name the server gives a column without one (documentation section 7.3.2)."""
    while True:
        kind, fields = next(iter(value.items()))
        match kind:
            case "FuncCall":
                return str(fields["funcname"][-1]["String"]["sval"])
            case "TypeCast":
                inner = _implied_name(fields["arg"])
                return (
                    inner if inner != "?column?" else str(fields["typeName"]["names"][-1]["String"]["sval"])
                )
            case "A_Indirection":
                names = [step["String"]["sval"] for step in fields.get("indirection", ()) if "String" in step]
                if names:
                    return str(names[-1])
                value = fields["arg"]
            case "ColumnRef":
                last = fields["fields"][-1]
                return str(last["String"]["sval"]) if "String" in last else "?column?"
            case "SubLink" if fields["subLinkType"] == "EXPR_SUBLINK":
                targets = fields["subselect"]["SelectStmt"].get("targetList", ())
                if not targets:
                    return "?column?"
                target = targets[0]["ResTarget"]
                if "name" in target:
                    return str(target["name"])
                value = target["val"]
            case "CoalesceExpr":
                return "coalesce"
            case "CaseExpr":
                return "case"
            case "A_ArrayExpr":
                return "array"
            case "RowExpr":
                return "row"
            case "CollateClause":
                value = fields["arg"]
            case _:
                return "?column?"


def _mentions(root: Any) -> Counter[str]:
    """How often each unqualified relation name stands in a tree."""
    found: Counter[str] = Counter()
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(one for one in node if isinstance(one, dict | list))
        else:
            if "relname" in node:
                found[node["relname"]] += 1
            stack.extend(one for one in node.values() if isinstance(one, dict | list))
    return found
