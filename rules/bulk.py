"""Row bounds: how many subjects a statement can reach, as far as its text and its parameters prove it."""

import struct
from collections.abc import Sequence
from dataclasses import replace

from rules.context import Parameter
from rules.facts import EffectFacts, ParameterBound, RowBound

_INTEGER_FORMATS = {2: ">h", 4: ">i", 8: ">q"}


def narrow(effect: EffectFacts, parameters: Sequence[Parameter] | None) -> EffectFacts:
    """The effect with its row bound narrowed by the parameters it names, as far as they can be read."""
    bound = effect.row_bound
    for wanted in effect.parameter_bounds:
        if parameters is None or wanted.index >= len(parameters):
            continue
        limit = _limit_of(wanted, parameters[wanted.index])
        if limit is not None and limit < bound.most:
            bound = RowBound.at_most(limit)
    return effect if bound is effect.row_bound else replace(effect, row_bound=bound)


def _limit_of(wanted: ParameterBound, parameter: Parameter) -> int | None:
    value = parameter.value
    if value is None:
        # LIMIT NULL is LIMIT ALL; = ANY(NULL) is true for no row.
        return None if wanted.kind == "limit" else 0
    if wanted.kind == "limit":
        return _integer(parameter.format, value)
    return _array_text_elements(value) if parameter.format == 0 else _array_binary_elements(value)


def _integer(form: int, value: bytes) -> int | None:
    if form == 0:
        try:
            return int(value)
        except ValueError:
            return None
    layout = _INTEGER_FORMATS.get(len(value))
    return None if layout is None else int(struct.unpack(layout, value)[0])


def _array_text_elements(value: bytes) -> int:
    """An upper bound (documentation section 8.15.2): elements are separated by commas."""
    return 0 if value.strip() == b"{}" else value.count(b",") + 1


def _array_binary_elements(value: bytes) -> int | None:
    """The product of the dimensions in array_send's form: ndim, flags, element type, then (size, lower bound)s."""
    if len(value) < 12:
        return None
    dimensions = struct.unpack_from(">i", value)[0]
    if not 0 <= dimensions <= 6 or len(value) < 12 + 8 * dimensions:
        return None
    count = 0 if dimensions == 0 else 1
    for dimension in range(dimensions):
        count *= max(struct.unpack_from(">i", value, 12 + 8 * dimension)[0], 0)
    return count
