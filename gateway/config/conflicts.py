"""``conflicts:`` in the configuration: statements about the same people, and people whose data must stay."""

from typing import Final

from gateway.config.document import Document
from gateway.config.model import Conflicts, Database, LegalHold
from gateway.config.section import Section
from gateway.text import kind_of
from rules import ConflictAction, Policy
from rules.compile_criteria import sql_check
from rules.names import split_name

__all__ = ["read_conflicts"]

_ACTIONS: Final = tuple(ConflictAction)
_PATH: Final = ("conflicts", "legal_holds")


def read_conflicts(top: Section, policy: Policy | None, databases: dict[str, Database]) -> Conflicts:
    """What is written under ``conflicts``; every problem in it is noted. ``policy`` None: it is faulty itself, and
    nothing is compared with it."""
    section = top.section("conflicts")
    default = Conflicts()
    conflicts = Conflicts(
        export_then_delete=section.word("export_then_delete", default.export_then_delete, _ACTIONS),
        delete_then_export=section.word("delete_then_export", default.delete_then_export, _ACTIONS),
        delete_twice=section.word("delete_twice", default.delete_twice, _ACTIONS),
        window=section.duration("window", default.window, 0.0),
        legal_holds=_legal_holds(section, policy, databases),
    )
    section.close()
    return conflicts


def _legal_holds(
    section: Section, policy: Policy | None, databases: dict[str, Database]
) -> tuple[LegalHold, ...]:
    value = section.raw("legal_holds")
    if value is None:
        return ()
    if not isinstance(value, list):
        section.problem("legal_holds", f"expected a list, found {kind_of(value)}")
        return ()
    return tuple(
        _legal_hold(section.document, entry, at, policy, databases) for at, entry in enumerate(value)
    )


def _legal_hold(
    document: Document, entry: object, at: int, policy: Policy | None, databases: dict[str, Database]
) -> LegalHold:
    section = Section(document, entry, (*_PATH, at))
    relation = section.required_text("relation", "relation: public.customer")
    if relation and policy is not None and not _tells_people_apart(policy, relation):
        section.problem("relation", "personal_data has no entry with a subject for it")
    subjects = section.names("subjects")
    check = None
    value = section.raw("sql")
    if value is not None:
        check, problems = sql_check(value, (*section.path, "sql"))
        for problem in problems:
            document.problem(problem.path, problem.message)
        if check is not None and not problems:
            if "subject" not in check.parameters:
                section.problem("sql", "must ask about a person: parameters: [subject]")
            if all(database.inspect is None for database in databases.values()):
                section.problem("sql", "is asked by databases.*.inspect, and no database has such a login")
    if "subjects" not in section and "sql" not in section:
        section.problem("subjects", "is missing; name people by their keys, or give a query as sql")
    hold = LegalHold(
        relation=relation,
        reason=section.required_text("reason", "reason: Smith v. Acme"),
        subjects=subjects,
        check=check,
    )
    section.close()
    return hold


def _tells_people_apart(policy: Policy, relation: str) -> bool:
    parts = split_name(relation)
    if parts is None or len(parts) != 2:
        return False
    entry = policy.personal.find(parts[0], parts[1], ())
    return entry is not None and entry.subject is not None
