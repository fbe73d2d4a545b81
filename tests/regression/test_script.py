"""Cutting scripts as psql does."""

import pytest

from tests.regression.script import spec_statements, statements


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        (";;SELECT 1;\n;", ["SELECT 1"]),
        (
            "SELECT ';' || E'\\';' || \";\" || $$;$$ || $a$;$$;$a$;",
            ["SELECT ';' || E'\\';' || \";\" || $$;$$ || $a$;$$;$a$"],
        ),
        (
            "SELECT 1 -- ; no\n; SELECT /* ; /* ; */ ; */ 2",
            ["SELECT 1 -- ; no", "SELECT /* ; /* ; */ ; */ 2"],
        ),
        (
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
            ["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3;",
            [
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
                "SELECT 3",
            ],
        ),
        ("BEGIN; SELECT 1; END;", ["BEGIN", "SELECT 1", "END"]),
        (
            "\\set x 1\n\\d t\nSELECT 1 \\gset\nSELECT 2 \\g\n\\if :x\nSELECT 3;\n\\endif\n",
            ["SELECT 1", "SELECT 2", "SELECT 3"],
        ),
        ("SELECT 1\\; SELECT 2;", ["SELECT 1; SELECT 2"]),
        (
            "SELECT :'name', :\"name\", :name, a::int, b[1:2];",
            ["SELECT 'name', \"name\", name, a::int, b[1:2]"],
        ),
        ("COPY t FROM stdin;\n1;2\n\\.\nSELECT 1;", ["COPY t FROM stdin", "SELECT 1"]),
        ("\\copy t from stdin\n1;2\n\\.\nSELECT 1;", ["SELECT 1"]),
        (
            "SET standard_conforming_strings TO off; SELECT '\\';'; SELECT 1;",
            ["SET standard_conforming_strings TO off", "SELECT '\\';'", "SELECT 1"],
        ),
        (
            "SET standard_conforming_strings = off; RESET standard_conforming_strings; SELECT '\\'; SELECT 1;",
            [
                "SET standard_conforming_strings = off",
                "RESET standard_conforming_strings",
                "SELECT '\\'",
                "SELECT 1",
            ],
        ),
        ("SELECT 1 /* never closed ;", ["SELECT 1 /* never closed ;"]),
        ("SELECT $x$ never closed ;", ["SELECT $x$ never closed ;"]),
        ("SELECT a$$; SELECT $1;", ["SELECT a$$", "SELECT $1"]),
    ],
)
def test_statements(script: str, expected: list[str]) -> None:
    assert list(statements(script)) == expected


def test_a_spec_is_what_stands_in_its_blocks() -> None:
    spec = """
    # a comment; not SQL
    setup { CREATE TABLE t (a int); INSERT INTO t VALUES (1); }
    teardown { DROP TABLE t; }
    session s1
    step one { SELECT 1; }
    permutation one
    """
    assert list(spec_statements(spec)) == [
        "CREATE TABLE t (a int)",
        "INSERT INTO t VALUES (1)",
        "DROP TABLE t",
        "SELECT 1",
    ]
