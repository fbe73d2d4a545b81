"""``python isolation.py TESTER SCHEDULE``: run PostgreSQL's isolation tests, and print what came of each.

A line for each test of the schedule: its name, and a digest of all that the tester printed. Two runs are the same
where these are; what the tests themselves expect depends on the server's version and settings. Connects as the
environment says (``PGHOST`` and the like).
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["tests_of"]

_SECONDS = 150


def tests_of(schedule: str) -> Iterator[str]:
    """The names of the tests in a schedule, in order."""
    for line in schedule.splitlines():
        if line.startswith("test:"):
            yield from line.removeprefix("test:").split()


def main() -> int:
    tester, schedule = sys.argv[1], Path(sys.argv[2])
    for name in tests_of(schedule.read_text(encoding="utf-8")):
        # Some tests look for their own sessions by this name.
        place = f"application_name=isolation/{name}"
        with (schedule.parent / "specs" / f"{name}.spec").open("rb") as spec:
            try:
                done = subprocess.run(
                    [tester, place],
                    stdin=spec,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=_SECONDS,
                    check=False,
                )
                result = f"{done.returncode} {hashlib.sha256(done.stdout).hexdigest()}"
            except subprocess.TimeoutExpired:
                result = f"not done within {_SECONDS} s"
        print(f"{name}: {result}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
