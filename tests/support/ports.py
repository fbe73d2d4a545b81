"""Ports for servers that tests start: below those that the system gives to outgoing connections, which come and go
between the moment a port was found free and the moment a server listens on it, and for each test process its own.
"""

import itertools
import os
import socket
from typing import Final

__all__ = ["free_port"]

_FIRST: Final = 10_100
_EACH: Final = 4_000
"""Ports of one test process; there are five such ranges, behind the last that browsers refuse."""

_process: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
# Another run at the same time begins somewhere else.
_numbers: Final = itertools.count(os.getpid() * 7)


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port that is free on ``address`` and was given to nobody lately."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(_EACH):
        port = _FIRST + _process * _EACH + next(_numbers) % _EACH
        with socket.socket(family) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port of {_EACH} is free on {address}")
