"""PL/pgSQL is read statement by statement, its declarations included."""

import pytest

from rules.catalog import Relation
from tests.rules.catalogs import function, shop, verdict


def _verdict(body: str) -> str:
    holding = Relation(16510, "crm", "holding", "r", ("a",), (16471,))
    catalog = shop(relations=(holding,), functions=(function(16500, "body", body),))
    return verdict("SELECT crm.body()", catalog=catalog)


@pytest.mark.parametrize(
    "body",
    [
        "DECLARE a int[]; BEGIN a[crm.constant()] := 1; RETURN 1; END",
        "DECLARE a int[]; BEGIN a[1] = crm.constant(); RETURN 1; END",
        "DECLARE a int[]; BEGIN a[nullif(1 = 2, crm.constant() = 1)::int] := 1; RETURN 1; END",
        "DECLARE i int := crm.constant(); BEGIN RETURN i; END",
        "DECLARE i CONSTANT int NOT NULL DEFAULT crm.constant(); BEGIN RETURN i; END",
        "DECLARE r customers := crm.constant(); BEGIN RETURN 1; END",
        "DECLARE r record = ROW(crm.constant()); BEGIN RETURN 1; END",
        "BEGIN <<inner>> DECLARE i int; r record := (SELECT crm.constant() AS begin); BEGIN NULL; END; RETURN 1; END",
        "DECLARE c CURSOR FOR SELECT crm.constant(); BEGIN OPEN c; RETURN 1; END",
        "DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE 'SELECT crm.constant()'; RETURN 1; END",
        "BEGIN FOR i IN 1..crm.constant() LOOP NULL; END LOOP; RETURN 1; END",
        "BEGIN RAISE NOTICE '%', crm.constant(); RETURN 1; END",
        "BEGIN ASSERT crm.constant() > 0; RETURN 1; END",
        "BEGIN EXCEPTION WHEN OTHERS THEN PERFORM crm.constant(); END",
        "BEGIN IF false THEN NULL; ELSIF crm.constant() = 1 THEN NULL; END IF; RETURN 1; END",
    ],
)
def test_code_is_found_wherever_it_stands(body: str) -> None:
    assert _verdict(body) == "erasure"


def test_what_return_query_executes_is_run() -> None:
    body = "BEGIN RETURN QUERY EXECUTE 'DELETE FROM crm.orders RETURNING 1'; END"
    made = function(16500, "body", body, result="SETOF int8")
    assert verdict("SELECT * FROM crm.body()", catalog=shop(functions=(made,))) == "erasure"


@pytest.mark.parametrize(
    "body",
    [
        "DECLARE c refcursor; BEGIN OPEN c FOR EXECUTE 'SELECT ' || 1; RETURN 1; END",
        "DECLARE x checked := 'a'; BEGIN RETURN 1; END",
        "DECLARE x checked[]; BEGIN RETURN 1; END",
        "DECLARE x holding.a%TYPE; BEGIN RETURN 1; END",
        "DECLARE x crm.holding.a%TYPE := 'a'; BEGIN RETURN 1; END",
        "DECLARE x crm.holding%ROWTYPE; BEGIN RETURN 1; END",
    ],
)
def test_what_is_computed_or_checked_elsewhere_is_opaque(body: str) -> None:
    assert _verdict(body) == "default:opaque_function"


@pytest.mark.parametrize(
    "body",
    [
        "DECLARE i int := 1; t products.name%TYPE; r record; n numeric(10,2); BEGIN i := i + 1; RETURN i; END",
        "DECLARE a int[]; BEGIN a[1] := 2; a[1:2] := a; RETURN a[1]; END",
        "DECLARE r products; s text := 'declare x := crm.constant()'; BEGIN SELECT * INTO r FROM products; END",
        "DECLARE r crm.customers%ROWTYPE; BEGIN RETURN 1; END",
        "DECLARE x ALIAS FOR found; BEGIN RETURN 1; END",
        "BEGIN SELECT id INTO STRICT found FROM public.products WHERE id = 1; RETURN 1; END",
    ],
)
def test_what_only_computes_passes(body: str) -> None:
    assert _verdict(body) == "allow"
