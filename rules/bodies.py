"""Code that runs on the way: functions, triggers, checks, defaults, policies, types, casts, operator classes.

Bodies in SQL and the static statements of PL/pgSQL are read by the same readers as a message; what stays opaque
(other languages, EXECUTE of a computed text) is noted as such.
Source: documentation chapters 36.5, "Query Language (SQL) Functions", and 39, "Triggers".
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from rules.catalog import Code, Function, Relation, Type
from rules.facts import Action, EffectFacts
from rules.findings import Findings, Frame
from rules.lineage import Output, Reference, Scope, Shape
from rules.pgquery import GrammarError, Node
from rules.plpgsql import PlPgSql
from rules.reader import Unreadable

MAX_DEPTH: Final = 12
"""Functions, triggers, views and rules inside one another."""

_OUTPUT_MODES: Final = frozenset(["FUNC_PARAM_OUT", "FUNC_PARAM_INOUT", "FUNC_PARAM_TABLE"])
_INTERNAL: Final = frozenset(["internal", "c"])
_REBUILT: Final = frozenset(["check", "generated", "index", "partition"])
"""What the server evaluates for the rows that are there when it scans or rewrites a relation."""
_SHOWN: Final = frozenset(["default", "generated"])


class Bodies:
    """Reads the code that one statement leads to, into the findings about that statement."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._world = findings.world
        self._plpgsql = PlPgSql(findings)

    # -- functions ------------------------------------------------------------------------------------------

    def call(self, function: Function, frame: Frame, per: tuple[Reference, ...] = ()) -> Shape | None:
        """A function is called, once for each row of ``per``; what it returns, where it can be followed."""
        if frame.planned:
            if function.volatility == "v":
                # Planning folds what is immutable and tries out what is stable; a volatile function it leaves.
                self._findings.note(self._called(function, frame))
                return None
            frame = replace(frame, planned=False)
        step = f"{_WHAT.get(function.kind, 'function')} {function.full_name}()"
        self._findings.note(self._called(function, frame))
        if function.oid in self._findings.running:
            return None
        if frame.depth >= MAX_DEPTH:
            raise Unreadable("code that calls code more than a dozen deep")
        self._findings.running.append(function.oid)
        self._findings.calls_code = True
        try:
            inner = frame.into(step, variables=True, per=(*frame.per, *per), path=_path_of(function, frame))
            self.types((*function.arguments, function.returns), inner)
            if function.defaults and function.definition is not None:
                self._defaults(function.definition, inner)
            return self._body(function, inner)
        finally:
            self._findings.running.pop()

    @staticmethod
    def _called(function: Function, frame: Frame) -> EffectFacts:
        detail = " → ".join((*frame.trail, f"calls {function.full_name}()"))
        return EffectFacts(Action.CALL, function.full_name, detail=detail)

    def _body(self, function: Function, frame: Frame) -> Shape | None:
        if function.kind == "a":
            for oid in function.support:
                support = self._world.catalog.functions_by_oid.get(oid)
                if support is not None:
                    self.call(support, frame)
            return None
        if function.language in ("sql", "plpgsql") and function.definition is not None:
            try:
                if function.language == "sql":
                    return self._sql(function, frame)
                self._plpgsql.function(function.definition, frame)
                return None
            except (GrammarError, RecursionError) as error:
                self._findings.opaque(
                    function.full_name, f"{function.full_name}() cannot be read: {error}", frame.trail
                )
                return None
        why = f"{function.full_name}() is written in {function.language}, which is not read"
        self._findings.opaque(function.full_name, why, frame.trail[:-1])
        return None

    def _defaults(self, definition: str, frame: Frame) -> None:
        """The default values of arguments: expressions, evaluated where an argument is left out."""
        kind, created, _ = self._world.parsed(definition).statements[0]
        assert kind == "CreateFunctionStmt"
        for one in created.get("parameters", ()):
            default = one["FunctionParameter"].get("defexpr")
            if default is not None:
                select = {"targetList": [{"ResTarget": {"val": default}}]}
                shape = self._findings.reader.statement("SelectStmt", select, frame, Scope(variables=True))
                # What the function does with it is not followed.
                if frame.exposes:
                    self._findings.expose(shape.everything())

    def _sql(self, function: Function, frame: Frame) -> Shape | None:
        assert function.definition is not None
        kind, created, _ = self._world.parsed(function.definition).statements[0]
        assert kind == "CreateFunctionStmt"
        shape: Shape | None = None
        for each, fields in self._sql_statements(created):
            shape = self._findings.reader.statement(each, fields, frame, Scope(variables=True))
        if shape is None or function.kind == "p":
            return None
        return self._as_returned(function, shape, _outputs(created))

    def _sql_statements(self, created: Node) -> Iterator[tuple[str, Node]]:
        body = created.get("sql_body")
        if body is not None:
            yield from _atomic(body)
            return
        for option in created.get("options", ()):
            element = option["DefElem"]
            if element["defname"] == "as":
                text = element["arg"]["List"]["items"][0]["String"]["sval"]
                for kind, fields, _ in self._world.parsed(text).statements:
                    yield kind, fields

    def _as_returned(self, function: Function, shape: Shape, names: list[str]) -> Shape:
        """The columns as the caller knows them; ``names`` are those of the function's own output parameters."""
        returned = self._world.catalog.types_by_oid.get(function.returns)
        relation = self._world.catalog.by_oid.get(returned.relation) if returned is not None else None
        if relation is not None:
            names = list(relation.columns)
        elif not names and len(shape.outputs) == 1:
            names = [function.name]
        if shape.open or len(shape.outputs) != len(names):
            # One column may be the whole row.
            return Shape(shape.outputs, shape.everything(), open_=True)
        return Shape(
            [
                Output(name, output.origins, output.direct)
                for name, output in zip(names, shape.outputs, strict=True)
            ]
        )

    def block(self, text: str, frame: Frame) -> None:
        """A DO block in PL/pgSQL.  Raises GrammarError, Unreadable."""
        self._plpgsql.block(text, frame)

    # -- what hangs on relations ----------------------------------------------------------------------------

    def triggers(self, relation: Relation, event: str, columns: Iterable[str], frame: Frame) -> None:
        """The triggers that the event sets off on the relation."""
        written = frozenset(columns)
        if written:
            # Setting what a generated column is made of sets the column.
            written |= {code.column for code in relation.code if code.occasion == "generated" and code.column}
        for trigger in relation.triggers:
            if event not in trigger.events:
                continue
            if event == "update" and trigger.columns and written and written.isdisjoint(trigger.columns):
                continue
            function = self._world.catalog.functions_by_oid.get(trigger.function)
            step = f"trigger {trigger.name} on {relation.full_name}"
            if trigger.definition is not None:
                self._when(trigger.definition, step, frame)
            if function is None:
                if not self._world.is_own(trigger.function):
                    self._findings.opaque(step, f"{step} calls a function nobody knows", frame.trail)
                continue
            if function.extension is not None and function.language in _INTERNAL:
                continue
            shown = frame.exposes and self._fills(function, relation)
            self.call(function, frame.into(step, repeated=True, exposes=shown, variables=True))

    def _fills(self, function: Function, relation: Relation) -> bool:
        """Whether a trigger puts values into columns that are not personal: there they can be read."""
        if function.language != "plpgsql" or function.definition is None:
            return False
        try:
            columns = self._plpgsql.filled(function.definition)
        except (GrammarError, Unreadable):
            # It will not be read either.
            return False
        return any(not self._is_personal(relation, column) for column in columns)

    def _when(self, definition: str, step: str, frame: Frame) -> None:
        """A trigger's WHEN, evaluated for every row; ``definition`` is empty where it could not be read."""
        inner = frame.into(f"WHEN of {step}", repeated=True, exposes=False, variables=True)
        try:
            _, created, _ = self._world.parsed(definition).statements[0]
            select = {"targetList": [{"ResTarget": {"val": created["whenClause"]}}]}
            self._findings.reader.statement("SelectStmt", select, inner, Scope(variables=True))
        except (GrammarError, RecursionError, LookupError):
            self._findings.opaque(step, f"WHEN of {step} cannot be read", frame.trail)

    def code(self, relation: Relation, occasions: frozenset[str], frame: Frame) -> None:
        """The expressions the server evaluates by itself when the relation is written or read."""
        for code in relation.code:
            if code.occasion in occasions:
                # What is stored where nobody expects it can be read there.
                shown = code.occasion in _SHOWN and not self._is_personal(relation, code.column)
                self._code(code, f"{code.occasion} of {relation.full_name}", frame, exposes=shown)

    def rebuilt(self, relation: Relation, frame: Frame) -> None:
        """The server scans or rewrites a relation: checks, indexes, generated columns are worked out anew."""
        for one in (relation, *self._world.descendants(relation)):
            self.code(one, _REBUILT, frame)
            self.types(one.types, frame)

    def _is_personal(self, relation: Relation, column: str | None) -> bool:
        mark = self._world.mark(relation)
        return mark is not None and column is not None and mark.holds(column)

    def _code(self, code: Code, step: str, frame: Frame, *, exposes: bool = False) -> None:
        if not self._may_run_code(code.text):
            return
        inner = frame.into(step, repeated=True, exposes=exposes and frame.exposes, variables=True)
        if inner.depth > MAX_DEPTH:
            raise Unreadable("code that calls code more than a dozen deep")
        try:
            self._plpgsql.expression(f"({code.text})", inner)
        except (GrammarError, RecursionError) as error:
            self._findings.opaque(step, f"{step} cannot be read: {error}", frame.trail)

    def _may_run_code(self, text: str) -> bool:
        """Whether the text can lead anywhere: to a function, an operator or a table of somebody's own."""
        catalog = self._world.catalog
        return bool(catalog.operators or catalog.functions or "select" in text.lower())

    def event_triggers(self, frame: Frame) -> None:
        """What a definition sets off."""
        for trigger in self._world.catalog.event_triggers:
            function = self._world.catalog.functions_by_oid.get(trigger.function)
            step = f"event trigger {trigger.name}"
            if function is None:
                self._findings.opaque(step, f"{step} calls a function nobody knows", frame.trail)
            elif function.extension is None:
                self.call(function, frame.into(step, repeated=True, exposes=False, variables=True))

    def own_casts(self, frame: Frame) -> None:
        """Casts that somebody made between PostgreSQL's own types, which no text names."""
        for function in self._world.casts_between_own_types:
            self._called_by((function,), "a cast between PostgreSQL's own types", frame)

    def type_code(self, one: Type, frame: Frame) -> None:
        """A value becomes of the type: a domain's checks, casts, orders of somebody's own."""
        key = -one.oid
        if not self._world.runs_code(one.oid) or key in self._findings.running:
            return
        self._findings.running.append(key)
        try:
            self._type_code(one, frame)
        finally:
            self._findings.running.pop()

    def _type_code(self, one: Type, frame: Frame) -> None:
        catalog = self._world.catalog
        step = f"type {one.schema}.{one.name}"
        for code in one.code:
            self._code(code, f"{code.occasion} of {step}", frame)
        for oid in self._world.inside(one):
            following = catalog.types_by_oid.get(oid)
            if following is not None:
                self.type_code(following, frame)
        if one.extension is None:
            self._called_by(one.functions, step, frame)
        for cast in catalog.casts:
            if cast.extension is None and one.oid in (cast.target, cast.source):
                self._called_by((cast.function,), f"cast of {step}", frame)
        self.compared((one.oid,), frame)

    def compared(self, types: Iterable[int], frame: Frame) -> None:
        """Values of the types may be sorted, grouped, looked for: operator classes of somebody's own do that."""
        classes = self._world.catalog.operator_classes
        if not classes:
            return
        names = self._world.all_inside(types)
        for one in classes:
            if one.type in names and one.extension is None:
                self._called_by(one.functions, f"operator class {one.schema}.{one.name}", frame)

    def _called_by(self, functions: Iterable[int], step: str, frame: Frame) -> None:
        """Functions that the server calls by itself, any number of times."""
        for oid in functions:
            function = self._world.catalog.functions_by_oid.get(oid)
            if function is not None and function.extension is None:
                self.call(function, frame.into(step, repeated=True, exposes=False))

    def types(self, oids: Iterable[int], frame: Frame) -> None:
        """Values of the types are stored or handed over: domains check them, casts may apply, orders are kept."""
        for oid in dict.fromkeys(oids):
            if self._world.runs_code(oid):
                one = self._world.catalog.types_by_oid.get(oid)
                if one is not None:
                    self.type_code(one, frame)
                else:
                    self.compared((oid,), frame)

    def parameters(self, oids: Iterable[int], frame: Frame) -> None:
        """Parameters are declared to be of types of somebody's own: binding their values runs what comes with these."""
        findings = self._findings
        for oid in oids:
            one = self._world.catalog.types_by_oid.get(oid)
            if one is None:
                name = f"type with OID {oid}"
                findings.missing[name] = None
                findings.opaque(name, f"a parameter has the {name}, which nobody knows", frame.trail)
            elif self._world.runs_code(oid):
                findings.calls_code = True
                self.type_code(one, frame.into("parameter", exposes=False))

    def casts(self, relation: Relation, frame: Frame) -> None:
        """Somebody's implicit casts from or to a type that the relation has."""
        for cast in self._world.catalog.casts:
            if cast.context == "e" or cast.extension is not None:
                continue
            if cast.source in relation.types or cast.target in relation.types:
                function = self._world.catalog.functions_by_oid.get(cast.function)
                if function is not None:
                    self.call(function, frame.into("an implicit cast", repeated=True, exposes=False))


_WHAT: Final = {"p": "procedure", "a": "aggregate", "w": "window function"}


def _path_of(function: Function, frame: Frame) -> tuple[str, ...]:
    """The search path in the function: its own if it sets one, else the caller's."""
    for setting in function.sets:
        name, _, value = setting.partition("=")
        if name == "search_path":
            return tuple(part.strip().strip('"') for part in value.split(",") if part.strip().strip('"'))
    return frame.path


def _outputs(created: Node) -> list[str]:
    """The names of a function's output parameters, those of RETURNS TABLE included."""
    parameters = (one["FunctionParameter"] for one in created.get("parameters", ()))
    return [
        one.get("name") or f"column{at + 1}"
        for at, one in enumerate(one for one in parameters if one["mode"] in _OUTPUT_MODES)
    ]


def _atomic(body: Node) -> Iterator[tuple[str, Node]]:
    """The statements of RETURN … and of BEGIN ATOMIC … END."""
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(reversed(node))
            continue
        kind, fields = next(iter(node.items()))
        if kind == "List":
            stack.append(fields["items"])
        elif kind == "ReturnStmt":
            yield "SelectStmt", {"targetList": [{"ResTarget": {"val": fields["returnval"]}}]}
        else:
            yield kind, fields
