"""``deputies:`` in the configuration: who decides in whose name, and when."""

from collections.abc import Mapping
from datetime import date

from gateway.config.model import Deputy, Role, User
from gateway.config.section import Section
from gateway.text import kind_of

__all__ = ["read_deputies"]


def read_deputies(top: Section, users: Mapping[str, User]) -> tuple[Deputy, ...]:
    """The list under ``deputies``; every problem in it is noted."""
    value = top.raw("deputies")
    if value is None:
        return ()
    if not isinstance(value, list):
        top.problem("deputies", f"expected a list of deputies, found {kind_of(value)}")
        return ()
    found = [
        _deputy(Section(top.document, entry, ("deputies", index)), users) for index, entry in enumerate(value)
    ]
    return tuple(one for one in found if one is not None)


def _deputy(section: Section, users: Mapping[str, User]) -> Deputy | None:
    deputy = section.required_text("deputy", "deputy: dave")
    absent = section.required_text("for", "for: carol")
    first = _day(section, "from", date.min)
    last = _day(section, "until", None)
    if "until" not in section:
        section.problem("until", "is missing; the time of a deputy ends, for example until: 2030-01-31")
    for key, name in (("deputy", deputy), ("for", absent)):
        if name and name not in users:
            section.problem(key, f"no user {name} under users")
    if deputy and deputy == absent:
        section.problem("for", "nobody is their own deputy")
    known = users.get(deputy)
    if known is not None and known.roles_listed and Role.APPROVER not in known.roles:
        section.problem("deputy", f"{deputy} has not the role approver, and could decide nothing")
    section.close()
    if first is None or last is None:
        return None
    if last < first:
        section.problem("until", "is before from")
    return Deputy(deputy, absent, first, last)


def _day(section: Section, key: str, default: date | None) -> date | None:
    text = section.optional_text(key)
    if text is None:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        section.problem(key, "expected a day such as 2030-01-31")
        return None
