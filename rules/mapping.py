"""Reading a mapping (as YAML or JSON gives it) part by part, with every problem noted and none raised."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Path", "PolicyError", "Problem", "Reading"]

Path = tuple[str | int, ...]

_PART: Final = r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?(ms|s|m|h|d|w)"
_DURATION: Final = re.compile(rf"(?:{_PART})+")
_PARTS: Final = re.compile(_PART)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a policy: where (keys and list indexes from the top) and what."""

    path: Path
    message: str

    def __str__(self) -> str:
        place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        return f"{place.lstrip('.') or 'policy'}: {self.message}"


class PolicyError(ValueError):
    """A policy that cannot be used; ``problems`` has every reason."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


class Reading:
    """Readers of the parts; each returns something usable after it has noted what is wrong."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def _problem(self, path: Path, message: str) -> None:
        self._problems.append(Problem(path, message))

    def _known_keys(self, section: Mapping[str, object], known: Sequence[str], path: Path) -> None:
        for key in section:
            if key not in known:
                self._problem((*path, str(key)), f"unknown key; known here: {', '.join(known)}")

    def _entries(
        self, value: object, path: Path, known: Sequence[str]
    ) -> list[tuple[Path, Mapping[str, object]]]:
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            self._problem(path, "a list is needed")
            return []
        entries: list[tuple[Path, Mapping[str, object]]] = []
        for index, entry in enumerate(value):
            if isinstance(entry, Mapping):
                self._known_keys(entry, known, (*path, index))
                entries.append(((*path, index), entry))
            else:
                self._problem((*path, index), "a mapping is needed")
        return entries

    def _duration(self, value: object, path: Path, default: float) -> float:
        seconds = 0.0
        if isinstance(value, str) and _DURATION.fullmatch(value):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(value))
        if seconds <= 0:
            self._problem(path, "must be a duration such as 30s, 15m, 1h or 2d")
            return default
        return seconds

    def _text(self, value: object, path: Path, *, required: bool = False) -> str | None:
        if value is None and not required:
            return None
        if isinstance(value, str) and value.strip():
            return value
        self._problem(path, "a text is needed")
        return None

    def _texts(self, value: object, path: Path) -> tuple[str, ...]:
        """A list of texts, or one text for a list of one."""
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple):
            self._problem(path, "a text or a list of texts is needed")
            return ()
        texts = [
            text
            for index, item in enumerate(value)
            if (text := self._text(item, (*path, index), required=True))
        ]
        return tuple(texts)
