"""What is wrong with a configuration file, all of it at once."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ConfigError", "ConfigProblem"]


@dataclass(frozen=True, slots=True, order=True)
class ConfigProblem:
    """One thing to correct.

    ``line`` and ``column`` count from 1 and are 0 when the file could not be read.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class ConfigError(ValueError):
    """The configuration cannot be used. ``problems`` is never empty and is ordered as in the file.

    ``str()`` is one line for each problem, ``file:line:column: path: message``. No secret appears in it.
    """

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
