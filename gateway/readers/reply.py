"""An answer of a reader, believed only as far as it has the shape of facts.

A reader may have been taken over by what it read. What it sends can name no code, and every field of it has the type
that it is declared with, or there was no answer.
"""

import dataclasses
import io
import pickle
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rules import Facts

__all__ = ["MalformedReply", "facts_from"]

Check = Callable[[Any], bool]


class MalformedReply(Exception):
    """The answer is none; the text says why, for people."""


def facts_from(body: bytes) -> Facts | None:
    """The answer in a frame without its header; None is what a reader says first. Raises ``MalformedReply``."""
    try:
        answer = _ValuesOnly(io.BytesIO(body)).load()
    except Exception as error:
        raise MalformedReply(f"its answer cannot be taken: {error}") from error
    if answer is None:
        return None
    if not _shape(Facts)(answer):
        raise MalformedReply("its answer has not the shape of facts")
    assert isinstance(answer, Facts), "that is its shape"
    return answer


class _ValuesOnly(pickle.Unpickler):
    """Takes values of the rules and nothing else."""

    def find_class(self, module: str, name: str) -> type[Any]:
        if module.startswith("rules."):
            found = super().find_class(module, name)
            if isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, Enum)):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} has no place in facts")


@cache
def _shape(hint: Any) -> Check:
    """Whether a value is what the annotation says, all the way down; never raises for what the value is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return lambda value: type(value) is str and value in arguments
    if origin in (Union, types.UnionType):
        either = [_shape(one) for one in arguments]
        return lambda value: any(check(value) for check in either)
    if origin is tuple:
        if arguments[1:] == (...,):
            each = _shape(arguments[0])
            return lambda value: type(value) is tuple and all(map(each, value))
        places = [_shape(one) for one in arguments]
        return lambda value: (
            type(value) is tuple
            and len(value) == len(places)
            and all(check(one) for check, one in zip(places, value, strict=True))
        )
    if origin is frozenset:
        member = _shape(arguments[0])
        return lambda value: type(value) is frozenset and all(map(member, value))
    if origin is Mapping:
        key, entry = map(_shape, arguments)
        return lambda value: type(value) is dict and all(map(key, value)) and all(map(entry, value.values()))
    if dataclasses.is_dataclass(hint):
        return _record(hint)
    assert isinstance(hint, type), f"facts have no fields of {hint}"
    return lambda value: type(value) is hint


def _record(kind: Any) -> Check:
    hints = get_type_hints(kind)
    checks = [(one.name, _shape(hints[one.name])) for one in dataclasses.fields(kind)]
    missing = object()

    def check(value: Any) -> bool:
        return type(value) is kind and all(fits(getattr(value, name, missing)) for name, fits in checks)

    return check
