"""Which definitions of a database have changed since they were read, found out by the server itself.

A *mark* is a digest of the row versions in all system catalogs that a snapshot is made of. It is kept by *spans* of
OIDs, for relations, functions, types, operators and schema names each, so that two marks tell where something has
changed. A row version is its ``xmin`` and its ``ctid``: ``xmin`` alone is the same for two changes of one transaction,
``ctid`` alone is used again. While a version may still be seen by anybody its place is not used again, so no two
versions have both in common before the transaction numbers have gone round. Deleted rows and changes taken back are
in the sums like everything else.

What differs is read again, and so is whatever depends on it (pg_depend, followed to its end): the text of a view names
what it is made of by its present name.

Source: PostgreSQL documentation, "System Columns", and the chapter "System Catalogs", pg_depend above all.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = [
    "FUNCTIONS",
    "IDENTITY",
    "MARK",
    "RELATIONS",
    "TYPES",
    "Differing",
    "changes_query",
    "server_of",
    "shared",
    "span",
]

SPANS: Final = 1024
SPAN_BITS: Final = 6
"""Objects that are made together have OIDs next to one another: 64 of them are in one span."""

MAX_REACHED: Final = 4000
"""Objects of which more are not looked up one by one: then everything is read."""

RELATIONS: Final = "holdgate.relations"
FUNCTIONS: Final = "holdgate.functions"
TYPES: Final = "holdgate.types"
"""Settings, local to the transaction that looks, with the OIDs of what is to be read again."""

_FOUND: Final = (RELATIONS, FUNCTIONS, TYPES)

IDENTITY: Final = (
    "(SELECT system_identifier FROM pg_catalog.pg_control_system()) || '/' || "
    "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
)
"""An expression that tells one database from every other, whatever their names: that of its cluster, which copies of
the cluster share, and its own within it."""


def shared(alias: str) -> str:
    """A condition on a schema: it belongs to no single session, and not to the server."""
    return f"{alias}.nspname !~ '^pg_(toast|temp_|toast_temp_)'"


def span(oid: int) -> int:
    """The span that an OID is in."""
    return oid >> SPAN_BITS & SPANS - 1


def _span_of(oid: str) -> str:
    return f"(({oid}::int8 >> {SPAN_BITS}) & {SPANS - 1})"


_KEPT: Final = "oid >= 16384 AND relpersistence <> 't' AND relkind NOT IN ('i', 'I', 't')"
_OF_KEPT: Final = "IN (SELECT oid FROM kept)"
_SHARED: Final = "NOT IN (SELECT oid FROM temporary)"
"""Of what the server has by itself that is true too; it costs less to hash it than to look
for each row's relation."""

_CLASSES: Final = f"""kept AS MATERIALIZED (
  SELECT oid, relname, relnamespace, relkind, relowner, relrowsecurity, relispartition FROM pg_class WHERE {_KEPT}),
temporary AS MATERIALIZED (SELECT oid FROM pg_class WHERE relpersistence = 't')"""


def _of_extension(catalog: str) -> str:
    """Membership of an extension, found by the index on what is depended on."""
    return f"refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = '{catalog}'::regclass"


_VERSIONED: Final = (
    ("relation", "pg_attribute", "attrelid", f"attnum > 0 AND attrelid {_OF_KEPT}"),
    ("relation", "pg_index", "indrelid", f"indrelid {_OF_KEPT}"),
    ("relation", "pg_inherits", "inhrelid", f"inhrelid {_SHARED}"),
    ("relation", "pg_rewrite", "ev_class", f"ev_class {_SHARED}"),
    ("relation", "pg_trigger", "tgrelid", f"tgrelid {_SHARED}"),
    ("relation", "pg_policy", "polrelid", f"polrelid {_SHARED}"),
    ("relation", "pg_attrdef", "adrelid", f"adrelid {_SHARED}"),
    ("relation", "pg_partitioned_table", "partrelid", f"partrelid {_SHARED}"),
    ("relation", "pg_description", "objoid", f"classoid = 'pg_class'::regclass AND objoid {_SHARED}"),
    ("relation", "pg_statistic_ext", "stxrelid", f"stxrelid {_SHARED}"),
    ("relation", "pg_constraint", "conrelid", f"conrelid <> 0 AND conrelid {_SHARED}"),
    ("relation", "pg_depend", "objid", _of_extension("pg_class")),
    ("function", "pg_proc", "oid", "oid >= 16384"),
    ("function", "pg_aggregate", "aggfnoid::oid", "aggfnoid >= 16384"),
    ("function", "pg_depend", "objid", _of_extension("pg_proc")),
    ("type", "pg_range", "rngtypid", "rngtypid >= 16384"),
    ("type", "pg_enum", "enumtypid", "enumtypid >= 16384"),
    ("type", "pg_constraint", "contypid", "contypid >= 16384"),
    ("type", "pg_depend", "objid", _of_extension("pg_type")),
    ("operator", "pg_operator", "oid", "oid >= 16384"),
    # Few, and read each time.
    ("few", "pg_cast", "oid", "oid >= 16384"),
    ("few", "pg_event_trigger", "oid", "true"),
    # What nearly everything may name. It changes when an extension is made.
    ("all", "pg_extension", "oid", "true"),
    ("all", "pg_opclass", "oid", "oid >= 16384"),
    ("all", "pg_amproc", "oid", "oid >= 16384"),
    ("all", "pg_amop", "oid", "oid >= 16384"),
    ("all", "pg_collation", "oid", "oid >= 16384"),
    ("all", "pg_ts_config", "oid", "oid >= 16384"),
    ("all", "pg_ts_dict", "oid", "oid >= 16384"),
    ("all", "pg_language", "oid", "true"),
)
"""Catalogs whose row versions tell of a change: what of, by which key, and which rows matter."""


def _digest(number: int, kind: str, source: str, key: str, version: str = "") -> str:
    """The digest of one catalog by spans; rows of different catalogs differ by ``number``."""
    version = version or "x.xmin::text || x.ctid::text"
    where = "0" if kind in ("few", "all", "owner") else _span_of(key)
    return f"""
SELECT '{kind}', {where}, sum(hashtextextended({version}, {key}::int8 | {number << 32}))
FROM {source} GROUP BY 2"""


_NAMED: Final = (
    # A relation's row gets a new version by TRUNCATE and REFRESH too, so what counts in it is looked at.
    (
        "relation",
        "kept x",
        "x.oid",
        "concat_ws('/', relname, relnamespace, relkind, relowner, relrowsecurity, relispartition)",
    ),
    (
        "type",
        f"pg_type x JOIN pg_namespace n ON n.oid = x.typnamespace AND x.oid >= 16384 AND {shared('n')}",
        "x.oid",
        "",
    ),
    ("schema", f"(SELECT * FROM pg_namespace n WHERE {shared('n')}) x", "x.oid", "nspname"),
    ("few", f"pg_namespace x WHERE {shared('x')}", "x.oid", ""),
    ("few", "pg_roles x", "x.oid", "rolname"),
    (
        "owner",
        "pg_roles x WHERE x.oid IN (SELECT relowner FROM kept)",
        "x.oid",
        "rolname",
    ),
)

_DIGESTS: Final = "\nUNION ALL".join(
    [
        *(
            _digest(number, kind, source, key, version)
            for number, (kind, source, key, version) in enumerate(_NAMED)
        ),
        *(
            _digest(number, kind, f"{catalog} x WHERE {which}", f"x.{key}")
            for number, (kind, catalog, key, which) in enumerate(_VERSIONED, start=len(_NAMED))
        ),
    ]
)

# A server that was started again may have been put back to an earlier state, and use transaction numbers twice.
_SERVER: Final = f"""json_build_array({IDENTITY}, current_database(), current_setting('server_version_num'),
  (extract(epoch FROM pg_postmaster_start_time()) * 1e6)::numeric(20)::text)"""

_SUMMED: Final = f"""
SELECT kind, span, sum(h) AS h FROM ({_DIGESTS}
) x(kind, span, h) GROUP BY kind, span"""

_AS_MARK: Final = f"""json_build_array({_SERVER},
  (SELECT json_agg(json_build_array(kind, span, h::text) ORDER BY kind, span) FROM digest))::text"""

MARK: Final = f"WITH {_CLASSES}, digest AS MATERIALIZED ({_SUMMED})\nSELECT {_AS_MARK}"
"""One row, the mark: a text that differs once any definition does. It costs a pass over the catalogs and takes no lock
that others would wait for."""


def _seeds(differing: str) -> str:
    """What is in a span that differs, as it is now: catalog and OID."""
    return "\n    UNION ALL ".join(
        f"""SELECT '{catalog}'::regclass::oid, oid FROM {catalog}
    WHERE {least} AND {_span_of("oid")} IN (SELECT span FROM {differing} WHERE kind = '{kind}')"""
        for kind, catalog, least in (
            ("relation", "pg_class", "oid >= 16384"),
            ("function", "pg_proc", "oid >= 16384"),
            ("type", "pg_type", "oid >= 16384"),
            ("operator", "pg_operator", "oid >= 16384"),
            ("schema", "pg_namespace", "true"),
        )
    )


def _reached(catalog: str, owner: str = "oid") -> str:
    return f"""SELECT o.{owner} FROM few r JOIN {catalog} o ON o.oid = r.oid WHERE r.class = '{catalog}'::regclass"""


_RELATIONS_REACHED: Final = "\n    UNION ".join(
    [
        _reached("pg_class"),
        """SELECT i.indrelid FROM few r JOIN pg_index i ON i.indexrelid = r.oid WHERE r.class = 'pg_class'::regclass""",
        _reached("pg_rewrite", "ev_class"),
        _reached("pg_attrdef", "adrelid"),
        _reached("pg_constraint", "conrelid"),
        _reached("pg_trigger", "tgrelid"),
        _reached("pg_policy", "polrelid"),
        _reached("pg_statistic_ext", "stxrelid"),
    ]
)
_TYPES_REACHED: Final = f"{_reached('pg_type')}\n    UNION {_reached('pg_constraint', 'contypid')}"


def changes_query(mark: str) -> str:
    """Ask for the mark as it is now, whether so much has changed since ``mark`` that all must be read, and the OIDs of
    the relations, functions and types to read again otherwise. They are left in the transaction's settings too
    (:data:`RELATIONS`), for the queries that read them."""
    # Nothing but digits and the words above is in it.
    known = json.dumps(_spans(mark), separators=(",", ":"))
    settings = ", ".join(
        f"set_config('{setting}', CASE WHEN everything THEN '{{}}' ELSE {name} END, true)"
        for setting, name in zip(_FOUND, ("relations", "functions", "types"), strict=True)
    )
    return f"""
WITH RECURSIVE {_CLASSES}, digest AS MATERIALIZED ({_SUMMED}),
known AS (SELECT k->>0 AS kind, (k->>1)::int8 AS span, (k->>2)::numeric AS h FROM json_array_elements('{known}') k),
differing AS MATERIALIZED (
  SELECT kind, span FROM digest FULL JOIN known k USING (kind, span) WHERE digest.h IS DISTINCT FROM k.h),
reached(class, oid) AS (
  SELECT * FROM ({_seeds("differing")}) s
  -- Kept apart (OFFSET 0), so that the index is asked for each of the few and not gone through for all.
  UNION SELECT d.classid, d.objid FROM reached r CROSS JOIN LATERAL (
    SELECT classid, objid FROM pg_depend WHERE refclassid = r.class AND refobjid = r.oid OFFSET 0) d),
few AS MATERIALIZED (SELECT * FROM reached LIMIT {MAX_REACHED + 1}),
found AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM differing WHERE kind IN ('all', 'owner'))
    OR (SELECT count(*) FROM few) > {MAX_REACHED} AS everything),
named AS MATERIALIZED (
  SELECT everything,
    ARRAY(SELECT * FROM ({_RELATIONS_REACHED}) x WHERE NOT everything)::text AS relations,
    ARRAY(SELECT * FROM ({_reached("pg_proc")}) x WHERE NOT everything)::text AS functions,
    ARRAY(SELECT * FROM ({_TYPES_REACHED}) x WHERE NOT everything)::text AS types
  FROM found)
SELECT json_build_array({_AS_MARK}, everything, {settings})::text FROM named
"""


@dataclass(frozen=True, slots=True)
class Differing:
    """What a snapshot cannot be trusted in any more: the spans of relations, functions and types that differ, and the
    OIDs of those that must be read again, which may be in other spans."""

    spans: Mapping[str, frozenset[int]]
    oids: Mapping[str, frozenset[int]]

    @classmethod
    def between(cls, before: str, after: str, oids: Mapping[str, Iterable[int]]) -> "Differing":
        """Of two marks."""
        changed: dict[str, set[int]] = {}
        was, now = ({(kind, at): h for kind, at, h in _spans(mark)} for mark in (before, after))
        for (kind, at), _ in was.items() ^ now.items():
            changed.setdefault(kind, set()).add(at)
        return cls(
            {kind: frozenset(spans) for kind, spans in changed.items()},
            {kind: frozenset(numbers) for kind, numbers in oids.items()},
        )

    def holds(self, kind: str, oid: int) -> bool:
        """Whether this object may be gone, or another."""
        return span(oid) in self.spans.get(kind, ()) or oid in self.oids.get(kind, ())


def server_of(mark: str) -> list[str]:
    """What a mark says about where it was taken: the database's identity, its name, the server's version, and when the
    server was started."""
    return list(json.loads(mark)[0])


def _spans(mark: str) -> list[Any]:
    return list(json.loads(mark)[1])
