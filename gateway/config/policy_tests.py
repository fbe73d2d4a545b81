"""``tests:`` in the configuration: statements, and what the policy must say of them."""

from typing import Literal

from gateway.config.document import Document
from gateway.config.model import PolicyTest
from gateway.config.section import Section
from gateway.text import kind_of
from rules import Obligation

__all__ = ["read_policy_tests"]

_DECISIONS: tuple[Literal["allow", "hold", "deny"], ...] = ("allow", "hold", "deny")
_OBLIGATIONS = tuple(Obligation)


def read_policy_tests(top: Section) -> tuple[PolicyTest, ...]:
    """The list under ``tests``; every problem in it is noted."""
    value = top.raw("tests")
    if value is None:
        return ()
    if not isinstance(value, list):
        top.problem("tests", f"expected a list of statements, found {kind_of(value)}")
        return ()
    return tuple(_test(top.document, entry, index) for index, entry in enumerate(value))


def _test(document: Document, entry: object, index: int) -> PolicyTest:
    section = Section(document, entry, ("tests", index))
    if entry is None:
        document.problem(section.path, "expected a mapping with sql and expect, found nothing")
        return PolicyTest("", "allow")
    sql = section.raw("sql")
    if not isinstance(sql, str):
        section.problem("sql", f"expected the text of a statement, found {kind_of(sql)}")
    expect = section.word("expect", "allow", _DECISIONS)
    if "expect" not in section:
        section.problem("expect", f"is missing; one of {', '.join(_DECISIONS)}")
    line, column = document.position(section.path)
    test = PolicyTest(
        sql=sql if isinstance(sql, str) else "",
        expect=expect,
        user=section.optional_text("user") or "",
        database=section.optional_text("database") or "",
        groups=frozenset(section.names("groups")) if "groups" in section else None,
        rule=section.optional_text("rule"),
        obligations=_obligations(section),
        catalog=section.optional_file("catalog"),
        search_path=section.optional_text("search_path"),
        line=line,
        column=column,
    )
    section.raw("groups")
    section.close()
    return test


def _obligations(section: Section) -> frozenset[str] | None:
    value = section.raw("obligations")
    if value is None:
        return None
    names = section.names("obligations")
    unknown = [name for name in names if name not in _OBLIGATIONS]
    if unknown:
        section.problem("obligations", f"{', '.join(unknown)}: expected some of {', '.join(_OBLIGATIONS)}")
    return frozenset(names)
