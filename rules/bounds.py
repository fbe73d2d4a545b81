"""How many rows, and how many people, a reference can reach: what conditions prove, and what follows from it.

Only what every row of the result must satisfy counts: equality of a column with a value the whole statement
shares, a list of such values, equality with another column that is bounded itself, a unique key, LIMIT.
Everything else proves nothing.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from rules.catalog import SchemaSnapshot
from rules.facts import POINT, UNBOUNDED, ParameterBound, RowBound
from rules.functions import Conduct, known
from rules.lineage import Found, Reference, Scope
from rules.pgquery import Node
from rules.system import RETURN_SETS, VOLATILE

ARRAY: Final = "holdgate array"
"""Marks a node whose elements are meant, not itself."""

_INFINITE: Final = float("inf")
_ROUNDS: Final = 8
"""Of following equalities from reference to reference: nobody honest chains more."""

_VARYING: Final = VOLATILE | RETURN_SETS
"""Functions of PostgreSQL's that may give another value for each row, or more than one."""

Subquery = Callable[[Node], Found | None]
"""Gives the single output column of a sub-select that was read before, None where it proves nothing."""


class Conditions:
    """Reads conditions over one scope; ``reach`` are the references that they filter."""

    def __init__(self, scope: Scope, reach: frozenset[Reference], subquery: Subquery) -> None:
        self._scope = scope
        self._reach = reach
        self._subquery = subquery

    def apply(self, condition: Node) -> None:
        """Note on the references in reach what holds of them if the condition is true."""
        for conjunct in _flat(condition, "AND_EXPR"):
            kind, fields = next(iter(conjunct.items()))
            if kind == "A_Expr":
                self._comparison(fields)
            elif kind == "BoolExpr" and fields.get("boolop") == "OR_EXPR":
                self._any_of(conjunct)
            elif kind == "SubLink" and fields.get("subLinkType") == "ANY_SUBLINK":
                self._in_subquery(fields)
            elif kind == "CurrentOfExpr":
                self._at_most(1)
            elif kind in ("A_Const", "TypeCast") and _is_false(conjunct):
                self._at_most(0)

    def equal(self, left: Found | None, right: Found | None) -> None:
        """Both columns are equal in every row (JOIN … USING)."""
        self._within(left, right)
        self._within(right, left)

    def _at_most(self, count: int) -> None:
        for reference in self._reach:
            reference.limits.append(count)

    def _comparison(self, fields: Node) -> None:
        kind = fields["kind"]
        operator = fields["name"]
        if len(operator) != 1 or operator[0]["String"]["sval"] != "=":
            if kind == "AEXPR_OP" and len(operator) == 1:
                self._constants(operator[0]["String"]["sval"], fields)
            return
        left, right = fields.get("lexpr"), fields.get("rexpr")
        if left is None or right is None:
            return
        if kind == "AEXPR_OP":
            self._equality(left, right)
        elif kind == "AEXPR_IN":
            items = right["List"]["items"]
            if all(self.is_constant(item) for item in items):
                self._pin(left, len(items), *items)
        elif kind == "AEXPR_OP_ANY":
            self._any_array(left, right)

    def _constants(self, operator: str, fields: Node) -> None:
        """``1 <> 1`` and its like, as tools write it to ask for columns alone."""
        left, right = _integer(fields.get("lexpr")), _integer(fields.get("rexpr"))
        if left is None or right is None:
            return
        truth = {"<>": left != right, "<": left < right, ">": left > right}.get(operator, True)
        if not truth:
            self._at_most(0)

    def _equality(self, left: Node, right: Node) -> None:
        one, other = _integer(left), _integer(right)
        if one is not None and other is not None:
            if one != other:
                self._at_most(0)
            return
        if "RowExpr" in left and "RowExpr" in right:
            for each, opposite in zip(
                left["RowExpr"].get("args", ()), right["RowExpr"].get("args", ()), strict=False
            ):
                self._equality(each, opposite)
            return
        for column, value in ((left, right), (right, left)):
            if self.is_constant(value):
                self._pin(column, 1, value)
            elif "SubLink" in value and value["SubLink"].get("subLinkType") == "EXPR_SUBLINK":
                self._scalar(column, value["SubLink"])
            else:
                self._within(self._column(column), self._column(value))

    def _scalar(self, column: Node, link: Node) -> None:
        found = self._subquery(link)
        if found is not None and found.certain:
            # One value, and the same for every row: the sub-select does not look outside.
            self._pin(column, 1)

    def _in_subquery(self, link: Node) -> None:
        operator = link.get("operName")
        test = link.get("testexpr")
        if test is None or (operator and operator[-1]["String"]["sval"] != "="):
            return
        found = self._subquery(link)
        if found is not None:
            self._within(self._column(test), found)

    def _any_array(self, left: Node, array: Node) -> None:
        values, array = {ARRAY: array}, _uncast(array)
        if "ParamRef" in array:
            if self._scope.variables:
                # $1 of a function's body is not a parameter of the message.
                return
            number = array["ParamRef"].get("number", 0)
            if number > 0:
                self._parameter(left, ParameterBound(number - 1, "array"), values)
        elif "A_Const" in array and "sval" in array["A_Const"]:
            self._pin(left, array["A_Const"]["sval"].get("sval", "").count(",") + 1, values)
        elif "A_ArrayExpr" in array:
            items = array["A_ArrayExpr"].get("elements", [])
            if all(self.is_constant(item) for item in items):
                self._pin(left, len(items), values)

    def _any_of(self, node: Node) -> None:
        """Alternatives: a column that each of them pins has all their values together."""
        summed: dict[tuple[Reference, str], int] | None = None
        fixed: dict[tuple[Reference, str], tuple[Node, ...]] = {}
        for alternative in _flat(node, "OR_EXPR"):
            saved = {
                reference: (reference.pins, reference.limits, reference.fixed) for reference in self._reach
            }
            for reference in self._reach:
                reference.pins, reference.limits, reference.fixed = {}, [], {}
            edges = {reference: len(reference.within) for reference in self._reach}
            parameters = {reference: len(reference.parameter_bounds) for reference in self._reach}
            self.apply(alternative)
            found = {
                (reference, column): count
                for reference in self._reach
                for column, count in reference.pins.items()
            }
            values = {
                (reference, column): nodes
                for reference in self._reach
                for column, nodes in reference.fixed.items()
            }
            empty = any(0 in reference.limits for reference in self._reach)
            for reference in self._reach:
                reference.pins, reference.limits, reference.fixed = saved[reference]
                del reference.within[edges[reference] :]
                del reference.parameter_bounds[parameters[reference] :]
            if empty:
                continue
            if summed is None:
                summed, fixed = found, values
            else:
                summed = {key: count + found[key] for key, count in summed.items() if key in found}
                fixed = {key: (*nodes, *values[key]) for key, nodes in fixed.items() if key in values}
            if not summed and not fixed:
                return
        if summed is None:
            self._at_most(0)
        for (reference, column), count in (summed or {}).items():
            reference.pin(column, count)
        for (reference, column), nodes in fixed.items():
            reference.fix(column, nodes)

    def _column(self, node: Node) -> Found | None:
        fields = _uncast(node).get("ColumnRef") if "TypeCast" not in node else None
        if fields is None:
            return None
        names = [part["String"]["sval"] for part in fields["fields"] if "String" in part]
        if len(names) != len(fields["fields"]) or not 1 <= len(names) <= 3:
            return None
        found = self._scope.find(names[-2] if len(names) > 1 else None, names[-1])
        return found if found is not None and found.direct else None

    def _pin(self, node: Node, count: int, *values: Node) -> None:
        found = self._column(node)
        for reference, column in found.origins if found is not None else ():
            if reference in self._reach:
                reference.pin(column, count)
                # In the body of a function a name may be a variable, and $1 is not a parameter of the message.
                if values and not self._scope.variables:
                    reference.fix(column, values)

    def _parameter(self, node: Node, bound: ParameterBound, values: Node) -> None:
        found = self._column(node)
        for reference, column in found.origins if found is not None else ():
            if reference in self._reach:
                reference.fix(column, (values,))
                if reference.is_subject(column):
                    reference.parameter_bounds.append(bound)

    def _within(self, left: Found | None, right: Found | None) -> None:
        if left is None or right is None or not left.direct or not right.direct:
            return
        # A view's own columns are those of what it is made of once more.
        theirs = [one for one in right.origins if one[0].known is None or one[0].known.kind != "v"]
        if len(theirs) != 1:
            return
        other, its = theirs[0]
        for reference, column in left.origins:
            if reference in self._reach and reference is not other:
                reference.within.append((column, other, its))

    def is_constant(self, node: Node) -> bool:
        """Whether the whole statement shares one value: constants, parameters, what is computed from them."""
        kind, fields = next(iter(node.items()))
        match kind:
            case "A_Const" | "ParamRef":
                return True
            case "TypeCast":
                return self.is_constant(fields["arg"])
            case "SQLValueFunction":
                return True
            case "ColumnRef":
                names = [part["String"]["sval"] for part in fields["fields"] if "String" in part]
                return (
                    self._scope.variables
                    and len(names) == len(fields["fields"])
                    and self._scope.resolve(".".join(names[:-1]) or None, names[-1]) is None
                )
            case "A_Expr" if fields["kind"] == "AEXPR_OP":
                sides = [fields[side] for side in ("lexpr", "rexpr") if side in fields]
                return all(self.is_constant(side) for side in sides)
            case "NamedArgExpr":
                return self.is_constant(fields["arg"])
            case "A_ArrayExpr":
                return all(self.is_constant(one) for one in fields.get("elements", ()))
            case "FuncCall":
                names = [part["String"]["sval"] for part in fields["funcname"]]
                own = names[:-1] in ([], ["pg_catalog"]) and names[-1] not in _VARYING
                return (
                    own
                    and known(None, names[-1]).conduct is Conduct.HARMLESS
                    and all(self.is_constant(argument) for argument in fields.get("args", ()))
                )
            case _:
                return False


def row_limit(fields: Node) -> int | ParameterBound | None:
    """What LIMIT or FETCH FIRST of a SELECT says; None where that is nothing certain."""
    count = fields.get("limitCount")
    if count is None or fields.get("limitOption") == "LIMIT_OPTION_WITH_TIES":
        return None
    count = _uncast(count)
    if "ParamRef" in count:
        number = count["ParamRef"].get("number", 0)
        return ParameterBound(number - 1, "limit") if number > 0 else None
    constant = count.get("A_Const")
    if constant is None or constant.get("isnull"):
        return None
    for field, name in (("ival", "ival"), ("fval", "fval"), ("sval", "sval")):
        if field in constant:
            try:
                return max(math.ceil(float(constant[field].get(name, 0))), 0)
            except (ValueError, OverflowError):
                return None
    return None


class Settled:
    """The bounds that follow from everything noted on the references of one statement."""

    def __init__(self, references: Iterable[Reference], catalog: SchemaSnapshot) -> None:
        self._references = list(references)
        self._catalog = catalog
        self._rows: dict[Reference, float] = {}
        for reference in self._references:
            self._rows[reference] = self._unique(reference)
        for _ in range(_ROUNDS):
            settled = [self._settle(reference) for reference in self._references]
            if not any(settled):
                break

    def rows(self, reference: Reference) -> float:
        """At most how many rows of the relation."""
        return self._rows.get(reference, _INFINITE)

    def bound(self, reference: Reference) -> RowBound:
        """At most how many subjects."""
        if reference.repeated:
            return UNBOUNDED
        most = self.rows(reference)
        point = False
        if reference.mark is not None:
            for subject in reference.mark.subjects:
                values = self._distinct(reference, self._spelled(reference, subject))
                if values <= most:
                    most, point = values, values == 1
        if reference.known is not None:
            # A unique key names a subject, also where an inheritance child may hold its values once more.
            for key in reference.known.unique:
                values = math.prod(self._distinct(reference, column) for column in key)
                most = min(most, values)
        for outer in reference.per:
            most *= self.rows(outer)
            point = point and self.rows(outer) <= 1
        if point:
            return POINT
        return UNBOUNDED if most == _INFINITE or math.isnan(most) else RowBound.at_most(int(most))

    @staticmethod
    def _spelled(reference: Reference, column: str) -> str:
        """The column as the relation has it: the policy's spelling may differ in case."""
        if reference.known is not None:
            for name in reference.known.columns:
                if name.lower() == column:
                    return name
        return next((name for name in reference.pins if name.lower() == column), column)

    def _distinct(self, reference: Reference, column: str) -> float:
        values = min(float(reference.pins.get(column, _INFINITE)), self.rows(reference))
        for own, other, its in reference.within:
            if own == column:
                values = min(values, float(other.pins.get(its, _INFINITE)), self.rows(other))
                # An equality of columns may stand for one with a constant further on.
                for theirs, third, thirds in other.within:
                    if theirs == its and third is not reference:
                        values = min(values, float(third.pins.get(thirds, _INFINITE)), self.rows(third))
        return values

    def _unique(self, reference: Reference) -> float:
        most: float = min(reference.limits, default=_INFINITE)
        known = reference.known
        if known is None or (not reference.alone and self._splits(known.oid)):
            return most
        for key in known.unique:
            if all(column in reference.pins for column in key):
                product = 1
                for column in key:
                    product *= reference.pins[column]
                most = min(most, product)
        return most

    def _splits(self, oid: int) -> bool:
        """Whether rows of other tables appear under the relation's name, which its unique keys say nothing of."""
        children = self._catalog.children.get(oid, ())
        return any(not self._catalog.by_oid[child].is_partition for child in children)

    def _settle(self, reference: Reference) -> bool:
        known = reference.known
        if known is None or not reference.within or (not reference.alone and self._splits(known.oid)):
            return False
        most = self._rows[reference]
        for key in known.unique:
            product = 1.0
            for column in key:
                product *= self._distinct(reference, column)
            most = min(most, product)
        changed = most < self._rows[reference]
        self._rows[reference] = most
        return changed


def _flat(node: Node, operator: str) -> list[Node]:
    """The operands of a chain of ANDs or ORs."""
    flat: list[Node] = []
    stack = [node]
    while stack:
        one = stack.pop()
        fields = one.get("BoolExpr")
        if fields is not None and fields.get("boolop", "AND_EXPR") == operator:
            stack.extend(reversed(fields["args"]))
        else:
            flat.append(one)
    return flat


def _uncast(node: Node) -> Node:
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return node


def _integer(node: Any) -> int | None:
    if node is None:
        return None
    constant = node.get("A_Const")
    if constant is None or "ival" not in constant:
        return None
    return int(constant["ival"].get("ival", 0))


def _is_false(node: Node) -> bool:
    """Whether the node is FALSE or NULL."""
    constant = _uncast(node).get("A_Const")
    if constant is None:
        return False
    if constant.get("isnull"):
        return True
    if "boolval" in constant:
        return not constant["boolval"].get("boolval", False)
    return "sval" in constant and constant["sval"].get("sval", "").lower() in ("f", "false", "no", "off", "0")
