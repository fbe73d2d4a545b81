"""``criteria`` of a rule: from their list to Criterion values."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence, Set
from typing import Final

from rules.counting import parameters_of
from rules.criteria import MAX_CHECK_SECONDS, Criterion, SqlCheck, SqlParameter
from rules.lexer import LexError
from rules.mapping import Path, Problem, Reading
from rules.pgquery import GrammarError, parse
from rules.policy import RowCondition, When

__all__ = ["CriteriaReading", "sql_check"]

_SESSION: Final = ("groups", "users", "client_addr", "application", "hours")
_CRITERIA: Final = (*_SESSION, "rows", "reason", "ticket", "webhook", "sql")
_SQL_KEYS: Final = ("query", "parameters", "timeout", "name")
_PARAMETERS: Final[Mapping[str, SqlParameter]] = {
    "user": "user",
    "database": "database",
    "reason": "reason",
    "ticket": "ticket",
    "subject": "subject",
}


class QueryReading(Reading):
    """Reads the queries of criteria."""

    def _sql(self, value: object, path: Path) -> Criterion | None:
        """A query, alone or with what it is given."""
        if isinstance(value, str):
            value = {"query": value}
        if not isinstance(value, Mapping):
            self._problem(path, "a query is needed, or a mapping with one")
            return None
        self._known_keys(value, _SQL_KEYS, path)
        query = self._text(value.get("query"), (*path, "query"), required=True)
        name = self._text(value.get("name"), (*path, "name"))
        timeout = SqlCheck("").timeout
        if value.get("timeout") is not None:
            timeout = self._duration(value["timeout"], (*path, "timeout"), timeout)
            if timeout > MAX_CHECK_SECONDS:
                self._problem((*path, "timeout"), f"must be at most {MAX_CHECK_SECONDS:.0f}s: somebody waits")
        parameters: list[SqlParameter] = []
        for number, word in enumerate(self._texts(value.get("parameters", ()), (*path, "parameters"))):
            if word in _PARAMETERS:
                parameters.append(_PARAMETERS[word])
            else:
                known = ", ".join(_PARAMETERS)
                self._problem((*path, "parameters", number), f"must be one of {known}, not {word}")
        if query is None:
            return None
        problem = _wrong_with(query, len(parameters))
        if problem is not None:
            self._problem((*path, "query"), problem)
        return Criterion(
            f"sql: {name or ' '.join(query.split())}", sql=SqlCheck(query, tuple(parameters), timeout)
        )


class CriteriaReading(QueryReading):
    """Reads criteria; ``_checks`` are the names of the web services that can be asked."""

    def __init__(self) -> None:
        super().__init__()
        self._checks: Set[str] = frozenset()

    @abstractmethod
    def _when(self, value: object, path: Path) -> When: ...

    @abstractmethod
    def _rows(self, value: object, path: Path) -> RowCondition | None: ...

    def _criteria(self, value: object, path: Path) -> tuple[Criterion, ...]:
        if value is None:
            return ()
        if value in ([], ()):
            self._problem(path, "an empty list would be met by everybody")
        found: list[Criterion] = []
        for place, entry in self._entries(value, path, _CRITERIA):
            if len(entry) != 1:
                self._problem(place, f"must be one of {', '.join(_CRITERIA)}, and only one")
                continue
            ((key, meant),) = entry.items()
            criterion = self._criterion(key, meant, place)
            if criterion is not None:
                found.append(criterion)
        return tuple(found)

    def _criterion(self, key: str, value: object, path: Path) -> Criterion | None:
        text = f"{key}: {', '.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        if value is None:
            self._problem((*path, key), "a value is needed")
            return None
        if key == "sql":
            return self._sql(value, (*path, key))
        if key == "rows":
            rows = self._rows(value, (*path, key))
            return None if rows is None else Criterion(text, rows=rows)
        if key in _SESSION:
            return Criterion(text, when=self._when({key: value}, path))
        written = self._text(value, (*path, key), required=True)
        if written is None:
            return None
        if key == "webhook":
            if written not in self._checks:
                self._problem((*path, key), f"no {written} under checks")
            return Criterion(text, webhook=written)
        try:
            compiled = re.compile(written)
        except re.error as error:
            self._problem((*path, key), f"not a regular expression: {error}")
            return None
        return Criterion(text, said=("reason" if key == "reason" else "ticket", compiled))


def sql_check(value: object, path: Path) -> tuple[SqlCheck | None, Sequence[Problem]]:
    """A query that is asked about people, wherever it is written, and what is wrong with it."""
    reading = QueryReading()
    criterion = reading._sql(value, path)
    return None if criterion is None else criterion.sql, reading._problems


def _wrong_with(query: str, parameters: int) -> str | None:
    """What a query cannot be, None where it can be asked."""
    try:
        statements = parse(query.encode("utf-8", "backslashreplace")).statements
        numbers = parameters_of(query)
    except (GrammarError, LexError, RecursionError) as error:
        return f"is no query: {error}"
    if [kind for kind, _, _ in statements] != ["SelectStmt"]:
        return "must be one SELECT"
    if numbers != frozenset(range(1, parameters + 1)):
        wanted = ", ".join(f"${number}" for number in sorted(numbers)) or "none"
        return f"uses {wanted}, and parameters lists {parameters}"
    return None
