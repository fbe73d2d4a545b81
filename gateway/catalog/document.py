"""A catalog as a JSON document: for ``holdgate check`` away from the database, for reviews, and for comparing.

OIDs differ from server to server, so the document names things: a relation or type is ``schema.name``, a function
``schema.name(argument types)``, PostgreSQL's own types by their short names (``int8``, ``text[]``). What the
document refers to and does not describe is ``oid N``. Everything is sorted, texts are lists of lines, and what is
empty is left out, so that two documents can be compared by eye. ``search_paths`` are what sessions begin with, by
role; everybody else's is under the empty name.

Row types and array types that PostgreSQL makes along with a relation or type are implied.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gateway.catalog.builtin_types import NAME_BY_OID
from gateway.catalog.described import Described, SearchPaths
from gateway.catalog.words import (
    ACTIONS,
    CONTEXTS,
    FORMAT,
    FUNCTION_KINDS,
    KINDS,
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
    Cast,
    Code,
    EventTrigger,
    ForeignKey,
    Function,
    Namespace,
    Operator,
    OperatorClass,
    Relation,
    SchemaSnapshot,
    Trigger,
    Type,
)

__all__ = ["dump", "implied_types", "to_document"]


def dump(described: Described) -> str:
    """The document as text, ending with a line end."""
    return json.dumps(to_document(described), indent=1, ensure_ascii=False) + "\n"


def to_document(described: Described) -> dict[str, Any]:
    """The document as plain values."""
    return _Writer(described.snapshot).document(described.search_paths)


class _Writer:
    def __init__(self, snapshot: SchemaSnapshot) -> None:
        self._snapshot = snapshot
        self._relations = {one.oid: identity(one.schema, one.name) for one in snapshot.relations}
        self._types = {one.oid: identity(one.schema, one.name) for one in snapshot.types}
        self._functions = {
            one.oid: signature(one.schema, one.name, map(self._type, one.arguments))
            for one in snapshot.functions
        }
        self._rows, self._arrays = implied_types(snapshot)
        self._keys: dict[int, list[ForeignKey]] = {}
        for key in sorted(snapshot.foreign_keys, key=lambda key: key.name):
            self._keys.setdefault(key.child, []).append(key)

    def document(self, paths: SearchPaths) -> dict[str, Any]:
        snapshot = self._snapshot
        implied = {*self._rows.values(), *self._arrays.values()}
        parts: dict[str, Iterable[dict[str, Any]]] = {
            "schemas": map(self._namespace, snapshot.namespaces),
            "relations": map(self._relation, snapshot.relations),
            "functions": map(self._function, snapshot.functions),
            "operators": map(self._operator, snapshot.operators),
            "casts": map(self._cast, snapshot.casts),
            "types": map(self._a_type, (one for one in snapshot.types if one.oid not in implied)),
            "operator_classes": map(self._operator_class, snapshot.operator_classes),
            "event_triggers": map(self._event_trigger, snapshot.event_triggers),
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            "database": snapshot.database,
            "server_version": snapshot.server_version,
            "search_paths": {"": paths.everybody, **dict(sorted(paths.by_role.items()))},
            "extensions": dict(sorted(snapshot.extensions.items())),
            **{name: sorted(listed, key=_order) for name, listed in parts.items()},
        }

    def _type(self, oid: int) -> str:
        return self._types.get(oid) or NAME_BY_OID.get(oid) or f"oid {oid}"

    def _relation_name(self, oid: int) -> str:
        return self._relations.get(oid, f"oid {oid}")

    def _function_name(self, oid: int) -> str:
        return self._functions.get(oid, f"oid {oid}")

    @staticmethod
    def _namespace(one: Namespace) -> dict[str, Any]:
        return _written(name=one.name, owner=one.owner, usage=sorted(one.usage))

    def _relation(self, one: Relation) -> dict[str, Any]:
        row = self._rows.get(one.oid)
        return _written(
            schema=one.schema,
            name=one.name,
            kind=_word(KINDS, one.kind),
            owner=one.owner,
            extension=one.extension,
            columns={column: self._type(oid) for column, oid in zip(one.columns, one.types, strict=True)},
            keys=[sorted(key, key=one.columns.index) for key in one.unique],
            inherits=[self._relation_name(oid) for oid in one.parents],
            partition=one.is_partition,
            definition=_lines(one.definition),
            row_security=one.row_security,
            foreign_keys=[self._foreign_key(key) for key in self._keys.get(one.oid, ())],
            triggers=[self._trigger(trigger) for trigger in sorted(one.triggers, key=lambda each: each.name)],
            rules=[
                _written(name=rule.name, event=rule.event, instead=rule.instead)
                | {"definition": _lines(rule.definition)}
                for rule in sorted(one.rules, key=lambda each: each.name)
            ],
            code=_code(one.code),
            comments=dict(sorted(one.comments.items())),
            without_row_type=row is None and has_row_type(one),
            without_row_array=row is not None and row not in self._arrays,
        )

    def _foreign_key(self, key: ForeignKey) -> dict[str, Any]:
        return _written(
            name=key.name,
            columns=list(key.columns),
            references=self._relation_name(key.parent),
            referenced=list(key.parent_columns),
            on_delete=_word(ACTIONS, key.on_delete),
            on_update=_word(ACTIONS, key.on_update),
        )

    def _trigger(self, one: Trigger) -> dict[str, Any]:
        written = _written(
            name=one.name,
            events=sorted(one.events),
            columns=list(one.columns),
            function=self._function_name(one.function),
        )
        return written if one.definition is None else {**written, "definition": _lines(one.definition)}

    def _function(self, one: Function) -> dict[str, Any]:
        return _written(
            schema=one.schema,
            name=one.name,
            arguments=[self._type(oid) for oid in one.arguments],
            kind=_word(FUNCTION_KINDS, one.kind),
            language=one.language,
            volatility=_word(VOLATILITIES, one.volatility),
            security_definer=one.security_definer,
            argument_names=list(one.argument_names),
            variadic=one.variadic,
            defaults=one.defaults,
            returns=self._type(one.returns) if one.returns else None,
            returns_set=one.returns_set,
            sets=list(one.sets),
            support=[self._function_name(oid) for oid in one.support],
            extension=one.extension,
            definition=_lines(one.definition),
        )

    def _operator(self, one: Operator) -> dict[str, Any]:
        return _written(
            schema=one.schema,
            name=one.name,
            left=self._type(one.left) if one.left else None,
            right=self._type(one.right) if one.right else None,
            function=self._function_name(one.function) if one.function else None,
            extension=one.extension,
        )

    def _cast(self, one: Cast) -> dict[str, Any]:
        return _written(
            source=self._type(one.source),
            target=self._type(one.target),
            function=self._function_name(one.function) if one.function else None,
            context=_word(CONTEXTS, one.context),
            extension=one.extension,
        )

    def _a_type(self, one: Type) -> dict[str, Any]:
        return _written(
            schema=one.schema,
            name=one.name,
            kind=_word(TYPE_KINDS, one.kind),
            base=self._type(one.base) if one.base else None,
            relation=self._relation_name(one.relation) if one.relation else None,
            element=self._type(one.element) if one.element else None,
            code=_code(one.code),
            functions=[self._function_name(oid) for oid in one.functions],
            extension=one.extension,
            without_array=one.element == 0 and one.oid not in self._arrays,
        )

    def _operator_class(self, one: OperatorClass) -> dict[str, Any]:
        return _written(
            schema=one.schema,
            name=one.name,
            method=one.method,
            type=self._type(one.type),
            functions=[self._function_name(oid) for oid in one.functions],
            extension=one.extension,
        )

    def _event_trigger(self, one: EventTrigger) -> dict[str, Any]:
        return _written(name=one.name, event=one.event, function=self._function_name(one.function))


def implied_types(snapshot: SchemaSnapshot) -> tuple[dict[int, int], dict[int, int]]:
    """The types that exist because something else does: row types by their relation's OID, array types by
    their element's."""
    by_name = snapshot.types_by_name
    rows: dict[int, int] = {}
    for relation in snapshot.relations:
        found = by_name.get((relation.schema, relation.name))
        if found is not None and has_row_type(relation) and found == row_type(relation, found.oid):
            rows[relation.oid] = found.oid
    arrays: dict[int, int] = {}
    for one in snapshot.types:
        found = by_name.get((one.schema, f"_{one.name}"))
        if found is None or one.element:
            continue
        # Older servers do not count it to its element's extension.
        if replace(found, extension=one.extension) == array_type(one, found.oid):
            arrays[one.oid] = found.oid
    return rows, arrays


def _written(**fields: Any) -> dict[str, Any]:
    """The fields that say something."""
    return {key: value for key, value in fields.items() if value or value == ""}


def _order(part: Mapping[str, Any]) -> str:
    return json.dumps(
        [
            part.get(key, "")
            for key in ("schema", "name", "method", "arguments", "left", "right", "source", "target")
        ]
    )


def _word(words: Mapping[str, str], letter: str) -> str:
    return next((word for word, stands_for in words.items() if stands_for == letter), letter)


def _lines(text: str | None) -> str | list[str] | None:
    return text.split("\n") if text is not None and "\n" in text else text


def _code(code: Iterable[Code]) -> list[dict[str, Any]]:
    parts = [_written(occasion=one.occasion, column=one.column) | {"text": _lines(one.text)} for one in code]
    return sorted(parts, key=json.dumps)
