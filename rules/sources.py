"""What stands in FROM: relations, views in place of which their queries are read, joins, functions, sub-selects.

Conditions and limits around a view are so conditions and limits on what it is made of.
Source: PostgreSQL's ``parsenodes.h``; documentation chapter 7.2, "Table Expressions".
"""

from dataclasses import replace
from typing import Final

from rules.bounds import Conditions
from rules.catalog import Relation
from rules.expressions import Expressions, inner_nodes
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Findings, Frame
from rules.lineage import NOTHING, Found, Mark, Origins, Output, Reference, Scope, Shape, relation_shape
from rules.personal import ALL
from rules.pgquery import GrammarError, Node
from rules.reader import Unreadable
from rules.world import Named

_READ_CODE: Final = frozenset(["policy"])


class Sources(Expressions):
    """Reads what stands in FROM into scopes; a subclass reads the queries and knows the names of WITH."""

    def statement(self, kind: str, fields: Node, outer: Scope) -> Shape:
        """A query inside of FROM, or in place of a view."""
        raise NotImplementedError

    def _cte(self, name: str) -> Shape | None:
        raise NotImplementedError

    def _filter(self, condition: Node, scope: Scope, reach: frozenset[Reference]) -> None:
        Conditions(scope, reach, self.sublink_output).apply(condition)

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
                return self._aliased(fields.get("alias"), name, shape, scope)
            case "JoinExpr":
                return self._join(fields, scope, sees)
            case "RangeSubselect":
                outer = sees if fields.get("lateral") else (sees.outer or Scope(variables=sees.variables))
                inner = Scope(outer)
                each, select = next(iter(fields["subquery"].items()))
                return self._aliased(fields.get("alias"), "", self.statement(each, select, inner), scope)
            case "RangeFunction":
                return self._functions(fields, scope, sees)
            case "RangeTableFunc" | "JsonTable":
                everything = NOTHING
                for one in inner_nodes({key: value for key, value in fields.items() if key != "alias"}):
                    everything |= self.origins(one, sees)
                return self._aliased(fields.get("alias"), "", Shape(rest=everything, open_=True), scope)
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
    def _aliased(alias: Node | None, name: str, shape: Shape, scope: Scope) -> Shape:
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
            Output(
                column, (_of(left, column) or NO_COLUMN).origins | (_of(right, column) or NO_COLUMN).origins
            )
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
        return star if alias is None else self._aliased(alias, "", star, scope)

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
        return self._aliased(fields.get("alias"), name, whole.renamed(columns), scope)

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
        named = self.named(schema, name, alone=alone)
        known = named.known
        reference = self.mention(named, alone=alone)
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
        self.bodies.compared(known.types, self.frame)
        return relation_shape(reference)

    def named(self, schema: str | None, name: str, *, alone: bool = False) -> Named:
        """What the name stands for here; what of a materialised view is personal follows from its query."""
        named = self.findings.relation(schema, name, self.frame, alone=alone)
        known = named.known
        if known is None or known.kind != "m":
            return named
        if known.oid not in self.world.derived:
            self._derive(known)
        return replace(named, mark=self.world.mark(known, alone=alone))

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
        apart = type(self)(Findings(self.world, self.findings.reader), Frame(_NO_PATH))
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
            return type(self)(self.findings, frame).statement(kind, fields, scope)
        except GrammarError as error:
            raise Unreadable(f"view {known.full_name} cannot be read: {error}") from None
        finally:
            self.findings.running.pop()


def _marks_of(origins: Origins) -> tuple[frozenset[str] | None, bool]:
    """The classes of the personal data in origins (None: there is none), and whether it is a subject."""
    classes: frozenset[str] | None = None
    subject = False
    for reference, column in origins:
        if reference.mark is not None and reference.mark.holds(column):
            classes = (classes or frozenset()) | reference.mark.classes
        subject = subject or reference.is_subject(column)
    return classes, subject


NO_COLUMN: Final = Found(NOTHING, False, False)
_NO_PATH: Final[tuple[str, ...]] = ()
"""Inside of a definition every name is qualified, or PostgreSQL's own."""


def _of(sources: list[tuple[str, Shape]], column: str) -> Found | None:
    finds = [found for _, shape in sources if (found := shape.column(column)) is not None]
    certain = [found for found in finds if found.certain] or finds
    if len(certain) == 1:
        return certain[0]
    return Found(frozenset().union(*(one.origins for one in certain)), False, True) if certain else None
