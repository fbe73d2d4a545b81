"""Reading one mapping of the file key by key, with every problem noted and none raised.

Each reader returns a usable value (the default) after noting what is wrong, so that one pass finds
everything.
"""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import TypeVar

from gateway.config.document import Document, Path
from gateway.config.units import parse_duration, parse_size
from gateway.text import kind_of

__all__ = ["Section"]

W = TypeVar("W", bound=str)

MAX_SECRET_FILE = 64 * 1024
MAX_COUNT = 2**31 - 1
MAX_SECONDS = 100 * 366 * 86_400.0

_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})


class Section:
    """The mapping at ``path``. :meth:`close` notes the keys that nobody asked for."""

    def __init__(self, document: Document, value: object, path: Path) -> None:
        self.document = document
        self.path = path
        self._asked: list[str] = []
        self._values: dict[str, object] = {}
        if isinstance(value, dict):
            self._values = value
        elif value is not None:
            self.document.problem(path, f"expected a mapping of keys and values, found {kind_of(value)}")

    def __contains__(self, key: str) -> bool:
        return self._values.get(key) is not None

    def written(self) -> tuple[str, ...]:
        """Every key that is written, known or not."""
        return tuple(self._values)

    def problem(self, key: str, message: str) -> None:
        """Note that the value of ``key`` cannot be used."""
        self.document.problem((*self.path, key), message)

    def close(self) -> None:
        """Note every key that no reader asked for, with the one that was perhaps meant."""
        for key in self._values:
            if key in self._asked:
                continue
            close = difflib.get_close_matches(key, self._asked, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(self._asked))}"
            self.document.problem((*self.path, key), f"unknown key; {hint}", at_key=True)

    def raw(self, key: str) -> object:
        """The value as it is, None when absent."""
        self._asked.append(key)
        return self._values.get(key)

    def section(self, key: str) -> "Section":
        """The mapping under ``key``; an empty one when absent."""
        return Section(self.document, self.raw(key), (*self.path, key))

    def sections(self, key: str) -> Iterator[tuple[str, "Section"]]:
        """The mappings under ``key`` by name; each is closed when the next is asked for."""
        parent = self.section(key)
        for name, value in parent._values.items():
            if not name or not name.isprintable() or len(name.encode()) > 63:
                parent.problem(name, "a name has 1 to 63 bytes and no control characters")
                continue
            child = Section(self.document, value, (*parent.path, name))
            yield name, child
            child.close()

    def optional_text(self, key: str) -> str | None:
        """Text of one line, None when absent."""
        value = self.raw(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.problem(key, f"expected text, found {kind_of(value)}")
        elif not value:
            self.problem(key, "expected text, found none")
        elif not value.isprintable():
            self.problem(key, "control characters are not allowed")
        else:
            return value
        return None

    def text(self, key: str, default: str) -> str:
        """Text of one line."""
        return self.optional_text(key) or default

    def required_text(self, key: str, example: str) -> str:
        """Text of one line that must be there; ``example`` says what it looks like."""
        if key not in self:
            self.raw(key)
            if not self.document.is_faulty((*self.path, key)):
                self.problem(key, f"is missing; for example {example}")
            return ""
        return self.optional_text(key) or ""

    def secret(self, key: str) -> str | None:
        """Text, or the content of the file named by ``file:PATH`` without its last line end."""
        value = self.optional_text(key)
        if value is None or not value.startswith("file:"):
            return value
        path = self._resolve(value.removeprefix("file:"))
        try:
            with path.open("rb") as file:
                content = file.read(MAX_SECRET_FILE + 1)
            if len(content) > MAX_SECRET_FILE:
                self.problem(key, f"the file {path} is too large for a secret")
                return None
            secret = content.decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            self.problem(key, f"cannot read {path}: {error.strerror}")
            return None
        except UnicodeDecodeError:
            self.problem(key, f"the file {path} is not UTF-8 text")
            return None
        if not secret or not secret.isprintable():
            self.problem(key, f"the file {path} must hold one line of text")
            return None
        return secret

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.raw(key)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
            return value.lower() in _TRUE
        if value is not None:
            self.problem(key, f"expected true or false, found {self._shown(key, value)}")
        return default

    def word(self, key: str, default: W, words: tuple[W, ...]) -> W:
        """One of ``words``."""
        value = self.raw(key)
        for word in words:
            if value == word:
                return word
        if value is not None:
            near = difflib.get_close_matches(value, words, n=1) if isinstance(value, str) else []
            hint = f"; did you mean {near[0]}?" if near else ""
            expected = f"expected one of {', '.join(words)}"
            self.problem(key, f"{expected}, found {self._shown(key, value)}{hint}")
        return default

    def integer(self, key: str, default: int, low: int, high: int = MAX_COUNT) -> int:
        """A whole number from ``low`` to ``high``."""
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.problem(key, f"expected a whole number from {low} to {high}, found {self._shown(key, value)}")
        return default

    def size(self, key: str, default: int, low: int, high: int = MAX_COUNT) -> int:
        """A size in bytes, from ``low`` to ``high``."""
        value = self.raw(key)
        if value is None:
            return default
        try:
            size = parse_size(value if isinstance(value, str) else repr(value))
        except ValueError as error:
            self.problem(key, f"{error}, found {self._shown(key, value)}")
            return default
        if not low <= size <= high:
            self.problem(key, f"expected a size from {low} to {high} bytes, found {self._shown(key, value)}")
            return default
        return size

    def optional_duration(self, key: str, low: float) -> float | None:
        """A duration in seconds of at least ``low``; None when absent."""
        value = self.raw(key)
        if value is None:
            return None
        try:
            seconds = parse_duration(value if isinstance(value, str) else repr(value))
        except ValueError as error:
            self.problem(key, f"{error}, found {self._shown(key, value)}")
            return None
        if not low <= seconds <= MAX_SECONDS:
            self.problem(key, f"expected at least {low:g} s and at most 100 years")
            return None
        return seconds

    def duration(self, key: str, default: float, low: float) -> float:
        """A duration in seconds of at least ``low``."""
        seconds = self.optional_duration(key, low)
        return default if seconds is None else seconds

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names, each once."""
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.problem(key, f"expected a list of names such as [{key}], found {kind_of(value)}")
            return ()
        result: list[str] = []
        for index, item in enumerate(value):
            name = str(item) if isinstance(item, int) and not isinstance(item, bool) else item
            if not isinstance(name, str) or not name or not name.isprintable():
                self.document.problem((*self.path, key, index), f"expected a name, found {kind_of(item)}")
            elif name not in result:
                result.append(name)
        return tuple(result)

    def path_to(self, key: str, default: str) -> FilePath:
        """A file name, absolute; relative ones are taken from the folder of the configuration file."""
        return self._resolve(self.text(key, default))

    def optional_file(self, key: str) -> FilePath | None:
        """The absolute name of a file that can be read now."""
        name = self.optional_text(key)
        if name is None:
            return None
        path = self._resolve(name)
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            self.problem(key, f"cannot read {path}: {error.strerror}")
            return None

    def _resolve(self, name: str) -> FilePath:
        return FilePath(os.path.abspath(self.document.folder / FilePath(name).expanduser()))

    def _shown(self, key: str, value: object) -> str:
        written = self.document.from_environment.get((*self.path, key))
        if written is not None:
            return f"the value of {written}"
        if isinstance(value, str):
            return repr(value if len(value) <= 60 else value[:60] + "...")
        return str(value) if isinstance(value, int | float) else kind_of(value)
