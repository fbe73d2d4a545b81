"""What is printed: YAML that a configuration takes, JSON, and no value in either."""

import json

import yaml

from gateway.catalog.scan.names import Kind
from gateway.catalog.scan.report import as_json, as_yaml
from gateway.catalog.scan.scan import Finding, Proposal, Scan
from rules import compile_policy

ODD = 'Größe "2"\u202e: #x'
QUOTED = 'public."Größe ""2""\u202e: #x"'
SCAN = Scan(
    "shop",
    (
        Proposal(
            "public.customer",
            (
                Finding("email", Kind.EMAIL, 0.987, ("the name says so", "5 of 5 sampled values are one")),
                Finding("E-Mail", Kind.EMAIL, 0.5, ("the name says so",)),
                Finding("no", Kind.NAME, 0.5, ()),
            ),
            "customer_id",
            "its key",
            5,
        ),
        Proposal(QUOTED, (Finding(ODD, Kind.NAME, 0.5, ()),), None, "no single column", 0),
    ),
    (("public.secret", "permission denied"), (f"public.{ODD}", "locked by somebody")),
    7,
)


def test_the_yaml_is_an_entry_of_the_configuration() -> None:
    loaded = yaml.safe_load(as_yaml(SCAN))
    assert loaded == {
        "personal_data": [
            {"relation": "public.customer", "columns": ["email", "E-Mail", "no"], "subject": "customer_id"},
            {"relation": QUOTED, "columns": [ODD]},
        ]
    }
    compile_policy(loaded)


def test_the_comments_say_why() -> None:
    text = as_yaml(SCAN)
    assert "# e-mail address, confidence 0.99; the name says so; 5 of 5 sampled values are one" in text
    assert "subject: customer_id    # its key" in text
    assert "# subject: no single column" in text
    assert "#   public.secret: permission denied" in text
    assert "2 of 7 relations" in text


def test_nothing_speaks_to_a_terminal() -> None:
    assert "\u202e" not in as_yaml(SCAN)


def test_nothing_to_propose() -> None:
    text = as_yaml(Scan("shop", relations=3))
    assert yaml.safe_load(text) == {"personal_data": []}
    assert "No values" not in text


def test_json() -> None:
    found = json.loads(json.dumps(as_json(SCAN)))
    assert found["not_sampled"][0] == {"relation": "public.secret", "why": "permission denied"}
    first = found["personal_data"][0]
    assert first["columns"][0] == {
        "name": "email",
        "kind": "e-mail address",
        "confidence": 0.99,
        "reasons": ["the name says so", "5 of 5 sampled values are one"],
    }
    assert (first["subject"], first["subject_reason"], first["sampled_rows"]) == ("customer_id", "its key", 5)
