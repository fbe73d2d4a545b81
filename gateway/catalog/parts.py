"""Reading a JSON document piece by piece, with every problem noted and none raised."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gateway.text import kind_of

__all__ = ["Part", "Problem", "Problems"]

W = TypeVar("W", bound=str)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: ``relations[3].columns``."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


Problems = list[Problem]


class Part:
    """A mapping of the document. Each reader returns a usable value after noting what is wrong; :meth:`close`
    notes the keys that nobody asked for."""

    def __init__(self, value: object, where: str, problems: Problems) -> None:
        self.where = where
        self.problems = problems
        self._asked: set[str] = set()
        self._values: Mapping[str, object] = {}
        if isinstance(value, dict):
            self._values = value
        else:
            self.problem(None, f"expected a mapping, found {kind_of(value)}")

    def problem(self, key: str | None, message: str) -> None:
        """Note a problem with the value of ``key``, or with the whole mapping."""
        self.problems.append(Problem(self._path(key), message))

    def close(self) -> None:
        """Note every key that no reader asked for, with the one that was perhaps meant."""
        for key in self._values:
            if key not in self._asked:
                near = difflib.get_close_matches(key, sorted(self._asked), n=1)
                self.problem(key, f"unknown key; did you mean {near[0]}?" if near else "unknown key")

    def get(self, key: str) -> object:
        """The value as it is; None where it is absent or null."""
        self._asked.add(key)
        return self._values.get(key)

    def optional_text(self, key: str) -> str | None:
        """A text, None where it is absent."""
        value = self.get(key)
        if value is None or isinstance(value, str):
            return value
        self.problem(key, f"expected text, found {kind_of(value)}")
        return None

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self.optional_text(key)
        if value is None and self._values.get(key) is None:
            self.problem(key, "is missing")
        return value or ""

    def word(self, key: str, words: Mapping[str, W]) -> W:
        """What one of ``words`` stands for."""
        value = self.get(key)
        if isinstance(value, str) and value in words:
            return words[value]
        self.problem(key, f"expected one of {', '.join(words)}")
        return next(iter(words.values()))

    def flag(self, key: str) -> bool:
        """true, or false where it is absent."""
        value = self.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self.problem(key, f"expected true or false, found {kind_of(value)}")
        return False

    def number(self, key: str) -> int:
        """A whole number, 0 where it is absent."""
        value = self.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value or 0
        self.problem(key, f"expected a whole number, found {kind_of(value)}")
        return 0

    def texts(self, key: str, allowed: Collection[str] | None = None) -> tuple[str, ...]:
        """A list of texts, each among ``allowed`` if that is given; empty where it is absent."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.problem(key, "expected a list of texts")
            return ()
        for item in value:
            if allowed is not None and item not in allowed:
                self.problem(key, f"{item}: expected some of {', '.join(allowed)}")
        return tuple(value)

    def keys(self, key: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of texts; empty where it is absent."""
        value = self.get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(
            isinstance(item, list) and item and all(isinstance(name, str) for name in item) for item in value
        ):
            return tuple(tuple(item) for item in value)
        self.problem(key, "expected a list of lists of texts")
        return ()

    def lines(self, key: str) -> str | None:
        """A text, or a list of its lines; None where it is absent."""
        value = self.get(key)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return "\n".join(value)
        self.problem(key, "expected text or a list of its lines")
        return None

    def mapping(self, key: str) -> dict[str, str]:
        """A mapping from text to text, in its order; empty where it is absent."""
        value = self.get(key)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return dict(value)
        self.problem(key, "expected a mapping from text to text")
        return {}

    def parts(self, key: str) -> Iterator["Part"]:
        """The mappings in a list; each is closed when the next is asked for."""
        value = self.get(key)
        if value is None:
            return
        if not isinstance(value, list):
            self.problem(key, f"expected a list, found {kind_of(value)}")
            return
        for at, item in enumerate(value):
            part = Part(item, f"{self._path(key)}[{at}]", self.problems)
            yield part
            part.close()

    def _path(self, key: str | None) -> str:
        if key is None:
            return self.where
        return f"{self.where}.{key}" if self.where else key
