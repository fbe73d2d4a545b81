"""Bytes that nobody meant to send: what a faulty or hostile peer makes of a conversation."""

import random

__all__ = ["mutated"]


def mutated(data: bytes, chance: random.Random, *, times: int = 3) -> bytes:
    """``data`` with up to ``times`` changes: bits flipped, bytes dropped, repeated, swapped or put in, and numbers
    in place of four bytes that a length may be."""
    for _ in range(chance.randint(1, times)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 1, 2, 4, 5, 20, 100)))
        how = chance.randrange(7)
        if how == 0 and at < len(data):
            data = data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]
        elif how == 1:
            data = data[:at] + data[end:]
        elif how == 2:
            data = data[:end] + data[at:]
        elif how == 3:
            data = data[:at] + chance.randbytes(end - at) + data[at:]
        elif how == 4:
            number = chance.choice(
                (0, 1, 3, 4, 5, 255, 10_000, 0x3FFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(data))
            )
            data = data[:at] + number.to_bytes(4, "big") + data[at + 4 :]
        elif how == 5:
            data = data[end:] + data[:at]
        else:
            data = data[:at] + data[at:end].swapcase() + data[end:]
    return data
