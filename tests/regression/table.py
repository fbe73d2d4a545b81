"""Counting readings, folder by folder."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.regression.readers import Reading, ReadingKind

__all__ = ["Table"]

_SHOWN = 160


@dataclass(slots=True)
class Table:
    """Readings by the group they belong to, and the slowest of all."""

    groups: dict[str, Counter[ReadingKind]] = field(default_factory=dict)
    slowest: Reading | None = None

    def add(self, group: str, reading: Reading) -> None:
        """Count one reading."""
        self.groups.setdefault(group, Counter())[reading.kind] += 1
        if self.slowest is None or reading.seconds > self.slowest.seconds:
            self.slowest = reading

    @property
    def broken(self) -> int:
        """How many statements a reader did not survive."""
        kinds = (ReadingKind.RAISED, ReadingKind.DIED, ReadingKind.STALLED)
        return sum(counts[kind] for counts in self.groups.values() for kind in kinds)

    def lines(self) -> Iterable[str]:
        """The table as text, one row a group, the sum last."""
        total: Counter[ReadingKind] = Counter()
        width = max(map(len, [*self.groups, "all"]))
        yield " ".join([" " * width, *(f"{kind:>15}" for kind in ReadingKind), f"{'statements':>11}"])
        for group, counts in self.groups.items():
            total += counts
            yield _row(group.ljust(width), counts)
        yield _row("all".ljust(width), total)
        if self.slowest is not None:
            text = " ".join(self.slowest.sql.split())[:_SHOWN]
            yield f"longest: {self.slowest.seconds * 1000:.0f} ms for {text}"


def _row(name: str, counts: Counter[ReadingKind]) -> str:
    cells = [f"{counts[kind]:>15}" for kind in ReadingKind]
    return " ".join([name, *cells, f"{counts.total():>11}"])
