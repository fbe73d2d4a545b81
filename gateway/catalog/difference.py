"""What differs between two catalogs, by their documents, for people to read."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.catalog.words import identity, signature

__all__ = ["Change", "differences"]

_SECTIONS: Final = {
    "schemas": "schema",
    "relations": "relation",
    "functions": "function",
    "operators": "operator",
    "casts": "cast",
    "types": "type",
    "operator_classes": "operator class",
    "event_triggers": "event trigger",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One object that only one of two catalogs has, or that they describe differently.

    ``lines`` are those that differ, each beginning with ``-`` (first) or ``+`` (second).
    """

    change: Literal["added", "removed", "changed"]
    kind: str
    name: str
    lines: tuple[str, ...] = ()


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Change]:
    """What the second document (:func:`gateway.catalog.document.to_document`) has otherwise than the first."""
    changes: list[Change] = []
    for section, kind in _SECTIONS.items():
        one, other = _by_name(section, first), _by_name(section, second)
        changes.extend(_compared(kind, one, other))
    for section, kind in (("extensions", "extension"), ("search_paths", "search path of")):
        one, other = first[section], second[section]
        changes.extend(_compared(kind, one, other))
    return changes


def _compared(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted({*one, *other}):
        if name not in other:
            yield Change("removed", kind, name)
        elif name not in one:
            yield Change("added", kind, name)
        elif one[name] != other[name]:
            yield Change("changed", kind, name, tuple(_lines(one[name], other[name])))


def _by_name(section: str, document: Mapping[str, Any]) -> dict[str, Any]:
    return {_name(section, part): part for part in document[section]}


def _name(section: str, part: Mapping[str, Any]) -> str:
    if section == "functions":
        return signature(part["schema"], part["name"], part.get("arguments", ()))
    if section == "operators":
        left, right = part.get("left", "none"), part.get("right", "none")
        return f"{identity(part['schema'])}.{part['name']}({left}, {right})"
    if section == "operator_classes":
        return f"{identity(part['schema'], part['name'])} using {part['method']}"
    if section == "casts":
        return f"{part['source']} as {part['target']}"
    return identity(*(part[key] for key in ("schema", "name") if key in part))


def _lines(one: Any, other: Any) -> Iterator[str]:
    before, after = _text(one), _text(other)
    for line in difflib.unified_diff(before, after, n=0, lineterm=""):
        if not line.startswith(("---", "+++", "@@")):
            yield line


def _text(value: Any) -> Sequence[str]:
    # Commas would make the line in front of an addition differ too.
    return [line.rstrip(",") for line in json.dumps(value, indent=1, ensure_ascii=False).splitlines()]
