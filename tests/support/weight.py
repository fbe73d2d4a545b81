"""How many bytes of Python objects hang together, for what memory of a process is too coarse to show."""

import asyncio
import gc
import sys
import types
from collections.abc import Iterable

__all__ = ["weight"]

_NOT_OURS = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    asyncio.AbstractEventLoop,
)


def weight(roots: Iterable[object]) -> int:
    """The bytes of all objects reachable from ``roots``, each counted once.

    Code and the event loop are left out, and so is what only libraries in C hold, such as buffers of TLS. Compare
    two weights: their difference is free of what was there before.
    """
    seen: dict[int, object] = {}
    left = list(roots)
    total = 0
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, _NOT_OURS):
            continue
        seen[id(one)] = one
        total += sys.getsizeof(one)
        left.extend(gc.get_referents(one))
    return total
