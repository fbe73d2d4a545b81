"""The server's parser as a library."""

import pytest

from rules.pgquery import GrammarError, parse, parse_plpgsql


def test_statements_come_with_their_kind_and_text() -> None:
    parsed = parse(b"select 1; ;  delete from a.b where f(1) = 2")
    assert [(kind, text) for kind, _, text in parsed.statements] == [
        ("SelectStmt", b"select 1"),
        ("DeleteStmt", b"delete from a.b where f(1) = 2"),
    ]
    assert (parsed.relations, parsed.calls) == (1, 1)


def test_nothing_in_a_literal_is_counted() -> None:
    parsed = parse(b"""select '"relname": "funcname":[' , E'\\x22relname\\x22:' """)
    assert (parsed.relations, parsed.calls) == (0, 0)


def test_an_error_says_where() -> None:
    with pytest.raises(GrammarError, match='syntax error at or near "selec"') as raised:
        parse(b"  selec 1")
    assert raised.value.position == 3


@pytest.mark.parametrize(
    "text", ["ARRAY[" * 6 + "1" + "]" * 6, "CASE WHEN true THEN " * 21 + "1" + " END" * 21]
)
def test_what_nests_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(GrammarError, match="inside one another"):
        parse(f"SELECT {text}".encode())


def test_many_beside_one_another_are_not_deep() -> None:
    parse(("SELECT " + ", ".join(["ARRAY[1]", "CASE WHEN true THEN 1 END"] * 40)).encode())


def test_a_body_in_plpgsql() -> None:
    (body,) = parse_plpgsql("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$BEGIN NULL; END$$")
    assert "action" in body
    with pytest.raises(GrammarError):
        parse_plpgsql("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$BEGIN$$")
