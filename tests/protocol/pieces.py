"""Cutting bytes as a network may."""

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["cut"]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """``data`` in pieces, cut at each of ``places`` (any numbers; taken modulo the length). Some may be empty."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
