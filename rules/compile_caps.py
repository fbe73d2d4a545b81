"""``caps`` of the policy: from a list of mappings to Caps."""

from collections.abc import Callable, Mapping
from typing import Final

from rules.capping import COUNTED_BY, PERIODS, Cap, CountedBy
from rules.compile_approval import ApprovalReading
from rules.mapping import Path
from rules.policy import When

__all__ = ["CapReading"]

_KEYS: Final = ("name", "when", "simultaneous", "count", "per", "by")
MAX_PLACES: Final = 10_000
"""Each is looked at whenever somebody comes or goes."""


class CapReading(ApprovalReading):
    """Reads caps, beside approvals."""

    def _caps(self, value: object, read_when: Callable[[object, Path], When]) -> tuple[Cap, ...]:
        caps: list[Cap] = []
        seen: set[str] = set()
        for path, entry in self._entries(value, ("caps",), _KEYS):
            name = self._text(entry.get("name"), (*path, "name"), required=True)
            if name is not None:
                if name in seen:
                    self._problem((*path, "name"), f"another cap is already called {name}")
                seen.add(name)
            when = read_when(entry.get("when"), (*path, "when"))
            by = self._counted_by(entry.get("by"), (*path, "by"))
            most, per = self._size(entry, path)
            if name is not None and most is not None:
                caps.append(Cap(name, when, most, per, by))
        return tuple(caps)

    def _size(self, entry: Mapping[str, object], path: Path) -> tuple[int | None, float | None]:
        if ("simultaneous" in entry) == ("count" in entry):
            self._problem(path, "must say one of simultaneous and count")
            return None, None
        if "simultaneous" in entry:
            if "per" in entry:
                self._problem((*path, "per"), "is for count; what is simultaneous has no span of time")
            return self._places(entry["simultaneous"], (*path, "simultaneous")), None
        most = self._places(entry["count"], (*path, "count"))
        period = entry.get("per")
        if not isinstance(period, str) or period not in PERIODS:
            place = (*path, "per") if "per" in entry else path
            self._problem(place, f"count needs per: {', '.join(PERIODS)}")
            return None, None
        return most, PERIODS[period]

    def _places(self, value: object, path: Path) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_PLACES:
            return value
        self._problem(path, f"must be a whole number from 1 to {MAX_PLACES}")
        return None

    def _counted_by(self, value: object, path: Path) -> CountedBy:
        if value is None:
            return "all"
        for word in COUNTED_BY:
            if value == word:
                return word
        self._problem(path, f"must be one of {', '.join(COUNTED_BY)}")
        return "all"
