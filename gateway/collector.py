"""Keeping the garbage collector from looking through what cannot be garbage.

The collector of CPython looks for cycles, in all containers there are, while nothing else runs. A large catalog is a
hundred thousand of them, in none of which there can be a cycle: values that are made once, of others that were made
before. Left to the collector they hold the event loop for some 30 ms each time it looks. Taken from it they are freed
like everything that nobody refers to any more.

Source: Python/C API Reference Manual, "Supporting Cyclic Garbage Collection" (PyObject_GC_UnTrack); see ADR 0020.
"""

import ctypes
import gc
from typing import Final

__all__ = ["spare", "spare_what_stays"]

_untrack: Final = ctypes.pythonapi.PyObject_GC_UnTrack
_untrack.argtypes = [ctypes.py_object]
_untrack.restype = None


def spare(value: object) -> None:
    """Take a value from the collector, and all that it is made of: tuples, frozensets and frozen dataclasses with
    slots. Anything else that the collector looks at stays, and so does whatever it is in."""
    _spared(value)


def spare_what_stays() -> None:
    """Take everything there is now from the collector: when a process has started, what it imported and made stays
    as long as itself. What should be freed later, and may be part of a cycle by then, must not be there yet."""
    gc.collect()
    gc.freeze()


def _spared(value: object) -> bool:
    """Whether the collector does not look at the value any more."""
    if not gc.is_tracked(value):
        return True
    if type(value) in (tuple, frozenset):
        spared = [_spared(part) for part in value]  # type: ignore[attr-defined]
    else:
        slots = getattr(type(value), "__slots__", None)
        if slots is None or hasattr(value, "__dict__") or not _is_frozen(value):
            return False
        spared = [_spared(getattr(value, slot)) for slot in slots]
    if all(spared):
        _untrack(value)
        return True
    return False


def _is_frozen(value: object) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)
