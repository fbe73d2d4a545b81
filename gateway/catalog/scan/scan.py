"""Looking for personal data: by names, types and comments of columns, and by a sample of their values.

Everything is read in read-only transactions with a time limit, a table at a time. No code of the database runs: no
view, no foreign table, no policy. What could not be sampled is said. Values are counted and forgotten.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway import clock
from gateway.catalog.build import Row
from gateway.catalog.builtin_types import NAME_BY_OID
from gateway.catalog.read import AskError, Run
from gateway.catalog.scan.names import HINTING, Hint, Kind, hints, is_about_people
from rules.catalog import Relation, SchemaSnapshot

__all__ = ["Finding", "Proposal", "Scan", "Scope", "scan"]

_TABLES: Final = frozenset("rpf")
_TEXTS: Final = frozenset(["text", "varchar", "bpchar", "name", "citext", "json", "jsonb", "xml", "hstore"])
_NUMBERS: Final = frozenset(["int4", "int8", "numeric"])
_ADDRESSES: Final = frozenset(["inet", "cidr"])
_DAYS: Final = frozenset(["date", "timestamp", "timestamptz"])
_PLACES: Final = frozenset(["point", "geometry", "geography"])
_HOLDS: Final = {
    Kind.EMAIL: _TEXTS,
    Kind.PHONE: _TEXTS | _NUMBERS,
    Kind.IBAN: _TEXTS,
    Kind.CARD: _TEXTS | _NUMBERS,
    Kind.NATIONAL_ID: _TEXTS | _NUMBERS,
    Kind.IP: _TEXTS | _ADDRESSES,
    Kind.BIRTH: _TEXTS | _DAYS | frozenset(["int2", "int4"]),
    Kind.NAME: _TEXTS,
    Kind.ADDRESS: _TEXTS | _PLACES | _NUMBERS | frozenset(["float8"]),
}
"""Types whose values can be of a kind; domains over them, and arrays of them, too."""

_CERTAIN: Final = {
    Kind.EMAIL: 0.97,
    Kind.PHONE: 0.95,
    Kind.IBAN: 0.98,
    Kind.CARD: 0.9,
    Kind.IP: 0.7,
    Kind.NATIONAL_ID: 0.6,
}
"""How much it says that all values of a sample look like one."""
_FORMED: Final = frozenset([Kind.EMAIL, Kind.PHONE, Kind.IBAN, Kind.CARD, Kind.IP])
"""Kinds of which every value has a form: where no value has it, the name means something else."""
_BY_CHANCE: Final = frozenset([Kind.CARD, Kind.NATIONAL_ID, Kind.PHONE])
_LEAST_SHARE: Final = 0.3
_LEAST_VALUES: Final = 5
_LONGEST: Final = 500
"""Characters of a value that are looked at."""
_SMALL: Final = 10_000
"""Rows of a table of which the first are as good as any."""
_PAGES: Final = 50
"""Pages of a large table that are looked at, at least."""
_STATEMENT_SECONDS: Final = 5

_WHY: Final = {
    "42501": "permission denied, or row security applies",
    "55P03": "locked by somebody",
    "57014": "it took too long",
    "42P01": "it is not there any more",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What to look at: these schemas (empty: all), at most so many ``rows`` of each table (0: no values at all), for
    ``seconds`` in all. ``confidence`` is the least that is proposed. ``regions`` as in :mod:`.values`."""

    schemas: frozenset[str] = frozenset()
    rows: int = 200
    seconds: float = 60.0
    confidence: float = 0.5
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A column that may be personal, with a confidence from 0 to 1, and why; no reason holds a value."""

    column: str
    kind: Kind
    confidence: float
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What may be personal in a relation, and the column that tells people apart, if there is one.

    ``relation`` is as a configuration has it: ``schema.name``, in quotes where it must be. ``sampled`` rows of it were
    looked at.
    """

    relation: str
    findings: tuple[Finding, ...]
    subject: str | None
    subject_reason: str
    sampled: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in a database with so many ``relations``; ``unsampled`` are those without a sample, and why."""

    database: str
    proposals: tuple[Proposal, ...] = ()
    unsampled: tuple[tuple[str, str], ...] = ()
    relations: int = 0


@dataclass(slots=True)
class _Sample:
    rows: int = 0
    values: dict[str, list[str]] = field(default_factory=dict)
    missing: str | None = None


async def scan(snapshot: SchemaSnapshot, run: Run, scope: Scope) -> Scan:
    """Scan the tables of a database. Raises OSError and ValueError as :func:`gateway.catalog.read.read` does."""
    relations = [one for one in snapshot.relations if _is_scanned(one, scope)]
    relations.sort(key=lambda one: (one.schema, one.name))
    until = clock.monotonic() + scope.seconds
    findings: dict[int, tuple[Finding, ...]] = {}
    samples: dict[int, _Sample] = {}
    for relation in relations:
        columns = _own_columns(snapshot, relation)
        sample = await _sample(run, relation, columns, scope, until)
        samples[relation.oid] = sample
        found = (_finding(relation, column, types, sample, scope) for column, types in columns.items())
        findings[relation.oid] = tuple(
            one for one in found if one is not None and one.confidence >= scope.confidence
        )
    subjects = _Subjects(snapshot, findings)
    return Scan(
        snapshot.database,
        tuple(
            Proposal(_written(one), findings[one.oid], *subjects.of(one), samples[one.oid].rows)
            for one in relations
            if findings[one.oid]
        ),
        tuple((one.full_name, why) for one in relations if (why := samples[one.oid].missing) is not None),
        len(relations),
    )


def _is_scanned(relation: Relation, scope: Scope) -> bool:
    """Whether it is a table of its own: partitions are read with what they are part of."""
    if relation.kind not in _TABLES or relation.is_partition or relation.extension is not None:
        return False
    return not scope.schemas or relation.schema in scope.schemas


def _written(relation: Relation) -> str:
    """The name as a configuration has it, in which brackets are those of a glob."""
    parts = (part.replace("[", "[[]") for part in (relation.schema, relation.name))
    return ".".join(
        '"' + part.replace('"', '""') + '"' if set(part) & {".", '"'} or part != part.strip() else part
        for part in parts
    )


def _own_columns(snapshot: SchemaSnapshot, relation: Relation) -> dict[str, frozenset[str]]:
    """The columns that are not inherited, with the names of their types: an inherited mark is inherited too."""
    inherited = {
        column
        for parent in relation.parents
        if (known := snapshot.by_oid.get(parent)) is not None
        for column in known.columns
    }
    pairs = zip(relation.columns, relation.types, strict=True)
    return {column: _types(snapshot, oid) for column, oid in pairs if column not in inherited}


def _types(snapshot: SchemaSnapshot, oid: int) -> frozenset[str]:
    """The type, and what it is made of."""
    names: set[str] = set()
    while oid:
        name, known = NAME_BY_OID.get(oid), snapshot.types_by_oid.get(oid)
        if name is not None:
            names.update((name, name.removesuffix("[]")))
        elif known is not None:
            names.add(known.name)
        oid = (known.base or known.element) if known is not None else 0
    return frozenset(names)


# --- values ---------------------------------------------------------------------------------------------


async def _sample(
    run: Run, relation: Relation, columns: dict[str, frozenset[str]], scope: Scope, until: float
) -> _Sample:
    texts = [column for column, types in columns.items() if types & (_TEXTS | _NUMBERS)]
    if scope.rows == 0:
        return _Sample(missing="no values were asked for")
    if relation.kind == "f":
        return _Sample(missing="a foreign table: another server, or a file, would be read")
    if not texts:
        return _Sample()
    if clock.monotonic() >= until:
        return _Sample(missing="the time was over")
    try:
        (_, _, ((count, pages),)) = await run([*_LIMITS, _size_of(relation)])
        query = _rows_of(relation, texts, scope.rows, float(count or 0), float(pages or 0))
        (*_, rows) = await run([*_LIMITS, query])
    except AskError as error:
        # The server's words may have a value in them.
        return _Sample(missing=_WHY.get(error.sqlstate, f"the server answered with {error.sqlstate}"))
    values = [_decoded(row) for row in rows]
    return _Sample(
        len(values),
        {column: [one for row in values if (one := row[at])] for at, column in enumerate(texts)},
    )


_LIMITS: Final = (
    f"SET LOCAL statement_timeout = '{_STATEMENT_SECONDS}s'",
    # A policy is code; where one would apply, the server refuses instead.
    "SET LOCAL row_security = off",
)


def _size_of(relation: Relation) -> str:
    """A query for the number of rows and of pages, those of partitions included, as the server guesses them."""
    return (
        "SELECT coalesce(sum(reltuples), 0)::text, coalesce(sum(relpages), 0)::text FROM pg_class "
        f"WHERE oid = {relation.oid} OR oid IN (SELECT relid FROM pg_partition_tree({relation.oid}))"
    )


def _rows_of(relation: Relation, columns: Sequence[str], rows: int, count: float, pages: float) -> str:
    """A query for some rows, of a large table taken from pages all over it."""
    shown = ", ".join(
        f"left({_quoted(column)}::text, {_LONGEST}) AS c{at}" for at, column in enumerate(columns)
    )
    some, order = "", ""
    if count > _SMALL and pages > 0:
        # Rows that came together lie together, so that many pages count more than many rows.
        share = min(100.0, max(100.0 * _PAGES / pages, 300.0 * rows / count))
        some, order = f" TABLESAMPLE SYSTEM ({share:.6f})", " ORDER BY random()"
    inner = (
        f"SELECT {shown} FROM {_quoted(relation.schema)}.{_quoted(relation.name)}{some}{order} LIMIT {rows}"
    )
    names = ", ".join(f"c{at}" for at, _ in enumerate(columns))
    return f"SELECT json_build_array({names})::text FROM ({inner}) x"


def _quoted(name: str) -> str:
    """The name as SQL has it, key words included."""
    return '"' + name.replace('"', '""') + '"'


def _decoded(row: Row) -> Sequence[str | None]:
    value = json.loads(row[0] or "")
    if not isinstance(value, list):
        raise ValueError("a row of a sample is not one JSON array")
    return value


# --- what is made of it ---------------------------------------------------------------------------------


def _finding(
    relation: Relation, column: str, types: frozenset[str], sample: _Sample, scope: Scope
) -> Finding | None:
    """The likeliest that a column may be."""
    values = sample.values.get(column, [])
    found = [
        one for one in _by_name_and_values(relation, column, types, values, scope) if types & _HOLDS[one.kind]
    ]
    return max(found, key=lambda one: one.confidence, default=None)


def _by_name_and_values(
    relation: Relation, column: str, types: frozenset[str], values: list[str], scope: Scope
) -> Iterable[Finding]:
    named = {one.kind: one for one in hints(relation.name, column, relation.comments.get(column, ""))}
    looks = _evidence(values, types, named, scope) if values else {}
    if types & _ADDRESSES:
        named.setdefault(Kind.IP, Hint(Kind.IP, 0.7, "its type says so"))
    for kind in Kind:
        hint, (share, count, reason) = named.get(kind), looks.get(kind, (0.0, len(values), ""))
        score = hint.score if hint is not None else 0.0
        reasons = (hint.reason,) if hint is not None else ()
        if share >= _LEAST_SHARE and reason:
            certain = _CERTAIN.get(kind, 0.5) * min(1.0, share / 0.8)
            if kind not in _CERTAIN and score < HINTING:
                # Many things look like names and addresses.
                certain = 0.0
            yield Finding(column, kind, 1 - (1 - score) * (1 - certain), (*reasons, reason))
        elif hint is not None:
            if count >= _LEAST_VALUES and not (types & _ADDRESSES):
                score *= 0.5 if kind in _FORMED else 0.8 if kind is Kind.NATIONAL_ID else 1.0
            yield Finding(column, kind, score, reasons)


def _evidence(
    values: list[str], types: frozenset[str], named: dict[Kind, Hint], scope: Scope
) -> dict[Kind, tuple[float, int, str]]:
    """For each kind: the share of values that look like it, of how many, and this in words."""
    from gateway.catalog.scan.values import examine, looks_like_address, looks_like_name

    values = list(dict.fromkeys(values))
    found: dict[Kind, tuple[float, int, str]] = {}
    for one in examine(values, scope.regions):
        if (
            one.kind in _BY_CHANCE
            and one.kind not in named
            and (types & _NUMBERS or one.count < _LEAST_VALUES)
        ):
            # A number or two may look like one of these.
            continue
        share = one.share * (0.7 if one.within else 1.0)
        like = "contain one" if one.within else f"are one of {one.what}" if one.what else "are one"
        found[one.kind] = (
            share,
            one.count,
            f"{round(one.share * one.count)} of {one.count} different values {like}",
        )
    for kind, share in ((Kind.NAME, looks_like_name(values)), (Kind.ADDRESS, looks_like_address(values))):
        found[kind] = (
            share,
            len(values),
            f"{round(share * len(values))} of {len(values)} different values may be one",
        )
    return found


class _Subjects:
    """Which column of a relation tells people apart: its key where its rows are people, else a reference to such."""

    def __init__(self, snapshot: SchemaSnapshot, findings: dict[int, tuple[Finding, ...]]) -> None:
        self._snapshot = snapshot
        self._findings = findings

    def of(self, relation: Relation) -> tuple[str | None, str]:
        """The column, and why it or none."""
        key = next((next(iter(one)) for one in relation.unique if len(one) == 1), None)
        if key is not None and self._is_of_people(relation):
            return key, "its key"
        for foreign_key in sorted(self._snapshot.foreign_keys, key=lambda one: one.name):
            parent = self._snapshot.by_oid.get(foreign_key.parent)
            if (
                foreign_key.child != relation.oid
                or parent in (None, relation)
                or len(foreign_key.columns) != 1
            ):
                continue
            if parent is not None and self._is_of_people(parent):
                return foreign_key.columns[0], f"refers to {parent.full_name}"
        if key is not None:
            return key, "its key"
        return None, "no single column is a key or refers to people: every row counts as somebody"

    def _is_of_people(self, relation: Relation) -> bool:
        if is_about_people(relation.name):
            return True
        kinds = {one.kind for one in self._findings.get(relation.oid, ()) if one.confidence > HINTING}
        return len(kinds & {Kind.EMAIL, Kind.PHONE, Kind.NAME, Kind.BIRTH, Kind.NATIONAL_ID}) >= 2
