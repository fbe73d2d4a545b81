"""Hypothesis strategies that write SQL: harmless parts, and what can be put around a statement.

Wrappers keep what they are named for.  Around a statement that changes data, :func:`executing` writes statements
that still execute it.  Around a query with one column, :func:`exposing` writes queries with one column that still
show its values, and :func:`showing` statements that send them to the client or keep them.  A wrapper that loses
this would make a property fail for no reason, so each is plain SQL that PostgreSQL runs on the corpus's schema.
"""

from hypothesis import strategies as st

__all__ = [
    "AS_CTE",
    "EXECUTING",
    "EXPOSING",
    "SHOWING",
    "disguised",
    "executing",
    "exposing",
    "expressions",
    "noise",
    "showing",
]

_GAPS = (
    " ",
    "\n",
    "\t",
    "\f",
    "\r\n",
    "  ",
    "/**/",
    "/* x */",
    "/* /* y */ */",
    "--\n",
    "-- ;\n",
    "/*'*/",
    "/*$$*/",
)
_BEFORE = (
    "",
    " ",
    ";",
    ";;",
    "/* x */",
    "-- y\n",
    "/**/--*/\n",
    "SELECT 1;",
    "SELECT ';';",
    "SELECT $$;$$;",
    "BEGIN;",
)
_AFTER = ("", " ", ";", ";;", "--", "-- x", "/* y */", ";SELECT 1", "; SELECT 'x'", ";COMMIT")

EXECUTING = (
    "EXPLAIN ANALYZE {}",
    "EXPLAIN (ANALYZE, COSTS off) {}",
    "EXPLAIN (COSTS off, ANALYZE 'on') {}",
    "EXPLAIN (VERBOSE, ANALYZE 1, FORMAT json) {}",
    "PREPARE p AS {}; EXECUTE p",
    'PREPARE "P" AS {}; EXECUTE "P"',
    "PREPARE p AS {}; EXPLAIN ANALYZE EXECUTE p",
    "BEGIN; {}; COMMIT",
    "START TRANSACTION; SAVEPOINT s; {}; RELEASE s; COMMIT",
    "SELECT 1; {}; SELECT 2",
)
AS_CTE = (
    "WITH w AS ({} RETURNING 1) SELECT 1",
    "WITH w AS ({} RETURNING *) SELECT count(*) FROM w",
    "WITH a AS (SELECT 1), w AS MATERIALIZED ({} RETURNING 1), b AS (TABLE a) TABLE b",
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 3), w AS ({} RETURNING 1) TABLE r",
    "WITH w AS ({} RETURNING 1) INSERT INTO public.regions SELECT 99, 'x' WHERE false",
    "WITH w AS ({} RETURNING 1) UPDATE public.regions SET name = name WHERE false",
    "WITH w AS ({} RETURNING 1) DELETE FROM public.delete_log WHERE false",
    "COPY (WITH w AS ({} RETURNING 1) SELECT 1) TO STDOUT",
    "COPY ({} RETURNING 1) TO STDOUT",
    "CREATE TEMP TABLE kept AS WITH w AS ({} RETURNING 1) SELECT 1",
)
EXPOSING = (
    "SELECT v FROM ({}) AS q(v)",
    "SELECT q.* FROM ({}) AS q(v)",
    "SELECT (q.v) FROM ({}) AS q(v) WHERE true",
    "SELECT v FROM (SELECT 1) one, ({}) AS q(v)",
    "SELECT v FROM (SELECT 1) one LEFT JOIN ({}) AS q(v) ON true",
    "SELECT v FROM (SELECT 1) one CROSS JOIN LATERAL ({}) AS q(v)",
    "WITH q(v) AS ({}) SELECT v FROM q",
    "WITH q(v) AS MATERIALIZED ({}), r AS (SELECT q.v AS w FROM q) SELECT w FROM r",
    "WITH RECURSIVE q(v, n) AS (SELECT v, 1 FROM ({}) s(v) UNION ALL SELECT v, 2 FROM q WHERE n < 2) SELECT v FROM q",
    "({}) UNION ALL SELECT NULL",
    "SELECT NULL UNION ALL ({})",
    "({}) EXCEPT SELECT NULL",
    "SELECT v FROM ({}) AS q(v) GROUP BY v",
    "SELECT DISTINCT v FROM ({}) AS q(v)",
    "SELECT v FROM ({}) AS q(v) ORDER BY 1",
    "SELECT max(v) OVER (PARTITION BY v) FROM ({}) AS q(v)",
    "SELECT first_value(v) OVER (ORDER BY v ROWS CURRENT ROW) FROM ({}) AS q(v)",
    "SELECT string_agg(v, ',') FROM ({}) AS q(v)",
    "SELECT array_to_string(array_agg(v), ',') FROM ({}) AS q(v)",
    "SELECT json_agg(q)::text FROM ({}) AS q(v)",
    "SELECT q::text FROM ({}) AS q(v)",
    "SELECT row_to_json(q) ->> 'v' FROM ({}) AS q(v)",
    "SELECT to_jsonb(q) #>> '{{v}}' FROM ({}) AS q(v)",
    "SELECT (ARRAY[v, 'x'])[1] FROM ({}) AS q(v)",
    "SELECT array_to_string(ARRAY({}), ',')",
    "SELECT u FROM unnest(ARRAY({})) AS u",
    "SELECT coalesce(v, 'x') FROM ({}) AS q(v)",
    "SELECT CASE WHEN v IS NULL THEN 'x' ELSE v END FROM ({}) AS q(v)",
    "SELECT v || 'x' FROM ({}) AS q(v)",
    "SELECT format('%s', v) FROM ({}) AS q(v)",
    "SELECT upper(v) FROM ({}) AS q(v)",
    "SELECT CAST(v AS varchar(99)) FROM ({}) AS q(v)",
    "SELECT l.w FROM ({}) AS q(v), LATERAL (VALUES (q.v)) AS l(w)",
    "SELECT l.w FROM ({}) AS q(v) JOIN LATERAL (SELECT q.v AS w) l ON true",
    "SELECT (SELECT string_agg(v, ',') FROM ({}) AS q(v))",
    "SELECT string_agg(v, ',') FILTER (WHERE v IS NOT NULL) FROM ({}) AS q(v)",
    "SELECT (ROW(v)).f1::text FROM ({}) AS q(v)",
    "SELECT x.v FROM ({}) AS q(v), jsonb_to_record(to_jsonb(q)) AS x(v text)",
)
SHOWING = (
    "{}",
    "({})",
    "{};",
    "COPY ({}) TO STDOUT",
    "COPY ({}) TO STDOUT (FORMAT binary)",
    "CREATE TEMP TABLE kept AS {}",
    "CREATE TABLE scratch.kept(v) AS {}",
    "CREATE MATERIALIZED VIEW scratch.kept AS {}",
    "INSERT INTO public.feature_flags (name) SELECT DISTINCT v FROM ({}) AS q(v) RETURNING name",
    "UPDATE public.regions SET name = v FROM ({}) AS q(v) RETURNING name",
    "PREPARE p AS {}; EXECUTE p",
    "BEGIN; DECLARE c CURSOR FOR {}; FETCH ALL c; COMMIT",
    "EXPLAIN ANALYZE CREATE TABLE scratch.kept AS {}",
    "SELECT 1; {}",
    "MERGE INTO public.feature_flags f USING ({}) AS q(v) ON f.name = v WHEN NOT MATCHED THEN INSERT (name) VALUES (v)",
)


def disguised(words: tuple[str, ...]) -> st.SearchStrategy[str]:
    """The words in any case of their letters, with anything between them that separates words."""

    def cased(word: str) -> st.SearchStrategy[str]:
        if word.startswith(('"', "'")):
            return st.just(word)
        return st.sampled_from(sorted({word, word.upper(), word.lower(), word.title(), word.swapcase()}))

    def joined(parts: tuple[tuple[str, ...], list[str]]) -> str:
        texts, gaps = parts
        return "".join(text + gap for text, gap in zip(texts, [*gaps, ""], strict=True))

    gaps = st.lists(st.sampled_from(_GAPS), min_size=len(words) - 1, max_size=len(words) - 1)
    return st.tuples(st.tuples(*map(cased, words)), gaps).map(joined)


def noise(statements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Statements with something harmless before and after."""
    return st.builds("{}{}{}".format, st.sampled_from(_BEFORE), statements, st.sampled_from(_AFTER))


def executing(statements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Data-modifying statements without RETURNING inside others that execute them."""
    as_cte = st.builds(str.format, st.sampled_from(AS_CTE), statements)
    inner = st.one_of(statements, as_cte.filter(lambda sql: not sql.startswith(("COPY", "CREATE"))))
    return st.one_of(inner, as_cte, st.builds(str.format, st.sampled_from(EXECUTING), inner))


def exposing(queries: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    """Queries of one text column inside up to ``most`` others that still show its values in one column."""

    def wrap(parts: tuple[str, list[str]]) -> str:
        query, wrappers = parts
        for wrapper in wrappers:
            query = wrapper.format(query)
        return query

    return st.tuples(queries, st.lists(st.sampled_from(EXPOSING), max_size=most)).map(wrap)


def showing(queries: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Messages that send the values of a query's one column to the client, or keep them."""
    return st.builds(str.format, st.sampled_from(SHOWING), queries)


def expressions() -> st.SearchStrategy[str]:
    """Harmless expressions over ``public.products p`` from a small grammar."""
    leaves = st.sampled_from(
        [
            "1",
            "2.5",
            "'x'",
            "NULL",
            "true",
            "p.id",
            "p.name",
            "p.price",
            "p.stock",
            "'DELETE FROM customers'",
            "now()",
        ]
    )

    def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        pair = st.tuples(inner, inner)
        return st.one_of(
            inner.map("({})".format),
            inner.map("{}::text".format),
            inner.map("CAST({} AS text)".format),
            pair.map(lambda both: f"coalesce({both[0]}::text, {both[1]}::text)"),
            pair.map(lambda both: f"({both[0]}::text || {both[1]}::text)"),
            pair.map(lambda both: f"({both[0]}::text = {both[1]}::text)"),
            pair.map(lambda both: f"CASE WHEN {both[0]} IS NULL THEN 'a' ELSE {both[1]}::text END"),
            pair.map(
                lambda both: (
                    f"(SELECT max({both[0]}::text) FROM public.regions r WHERE r.id = {both[1]}::text::int)"
                )
            ),
            inner.map("({} IS NOT NULL)".format),
            inner.map("EXISTS (SELECT {} FROM public.regions)".format),
            inner.map("({}::text IN ('a', 'b'))".format),
            inner.map("(ARRAY[{}::text])[1]".format),
            inner.map("jsonb_build_object('k', {})".format),
            inner.map("lower({}::text)".format),
            inner.map('({}::text COLLATE "C")'.format),
            inner.map("({}::text LIKE '%a%')".format),
            inner.map("count({}) OVER ()".format),
        )

    return st.recursive(leaves, grown, max_leaves=8)
