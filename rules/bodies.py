"""Code that runs on the way: functions, triggers, rules, checks, defaults, policies, types, casts.

Bodies in SQL and the static statements of PL/pgSQL are read by the same readers as a message; what stays opaque
(other languages, EXECUTE of a computed text) is noted as such.
Source: documentation chapters 36.5, "Query Language (SQL) Functions", and 41, "PL/pgSQL".
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

from rules.catalog import Code, Function, Relation, Type
from rules.facts import Action, EffectFacts
from rules.findings import Findings, Frame
from rules.lineage import Output, Reference, Scope, Shape
from rules.pgquery import GrammarError, Node
from rules.reader import Unreadable

MAX_DEPTH: Final = 12
"""Functions, triggers, views and rules inside one another."""

_LOOPS: Final = frozenset(
    ["PLpgSQL_stmt_loop", "PLpgSQL_stmt_while", "PLpgSQL_stmt_fori", "PLpgSQL_stmt_fors", "PLpgSQL_stmt_forc",
     "PLpgSQL_stmt_foreach_a", "PLpgSQL_stmt_dynfors"]
)  # fmt: skip
_CURSORS: Final = frozenset(["PLpgSQL_stmt_open", "PLpgSQL_stmt_fetch", "PLpgSQL_stmt_close"])
_DYNAMIC: Final = frozenset(["PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"])
_INTERNAL: Final = frozenset(["internal", "c"])
_STATEMENT, _EXPRESSION = 0, 2


class Bodies:
    """Reads the code that one statement leads to, into the findings about that statement."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._world = findings.world

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
            if function.defaults and function.definition is not None:
                self._defaults(function.definition, replace(inner, exposes=False))
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
                self._plpgsql(function.definition, frame)
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
                self._findings.reader.statement("SelectStmt", select, frame, Scope(variables=True))

    def _sql(self, function: Function, frame: Frame) -> Shape | None:
        assert function.definition is not None
        kind, created, _ = self._world.parsed(function.definition).statements[0]
        assert kind == "CreateFunctionStmt"
        shape: Shape | None = None
        for each, fields in self._sql_statements(created):
            shape = self._findings.reader.statement(each, fields, frame, Scope(variables=True))
        if shape is None or function.kind == "p":
            return None
        return self._as_returned(function, shape)

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

    def _as_returned(self, function: Function, shape: Shape) -> Shape:
        """The columns as the caller knows them."""
        returned = self._world.catalog.types_by_oid.get(function.returns)
        relation = self._world.catalog.by_oid.get(returned.relation) if returned is not None else None
        names: list[str] = []
        if relation is not None and not shape.open and len(shape.outputs) == len(relation.columns):
            names = list(relation.columns)
        elif len(shape.outputs) == 1:
            names = [function.name]
        origins = shape.outputs
        return Shape(
            [
                Output(names[index] if index < len(names) else output.name, output.origins, output.direct)
                for index, output in enumerate(origins)
            ],
            shape.rest,
            open_=shape.open or relation is None,
        )

    # -- PL/pgSQL -------------------------------------------------------------------------------------------

    def _plpgsql(self, definition: str, frame: Frame) -> None:
        for body in self._world.body(definition):
            for datum in body.get("datums", ()):  # type: ignore[attr-defined]
                self._plpgsql_nodes(datum, frame)
            self._plpgsql_nodes(body.get("action", {}), frame)

    def block(self, text: str, frame: Frame) -> None:
        """A DO block in PL/pgSQL.  Raises GrammarError."""
        quote = "$holdgate$"
        if quote in text:
            raise Unreadable("a DO block that quotes like its reader")
        self._plpgsql(f"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS {quote}{text}{quote}", frame)

    def _plpgsql_nodes(self, node: Any, frame: Frame) -> None:
        if isinstance(node, list):
            for one in node:
                self._plpgsql_nodes(one, frame)
            return
        if not isinstance(node, dict):
            return
        for kind, fields in node.items():
            if kind == "PLpgSQL_expr":
                self._plpgsql_text(fields, frame)
                continue
            self._findings.opens_cursors |= kind in _CURSORS
            inner = frame
            if kind in _LOOPS and not frame.repeated:
                inner = replace(frame, repeated=True)
            if kind in _DYNAMIC:
                self._dynamic(fields, inner)
                fields = {name: value for name, value in fields.items() if name != "query"}
            self._plpgsql_nodes(fields, inner)

    def _plpgsql_text(self, fields: Node, frame: Frame) -> None:
        """One SQL text inside of PL/pgSQL: a statement, an expression, or an assignment."""
        text, mode = fields["query"], fields.get("parseMode", _STATEMENT)
        reader = self._findings.reader
        if mode == _STATEMENT:
            for kind, each, _ in self._world.parsed(text).statements:
                shape = reader.statement(kind, each, frame, Scope(variables=True))
                if frame.exposes:
                    self._findings.expose(shape.everything())
            return
        if mode > _EXPRESSION:
            # variable := expression, also into a field or an element.
            text = text.partition(":=")[2] or text.partition("=")[2]
        self._expression(text, frame)

    def _dynamic(self, fields: Node, frame: Frame) -> None:
        """EXECUTE: read where its text is a constant, opaque where it is computed."""
        text = fields["query"]["PLpgSQL_expr"]["query"]
        try:
            _, select, _ = self._world.parsed(f"SELECT {text}").statements[0]
            constant = select["targetList"][0]["ResTarget"]["val"]["A_Const"]["sval"]["sval"]
        except (GrammarError, KeyError, IndexError):
            self._findings.opaque("EXECUTE", "EXECUTE of a text that is computed", frame.trail)
            self._expression(text, frame)
            return
        for kind, each, _ in self._world.parsed(constant).statements:
            shape = self._findings.reader.statement(kind, each, frame, Scope(variables=True))
            if frame.exposes:
                self._findings.expose(shape.everything())

    def _expression(self, text: str, frame: Frame) -> None:
        for kind, fields, _ in self._world.parsed(f"SELECT {text}").statements:
            shape = self._findings.reader.statement(kind, fields, frame, Scope(variables=True))
            if frame.exposes:
                self._findings.expose(shape.everything())

    # -- what hangs on relations ----------------------------------------------------------------------------

    def triggers(self, relation: Relation, event: str, columns: Iterable[str], frame: Frame) -> None:
        """The triggers that the event sets off on the relation."""
        written = frozenset(columns)
        for trigger in relation.triggers:
            if event not in trigger.events:
                continue
            if event == "update" and trigger.columns and written and written.isdisjoint(trigger.columns):
                continue
            function = self._world.catalog.functions_by_oid.get(trigger.function)
            step = f"trigger {trigger.name} on {relation.full_name}"
            if function is None:
                if not self._world.is_own(trigger.function):
                    self._findings.opaque(step, f"{step} calls a function nobody knows", frame.trail)
                continue
            if function.extension is not None and function.language in _INTERNAL:
                continue
            self.call(function, frame.into(step, repeated=True, exposes=False, variables=True))

    def code(self, relation: Relation, occasions: frozenset[str], frame: Frame) -> None:
        """The expressions the server evaluates by itself when the relation is written or read."""
        for code in relation.code:
            if code.occasion in occasions:
                self._code(code, f"{code.occasion} of {relation.full_name}", frame)

    def _code(self, code: Code, step: str, frame: Frame) -> None:
        if not self._may_run_code(code.text):
            return
        inner = frame.into(step, repeated=True, exposes=False, variables=True)
        if inner.depth > MAX_DEPTH:
            raise Unreadable("code that calls code more than a dozen deep")
        try:
            self._expression(f"({code.text})", inner)
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

    def type_code(self, one: Type, frame: Frame) -> None:
        """A value becomes of the type."""
        key = -one.oid
        if key in self._findings.running:
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
        for oid in (one.base, one.element):
            following = catalog.types_by_oid.get(oid)
            if following is not None:
                self.type_code(following, frame)
        if one.extension is None:
            for oid in one.functions:
                function = catalog.functions_by_oid.get(oid)
                if function is not None:
                    self.call(function, frame.into(step))
        for cast in catalog.casts:
            if cast.target == one.oid or cast.source == one.oid:
                function = catalog.functions_by_oid.get(cast.function)
                if function is not None and function.extension is None:
                    self.call(function, frame.into(f"cast of {step}"))

    def column_types(self, relation: Relation, frame: Frame) -> None:
        """Values of the relation's columns are stored, or compared: domains check them, casts may apply."""
        catalog = self._world.catalog
        if not catalog.types and not catalog.casts:
            return
        for oid in dict.fromkeys(relation.types):
            one = catalog.types_by_oid.get(oid)
            if one is not None:
                self.type_code(one, frame)

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
