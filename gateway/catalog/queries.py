"""What is asked of a server's own catalog, PostgreSQL 13 to 18.

Every query returns one text column, each row a JSON array whose order :mod:`gateway.catalog.build` knows: so any
connection that can fetch text can run them. They are run under ``search_path = pg_catalog, pg_temp``: then every
name in a deparsed definition is qualified, and no temporary object of the session stands in for one of the
catalog's.

PostgreSQL's own objects are left out, and so is what belongs to one session (temporary objects) or to the server
(TOAST). An OID from 16384 on is somebody's work wherever it lies: an extension may put its own into pg_catalog.

Source: PostgreSQL documentation, chapter "System Catalogs", and "System Catalog Information Functions".
"""

from collections.abc import Mapping
from typing import Final

from gateway.catalog.marks import FUNCTIONS, RELATIONS, TYPES, shared

__all__ = [
    "CLOSING",
    "HAS_TEMPORARY",
    "ISOLATION",
    "OPENING",
    "SETTINGS",
    "VERSION",
    "catalog_queries",
]

SETTINGS: Final = (
    "SET LOCAL search_path = pg_catalog, pg_temp",
    "SET LOCAL statement_timeout = '60s'",
    # What somebody is changing at this moment is waited for no longer than this.
    "SET LOCAL lock_timeout = '1s'",
    # The planner's guess about catalogs is often high enough for compiling, which takes longer than the query.
    "SET LOCAL jit = off",
)
"""What the queries need of the transaction they run in."""

OPENING: Final = ("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", *SETTINGS)
"""One snapshot for all queries, in which nothing can be written."""

CLOSING: Final = "ROLLBACK"

VERSION: Final = """
SELECT json_build_array(current_setting('server_version_num')::int, current_database())::text
"""

ISOLATION: Final = "SELECT current_setting('transaction_isolation')"

HAS_TEMPORARY: Final = """
SELECT (EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema())
  OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = pg_my_temp_schema())
  OR EXISTS (SELECT FROM pg_type WHERE typnamespace = pg_my_temp_schema())
  OR EXISTS (SELECT FROM pg_operator WHERE oprnamespace = pg_my_temp_schema()))::text
"""

_SHARED: Final = shared("n")
_OWN: Final = "n.oid = pg_my_temp_schema()"


def _with_extension(catalog: str, alias: str) -> str:
    return f"""
LEFT JOIN (pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid)
  ON d.classid = '{catalog}'::regclass AND d.objid = {alias}.oid AND d.objsubid = 0 AND d.deptype = 'e'"""


class _Queries:
    """The queries for one version of the server, about shared objects or the session's own temporary ones."""

    def __init__(self, version: int, *, temporary: bool, beside_locks: bool, changed: bool) -> None:
        self._version = version
        self._where = _OWN if temporary else _SHARED
        self._beside_locks = beside_locks
        self._changed = changed

    def _ours(self, alias: str) -> str:
        made = f"({alias}.oid >= 16384 OR n.nspname NOT IN ('pg_catalog', 'information_schema'))"
        return f"{self._where} AND {made}"

    def _of(self, oid: str, setting: str) -> str:
        """Of all objects, or of those that are to be read again: found by an index, not by looking at each."""
        return (
            f"{oid} = ANY((SELECT current_setting('{setting}')::oid[])::oid[])" if self._changed else "true"
        )

    def _deparsed(self, call: str, over: str) -> str:
        """A call that deparses; null where a relation ``l.relation`` that meets ``over`` is being changed.

        Deparsing takes a share lock on every relation in the expression, and would wait for whoever holds an
        exclusive one, or is the first to wait for it.
        """
        if not self._beside_locks:
            return call
        return f"""CASE WHEN NOT EXISTS (
    SELECT FROM pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
      AND {over}) THEN {call} END"""

    @staticmethod
    def _depends(catalog: str, alias: str) -> str:
        return f"""EXISTS (
        SELECT FROM pg_depend y WHERE y.classid = '{catalog}'::regclass AND y.objid = {alias}.oid
          AND y.refclassid = 'pg_class'::regclass AND y.refobjid = l.relation)"""

    def relations(self) -> str:
        # It is the type of a composite type that belongs to an extension.
        return f"""
SELECT json_build_array(
  c.oid::int8, n.nspname, c.relname, c.relkind, a.names, a.types, c.relispartition, c.relrowsecurity,
  pg_get_userbyid(c.relowner), e.extname,
  (SELECT json_agg(i.inhparent::int8 ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid))::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT json_agg(attname ORDER BY attnum) AS names, json_agg(atttypid::int8 ORDER BY attnum) AS types
  FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a
LEFT JOIN (pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid)
  ON d.classid = CASE c.relkind WHEN 'c' THEN 'pg_type'::regclass ELSE 'pg_class'::regclass END
    AND d.objid = CASE c.relkind WHEN 'c' THEN c.reltype ELSE c.oid END AND d.objsubid = 0 AND d.deptype = 'e'
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND {self._ours("c")} AND {self._of("c.oid", RELATIONS)}
ORDER BY c.oid
"""

    def comments(self) -> str:
        return f"""
SELECT json_build_array(c.oid::int8, coalesce(a.attname, ''), o.description)::text
FROM pg_description o JOIN pg_class c ON c.oid = o.objoid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = o.objsubid AND o.objsubid > 0
WHERE o.classoid = 'pg_class'::regclass AND c.relkind NOT IN ('i', 'I') AND {self._ours("c")}
  AND {self._of("o.objoid", RELATIONS)}
"""

    def unique(self) -> str:
        # A key proves that equality finds at most one row. That fails for a key that is checked only at the end of the
        # transaction, and for one that tells apart what the column's own equality does not.
        return f"""
SELECT json_build_array(i.indrelid::int8, json_agg(a.attname ORDER BY k.at))::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, at)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_opclass o ON o.oid = i.indclass[k.at - 1]
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE i.indisunique AND i.indisvalid AND i.indisready AND i.indislive AND i.indimmediate
  AND NOT i.indisexclusion AND i.indpred IS NULL AND i.indexprs IS NULL AND k.at <= i.indnkeyatts
  AND {self._ours("c")} AND {self._of("i.indrelid", RELATIONS)}
GROUP BY i.indexrelid, i.indrelid, i.indisprimary
HAVING bool_and(
  (o.opcdefault OR o.opcname LIKE '%pattern_ops')
  AND (l.oid IS NULL OR l.collisdeterministic OR l.oid = i.indcollation[k.at - 1]))
ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid
"""

    def operators(self) -> str:
        return f"""
SELECT json_build_array(
  n.nspname, o.oprname, o.oprleft::int8, o.oprright::int8, o.oprcode::oid::int8, e.extname)::text
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
{_with_extension("pg_operator", "o")}
WHERE {self._ours("o")}
ORDER BY o.oid
"""

    def operator_classes(self) -> str:
        # Somebody may have put a function of theirs into PostgreSQL's own families as well.
        return f"""
SELECT json_build_array(n.nspname, o.opcname, m.amname, o.opcintype::int8, own.functions, e.extname)::text
FROM pg_opclass o JOIN pg_namespace n ON n.oid = o.opcnamespace JOIN pg_am m ON m.oid = o.opcmethod
CROSS JOIN LATERAL (
  SELECT json_agg(f::int8 ORDER BY f) AS functions FROM (
    SELECT p.amproc::oid AS f FROM pg_amproc p WHERE p.amprocfamily = o.opcfamily
    UNION SELECT q.oprcode::oid FROM pg_amop a JOIN pg_operator q ON q.oid = a.amopopr
    WHERE a.amopfamily = o.opcfamily) x
  WHERE f >= 16384) own
{_with_extension("pg_opclass", "o")}
WHERE own.functions IS NOT NULL AND {self._where}
ORDER BY o.oid
"""

    def casts(self) -> str:
        return f"""
SELECT json_build_array(
  k.castsource::int8, k.casttarget::int8, k.castfunc::int8, k.castcontext, e.extname)::text
FROM pg_cast k
{_with_extension("pg_cast", "k")}
WHERE k.oid >= 16384
ORDER BY k.oid
"""

    def event_triggers(self) -> str:
        return """
SELECT json_build_array(evtname, evtevent, evtfoid::int8)::text
FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY evtname
"""

    def extensions(self) -> str:
        return """
SELECT json_build_array(x.extname, n.nspname)::text
FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace ORDER BY x.extname
"""

    def namespaces(self) -> str:
        # The grantee 0 is PUBLIC.
        return f"""
SELECT json_build_array(n.nspname, pg_get_userbyid(n.nspowner),
  (SELECT json_agg(DISTINCT CASE g.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(g.grantee)::text END)
   FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) g WHERE g.privilege_type = 'USAGE'))::text
FROM pg_namespace n WHERE {self._where} ORDER BY n.oid
"""

    def foreign_keys(self) -> str:
        # Of a key that is not enforced (PostgreSQL 18) nothing cascades.
        enforced = "AND o.conenforced" if self._version >= 180_000 else ""
        return f"""
SELECT json_build_array(
  o.conname, o.conrelid::int8, o.confrelid::int8, o.confdeltype, o.confupdtype,
  (SELECT json_agg(a.attname ORDER BY k.at) FROM unnest(o.conkey) WITH ORDINALITY k(attnum, at)
   JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.attnum),
  (SELECT json_agg(a.attname ORDER BY k.at) FROM unnest(o.confkey) WITH ORDINALITY k(attnum, at)
   JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.attnum))::text
FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace
WHERE o.contype = 'f' {enforced} AND {self._ours("o")} AND {self._of("o.conrelid", RELATIONS)}
ORDER BY o.conrelid, o.conname
"""

    def views(self) -> str:
        definition = self._deparsed("pg_get_viewdef(c.oid)", self._depends("pg_rewrite", "r"))
        return f"""
SELECT json_build_array(c.oid::int8, {definition})::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_rewrite r ON r.ev_class = c.oid AND r.rulename = '_RETURN'
WHERE c.relkind IN ('v', 'm') AND {self._ours("c")} AND {self._of("r.ev_class", RELATIONS)}
"""

    def rules(self) -> str:
        over = f"(l.relation = c.oid OR {self._depends('pg_rewrite', 'r')})"
        definition = self._deparsed("pg_get_ruledef(r.oid)", over)
        return f"""
SELECT json_build_array(c.oid::int8, r.rulename, r.ev_type, r.is_instead, {definition})::text
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rulename <> '_RETURN' AND r.ev_enabled <> 'D' AND {self._ours("c")}
  AND {self._of("r.ev_class", RELATIONS)}
ORDER BY r.ev_class, r.rulename
"""

    def triggers(self) -> str:
        # Internal triggers are those of foreign keys and deferrable keys, and on a partition the copies of
        # somebody's trigger.
        definition = self._deparsed("pg_get_triggerdef(t.oid)", "l.relation = c.oid")
        return f"""
SELECT json_build_array(
  c.oid::int8, t.tgname, t.tgtype, t.tgfoid::int8,
  (SELECT json_agg(a.attname ORDER BY k.at) FROM unnest(t.tgattr::int2[]) WITH ORDINALITY k(attnum, at)
   JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attnum = k.attnum),
  t.tgqual IS NOT NULL, CASE WHEN t.tgqual IS NOT NULL THEN {definition} END)::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.tgenabled <> 'D' AND (NOT t.tgisinternal OR t.tgfoid >= 16384) AND {self._ours("c")}
  AND {self._of("t.tgrelid", RELATIONS)}
ORDER BY t.tgrelid, t.tgname
"""

    def code(self) -> str:
        text = self._deparsed("pg_get_expr(x.expression, x.relation)", "l.relation = c.oid")
        statistics = ""
        if self._version >= 140_000:
            # Evaluated by ANALYZE, as those of indexes are.
            statistics = """UNION ALL
  SELECT stxrelid, 'index', NULL, stxexprs FROM pg_statistic_ext WHERE stxexprs IS NOT NULL"""
        # A default that is a constant runs nothing, and is what most defaults are.
        return f"""
SELECT json_build_array(a.attrelid::int8, 'collation', a.attname,
  format('%I.%I', b.nspname, l.collname))::text
FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation JOIN pg_namespace b ON b.oid = l.collnamespace
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
  AND c.relkind IN ('r', 'p', 'm', 'f', 'c') AND {self._ours("c")}
  AND {self._of("a.attrelid", RELATIONS)}
UNION ALL
SELECT json_build_array(x.relation::int8, x.occasion, x.attname, {text})::text
FROM (
  SELECT d.adrelid AS relation, CASE a.attgenerated WHEN '' THEN 'default' ELSE 'generated' END AS occasion,
    a.attname, d.adbin AS expression
  FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  WHERE NOT starts_with(d.adbin::text, '{{CONST ')
  UNION ALL
  SELECT conrelid, 'check', NULL, conbin FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0
  UNION ALL
  SELECT polrelid, 'policy', NULL, polqual FROM pg_policy WHERE polqual IS NOT NULL
  UNION ALL
  SELECT polrelid, 'policy', NULL, polwithcheck FROM pg_policy WHERE polwithcheck IS NOT NULL
  UNION ALL
  SELECT indrelid, 'index', NULL, indexprs FROM pg_index WHERE indexprs IS NOT NULL
  UNION ALL
  SELECT indrelid, 'index', NULL, indpred FROM pg_index WHERE indpred IS NOT NULL
  UNION ALL
  SELECT partrelid, 'partition', NULL, partexprs FROM pg_partitioned_table WHERE partexprs IS NOT NULL
  {statistics}
) x JOIN pg_class c ON c.oid = x.relation JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {self._ours("c")} AND {self._of("x.relation", RELATIONS)}
"""

    def functions(self) -> str:
        definition = "pg_get_functiondef(p.oid)"
        if self._version >= 140_000:
            # A body in the standard's form is kept as trees, and deparsed.
            over = f"p.prosqlbody IS NOT NULL AND {self._depends('pg_proc', 'p')}"
            definition = self._deparsed(definition, over)
        return f"""
SELECT json_build_array(
  p.oid::int8, n.nspname, p.proname, p.prokind, l.lanname, p.provolatile, p.prosecdef,
  to_json(p.proargtypes::oid[]::int8[]),
  CASE WHEN p.proargmodes IS NULL THEN to_json(p.proargnames) ELSE
    (SELECT json_agg(coalesce(p.proargnames[i], '') ORDER BY i) FROM generate_subscripts(p.proargmodes, 1) i
     WHERE p.proargmodes[i] IN ('i', 'b', 'v')) END,
  p.provariadic <> 0, p.pronargdefaults, p.prorettype::int8, p.proretset,
  CASE WHEN l.lanname IN ('sql', 'plpgsql') AND p.prokind <> 'a' THEN {definition} END,
  CASE WHEN p.prokind = 'a' THEN json_build_array(
    g.aggtransfn::oid::int8, g.aggfinalfn::oid::int8, g.aggcombinefn::oid::int8, g.aggserialfn::oid::int8,
    g.aggdeserialfn::oid::int8, g.aggmtransfn::oid::int8, g.aggminvtransfn::oid::int8,
    g.aggmfinalfn::oid::int8, s.oprcode::oid::int8) END,
  to_json(p.proconfig), e.extname)::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
LEFT JOIN pg_aggregate g ON g.aggfnoid = p.oid LEFT JOIN pg_operator s ON s.oid = g.aggsortop
{_with_extension("pg_proc", "p")}
WHERE {self._ours("p")} AND {self._of("p.oid", FUNCTIONS)}
ORDER BY p.oid
"""

    def types(self) -> str:
        subscript = "t.typsubscript," if self._version >= 140_000 else ""
        return f"""
SELECT json_build_array(
  t.oid::int8, n.nspname, t.typname, t.typtype, t.typbasetype::int8, t.typrelid::int8, t.typelem::int8,
  CASE WHEN t.typtype = 'd' THEN pg_get_expr(t.typdefaultbin, 0) END,
  (SELECT json_agg(pg_get_expr(o.conbin, 0) ORDER BY o.conname) FROM pg_constraint o
   WHERE o.contypid = t.oid AND o.contype = 'c'),
  (SELECT json_agg(f::int8) FROM unnest(ARRAY[
     t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze, {subscript}
     r.rngcanonical, r.rngsubdiff]::oid[] || ARRAY(
       SELECT p.amproc::oid FROM pg_amproc p JOIN pg_opclass s ON s.opcfamily = p.amprocfamily
       WHERE s.oid = r.rngsubopc)) f WHERE f >= 16384),
  e.extname)::text
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_range r ON r.rngtypid = t.oid
{_with_extension("pg_type", "t")}
WHERE {self._ours("t")} AND {self._of("t.oid", TYPES)}
ORDER BY t.oid
"""


def catalog_queries(
    version: int, *, temporary: bool = False, beside_locks: bool = False, changed: bool = False
) -> Mapping[str, str]:
    """The queries by what they list, for a server of ``version`` (as in server_version_num).

    With ``temporary`` they list the temporary objects of the session that asks, and nothing else. With
    ``beside_locks``, the text of what somebody is changing at this moment is null instead of waited for. With
    ``changed``, relations, functions and types are listed that :func:`gateway.catalog.marks.changes_query` has found
    in the same transaction. Objects are in the order of their OIDs, foreign keys in that of the table they belong to
    and their name.
    """
    queries = _Queries(version, temporary=temporary, beside_locks=beside_locks, changed=changed)
    listed = {
        "namespaces": queries.namespaces(),
        "relations": queries.relations(),
        "comments": queries.comments(),
        "unique": queries.unique(),
        "foreign_keys": queries.foreign_keys(),
        "views": queries.views(),
        "rules": queries.rules(),
        "triggers": queries.triggers(),
        "code": queries.code(),
        "functions": queries.functions(),
        "operators": queries.operators(),
        "types": queries.types(),
        "operator_classes": queries.operator_classes(),
    }
    if not temporary:
        listed["extensions"] = queries.extensions()
        listed["casts"] = queries.casts()
        listed["event_triggers"] = queries.event_triggers()
    return listed
