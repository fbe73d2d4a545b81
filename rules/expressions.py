"""What an expression's value is made of, and which code it runs.

The kinds of node are an allow-list: what is not on it makes the statement unreadable.
Source: PostgreSQL's ``parsenodes.h`` and ``primnodes.h``; documentation chapter 4.2, "Value Expressions".
"""

from collections.abc import Iterator
from typing import Any, Final

from rules.bodies import Bodies
from rules.bounds import Conditions
from rules.builtin import AGGREGATES, FUNCTIONS, OPERATORS
from rules.catalog import Function, Type
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Findings, Frame
from rules.functions import CARRIES_OUT, COUNTS, MEASURES, SUMMARIES, Conduct, known
from rules.lineage import NOTHING, Found, Origins, Scope, Shape
from rules.pgquery import Node
from rules.reader import Unreadable
from rules.settings import setting
from rules.system import TYPES
from rules.world import HARMLESS_EXTENSIONS, OUTSIDE_EXTENSIONS

_LEAVES: Final = frozenset(
    [
        "A_Const", "ParamRef", "SQLValueFunction", "SetToDefault", "String", "Integer", "Float", "Boolean",
        "BitString", "GroupingFunc", "MergeSupportFunc", "CurrentOfExpr", "A_Star", "JsonFormat", "JsonReturning",
    ]
)  # fmt: skip
"""Made of nothing (GROUPING says which columns are grouped, not what they hold)."""
_PLAIN: Final = frozenset(
    [
        "BoolExpr", "CaseWhen", "CoalesceExpr", "MinMaxExpr", "RowExpr", "A_ArrayExpr", "A_Indices", "XmlExpr",
        "XmlSerialize", "CollateClause", "GroupingSet", "NamedArgExpr", "List", "SortBy", "WindowDef", "ResTarget",
        "MultiAssignRef", "JsonObjectConstructor", "JsonArrayConstructor", "JsonParseExpr", "JsonScalarExpr",
        "JsonSerializeExpr", "JsonFuncExpr", "JsonValueExpr", "JsonKeyValue", "JsonOutput", "JsonBehavior",
        "JsonArgument", "JsonTable", "JsonTableColumn", "JsonTablePathSpec", "RangeTableFuncCol",
    ]
)  # fmt: skip
"""Made of all that stands in them."""
_TRUTHS: Final = frozenset(["NullTest", "BooleanTest", "JsonIsPredicate"])
"""Say whether, never what."""
_LATER: Final = {
    "JsonObjectConstructor": ("json_object", 16_00_00),
    "JsonArrayConstructor": ("json_array", 16_00_00),
    "JsonObjectAgg": ("json_objectagg", 16_00_00),
    "JsonArrayAgg": ("json_arrayagg", 16_00_00),
    "JsonParseExpr": ("json", 17_00_00),
    "JsonScalarExpr": ("json_scalar", 17_00_00),
    "JsonSerializeExpr": ("json_serialize", 17_00_00),
    "MergeSupportFunc": ("merge_action", 17_00_00),
    "JSON_EXISTS_OP": ("json_exists", 17_00_00),
    "JSON_QUERY_OP": ("json_query", 17_00_00),
    "JSON_VALUE_OP": ("json_value", 17_00_00),
}
"""Words that later grammars have: servers before that version (server_version_num) call a function of the name."""
_COMPARISONS: Final = frozenset(["=", "<>", "<", ">", "<=", ">="])
_EQUALS: Final = [{"String": {"sval": "="}}]
_GATHERS: Final = frozenset(["JsonObjectAgg", "JsonArrayAgg", "JsonArrayQueryConstructor"])
_SHADOWABLE: Final = {
    "AEXPR_DISTINCT": ("=",),
    "AEXPR_NOT_DISTINCT": ("=",),
    "AEXPR_NULLIF": ("=",),
    "AEXPR_BETWEEN": (">=", "<="),
    "AEXPR_NOT_BETWEEN": (">=", "<=", "<", ">"),
    "AEXPR_BETWEEN_SYM": (">=", "<="),
    "AEXPR_NOT_BETWEEN_SYM": (">=", "<=", "<", ">"),
}


class Expressions:
    """Reads expressions; a subclass reads the sub-selects in them."""

    def __init__(self, findings: Findings, frame: Frame) -> None:
        self.findings = findings
        self.world = findings.world
        self.frame = frame
        self.seen_calls: set[int] = set()
        self.seen_relations: set[int] = set()
        self._merges: list[bool] = []
        self._outputs: dict[int, Found | None] = {}
        self.bodies = Bodies(findings)

    def subselect(self, fields: Node, outer: Scope | None) -> Shape:
        """A SELECT inside of an expression."""
        raise NotImplementedError

    # -- origins --------------------------------------------------------------------------------------------

    def consider(self, node: Any, scope: Scope) -> None:
        """Read expressions whose values decide but do not leave."""
        if isinstance(node, list):
            for one in node:
                self.origins(one, scope)
        elif node:
            self.origins(node, scope)

    def origins(self, root: Node, scope: Scope, *, summarised: bool = False) -> Origins:
        """What an expression's value is made of.

        ``summarised``: inside an aggregate that hides single values, where truths and lengths do not count.
        """
        found: Origins = NOTHING
        stack: list[Node] = [root]
        while stack:
            node = stack.pop()
            kind, fields = next(iter(node.items()))
            if kind == "ColumnRef":
                found |= self._column(fields, scope)
            elif kind in _LEAVES:
                if kind == "MergeSupportFunc":
                    found |= self._later(kind)
            elif kind == "A_Expr":
                self._operators_of(fields)
                sides = [fields[side] for side in ("lexpr", "rexpr") if side in fields]
                operator = fields["name"][-1]["String"]["sval"]
                if summarised and (fields["kind"] != "AEXPR_OP" or operator in _COMPARISONS):
                    self.consider(sides, scope)
                else:
                    stack.extend(sides)
            elif kind == "TypeCast":
                self.type_used(fields["typeName"])
                stack.append(fields["arg"])
            elif kind == "FuncCall":
                found |= self._call(fields, scope, summarised=summarised)
            elif kind == "SubLink":
                found |= self._sublink(fields, scope)
            elif kind == "CaseExpr":
                if "arg" in fields:
                    self._operator(None, "=")
                if summarised:
                    self.consider(fields.get("arg"), scope)
                    for when in fields["args"]:
                        self.consider(when["CaseWhen"]["expr"], scope)
                        stack.append(when["CaseWhen"]["result"])
                    if "defresult" in fields:
                        stack.append(fields["defresult"])
                else:
                    stack.extend(inner_nodes(fields))
            elif kind in _TRUTHS or (summarised and kind == "BoolExpr"):
                self.consider(list(inner_nodes(fields)), scope)
            elif kind == "A_Indirection":
                found |= self._indirection(fields, scope)
            elif kind in _GATHERS:
                found |= self._later(kind)
                if kind == "JsonArrayQueryConstructor":
                    shape = self.subselect(fields["query"]["SelectStmt"], scope)
                    gathered = shape.everything()
                else:
                    constructor = fields.get("constructor", {})
                    self.consider(constructor.get("agg_filter"), scope)
                    gathered = self._all(inner_nodes(fields), scope, summarised=False)
                self._note_merge(gathered)
                found |= gathered
            elif kind in _PLAIN:
                if kind[:4] == "Json":
                    found |= self._later(fields.get("op", kind))
                elif "useOp" in fields:
                    self.named_operator(fields["useOp"])
                stack.extend(inner_nodes(fields))
            elif kind == "TypeName":
                self.type_used(fields)
            else:
                raise Unreadable(f"an expression of a kind not known here ({kind})")
        return found

    def _all(self, nodes: Iterator[Node], scope: Scope, *, summarised: bool) -> Origins:
        found: Origins = NOTHING
        for node in nodes:
            found |= self.origins(node, scope, summarised=summarised)
        return found

    def _column(self, fields: Node, scope: Scope) -> Origins:
        parts = fields["fields"]
        if "A_Star" in parts[-1]:
            if len(parts) == 1:
                return scope.everything()
            qualifier = parts[-2]["String"]["sval"]
            whole = scope.everything(qualifier)
            return whole or scope.resolve(None, qualifier) or NOTHING
        names = [part["String"]["sval"] for part in parts if "String" in part]
        qualifier = names[-2] if len(names) > 1 else None
        origins = scope.resolve(qualifier, names[-1])
        if origins is None and len(names) > 2:
            # a.b.c: column c of table a.b, or field c of column a.b.
            origins = scope.resolve(names[-3], names[-2])
        if origins is not None:
            return origins
        if qualifier is not None:
            # t.f where f is no column of t: the function f of the whole row.
            self._attribute(names[-1])
            return scope.everything(qualifier) or scope.resolve(None, qualifier) or NOTHING
        return NOTHING

    def _attribute(self, name: str) -> None:
        for function in self.world.functions(None, name, self.frame.path):
            if len(function.arguments) == 1:
                self._user_call(function, ())

    def _indirection(self, fields: Node, scope: Scope) -> Origins:
        argument = fields["arg"]
        steps = fields.get("indirection", [])
        for step in steps:
            if "A_Indices" in step:
                self.consider(list(inner_nodes(step["A_Indices"])), scope)
            elif "String" in step:
                name = step["String"]["sval"]
                narrowed = self._field(argument, name, scope) if step is steps[0] else None
                if narrowed is not None:
                    return narrowed
                self._attribute(name)
        return self.origins(argument, scope)

    def _field(self, argument: Node, name: str, scope: Scope) -> Origins | None:
        """``(t).column`` of a source t; None where it is not that."""
        reference = argument.get("ColumnRef")
        if reference is None or len(reference["fields"]) != 1 or "String" not in reference["fields"][0]:
            return None
        alias = reference["fields"][0]["String"]["sval"]
        if scope.find(None, alias) is not None:
            return None
        shapes = scope.named(alias)
        hits = [found for shape in shapes if (found := shape.column(name)) is not None]
        return frozenset().union(*(hit.origins for hit in hits)) if hits else None

    def _sublink(self, fields: Node, scope: Scope) -> Origins:
        self.consider(fields.get("testexpr"), scope)
        link = fields["subLinkType"]
        if link in ("ANY_SUBLINK", "ALL_SUBLINK"):
            self.named_operator(fields.get("operName", _EQUALS))
        select = fields["subselect"]["SelectStmt"]
        inner = Scope(scope)
        shape = self.subselect(select, inner)
        columns = shape.outputs
        found = None
        if len(columns) == 1 and not shape.open:
            found = Found(columns[0].origins, columns[0].direct, not inner.reached_out)
        self._outputs[id(fields)] = found
        everything = shape.everything()
        if link == "EXISTS_SUBLINK":
            return NOTHING
        if link == "ARRAY_SUBLINK":
            self._note_merge(everything)
        return everything

    def sublink_output(self, fields: Node) -> Found | None:
        """The only column of a sub-select that was read before; ``certain``: it does not look outside."""
        return self._outputs.get(id(fields))

    # -- calls ----------------------------------------------------------------------------------------------

    def _call(self, fields: Node, scope: Scope, *, summarised: bool) -> Origins:
        self.seen_calls.add(id(fields))
        names = [part["String"]["sval"] for part in fields["funcname"]]
        schema, name = (names[-2] if len(names) > 1 else None), names[-1]
        if name == "system_user" and fields["funcformat"] == "COERCE_SQL_SYNTAX" and self._older(16_00_00):
            return scope.resolve(None, name) or NOTHING
        own = schema in (None, "pg_catalog", "information_schema")
        arguments: list[Node] = fields.get("args", [])
        for key in ("agg_order", "agg_filter"):
            self.consider(fields.get(key), scope)
        over = fields.get("over")
        if over is not None:
            self.consider(list(inner_nodes(over)), scope)
        if fields.get("agg_within_group"):
            # percentile_disc(0.5) WITHIN GROUP (ORDER BY email) returns one of the values.
            arguments = [*arguments, *fields.get("agg_order", [])]
        if own and (name in COUNTS or (summarised and name in MEASURES)):
            inside = NOTHING
            self.consider(arguments, scope)
        else:
            summary = own and (
                name in SUMMARIES or (name in ("max", "min") and all(_is_measure(one) for one in arguments))
            )
            inside = self._all(iter(arguments), scope, summarised=summarised or summary)
        shape = self.call(schema, name, fields, inside, scope)
        returned = shape.everything() if shape is not None else NOTHING
        if own and name in CARRIES_OUT:
            self.findings.expose(inside)
        if name in AGGREGATES or (own and known(None, name).conduct is Conduct.OPAQUE):
            self._note_merge(inside)
        elif name not in FUNCTIONS:
            # An aggregate of somebody's own gathers rows too; what is not known may.
            overloads = self.world.functions(schema, name, self.frame.path)
            if not overloads or any(one.kind == "a" for one in overloads):
                self._note_merge(inside)
        if name == "json_object" and own and self._older(16_00_00):
            returned |= self._anybodys(name)
        return inside | returned

    def _older(self, version: int) -> bool:
        return 0 < self.world.catalog.server_version < version

    def _later(self, word: str) -> Origins:
        """What a function of the name returns where the server does not know the word yet."""
        name, since = _LATER.get(word, ("", 0))
        return self._anybodys(name) if self._older(since) else NOTHING

    def _anybodys(self, name: str) -> Origins:
        """What functions of the name return, of which the text does not tell which one is called."""
        start = len(self.findings.references)
        found: Origins = NOTHING
        for function in self.world.functions(None, name, self.frame.path):
            shape = self._user_call(function, ())
            found |= shape.everything() if shape is not None else NOTHING
        for reference in self.findings.references[start:]:
            reference.repeated = True
        return found

    def _note_merge(self, origins: Origins) -> None:
        """Values of many rows in one: a limit on rows is no limit on subjects then."""
        if self._merges and any(reference.holds(column) for reference, column in origins):
            self._merges[-1] = True

    def call(
        self,
        schema: str | None,
        name: str,
        fields: Node,
        inside: Origins,
        scope: Scope,
        *,
        once: bool = False,
    ) -> Shape | None:
        """Note what calling the function does; its result's shape where its body was read.

        ``once``: a call in FROM, which is made once unless its arguments come from beside it.
        """
        path = self.frame.path
        count = len(fields.get("args", []))
        overloads = [
            one
            for one in self.world.functions(schema, name, path)
            if _takes(one, count, named=any("NamedArgExpr" in arg for arg in fields.get("args", [])))
        ]
        catalog_known = not self.world.catalog.is_empty
        places = [place for place in path if not place.startswith("pg_temp")]
        catalog_first = catalog_known or "pg_catalog" not in places or places[0] == "pg_catalog"
        theirs = schema in (None, "pg_catalog") and name in FUNCTIONS
        theirs = theirs or schema == "information_schema"
        per = tuple(dict.fromkeys(reference for reference, _ in inside))
        constant = Conditions(scope, frozenset(), self.sublink_output).is_constant
        fixed = all(constant(argument) for argument in fields.get("args", ()))
        once = fixed and (once or (not scope.sources and scope.outer is None))
        start = len(self.findings.references)
        shapes = [shape for function in overloads if (shape := self._user_call(function, per)) is not None]
        for reference in self.findings.references[start:]:
            # Arguments that are neither fixed nor of rows known here may be anything, any number of times.
            reference.repeated |= not fixed and not per
            if not once:
                reference.limits = [limit for limit in reference.limits if limit == 0]
        attribute = not theirs and schema is None and count == 1
        if (theirs or not overloads) and not (attribute and self._is_cast_or_attribute(name, inside)):
            self._own_call(schema, name, fields, catalog_first=catalog_first)
        if len(overloads) == 1 and not theirs:
            return shapes[0] if shapes else None
        everything: Origins = frozenset().union(*(shape.everything() for shape in shapes))
        return Shape(rest=everything, open_=True) if shapes else None

    def _is_cast_or_attribute(self, name: str, inside: Origins) -> bool:
        """``email(c)`` for a column, ``text(x)`` for a cast."""
        if name in TYPES:
            return True
        if not inside:
            return False
        for reference, column in inside:
            if column == "*" and (reference.known is None or name in reference.known.columns):
                return reference.mark is not None or reference.known is not None
            if reference.known is not None and name in reference.known.columns:
                return True
        return False

    def _own_call(self, schema: str | None, name: str, fields: Node, *, catalog_first: bool) -> None:
        function = known(schema, name, pg_catalog_first=catalog_first)
        findings, trail = self.findings, self.frame.trail
        match function.conduct:
            case Conduct.HARMLESS:
                return
            case Conduct.SESSION:
                findings.session(self._set_config(fields))
            case Conduct.INDEXES:
                self._indexes(function.name, function.why)
            case Conduct.OPAQUE:
                if name not in FUNCTIONS:
                    findings.missing[f"{function.name}()"] = None
                findings.opaque(function.name, function.why, trail)
            case Conduct.SERVER_FILE:
                findings.note(
                    EffectFacts(Action.CALL, function.name, nature=Nature.SERVER_FILE, detail=function.why)
                )
            case Conduct.LARGE_OBJECT:
                findings.note(EffectFacts(Action.CALL, function.name, detail=function.why))

    def _indexes(self, name: str, why: str) -> None:
        """Whatever an index evaluates may run; which index that is, only its OID tells."""
        catalog = self.world.catalog
        if catalog.is_empty:
            self.findings.opaque(name, why, self.frame.trail)
        for relation in catalog.relations:
            self.bodies.rebuilt(relation, self.frame)

    def _user_call(self, function: Function, per: tuple[Any, ...]) -> Shape | None:
        extension = function.extension
        if extension in HARMLESS_EXTENSIONS and function.name not in _READS_TEXT:
            return None
        if extension in OUTSIDE_EXTENSIONS:
            why = f"{function.full_name}() of extension {extension} reaches beneath or beyond the database"
            self.findings.note(
                EffectFacts(Action.CALL, function.full_name, nature=Nature.SERVER_FILE, detail=why)
            )
            return None
        return self.bodies.call(function, self.frame, per)

    @staticmethod
    def _set_config(fields: Node) -> EffectFacts:
        values: list[str | None] = []
        for argument in fields.get("args", []):
            while "TypeCast" in argument:
                argument = argument["TypeCast"]["arg"]
            constant = argument.get("A_Const", {})
            values.append(constant["sval"].get("sval", "") if "sval" in constant else None)
        name, value = [*values, None, None][:2]
        return setting(name, value)

    # -- operators and types --------------------------------------------------------------------------------

    def _operators_of(self, fields: Node) -> None:
        for name in _SHADOWABLE.get(fields["kind"], ()):
            self._operator(None, name)
        if fields["kind"] not in _SHADOWABLE:
            self.named_operator(fields["name"])

    def named_operator(self, parts: list[Node]) -> None:
        """An operator is called; ``parts`` are those of its name."""
        names = [part["String"]["sval"] for part in parts]
        self._operator(names[-2] if len(names) > 1 else None, names[-1])

    def _operator(self, schema: str | None, name: str) -> None:
        world, findings = self.world, self.findings
        candidates = world.operators(schema, name, self.frame.path) if world.catalog.operators else []
        for operator in candidates:
            if operator.extension is not None and (
                name in OPERATORS or operator.extension in HARMLESS_EXTENSIONS
            ):
                continue
            function = world.catalog.functions_by_oid.get(operator.function)
            if function is not None:
                self._user_call(function, ())
            elif not world.is_own(operator.function):
                findings.opaque(
                    f"operator {name}", f"operator {name} calls a function nobody knows", self.frame.trail
                )
        if candidates or (name in OPERATORS and schema in (None, "pg_catalog")):
            return
        findings.missing[f"operator {name}"] = None
        why = f"operator {name} is not one of PostgreSQL's own"
        findings.opaque(name, why, self.frame.trail)

    def type_used(self, type_name: Node) -> Type | None:
        """A value becomes of this type: its checks and whoever's cast leads to it are run. Returns what is known of a
        type of somebody's own."""
        self.consider(type_name.get("typmods"), Scope())
        world = self.world
        if not world.catalog.types:
            return None
        names = [part["String"]["sval"] for part in type_name.get("names", ())]
        if not names or (len(names) == 2 and names[0] == "pg_catalog"):
            return None
        places = (names[0],) if len(names) > 1 else self.frame.path
        for place in places:
            found = world.catalog.types_by_name.get((place, names[-1]))
            if found is not None:
                self.bodies.type_code(found, self.frame)
                return found
        return None


_READS_TEXT: Final = frozenset(
    ["ts_stat", "crosstab", "connectby", "xpath_table", "crosstab2", "crosstab3", "crosstab4"]
)


def _is_measure(node: Node) -> bool:
    """Whether the node is ``length(…)`` or its like: how much of a value, and nothing of the value."""
    call = node.get("FuncCall")
    return call is not None and call["funcname"][-1]["String"]["sval"] in MEASURES


def _takes(function: Function, count: int, *, named: bool) -> bool:
    """Whether so many arguments fit the function."""
    most = len(function.arguments)
    if function.variadic:
        return count >= most - 1 - function.defaults
    return named or most - function.defaults <= count <= most


def inner_nodes(fields: Any) -> Iterator[Node]:
    """The nodes that stand right inside of a node's fields, whether wrapped in their kind or not."""
    if isinstance(fields, dict):
        if "names" in fields.get("typeName", ()):
            yield {"TypeName": fields["typeName"]}
        fields = [value for key, value in fields.items() if key != "typeName"]
    for value in fields:
        if isinstance(value, list):
            yield from inner_nodes(value)
        elif isinstance(value, dict):
            first = next(iter(value), "")
            if len(value) == 1 and first[:1].isupper():
                yield value
            else:
                yield from inner_nodes(value)
