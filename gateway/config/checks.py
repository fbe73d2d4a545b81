"""``checks:`` in the configuration: web services that criteria ask; and what criteria need of the rest of the file."""

from collections.abc import Mapping

from gateway.config.model import Database, WebCheck
from gateway.config.outbound import read_keys, read_url
from gateway.config.section import Section
from rules import Policy
from rules.criteria import MAX_CHECK_SECONDS

__all__ = ["check_criteria", "read_checks"]


def read_checks(top: Section) -> dict[str, WebCheck]:
    """The web services by name; every problem in them is noted."""
    return {name: _check(section, name) for name, section in top.sections("checks")}


def check_criteria(top: Section, policy: Policy, databases: Mapping[str, Database]) -> None:
    """Note every criterion that could never be checked."""
    if any(database.inspect is not None for database in databases.values()):
        return
    for number, rule in enumerate(policy.rules):
        for place, criterion in enumerate(rule.criteria):
            if criterion.sql is not None:
                top.document.problem(
                    ("rules", number, "criteria", place, "sql"),
                    "is asked by databases.*.inspect, and no database has such a login",
                )


def _check(section: Section, name: str) -> WebCheck:
    default = WebCheck("", "", ())
    timeout = section.duration("timeout", default.timeout, 0.1)
    if timeout > MAX_CHECK_SECONDS:
        section.problem("timeout", f"expected at most {MAX_CHECK_SECONDS:.0f}s: somebody waits")
    return WebCheck(
        name=name,
        url=read_url(section, "url", "https://desk.example.org/holdgate"),
        keys=read_keys(section, "DESK_SECRET"),
        timeout=timeout,
        ca=section.optional_file("ca"),
    )
