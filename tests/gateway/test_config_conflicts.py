"""What is done about statements that concern the same people, and whose data must stay."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load_config
from rules import ConflictAction, ConflictKind

BASE = """\
databases: {shop: {host: db}}
personal_data:
  - {relation: crm.*, subject: customer_id}
  - {relation: public.note}
"""


def load(tmp_path: Path, text: str, base: str = BASE) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(base + text, encoding="utf-8")
    return load_config(file, environment={})


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    return [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in raised.value.problems]


def test_without_it_exports_run_before_deletions(tmp_path: Path) -> None:
    conflicts = load(tmp_path, "").conflicts
    assert {kind: conflicts.action(kind) for kind in ConflictKind} == {
        ConflictKind.EXPORT_THEN_DELETE: ConflictAction.ORDER,
        ConflictKind.DELETE_THEN_EXPORT: ConflictAction.ORDER,
        ConflictKind.DELETE_TWICE: ConflictAction.WARN,
    }
    assert (conflicts.window, conflicts.legal_holds) == (86400.0, ())


def test_each_kind_and_legal_holds(tmp_path: Path) -> None:
    text = """\
conflicts:
  export_then_delete: block
  delete_then_export: warn
  delete_twice: order
  window: 0
  legal_holds:
    - {relation: crm.customer, subjects: [7, x], reason: Smith v. Acme}
    - relation: crm.customer
      sql: {query: SELECT true FROM litigation WHERE customer_id = $1, parameters: [subject], timeout: 5s}
      reason: the register
"""
    base = BASE.replace("host: db", "host: db, inspect: {user: reader}")
    config = load(tmp_path, text, base)
    conflicts = config.conflicts
    assert [conflicts.action(kind).value for kind in ConflictKind] == ["block", "warn", "order"]
    listed, register = conflicts.legal_holds
    assert (listed.subjects, listed.check, listed.reason) == (("7", "x"), None, "Smith v. Acme")
    assert register.check is not None
    assert (register.check.parameters, register.check.timeout) == (("subject",), 5.0)
    # A legal hold is no other policy: it counts for what was approved before, and says so.
    assert load(tmp_path, "", base).policy.version == config.policy.version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "conflicts: {delete_twice: never}",
            ["5:27: conflicts.delete_twice: expected one of block, order, warn, found"],
        ),
        ("conflicts: {windows: 1h}", ["5:13: conflicts.windows: unknown key; did you mean window?"]),
        ("conflicts: {legal_holds: 7}", ["5:26: conflicts.legal_holds: expected a list, found a number"]),
        (
            "conflicts: {legal_holds: [{}]}",
            [
                "5:27: conflicts.legal_holds[0].reason: is missing; for example",
                "5:27: conflicts.legal_holds[0].relation: is missing; for example",
                "5:27: conflicts.legal_holds[0].subjects: is missing; name people by their keys, or give a query",
            ],
        ),
        (
            "conflicts: {legal_holds: [{relation: public.note, subjects: [7], reason: r}]}",
            ["5:38: conflicts.legal_holds[0].relation: personal_data has no entry with a subject for it"],
        ),
        (
            "conflicts: {legal_holds: [{relation: crm, subjects: [7], reason: r}]}",
            ["5:38: conflicts.legal_holds[0].relation: personal_data has no entry with a subject for it"],
        ),
        (
            "conflicts: {legal_holds: [{relation: crm.a, sql: SELEC, reason: r}]}",
            ["5:45: conflicts.legal_holds[0].sql.query: is no query: syntax error"],
        ),
        (
            "conflicts: {legal_holds: [{relation: crm.a, sql: SELECT true, reason: r}]}",
            [
                "5:50: conflicts.legal_holds[0].sql: is asked by databases.*.inspect, and no database has such a login",
                "5:50: conflicts.legal_holds[0].sql: must ask about a person: parameters: [subject]",
            ],
        ),
    ],
)
def test_what_is_wrong(tmp_path: Path, text: str, said: list[str]) -> None:
    found = faults(tmp_path, text)
    assert len(found) == len(said), found
    for one, start in zip(found, said, strict=True):
        assert one.startswith(start), found
