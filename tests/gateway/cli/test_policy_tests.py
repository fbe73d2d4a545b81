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
