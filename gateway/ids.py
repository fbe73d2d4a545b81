"""Names for things that people and logs refer to: ULIDs, which sort by the time they were made.

See https://github.com/ulid/spec: 48 bits of milliseconds since 1970, 80 random bits, in Crockford's base 32.
"""

import secrets

from gateway.clock import SYSTEM_CLOCK, Clock

__all__ = ["Ulids"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80


class Ulids:
    """Makes ULIDs (26 characters). Each is greater than the one before, even within one millisecond or when
    the
    wall clock is set back."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> str:
        """A new identifier."""
        milliseconds = int(self._clock.now().timestamp() * 1000)
        value = (milliseconds << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        self._last = value if value >> _RANDOM_BITS > self._last >> _RANDOM_BITS else self._last + 1
        return "".join(_ALPHABET[(self._last >> shift) & 31] for shift in range(125, -1, -5))
