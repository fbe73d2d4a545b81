"""What a query does: which relations it reads, what of them it exposes, what it writes, which code it calls.

One Analysis reads one query tree from the inside out.  Whatever it meets and was not written to expect makes the
query unreadable: nothing is passed over.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlglot import exp

from rules.builtin import AGGREGATES, COLUMN_NAME_KEYWORDS, RESERVED_KEYWORDS
from rules.bulk import smaller
from rules.catalog import SchemaSnapshot
from rules.columns import NOTHING, Base, Origins, Reference, Scope, Shape
from rules.facts import UNBOUNDED, Action, EffectFacts, Nature, ParameterBound, RowBound
from rules.functions import CARRIES_OUT, COUNTS, MEASURES, SUMMARIES, Conduct, known
from rules.grammar import ARRAY_NAME, CURRENT_OF, Query
from rules.personal import ALL, PersonalData, PersonalRelation
from rules.pins import Pins, row_limit
from rules.reader import Unreadable
from rules.settings import setting

_STAND_INS: Final = frozenset([ARRAY_NAME, CURRENT_OF])
_NO_NAMES: Final = RESERVED_KEYWORDS | COLUMN_NAME_KEYWORDS
"""Key words that cannot name a function: what sqlglot shows as one is grammar (ALL, JSON_ARRAY …)."""
_TRUTHS: Final = (
    exp.EQ,
    exp.NEQ,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
    exp.Like,
    exp.ILike,
    exp.Between,
    exp.In,
    exp.And,
    exp.Or,
    exp.Not,
)
"""Expressions whose value is a truth about their operands, not the operands."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What names mean: the personal relations, the search path, and what is known of the database."""

    personal: PersonalData
    search_path: tuple[str, ...]
    catalog: SchemaSnapshot

    @property
    def pg_catalog_first(self) -> bool:
        """Whether an unqualified function or operator of PostgreSQL's own can be taken for itself."""
        path = [place for place in self.search_path if not place.startswith("pg_temp")]
        return "pg_catalog" not in path or path[0] == "pg_catalog"

    def relation(self, schema: str | None, name: str) -> tuple[str, PersonalRelation | None, bool]:
        """A relation's name for people and rules, its entry if it is personal, and whether it is known to exist."""
        known = self.catalog.find(schema, name, self.search_path)
        exists = self.catalog.is_empty or known is not None
        if known is not None:
            schema = known.schema
        entry = self.personal.find(schema, name, self.search_path)
        if schema is None and entry is not None and not any(c in entry.schema for c in "*?["):
            schema = entry.schema
        return (name if schema is None else f"{schema}.{name}"), entry, exists or entry is not None

    def effect(
        self,
        action: Action,
        schema: str | None,
        name: str,
        columns: tuple[str, ...] = (),
        bound: RowBound = UNBOUNDED,
    ) -> EffectFacts:
        """An effect on a relation as named; a read exposes the columns given."""
        relation, entry, exists = self.relation(schema, name)
        personal: tuple[str, ...] = ()
        if entry is not None:
            personal = (
                entry.columns if action is Action.DELETE else tuple(c for c in columns if entry.holds(c))
            )
        return EffectFacts(
            action,
            relation,
            columns,
            bound,
            personal,
            entry is not None,
            entry.classes if entry is not None else frozenset(),
            Nature.PLAIN if exists else Nature.UNKNOWN_RELATION,
            "" if exists else f"no relation {relation} is known",
        )


def calls_of_operators(query: Query) -> list[EffectFacts]:
    """An effect for each operator that is not PostgreSQL's own: it runs somebody's function."""
    return [
        EffectFacts(
            Action.CALL,
            name,
            nature=Nature.OPAQUE,
            detail=f"operator {name} is not one of PostgreSQL's own",
        )
        for name in dict.fromkeys(query.operators)
    ]


def planned(effects: Iterable[EffectFacts]) -> tuple[EffectFacts, ...]:
    """What is left of a statement's effects if it is planned and not run: relations looked at, functions called.

    Functions stay because planning may run them, and PostgreSQL believes whoever declared them immutable.
    """
    rows = (Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE)
    return tuple(
        replace(effect, action=Action.READ, columns=(), personal=()) if effect.action in rows else effect
        for effect in effects
        if effect.action in rows or effect.action is Action.CALL
    )


class Analysis:
    """Reads one query; afterwards ``effects`` holds what it does.  Raises Unreadable."""

    def __init__(self, query: Query, around: Surroundings) -> None:
        self._query = query
        self._around = around
        self._references: list[Reference] = []
        self._effects: list[EffectFacts] = []
        self._ctes: list[dict[str, _Cte]] = []
        self._seen: set[int] = set()
        self._merges: list[bool] = []
        self._mentions = Counter(
            query.name(table.name) for table in query.root.find_all(exp.Table) if not table.args.get("db")
        )
        self.changes_context = False
        self.functions_unknown = bool(query.operators)

    def run(self) -> tuple[EffectFacts, ...]:
        """The effects, those that change something first."""
        self._calls()
        shape = self._statement(self._query.root, None)
        self._expose(shape.everything())
        for node in self._query.root.find_all(
            exp.Select, exp.Table, exp.Insert, exp.Update, exp.Delete, exp.Merge
        ):
            if id(node) not in self._seen:
                raise Unreadable(f"a {node.key.upper()} in a place not known here")
        reads = [effect for reference in self._references for effect in self._read(reference)]
        return tuple(_unique([*self._effects, *reads]))

    # -- statements -----------------------------------------------------------------------------------------

    def _statement(self, node: exp.Expression, outer: Scope | None) -> Shape:
        """A whole statement, or a query inside of one; what it returns."""
        pushed = self._with(node, outer)
        try:
            match node:
                case exp.Select():
                    return self._select(node, outer)
                case exp.SetOperation():
                    return self._set_operation(node, outer)
                case exp.Subquery():
                    return self._subquery(node, outer)
                case exp.Values():
                    return self._values(node, outer)
                case exp.Insert():
                    return self._insert(node, outer)
                case exp.Update():
                    return self._update(node, outer)
                case exp.Delete():
                    return self._delete(node, outer)
                case exp.Merge():
                    return self._merge(node, outer)
                case exp.Paren():
                    return self._statement(node.this, outer)
                case _:
                    raise Unreadable(f"a statement of a kind not known here ({node.key})")
        finally:
            if pushed:
                self._ctes.pop()

    def _with(self, node: exp.Expression, outer: Scope | None) -> bool:
        clause = node.args.get("with_")
        if clause is None:
            return False
        recursive = bool(clause.args.get("recursive"))
        names: dict[str, _Cte] = {}
        self._ctes.append(names)
        depth = len(self._ctes)
        entries = [(self._query.name(cte.alias), _Cte(cte, outer, depth)) for cte in clause.expressions]
        if recursive:
            names.update(entries)
        for name, entry in entries:
            self._evaluate(name, entry)
            names[name] = entry
        return True

    def _evaluate(self, name: str, entry: "_Cte") -> Shape:
        if entry.shape is not None:
            return entry.shape
        if entry.in_progress:
            # What a recursive term reads of itself adds nothing to what the whole is made of.
            entry.read_back = True
            return Shape()
        entry.in_progress = True
        hidden, self._ctes = self._ctes[entry.depth :], self._ctes[: entry.depth]
        shape = self._statement(entry.node.this, entry.outer)
        self._ctes.extend(hidden)
        if entry.read_back:
            shape = Shape(rest=shape.everything())
        elif self._mentions[name] > 1:
            # What holds of one mention's rows need not hold of another's.
            shape = Shape(shape.outputs, shape.includes, shape.rest)
        entry.shape = shape.renamed(self._column_names(entry.node.args.get("alias")))
        entry.in_progress = False
        return entry.shape

    def _cte(self, name: str) -> Shape | None:
        for names in reversed(self._ctes):
            if name in names:
                return self._evaluate(name, names[name])
        return None

    def _select(self, node: exp.Select, outer: Scope | None) -> Shape:
        self._seen.add(id(node))
        scope = Scope(outer)
        self._from(node, scope)
        self._merges.append(False)
        shape = Shape()
        for projection in node.expressions:
            self._project(projection, scope, shape)
        merges = self._merges.pop()
        for key in ("where", "group", "having", "windows", "distinct", "order", "limit", "offset", "qualify"):
            self._consider(node.args.get(key), scope)
        where = node.args.get("where")
        if where is not None:
            self._pin(where.this, scope, scope.rows)
        rows: frozenset[Reference] = frozenset() if merges else scope.rows
        if not merges:
            self._limit(node, rows)
        if node.args.get("group") is None:
            shape.rows = rows
        for lock in node.args.get("locks") or ():
            # FOR UPDATE OF names sources of this SELECT again.
            self._seen.update(id(table) for table in lock.expressions)
        into = node.args.get("into")
        if into is not None:
            table = into.this
            self._seen.add(id(table))
            self._effects.append(
                EffectFacts(Action.DDL, self._relation_of(table)[0], detail="creates a table")
            )
        return shape

    def _project(self, projection: exp.Expression, scope: Scope, shape: Shape) -> None:
        """Add one entry of a select list to the shape of the SELECT."""
        match projection:
            case exp.Star():
                shape.includes.extend(source for _, source in scope.sources)
                return
            case exp.Column(this=exp.Star()):
                name = self._query.name(projection.table)
                found = scope.named(name)
                if found:
                    shape.includes.extend(found)
                else:
                    shape.rest |= scope.resolve(None, name)
                return
            case exp.Alias():
                name, value = self._query.name(projection.alias), projection.this
            case exp.Column():
                name, value = self._query.name(projection.name), projection
            case _:
                name, value = "", projection
        while isinstance(value, exp.Paren):
            value = value.this
        origins = self._origins(value, scope)
        direct = False
        if isinstance(value, exp.Column) and not isinstance(value.this, exp.Star):
            found_here = scope.local(self._qualifier(value), self._query.name(value.name))
            direct = found_here is not None and found_here.direct
        shape.outputs.append((name, origins, direct))

    def _set_operation(self, node: exp.SetOperation, outer: Scope | None) -> Shape:
        # The left side of a long chain is a chain itself: walked, not descended into.
        chain: list[exp.Expression] = []
        left: exp.Expression = node
        while isinstance(left, exp.SetOperation):
            if left is not node and (left.args.get("with_") or left.args.get("limit")):
                break
            chain.append(left.expression)
            left = left.this
        sides = [self._statement(side, outer) for side in (left, *reversed(chain))]
        scope = Scope(outer)
        if all(side.is_positional for side in sides) and len({len(side.outputs) for side in sides}) == 1:
            outputs = [
                (column[0][0], frozenset().union(*(one[1] for one in column)), all(one[2] for one in column))
                for column in zip(*(side.outputs for side in sides), strict=True)
            ]
            shape = Shape(outputs)
        else:
            everything: Origins = frozenset().union(*(side.everything() for side in sides))
            shape = Shape(rest=everything)
        shape.rows = frozenset().union(*(side.rows for side in sides))
        scope.add("", shape)
        for key in ("order", "limit", "offset"):
            self._consider(node.args.get(key), scope)
        self._limit(node, shape.rows)
        return shape

    def _subquery(self, node: exp.Subquery, outer: Scope | None) -> Shape:
        inner = node.this
        if isinstance(inner, exp.Table):
            scope = Scope(outer)
            self._source(node, scope, outer)
            return Shape(includes=[shape for _, shape in scope.sources], rows=scope.rows)
        shape = self._statement(inner, outer)
        scope = Scope(outer)
        scope.add("", shape)
        for key in ("order", "limit", "offset"):
            self._consider(node.args.get(key), scope)
        self._limit(node, shape.rows)
        return shape

    def _values(self, node: exp.Values, outer: Scope | None) -> Shape:
        scope = Scope(outer)
        columns: list[Origins] = []
        for row in node.expressions:
            items = row.expressions if isinstance(row, exp.Tuple) else [row]
            for index, item in enumerate(items):
                origins = self._origins(item, scope)
                if index < len(columns):
                    columns[index] |= origins
                else:
                    columns.append(origins)
        for key in ("order", "limit", "offset"):
            self._consider(node.args.get(key), scope)
        return Shape([(f"column{index + 1}", origins, False) for index, origins in enumerate(columns)])

    # -- sources --------------------------------------------------------------------------------------------

    def _from(self, node: exp.Expression, scope: Scope) -> None:
        clause = node.args.get("from_")
        if clause is not None:
            self._source(clause.this, scope, scope.outer)
        for join in node.args.get("joins") or ():
            self._join(join, scope)
        for lateral in node.args.get("laterals") or ():
            self._source(lateral, scope, scope.outer)

    def _join(self, join: exp.Expression, scope: Scope) -> None:
        if not isinstance(join, exp.Join):
            raise Unreadable(f"a {join.key.upper()} in FROM")
        before = scope.rows
        self._source(join.this, scope, scope.outer)
        side = (join.args.get("side") or "").upper()
        condition = join.args.get("on")
        if condition is not None:
            self._consider(condition, scope)
            reach = {"": scope.rows, "LEFT": scope.rows - before, "RIGHT": before}.get(side, frozenset())
            self._pin(condition, scope, reach)

    def _source(self, node: exp.Expression, scope: Scope, outer: Scope | None) -> None:
        """Add one item of FROM to the scope; ``outer`` is what it can see when it is not LATERAL."""
        alias = node.args.get("alias")
        label = self._query.name(alias.name) if alias is not None and alias.name else ""
        columns = self._column_names(alias)
        match node:
            case exp.Table(this=exp.Identifier()):
                self._seen.add(id(node))
                shape, name = self._relation_shape(node)
                scope.add(label or name, shape.renamed(columns))
            case exp.Table():
                self._seen.add(id(node))
                origins = self._origins(node.this, scope)
                name = (
                    self._query.name(node.this.name)
                    if isinstance(node.this, exp.Anonymous)
                    else node.this.key
                )
                scope.add(label or name, Shape(rest=origins))
            case exp.Subquery(this=exp.Table()):
                if label:
                    inner = Scope(outer)
                    self._source(node.this, inner, outer)
                    for join in node.args.get("joins") or ():
                        self._join(join, inner)
                    shape = Shape(includes=[one for _, one in inner.sources], rows=inner.rows)
                    scope.add(label, shape.renamed(columns))
                    return
                self._source(node.this, scope, outer)
            case exp.Subquery():
                pushed = self._with(node, outer)
                scope.add(label, self._subquery(node, outer).renamed(columns))
                if pushed:
                    self._ctes.pop()
            case exp.Values():
                scope.add(label, self._values(node, outer).renamed(columns))
            case exp.Lateral(this=exp.Subquery()):
                scope.add(label, self._statement(node.this, scope).renamed(columns))
            case exp.Lateral():
                scope.add(
                    label or self._query.name(node.this.name), Shape(rest=self._origins(node.this, scope))
                )
            case exp.Func():
                scope.add(label, Shape(rest=self._origins(node, scope)))
            case _:
                raise Unreadable(f"a {node.key.upper()} in FROM")
        sample = node.args.get("sample")
        self._consider(sample, scope)
        for join in node.args.get("joins") or ():
            self._join(join, scope)
        for lateral in node.args.get("laterals") or ():
            self._source(lateral, scope, outer)

    def _relation_shape(self, table: exp.Table) -> tuple[Shape, str]:
        name = self._query.name(table.name)
        if not table.args.get("db"):
            shape = self._cte(name)
            if shape is not None:
                return shape, name
        reference = self._reference(table)
        return Base(reference), name

    def _relation_of(self, table: exp.Table) -> tuple[str, PersonalRelation | None, bool]:
        schema = self._query.name(table.db) if table.args.get("db") else None
        return self._around.relation(schema, self._query.name(table.name))

    def _reference(self, table: exp.Table, *, target: bool = False) -> Reference:
        self._seen.add(id(table))
        name, entry, exists = self._relation_of(table)
        reference = Reference(name, entry, exists=exists, is_target=target)
        self._references.append(reference)
        return reference

    def _column_names(self, alias: exp.Expression | None) -> list[str]:
        if alias is None:
            return []
        return [self._query.name(column.name) for column in alias.args.get("columns") or ()]

    # -- writing --------------------------------------------------------------------------------------------

    def _target(self, node: exp.Expression, scope: Scope) -> Reference:
        """The relation that a statement writes; it can be named in the statement by its alias or its name."""
        table = node.this if isinstance(node, exp.Schema) else node
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
            raise Unreadable("a target that is not a relation")
        reference = self._reference(table, target=True)
        alias = table.args.get("alias")
        label = self._query.name(alias.name if alias is not None and alias.name else table.name)
        scope.add(label, Base(reference))
        for join in table.args.get("joins") or ():
            self._join(join, scope)
        if reference.relation in ("pg_settings", "pg_catalog.pg_settings"):
            self.changes_context = True
            self._effects.append(setting(None, None))
        return reference

    def _write(self, action: Action, reference: Reference, columns: Sequence[str], bound: RowBound) -> None:
        entry = reference.personal
        if action is Action.DELETE and entry is not None:
            personal: tuple[str, ...] = entry.columns
        else:
            personal = tuple(column for column in columns if reference.holds(column))
        self._effects.append(
            EffectFacts(
                action,
                reference.relation,
                tuple(dict.fromkeys(columns)),
                bound,
                personal,
                entry is not None,
                entry.classes if entry is not None else frozenset(),
                Nature.PLAIN if reference.exists else Nature.UNKNOWN_RELATION,
                "" if reference.exists else f"no relation {reference.relation} is known",
                tuple(reference.parameter_bounds) if action is not Action.INSERT else (),
            )
        )

    def _insert(self, node: exp.Insert, outer: Scope | None) -> Shape:
        self._seen.add(id(node))
        scope = Scope(outer)
        reference = self._target(node.this, scope)
        columns = [ALL]
        if isinstance(node.this, exp.Schema):
            columns = [self._written_name(column) for column in node.this.expressions]
        bound = UNBOUNDED
        match node.expression:
            case None:
                bound = RowBound.at_most(1)
            case exp.Values() as values:
                self._expose(self._statement(values, outer).everything())
                bound = RowBound.at_most(len(values.expressions))
            case source:
                self._expose(self._statement(source, outer).everything())
        reference.bound = bound
        self._write(Action.INSERT, reference, columns, bound)
        scope.add("excluded", Shape())
        conflict = node.args.get("conflict")
        if conflict is not None:
            for key in ("conflict_keys", "index_predicate", "constraint", "where"):
                self._consider(conflict.args.get(key), scope)
            if conflict.expressions:
                written = self._assign(conflict.expressions, reference, scope)
                self._write(Action.UPDATE, reference, written, bound)
        return self._returning(node, scope)

    def _update(self, node: exp.Update, outer: Scope | None) -> Shape:
        self._seen.add(id(node))
        scope = Scope(outer)
        reference = self._target(node.this, scope)
        self._from(node, scope)
        self._where(node, scope)
        written = self._assign(node.expressions, reference, scope)
        self._write(Action.UPDATE, reference, written, reference.bound)
        return self._returning(node, scope)

    def _delete(self, node: exp.Delete, outer: Scope | None) -> Shape:
        self._seen.add(id(node))
        if node.args.get("tables"):
            raise Unreadable("DELETE with several targets")
        scope = Scope(outer)
        reference = self._target(node.this, scope)
        for source in node.args.get("using") or ():
            self._source(source, scope, outer)
        self._where(node, scope)
        self._write(Action.DELETE, reference, (), reference.bound)
        return self._returning(node, scope)

    def _merge(self, node: exp.Merge, outer: Scope | None) -> Shape:
        self._seen.add(id(node))
        scope = Scope(outer)
        reference = self._target(node.this, scope)
        self._source(node.args["using"], scope, outer)
        self._consider(node.args.get("on"), scope)
        for when in node.args["whens"].expressions:
            self._consider(when.args.get("condition"), scope)
            match when.args.get("then"):
                case exp.Var() as action if action.name.upper() == "DELETE":
                    self._write(Action.DELETE, reference, (), UNBOUNDED)
                case exp.Var() as action if action.name.upper() == "DO NOTHING":
                    pass
                case exp.Update() as update:
                    self._seen.add(id(update))
                    written = self._assign(update.expressions, reference, scope)
                    self._write(Action.UPDATE, reference, written, UNBOUNDED)
                case exp.Insert() as insert:
                    self._seen.add(id(insert))
                    columns = insert.this
                    names = [ALL]
                    if isinstance(columns, exp.Tuple):
                        names = [self._written_name(column) for column in columns.expressions]
                    if insert.expression is not None:
                        self._expose(self._origins(insert.expression, scope))
                    self._write(Action.INSERT, reference, names, UNBOUNDED)
                case _:
                    raise Unreadable("a MERGE action not known here")
        return self._returning(node, scope)

    def _where(self, node: exp.Expression, scope: Scope) -> None:
        where = node.args.get("where")
        if where is not None:
            self._consider(where, scope)
            self._pin(where.this, scope, scope.rows)

    def _written_name(self, node: exp.Expression) -> str:
        """The column behind an INSERT or SET target such as ``a``, ``a[1]`` or ``a.field``."""
        while not isinstance(node, exp.Identifier):
            if isinstance(node, exp.Column) and node.args.get("table"):
                # SET a.b: a is the column, b a field of it.
                return self._query.name(node.table)
            following = node.this
            if not isinstance(following, exp.Expression):
                raise Unreadable("a target column of a kind not known here")
            node = following
        return self._query.name(node.name)

    def _assign(self, assignments: Iterable[exp.Expression], target: Reference, scope: Scope) -> list[str]:
        """The columns that SET writes; values taken from elsewhere, or put where they are not personal, leave."""
        written: list[str] = []
        for assignment in assignments:
            if not isinstance(assignment, exp.EQ):
                raise Unreadable("an assignment of a kind not known here")
            left = assignment.this
            names = [
                self._written_name(one)
                for one in (left.expressions if isinstance(left, exp.Tuple) else [left])
            ]
            origins = self._origins(assignment.expression, scope)
            stays = all(target.holds(name) for name in names)
            self._expose(
                (reference, column)
                for reference, column in origins
                if reference is not target or (not stays and reference.holds(column))
            )
            written.extend(names)
        return written

    def _returning(self, node: exp.Expression, scope: Scope) -> Shape:
        clause = node.args.get("returning")
        shape = Shape()
        if clause is not None:
            if clause.args.get("into"):
                raise Unreadable("RETURNING INTO")
            for projection in clause.expressions:
                self._project(projection, scope, shape)
        return shape

    # -- expressions ----------------------------------------------------------------------------------------

    def _consider(self, node: object, scope: Scope) -> None:
        """Read an expression whose value decides but does not leave."""
        for one in node if isinstance(node, list) else [node]:
            if isinstance(one, exp.Expression):
                self._origins(one, scope)

    def _qualifier(self, column: exp.Column) -> str | None:
        return self._query.name(column.table) if column.args.get("table") else None

    def _origins(self, root: exp.Expression, scope: Scope, *, summarised: bool = False) -> Origins:
        """What an expression's value is made of.

        ``summarised``: inside an aggregate that hides single values, where truths and lengths do not count.
        """
        found: Origins = NOTHING
        stack: list[exp.Expression] = [root]
        while stack:
            node = stack.pop()
            if summarised and isinstance(node, _TRUTHS):
                self._children(node, scope)
                continue
            match node:
                case exp.Column(this=exp.Star()):
                    found |= scope.everything(self._query.name(node.table))
                case exp.Column():
                    found |= scope.resolve(self._qualifier(node), self._query.name(node.name))
                case exp.Star():
                    found |= scope.everything()
                case (
                    exp.Select()
                    | exp.SetOperation()
                    | exp.Subquery()
                    | exp.Values()
                    | exp.Insert()
                    | exp.Update()
                    | exp.Delete()
                    | exp.Merge()
                ):
                    found |= self._statement(node, scope).everything()
                case exp.Exists():
                    self._children(node, scope)
                case exp.Is():
                    self._children(node, scope)
                case exp.Anonymous():
                    found |= self._call(node, scope, summarised=summarised)
                case exp.Window():
                    stack.append(node.this)
                    for key in ("partition_by", "order", "spec"):
                        self._consider(node.args.get(key), scope)
                case exp.Filter():
                    stack.append(node.this)
                    self._consider(node.expression, scope)
                case exp.If() if summarised:
                    self._consider(node.this, scope)
                    stack.extend(
                        one for one in (node.args.get("true"), node.args.get("false")) if one is not None
                    )
                case exp.AggFunc() | exp.JSONArrayAgg() | exp.JSONObjectAgg():
                    inside = self._children(node, scope)
                    self._note_merge(inside)
                    found |= inside
                case exp.Kwarg():
                    stack.append(node.expression)
                case exp.Table():
                    raise Unreadable("a relation in an expression")
                case _:
                    stack.extend(node.iter_expressions())
        return found

    def _children(self, node: exp.Expression, scope: Scope, *, summarised: bool = False) -> Origins:
        found: Origins = NOTHING
        for child in node.iter_expressions():
            found |= self._origins(child, scope, summarised=summarised)
        return found

    def _call(self, node: exp.Anonymous, scope: Scope, *, summarised: bool) -> Origins:
        name = self._query.name(str(node.this))
        if name in COUNTS or (summarised and name in MEASURES):
            self._children(node, scope)
            return NOTHING
        if name in SUMMARIES:
            found = self._children(node, scope, summarised=True)
        else:
            found = self._children(node, scope, summarised=summarised)
        if name in CARRIES_OUT:
            self._expose(found)
        if name in AGGREGATES or known(None, name).conduct is Conduct.OPAQUE:
            self._note_merge(found)
        return found

    def _note_merge(self, origins: Origins) -> None:
        """Values of many rows in one: a limit on rows is no limit on subjects then."""
        if self._merges and any(reference.holds(column) for reference, column in origins):
            self._merges[-1] = True

    def _expose(self, origins: Iterable[tuple[Reference, str]]) -> None:
        for reference, column in sorted(origins, key=lambda origin: origin[1]):
            reference.exposed[column] = None

    # -- rows -----------------------------------------------------------------------------------------------

    def _pin(self, condition: exp.Expression, scope: Scope, reach: frozenset[Reference]) -> None:
        pins = Pins(self._query, scope, reach)
        for reference, (bound, parameters) in pins.of(condition).items():
            reference.bound = smaller(reference.bound, bound)
            reference.parameter_bounds.extend(parameters)

    def _limit(self, node: exp.Expression, rows: frozenset[Reference]) -> None:
        found = row_limit(node, self._query)
        if isinstance(found, ParameterBound):
            for reference in rows:
                reference.parameter_bounds.append(found)
        elif found is not None:
            for reference in rows:
                reference.bound = smaller(reference.bound, found)

    # -- results --------------------------------------------------------------------------------------------

    def _read(self, reference: Reference) -> list[EffectFacts]:
        if reference.is_target and not reference.exposed:
            return []
        entry = reference.personal
        columns = tuple(reference.exposed)
        return [
            EffectFacts(
                Action.READ,
                reference.relation,
                columns,
                reference.bound,
                tuple(column for column in columns if reference.holds(column)),
                entry is not None,
                entry.classes if entry is not None else frozenset(),
                Nature.PLAIN if reference.exists else Nature.UNKNOWN_RELATION,
                "" if reference.exists else f"no relation {reference.relation} is known",
                tuple(reference.parameter_bounds),
            )
        ]

    def _calls(self) -> None:
        """An effect for each function that is not PostgreSQL's own, or does more than compute."""
        self._effects.extend(calls_of_operators(self._query))
        for node in self._query.root.find_all(exp.Anonymous):
            text = str(node.this)
            if text in _STAND_INS or text.lower() in _NO_NAMES:
                continue
            name = self._query.name(text)
            function = known(self._schema_of(node), name, pg_catalog_first=self._around.pg_catalog_first)
            match function.conduct:
                case Conduct.HARMLESS:
                    continue
                case Conduct.SESSION:
                    self.changes_context = True
                    self._effects.append(self._set_config(node))
                case Conduct.OPAQUE:
                    self.functions_unknown = True
                    self._effects.append(
                        EffectFacts(Action.CALL, function.name, nature=Nature.OPAQUE, detail=function.why)
                    )
                case Conduct.SERVER_FILE:
                    self._effects.append(
                        EffectFacts(
                            Action.CALL, function.name, nature=Nature.SERVER_FILE, detail=function.why
                        )
                    )
                case Conduct.LARGE_OBJECT:
                    self._effects.append(EffectFacts(Action.CALL, function.name, detail=function.why))

    def _schema_of(self, node: exp.Anonymous) -> str | None:
        parent = node.parent
        if isinstance(parent, exp.Dot) and parent.expression is node:
            left = parent.this
            return self._query.name(left.expression.name if isinstance(left, exp.Dot) else left.name)
        if isinstance(parent, exp.Table) and parent.args.get("db"):
            return self._query.name(parent.db)
        return None

    def _set_config(self, node: exp.Anonymous) -> EffectFacts:
        arguments = [
            self._query.string(argument.name)
            if isinstance(argument, exp.Literal) and argument.is_string
            else None
            for argument in node.expressions
        ]
        name, value = [*arguments, None, None][:2]
        return setting(name, value)


@dataclass(slots=True)
class _Cte:
    """One WITH entry: where it stands and, once read, its shape."""

    node: exp.Expression
    outer: Scope | None
    depth: int
    shape: Shape | None = None
    in_progress: bool = False
    read_back: bool = False


def _unique(effects: Iterable[EffectFacts]) -> list[EffectFacts]:
    return list(dict.fromkeys(effects))
