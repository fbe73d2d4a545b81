"""Reading a catalog document (:mod:`gateway.catalog.document`), strictly: whatever is odd is named, all at once."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from gateway.catalog.builtin_types import OID_BY_NAME
from gateway.catalog.described import DEFAULT_PATH, Described, SearchPaths
from gateway.catalog.parts import Part, Problem, Problems
from gateway.catalog.words import (
    ACTIONS,
    CONTEXTS,
    FORMAT,
    FUNCTION_KINDS,
    KINDS,
    OCCASIONS,
    RULE_EVENTS,
    TRIGGER_EVENTS,
    TYPE_KINDS,
    VERSION,
    VOLATILITIES,
    array_type,
    has_row_type,
    identity,
    row_type,
    signature,
)
from rules.catalog import (
    FIRST_NORMAL_OID,
    Cast,
    Code,
    EventTrigger,
    ForeignKey,
    Function,
    Namespace,
    Operator,
    OperatorClass,
    Relation,
    RewriteRule,
    SchemaSnapshot,
    Trigger,
    Type,
)

__all__ = ["DocumentError", "load"]

T = TypeVar("T")

MAX_PROBLEMS_SHOWN: Final = 50

_UNNAMED: Final = re.compile(r'"oid ([0-9]{1,10})"')


class DocumentError(Exception):
    """A document that cannot be used; ``problems`` are all that is wrong with it."""

    def __init__(self, problems: Problems) -> None:
        self.problems = tuple(problems)
        shown = [str(problem) for problem in problems[:MAX_PROBLEMS_SHOWN]]
        if len(problems) > len(shown):
            shown.append(f"and {len(problems) - len(shown)} more")
        super().__init__("\n".join(shown))


def load(text: str) -> Described:
    """What a document describes, with OIDs made up. Raises :class:`DocumentError`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DocumentError([Problem("", f"not JSON: {error}")]) from None
    problems: Problems = []
    top = Part(value, "", problems)
    if not problems and (top.get("format"), top.get("version")) != (FORMAT, VERSION):
        expected = f"expected {FORMAT}, version {VERSION}; write it anew with `holdgate catalog dump`"
        problems.append(Problem("format", expected))
    if not problems:
        unnamed = [int(oid) for oid in _UNNAMED.findall(text)]
        snapshot = _Loader(top, first=max([FIRST_NORMAL_OID, *(oid + 1 for oid in unnamed)])).snapshot()
        paths = top.mapping("search_paths")
        top.close()
    if problems:
        raise DocumentError(problems)
    return Described(snapshot, SearchPaths(paths.pop("", DEFAULT_PATH), paths))


class _Loader:
    """Names come first, so that anything may refer to anything."""

    def __init__(self, top: Part, first: int) -> None:
        self._top = top
        self._oids = itertools.count(first)
        self._relations = self._numbered("relations", lambda schema, name, _: identity(schema, name))
        self._functions = self._numbered("functions", signature)
        self._types = self._numbered("types", lambda schema, name, _: identity(schema, name))
        self._implied: list[Type] = []
        self._foreign_keys: list[ForeignKey] = []

    def snapshot(self) -> SchemaSnapshot:
        top = self._top
        self._imply()
        return SchemaSnapshot(
            generation=1,
            database=top.text("database"),
            server_version=top.number("server_version"),
            extensions=top.mapping("extensions"),
            namespaces=tuple(
                Namespace(part.text("name"), part.optional_text("owner") or "", part.texts("usage"))
                for part in top.parts("schemas")
            ),
            relations=tuple(self._relation(part) for part in top.parts("relations")),
            foreign_keys=tuple(self._foreign_keys),
            functions=tuple(self._function(part) for part in top.parts("functions")),
            operators=tuple(self._operator(part) for part in top.parts("operators")),
            casts=tuple(self._cast(part) for part in top.parts("casts")),
            types=(*(self._type(part) for part in top.parts("types")), *self._implied),
            operator_classes=tuple(self._operator_class(part) for part in top.parts("operator_classes")),
            event_triggers=tuple(
                EventTrigger(part.text("name"), part.text("event"), self._a_function(part, "function"))
                for part in top.parts("event_triggers")
            ),
        )

    # Names -----------------------------------------------------------------------------------------------

    def _raw(self, key: str) -> list[Mapping[str, object]]:
        listed = self._top.get(key)
        return [part if isinstance(part, dict) else {} for part in listed] if isinstance(listed, list) else []

    def _numbered(self, key: str, named: Callable[[str, str, Iterable[str]], str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for at, part in enumerate(self._raw(key)):
            arguments = part.get("arguments")
            listed = map(str, arguments) if isinstance(arguments, list) else ()
            name = named(str(part.get("schema", "")), str(part.get("name", "")), listed)
            if name in found:
                self._top.problem(f"{key}[{at}]", f"{name} is described twice")
            found[name] = next(self._oids)
        return found

    def _imply(self) -> None:
        """Add the row types and array types that PostgreSQL makes by itself."""
        elements = [
            (part, self._types[self._name(part)]) for part in self._raw("types") if not part.get("element")
        ]
        arrays = [
            array_type(
                Type(oid, str(part.get("schema", "")), str(part.get("name", "")), "b"), next(self._oids)
            )
            for part, oid in elements
            if part.get("without_array") is not True
        ]
        rows: list[Type] = []
        for part in self._raw("relations"):
            kind = KINDS.get(str(part.get("kind")), "r")
            extension = part.get("extension")
            relation = Relation(
                self._relations[self._name(part)],
                str(part.get("schema", "")),
                str(part.get("name", "")),
                kind,
                extension=extension if isinstance(extension, str) else None,
            )
            if has_row_type(relation) and part.get("without_row_type") is not True:
                rows.append(row_type(relation, next(self._oids)))
                if part.get("without_row_array") is not True:
                    arrays.append(array_type(rows[-1], next(self._oids)))
        self._implied = [*rows, *arrays]
        for one in self._implied:
            if self._types.setdefault(identity(one.schema, one.name), one.oid) != one.oid:
                name = identity(one.schema, one.name)
                self._top.problem("types", f"{name} is described, and implied by something else")

    @staticmethod
    def _name(part: Mapping[str, object]) -> str:
        return identity(str(part.get("schema", "")), str(part.get("name", "")))

    def _resolved(self, part: Part, key: str, name: str, known: Mapping[str, int], what: str) -> int:
        unnamed = _UNNAMED.fullmatch(f'"{name}"')
        if unnamed is not None:
            return int(unnamed[1])
        oid = known.get(name)
        if oid is None:
            part.problem(key, f"{what} {name} is not described here")
        return oid or 0

    def _a_type(self, part: Part, key: str, name: str | None) -> int:
        if name is None:
            return 0
        own = OID_BY_NAME.get(name)
        return own if own is not None else self._resolved(part, key, name, self._types, "type")

    def _a_function(self, part: Part, key: str) -> int:
        name = part.optional_text(key)
        return 0 if name is None else self._resolved(part, key, name, self._functions, "function")

    def _a_relation(self, part: Part, key: str, name: str) -> int:
        return self._resolved(part, key, name, self._relations, "relation")

    # Parts -----------------------------------------------------------------------------------------------

    def _relation(self, part: Part) -> Relation:
        schema, name = part.text("schema"), part.text("name")
        oid = self._relations.get(identity(schema, name), 0)
        columns = part.mapping("columns")
        keys = part.keys("keys")
        for key in keys:
            if not columns.keys() >= set(key):
                part.problem("keys", f"{', '.join(key)}: there is no such column")
        for each in part.parts("foreign_keys"):
            self._foreign_keys.append(self._foreign_key(each, oid))
        part.flag("without_row_type")
        part.flag("without_row_array")
        return Relation(
            oid=oid,
            schema=schema,
            name=name,
            kind=part.word("kind", KINDS),
            columns=tuple(columns),
            types=tuple(self._a_type(part, "columns", type_name) for type_name in columns.values()),
            unique=tuple(map(frozenset, keys)),
            parents=tuple(self._a_relation(part, "inherits", parent) for parent in part.texts("inherits")),
            is_partition=part.flag("partition"),
            definition=part.lines("definition"),
            rules=tuple(map(_rule, part.parts("rules"))),
            triggers=tuple(map(self._trigger, part.parts("triggers"))),
            code=_code(part),
            row_security=part.flag("row_security"),
            owner=part.optional_text("owner") or "",
            extension=part.optional_text("extension"),
            comments=part.mapping("comments"),
        )

    def _foreign_key(self, part: Part, child: int) -> ForeignKey:
        return ForeignKey(
            name=part.text("name"),
            child=child,
            parent=self._a_relation(part, "references", part.text("references")),
            on_delete=part.word("on_delete", ACTIONS),
            on_update=part.word("on_update", ACTIONS),
            columns=part.texts("columns"),
            parent_columns=part.texts("referenced"),
        )

    def _trigger(self, part: Part) -> Trigger:
        return Trigger(
            name=part.text("name"),
            events=frozenset(part.texts("events", TRIGGER_EVENTS)),
            function=self._a_function(part, "function"),
            columns=part.texts("columns"),
            definition=part.lines("definition"),
        )

    def _function(self, part: Part) -> Function:
        schema, name, arguments = part.text("schema"), part.text("name"), part.texts("arguments")
        support = part.texts("support")
        return Function(
            oid=self._functions.get(signature(schema, name, arguments), 0),
            schema=schema,
            name=name,
            kind=part.word("kind", FUNCTION_KINDS),
            language=part.text("language"),
            volatility=part.word("volatility", VOLATILITIES),
            security_definer=part.flag("security_definer"),
            arguments=tuple(self._a_type(part, "arguments", argument) for argument in arguments),
            argument_names=part.texts("argument_names"),
            variadic=part.flag("variadic"),
            defaults=part.number("defaults"),
            returns=self._a_type(part, "returns", part.optional_text("returns")),
            returns_set=part.flag("returns_set"),
            definition=part.lines("definition"),
            support=tuple(
                self._resolved(part, "support", one, self._functions, "function") for one in support
            ),
            sets=part.texts("sets"),
            extension=part.optional_text("extension"),
        )

    def _operator(self, part: Part) -> Operator:
        return Operator(
            schema=part.text("schema"),
            name=part.text("name"),
            left=self._a_type(part, "left", part.optional_text("left")),
            right=self._a_type(part, "right", part.optional_text("right")),
            function=self._a_function(part, "function"),
            extension=part.optional_text("extension"),
        )

    def _cast(self, part: Part) -> Cast:
        return Cast(
            source=self._a_type(part, "source", part.text("source")),
            target=self._a_type(part, "target", part.text("target")),
            function=self._a_function(part, "function"),
            context=part.word("context", CONTEXTS),
            extension=part.optional_text("extension"),
        )

    def _operator_class(self, part: Part) -> OperatorClass:
        return OperatorClass(
            schema=part.text("schema"),
            name=part.text("name"),
            method=part.text("method"),
            type=self._a_type(part, "type", part.text("type")),
            functions=tuple(
                self._resolved(part, "functions", one, self._functions, "function")
                for one in part.texts("functions")
            ),
            extension=part.optional_text("extension"),
        )

    def _type(self, part: Part) -> Type:
        schema, name = part.text("schema"), part.text("name")
        relation = part.optional_text("relation")
        functions = part.texts("functions")
        part.flag("without_array")
        return Type(
            oid=self._types.get(identity(schema, name), 0),
            schema=schema,
            name=name,
            kind=part.word("kind", TYPE_KINDS),
            base=self._a_type(part, "base", part.optional_text("base")),
            relation=0 if relation is None else self._a_relation(part, "relation", relation),
            element=self._a_type(part, "element", part.optional_text("element")),
            code=_code(part),
            functions=tuple(
                self._resolved(part, "functions", one, self._functions, "function") for one in functions
            ),
            extension=part.optional_text("extension"),
        )


def _rule(part: Part) -> RewriteRule:
    return RewriteRule(
        name=part.text("name"),
        event=part.word("event", RULE_EVENTS),
        instead=part.flag("instead"),
        definition=part.lines("definition") or "",
    )


def _code(part: Part) -> tuple[Code, ...]:
    return tuple(
        Code(each.word("occasion", OCCASIONS), each.lines("text") or "", each.optional_text("column"))
        for each in part.parts("code")
    )
