"""What a SELECT does: which relations it reads and what of them it exposes.

One Selects reads one tree from the inside out.
Source: PostgreSQL's ``parsenodes.h``; documentation chapter 7, "Queries".
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from rules.bounds import row_limit
from rules.expressions import inner_nodes
from rules.facts import ParameterBound
from rules.findings import Findings, Frame
from rules.lineage import NOTHING, Origins, Output, Reference, Scope, Shape
from rules.personal import ALL
from rules.pgquery import Node
from rules.reader import Unreadable
from rules.sources import Sources

_READ_CODE: Final = frozenset(["policy"])
_SELECT: Final = "SelectStmt"
_NESTED: Final = (dict, list)


@dataclass(slots=True)
class _Cte:
    """One WITH entry: where it stands and, once read, its shape."""

    fields: Node
    outer: Scope
    depth: int
    shape: Shape | None = None
    in_progress: bool = False
    read_back: bool = False


class Selects(Sources):
    """Reads one tree of SELECTs into the findings; a subclass reads the queries that change something."""

    def __init__(self, findings: Findings, frame: Frame) -> None:
        super().__init__(findings, frame)
        self._ctes: list[dict[str, _Cte]] = []
        self._root: Node | None = None
        self._mentioned: Counter[str] | None = None

    # -- statements -----------------------------------------------------------------------------------------

    def statement(self, kind: str, fields: Node, outer: Scope) -> Shape:
        """A whole query; what it returns."""
        if self._root is None:
            self._root = fields
        pushed = self._with(fields, outer)
        try:
            return self._query(kind, fields, outer)
        finally:
            if pushed:
                self._ctes.pop()

    def _query(self, kind: str, fields: Node, outer: Scope) -> Shape:
        """The query without its WITH."""
        if kind != _SELECT:
            raise Unreadable(f"a query of a kind not known here ({kind})")
        return self._select(fields, outer)

    def subselect(self, fields: Node, outer: Scope | None) -> Shape:
        """A SELECT inside of another statement; ``outer`` is what it can see."""
        return self.statement(_SELECT, fields, outer if outer is not None else Scope())

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
        if entry.read_back:
            # Run again and again: no limit inside of it is one on the whole.
            self._unlimited(start)
            rows = self.findings.refer(Reference("", hidden=True))
            shape = Shape(rest=shape.everything() | {(rows, ALL)}, open_=True)
        elif self._mentions(name) > 1:
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

    def _mentions(self, name: str) -> int:
        """How often a relation of that name stands in the whole tree; counted once there is a WITH."""
        if self._mentioned is None:
            self._mentioned = _mentions(self._root)
        return self._mentioned[name]

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
            self.seen_relations.add(id(into["rel"]))
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
        if reference is not None:
            parts = reference["fields"]
            if "A_Star" in parts[-1]:
                return self._star(reference, scope, outputs)
            column = parts[-1]["String"]["sval"]
            found = None
            if len(parts) <= 3:
                found = scope.find(parts[-2]["String"]["sval"] if len(parts) > 1 else None, column)
            direct = found is not None and found.direct
            origins = found.origins if found is not None and found.certain else self.origins(value, scope)
            outputs.append(Output(target.get("name") or column, origins, direct))
            return None
        if "A_Indirection" in value and "A_Star" in value["A_Indirection"].get("indirection", [{}])[-1]:
            # (t).*: as many columns as the value has.
            return self.origins(value, scope)
        outputs.append(Output(target.get("name") or _implied_name(value), self.origins(value, scope)))
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
        sides = [self.statement(_SELECT, side, outer) for side in (left, *reversed(chain))]
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
        if isinstance(node, dict):
            name = node.get("relname")
            if name is not None:
                found[name] += 1
            node = node.values()
        stack.extend([value for value in node if isinstance(value, _NESTED)])
    return found
