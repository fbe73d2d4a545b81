"""Asking the server about a statement that is to wait for people, and that it would not take at all.

A slip of the pen is no matter for an approver: what the server's own parser rejects is answered with the server's
own error, at once. Only statements are asked about that are not readable here because PostgreSQL's grammar does
not know them, or that name something the catalog does not know. Whatever the answer, nothing of them has run.
"""

from typing import Final

from gateway.arbiter import Ruling
from gateway.asking import Asking, CannotAsk
from protocol.errors import ServerError
from protocol.request import Execution, Request, Step
from rules import Facts, Nature

__all__ = ["Vetting"]

_BEHIND: Final = b"\n;\n:="
"""Behind any text this is an error of syntax, and the server parses all of a message before it runs any of it.
It has no character that ends a string or a comment, so it cannot become part of one and then be taken."""

_UNFINISHED: Final = 2
"""How far behind the end of a text its ``_BEHIND`` begins with a semicolon: an error there says that the text
ended too early."""

_SYNTAX_OR_NAME: Final = "42"
"""The class of SQLSTATE for errors of syntax, and for names and types that do not exist or fit."""

_ANALYSED: Final = frozenset(["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"])
"""What the server looks all names up of when it is parsed; of any other statement only when it runs."""


class Vetting:
    """Asks in the client's own session, where names stand for what they stand for there."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def objection(self, request: Request, ruling: Ruling) -> ServerError | None:
        """The error that the server has on a request as it stands, or None: it has none, or it was not asked.

        Call it only when the server owes nothing.
        """
        if len(request.executions) != 1 or len(ruling.ruled) != 1:
            return None
        (execution,), facts = request.executions, ruling.ruled[0].judgement.facts
        if len(execution.sql) != 1 or execution.step is Step.FUNCTION_CALL:
            return None
        try:
            if facts.ungrammatical:
                report = await self._misspelt(execution)
            elif _names_the_unknown(facts):
                report = await self._asking.analyse(execution.sql[0], _types(execution))
            else:
                return None
        except CannotAsk:
            return None
        return _as_error(report) if report.get("C", "").startswith(_SYNTAX_OR_NAME) else None

    async def _misspelt(self, execution: Execution) -> dict[str, str]:
        """The server's error of syntax; empty if it has none."""
        sql = execution.sql[0]
        hidden = await self._asking.run([sql + _BEHIND])
        end = len(sql.decode("utf-8", "replace"))
        if int(hidden.report.get("P", end + len(_BEHIND))) > end + _UNFINISHED:
            return {}
        # It is wrong by itself too; of what it lacks at its end the server speaks in other words then.
        return await self._asking.analyse(sql, _types(execution))


def _names_the_unknown(facts: Facts) -> bool:
    """Whether the one statement names what the catalog does not know, and analysing it runs nobody's code."""
    if not facts.missing or facts.unreadable is not None or len(facts.statements) != 1:
        return False
    known_code = (
        effect
        for effect in facts.effects
        if effect.nature is Nature.OPAQUE
        and not {effect.relation, f"{effect.relation}()", f"operator {effect.relation}"} & set(facts.missing)
    )
    return facts.statements[0].kind in _ANALYSED and not any(known_code)


def _types(execution: Execution) -> tuple[int, ...]:
    statement = execution.portal.statement if execution.portal is not None else None
    return statement.parameter_types if statement is not None else ()


def _as_error(report: dict[str, str]) -> ServerError:
    fields = dict(report)
    return ServerError(
        fields.pop("C", ""),
        fields.pop("M", ""),
        fields.pop("D", ""),
        fields.pop("H", ""),
        fields.pop("S", fields.get("V", "ERROR")),
        {code: text for code, text in fields.items() if code != "V"},
    )
