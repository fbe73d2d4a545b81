"""``python isolation.py TESTER SCHEDULE FOLDER``: run PostgreSQL's isolation tests, and print what came of each.

A line for each test of the schedule: its name, and a digest of all that the tester printed, which goes into a file in
the folder. Two runs are the same where these are; what the tests themselves expect depends on the server's version
and settings. Connects as the environment says (``PGHOST`` and the like).
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["digest", "tests_of"]

_SECONDS = 150


def tests_of(schedule: str) -> Iterator[str]:
    """The names of the tests in a schedule, in order."""
    for line in schedule.splitlines():
        if line.startswith("test:"):
            yield from line.removeprefix("test:").split()


def digest(output: bytes) -> str:
    """What a test printed, wherever the notices stand: when the tester hears of one depends on the machine's load."""
    lines = output.splitlines()
    notices = sorted(line for line in lines if b": NOTICE:" in line)
    return hashlib.sha256(
        b"\n".join([line for line in lines if b": NOTICE:" not in line] + notices)
    ).hexdigest()


def main() -> int:
    tester, schedule, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
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
                (folder / f"{name}.out").write_bytes(done.stdout)
                result = f"{done.returncode} {digest(done.stdout)}"
            except subprocess.TimeoutExpired:
                result = f"not done within {_SECONDS} s"
        print(f"{name}: {result}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
