"""Values between two processes of one gateway: plain, typed by the signatures of the ports they cross.

Only what JSON has crosses the socket. The receiver builds what its own annotations ask for, so that nothing the other
process says can make it run code.
"""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Union

__all__ = ["MalformedValue", "decode", "decode_members", "encode"]


class MalformedValue(ValueError):
    """The other process sent what does not fit its port: it runs another version, or is broken."""


def encode(value: object) -> bytes:
    """``value`` as bytes. Dataclasses, enums, datetimes, bytes, sequences, sets, mappings and what JSON has."""
    # Escapes keep lone surrogates, which stand for bytes that are not UTF-8.
    return json.dumps(value, default=_plain, separators=(",", ":")).encode("ascii")


def decode(data: bytes, hint: Any) -> Any:
    """What ``encode`` made, as ``hint``. Raises :class:`MalformedValue`."""
    try:
        return _build(hint, json.loads(data))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedValue(f"not a {hint}: {error}") from error


def decode_members(data: bytes, hints: Mapping[str, Any]) -> dict[str, Any]:
    """What ``encode`` made of a mapping with these keys, each value as its hint. Raises :class:`MalformedValue`."""
    try:
        plain = json.loads(data)
        if not isinstance(plain, dict) or plain.keys() != hints.keys():
            raise ValueError("other keys")
        return {name: _build(hint, plain[name]) for name, hint in hints.items()}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedValue(f"not {', '.join(hints)}: {error}") from error


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot cross to another process")


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _build(hint: Any, plain: Any) -> Any:
    if hint in (object, Any):
        return plain
    if hint is None or hint is types.NoneType:
        return _expect(types.NoneType, plain)
    origin = typing.get_origin(hint)
    if origin is not None:
        return _build_generic(origin, typing.get_args(hint), plain)
    if dataclasses.is_dataclass(hint):
        kind: Any = hint
        hints = _fields(kind)
        return kind(**{name: _build(hints[name], value) for name, value in plain.items()})
    if issubclass(hint, Enum):
        return hint(plain)
    if hint is datetime:
        return datetime.fromisoformat(plain)
    if hint is bytes:
        return bytes.fromhex(plain)
    if hint is float:
        return float(_expect(int | float, plain))
    return _expect(hint, plain)


def _build_generic(origin: Any, args: tuple[Any, ...], plain: Any) -> Any:
    if origin in (Union, types.UnionType):
        if plain is None:
            return _expect(types.NoneType if types.NoneType in args else str, plain)
        (only,) = (arg for arg in args if arg is not types.NoneType)
        return _build(only, plain)
    if origin is typing.Literal:
        if plain not in args:
            raise ValueError(f"{plain!r} is none of {args}")
        return plain
    if issubclass(origin, Mapping):
        key, value = args
        return {_build(key, one): _build(value, other) for one, other in _expect(dict, plain).items()}
    items = _expect(list, plain)
    if issubclass(origin, tuple) and (len(args) != 2 or args[1] is not ...):
        return tuple(_build(arg, item) for arg, item in zip(args, items, strict=True))
    built = (_build(args[0], item) for item in items)
    if issubclass(origin, frozenset | set):
        return origin(built)
    return tuple(built) if issubclass(origin, tuple) else list(built)


def _expect(kind: Any, plain: Any) -> Any:
    if not isinstance(plain, kind) or (isinstance(plain, bool) and kind in (int, int | float)):
        raise TypeError(f"expected {kind}, got {type(plain).__name__}")
    return plain
