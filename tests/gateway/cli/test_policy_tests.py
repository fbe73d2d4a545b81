"""A configuration's tests of its own policy, as ``holdgate validate`` runs them."""

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.policy_tests import run_policy_tests
from gateway.config import load_config
from gateway.demo.settings import Passwords, write_config

_POLICY = """\
databases: {shop: {host: db}}
users:
  alice: {groups: [support]}
groups: {dpo: [carol]}
personal_data:
  - {relation: public.customer, columns: [email], subject: customer_id}
rules:
  - {name: own, when: {groups: [dpo]}, then: allow, obligations: [read_only]}
  - {name: erasure, when: {action: delete, data: personal}, then: hold}
  - {name: no-ddl, when: {action: ddl, groups: [support], databases: shop}, then: deny}
tests:
"""
_PASSING = """\
  - {sql: SELECT email FROM customer WHERE customer_id = 1, user: alice, expect: allow, obligations: [redact_errors]}
  - {sql: DELETE FROM customer, user: alice, expect: hold, rule: erasure}
  - {sql: CREATE TABLE t (a int), user: alice, database: shop, expect: deny}
  - {sql: CREATE TABLE t (a int), user: alice, database: other, expect: allow}
  - {sql: CREATE TABLE t (a int), user: bob, database: shop, groups: [support], expect: deny}
  - {sql: SELECT 1, user: carol, expect: allow, rule: own, obligations: [read_only]}
  - {sql: SELECT 1, user: alice, expect: allow, obligations: []}
"""
_FAILING = """\
  - {sql: DELETE FROM customer, user: alice, expect: deny, rule: no-ddl, obligations: [read_only]}
  - {sql: SELECT 1, user: alice, expect: allow}
  - sql: SELECT email FROM customer
    expect: hold
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "holdgate.yaml"


def test_what_is_as_expected_is_no_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_POLICY + _PASSING, encoding="utf-8")
    assert run_policy_tests(load_config(file, environment={})) == []
    assert main(["validate", "-c", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid, 7 tests passed\n"
    assert main(["validate", "-c", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tests"] == 7


def test_every_failure_is_listed_with_its_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_POLICY + _FAILING, encoding="utf-8")
    assert main(["validate", "-c", str(file)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{file}:12:5: tests[0]: expected deny, is hold; expected rule no-ddl, is erasure; "
        "expected obligations read_only, are redact_errors "
        "(erasure: deletes from public.customer (no limit on rows))",
        f"{file}:14:5: tests[2]: expected hold, is allow "
        "(default:otherwise: reads email of public.customer (no limit on rows))",
    ]
    assert main(["validate", "-c", str(file), "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert not shown["valid"]
    assert [(problem["line"], problem["path"]) for problem in shown["problems"]] == [
        (12, "tests[0]"),
        (14, "tests[2]"),
    ]


def test_without_tests_nothing_is_said_of_any(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_POLICY.replace("tests:\n", ""), encoding="utf-8")
    assert main(["validate", "-c", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid\n"


def test_a_faulty_file_is_not_tested(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(_POLICY + _FAILING + "colour: red\n", encoding="utf-8")
    assert main(["validate", "-c", str(file), "--json"]) == 1
    assert [one["path"] for one in json.loads(capsys.readouterr().out)["problems"]] == ["colour"]


def test_the_example_and_the_demonstration_say_of_themselves_what_is_true(tmp_path: Path) -> None:
    keys = "A" * 43 + "="
    verifier = f"SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==${keys}:{keys}"
    secrets = {"SHOP_PASSWORD": "x", "ALICE_VERIFIER": verifier, "CAROL_VERIFIER": verifier}
    example = load_config(Path(__file__).parents[3] / "config.example.yaml", environment=secrets)
    passwords = Passwords(superuser="x", app="y", approver="z")
    demo = load_config(write_config(tmp_path, port=1, admin_port=2, upstream_port=3, passwords=passwords))
    for config in (example, demo):
        assert len(config.tests) >= 4
        assert run_policy_tests(config) == []


def dumped(directory: Path, name: str, **view: object) -> str:
    """A catalog with a table and a view over it, as a dump."""
    columns = {"customer_id": "int8", "email": "text"}
    shared = {"schema": "public", "kind": "table"}
    document = {
        "format": "holdgate-catalog",
        "version": 1,
        "database": "shop",
        "server_version": 180_000,
        "search_paths": {"": "public", "reader": "crm"},
        "schemas": [{"name": "public"}, {"name": "crm"}],
        "relations": [
            {**shared, "name": "customer", "columns": columns, "keys": [["customer_id"]]},
            {**shared, "schema": "crm", "name": "customer", "columns": columns},
            {**shared, "name": "people", "kind": "view", "columns": {"e": "text"}, **view},
        ],
    }
    (directory / name).write_text(json.dumps(document, indent=1))
    return name


_SHOWN = {"definition": "SELECT email AS e FROM public.customer;"}
_HARMLESS = {"definition": "SELECT 'x'::text AS e;"}
_BULK = "  - {name: bulk, when: {action: read, data: personal, rows: '> 20'}, then: hold}\ntests:\n"


def test_names_are_looked_up_in_a_dump(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalog, other = (
        dumped(file.parent, "shop.json", **_SHOWN),
        dumped(file.parent, "other.json", **_HARMLESS),
    )
    file.write_text(
        _POLICY.replace("tests:\n", _BULK)
        + f"  - {{sql: SELECT e FROM people, catalog: {catalog}, expect: hold, rule: bulk}}\n"
        f"  - {{sql: SELECT e FROM people, catalog: {other}, expect: allow}}\n"
        f"  - {{sql: SELECT e FROM people, expect: allow}}\n"
        f"  - {{sql: SELECT e FROM persons, catalog: {catalog}, expect: hold, rule: 'default:unknown_relation'}}\n"
        f"  - {{sql: SELECT email FROM customer, catalog: {catalog}, expect: hold}}\n"
        f"  - {{sql: SELECT email FROM customer, user: reader, catalog: {catalog}, expect: allow}}\n"
        f"  - {{sql: SELECT email FROM customer, search_path: 'crm, public', catalog: {catalog}, expect: allow}}\n"
    )
    assert main(["validate", "-c", str(file)]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out == f"{file}: valid, 7 tests passed\n"


def test_a_dump_that_cannot_be_used_is_a_problem_of_its_test(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = file.parent / "bad.json"
    bad.write_text('{"format": "other"}')
    test = "  - {sql: SELECT 1, catalog: bad.json, expect: allow}\n"
    file.write_text(_POLICY + test + test + "  - {sql: SELECT 1, expect: allow}\n")
    assert main(["validate", "-c", str(file)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [
        line.startswith(f"{file}:{number}:5: tests[{number - 12}]: {bad}:1: ")
        for number, line in enumerate(lines, 12)
    ] == [
        True,
        True,
    ]
    file.write_text(_POLICY + "  - {sql: SELECT 1, catalog: nowhere.json, expect: allow}\n")
    assert main(["validate", "-c", str(file)]) == 1
    assert "tests[0].catalog: cannot read" in capsys.readouterr().err
