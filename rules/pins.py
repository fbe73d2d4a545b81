"""Conditions and limits that prove how many subjects a query can reach.

Only what every row of the result must satisfy counts: equality of the subject column with a value the whole
statement shares, a list of such values, LIMIT.  Everything else proves nothing.
"""

import math

from sqlglot import exp

from rules.bulk import smaller, total
from rules.columns import Reference, Scope
from rules.facts import POINT, UNBOUNDED, ParameterBound, RowBound
from rules.grammar import ARRAY_NAME, CURRENT_OF, Query

Pin = tuple[RowBound, tuple[ParameterBound, ...]]
PinMap = dict[Reference, Pin]


class Pins:
    """Reads conditions over one scope; ``reach`` are the references that the condition filters."""

    def __init__(self, query: Query, scope: Scope, reach: frozenset[Reference]) -> None:
        self._query = query
        self._scope = scope
        self._reach = reach

    def of(self, condition: exp.Expression) -> PinMap:
        """For each reference, the bound that holds if the condition is true."""
        pins: PinMap = {}
        for conjunct in _flat(condition, exp.And):
            for reference, (bound, parameters) in self._one(conjunct).items():
                earlier = pins.get(reference, (UNBOUNDED, ()))
                pins[reference] = (smaller(earlier[0], bound), earlier[1] + parameters)
        return pins

    def _one(self, node: exp.Expression) -> PinMap:
        match node:
            case exp.Or():
                return self._any_of(node)
            case exp.EQ():
                return self._equality(node)
            case exp.In() if isinstance(node.args.get("expressions"), list) and not node.args.get("query"):
                items = node.expressions
                if items and all(_is_constant(item) for item in items):
                    return self._subjects(node.this, RowBound.at_most(len(items)))
                return {}
            case exp.Boolean() if not node.this:
                return dict.fromkeys(self._reach, (RowBound.at_most(0), ()))
            case exp.Null():
                return dict.fromkeys(self._reach, (RowBound.at_most(0), ()))
            case exp.Anonymous() if str(node.this) == CURRENT_OF:
                return dict.fromkeys(self._reach, (RowBound.at_most(1), ()))
            case _:
                return {}

    def _any_of(self, node: exp.Expression) -> PinMap:
        """Alternatives: what each of them pins, taken together."""
        summed: PinMap | None = None
        for alternative in _flat(node, exp.Or):
            pins = self.of(alternative)
            if summed is None:
                summed = {r: (b, ()) for r, (b, _) in pins.items() if b.n is not None}
            else:
                summed = {r: (total(b, pins[r][0]), ()) for r, (b, _) in summed.items() if r in pins}
            if not summed:
                return {}
        return summed or {}

    def _equality(self, node: exp.EQ) -> PinMap:
        left, right = _bare(node.this), _bare(node.expression)
        if isinstance(left, exp.Literal) and isinstance(right, exp.Literal):
            if not left.is_string and not right.is_string and _number(left) != _number(right):
                return dict.fromkeys(self._reach, (RowBound.at_most(0), ()))
            return {}
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            left, right = right, left
        if isinstance(right, exp.Any):
            return self._any_array(left, _bare(right.this))
        return self._subjects(left, POINT) if _is_constant(right) else {}

    def _any_array(self, left: exp.Expression, array: exp.Expression) -> PinMap:
        while isinstance(array, exp.Cast | exp.Paren):
            array = array.this
        match array:
            case exp.Parameter():
                index = _parameter_index(array)
                if index is not None:
                    return self._subjects(left, UNBOUNDED, (ParameterBound(index, "array"),))
            case exp.Literal() if array.is_string:
                return self._subjects(left, RowBound.at_most(self._query.string(array.name).count(",") + 1))
            case exp.Anonymous() if str(array.this) == ARRAY_NAME:
                if all(_is_constant(item) for item in array.expressions):
                    return self._subjects(left, RowBound.at_most(len(array.expressions)))
        return {}

    def _subjects(
        self, node: exp.Expression, bound: RowBound, parameters: tuple[ParameterBound, ...] = ()
    ) -> PinMap:
        """The references in reach whose subject the expression is, and nothing but."""
        if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
            return {}
        qualifier = self._query.name(node.table) if node.args.get("table") else None
        found = self._scope.local(qualifier, self._query.name(node.name))
        if found is None or not found.direct:
            return {}
        return {
            reference: (bound, parameters)
            for reference, column in found.origins
            if reference in self._reach and reference.is_subject(column)
        }


def row_limit(node: exp.Expression, query: Query) -> RowBound | ParameterBound | None:
    """What LIMIT or FETCH FIRST says; None where that is nothing certain."""
    clause = node.args.get("limit")
    match clause:
        case exp.Limit():
            count = clause.expression
        case exp.Fetch():
            options = clause.args.get("limit_options")
            if options is not None and (options.args.get("with_ties") or options.args.get("percent")):
                return None
            count = clause.args.get("count")
            if count is None:
                return RowBound.at_most(1)
        case _:
            return None
    while isinstance(count, exp.Cast | exp.Paren):
        count = count.this
    match count:
        case exp.Literal():
            text = query.string(count.name) if count.is_string else count.name
            try:
                return RowBound.at_most(math.ceil(float(text)))
            except (ValueError, OverflowError):
                return None
        case exp.Parameter():
            index = _parameter_index(count)
            return None if index is None else ParameterBound(index, "limit")
        case _:
            return None


def _flat(node: exp.Expression, kind: type[exp.Expression]) -> list[exp.Expression]:
    """The operands of a chain of ANDs or ORs, brackets and nesting taken away."""
    flat: list[exp.Expression] = []
    stack = [node]
    while stack:
        one = _bare(stack.pop())
        if isinstance(one, kind):
            stack.extend((one.args["expression"], one.args["this"]))
        else:
            flat.append(one)
    return flat


def _bare(node: exp.Expression) -> exp.Expression:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def _is_constant(node: exp.Expression) -> bool:
    """Whether the whole statement shares one value: a constant or a parameter, cast or signed."""
    while isinstance(node, exp.Paren | exp.Cast | exp.Neg):
        node = node.this
    return isinstance(node, exp.Literal | exp.Parameter | exp.Null | exp.Boolean)


def _parameter_index(node: exp.Parameter) -> int | None:
    text = node.name
    return int(text) - 1 if text.isdigit() and int(text) > 0 else None


def _number(node: exp.Literal) -> float:
    try:
        return float(node.name)
    except ValueError:
        return math.nan
