"""Whether a message can be run so that it cannot write (the obligation READ_ONLY), and how.

The gateway runs it inside a read-only transaction, or inside a read-only subtransaction of the client's own.
That takes statements which PostgreSQL carries out there and which do not end the transaction they run in: the
lists below are allow-lists, and what is on none of them is not run read-only.

Two things a read-only transaction does not stop.  Code may reach out of it (files, other servers): such effects
have a nature of their own, and where code runs that nobody has read, nothing that it could call may do so.  And
before PostgreSQL 16, code may reset ``transaction_read_only``, and large objects may be written: so what code did
that nobody has read is undone besides.

Source: PostgreSQL documentation, reference page of SET TRANSACTION.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from rules.builtin import words
from rules.catalog import SchemaSnapshot
from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts


class Boundary(Enum):
    """What a message does to the transaction it runs in."""

    NONE = auto()
    OPENS = auto()
    CLOSES = auto()
    KEEPS = auto()
    """It works on savepoints, or ends one transaction and begins the next."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Containment:
    """How a message is run read-only.

    ``needed`` is false where nothing in it could write.  ``undo``: what it does is undone afterwards.
    ``obstacle`` says why it cannot be run read-only, None if it can.  ``shares`` is false where it cannot be told
    to leave a transaction it runs in as it is, and to behave there as it would without: none of the gateway's own
    may be open around it then.  ``takes_data``: it may be a COPY from the client.
    """

    needed: bool = True
    undo: bool = False
    obstacle: str | None = None
    boundary: Boundary = Boundary.NONE
    shares: bool = True
    takes_data: bool = False


_OPENS: Final = words("BEGIN START")
_CLOSES: Final = words("COMMIT END ROLLBACK ABORT")
_KEEPS: Final = words("SAVEPOINT RELEASE")
_BOUNDARIES: Final = _OPENS | _CLOSES | _KEEPS
_STAYS_OPEN: Final = re.compile(r"\b(?:TO|CHAIN)\b", re.IGNORECASE)
_TWO_PHASE: Final = re.compile(r"\b(?:PREPARED|TRANSACTION\s+')", re.IGNORECASE)
_CONCURRENTLY: Final = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)

_CANNOT_WRITE: Final = _BOUNDARIES | words("SET RESET SHOW DISCARD LISTEN UNLISTEN PREPARE DEALLOCATE CLOSE")
"""Run as they are where nothing else is in the message: they act on the session, and some of them behave
differently, or not at all, inside a subtransaction."""

_RUNS_READ_ONLY: Final = words(
    """SELECT VALUES TABLE WITH INSERT UPDATE DELETE MERGE EXPLAIN COPY CALL DO EXECUTE FETCH MOVE NOTIFY FUNCTION
    TRUNCATE CREATE ALTER DROP GRANT REVOKE COMMENT SECURITY REASSIGN"""
)
"""By first key word; what writes among them PostgreSQL refuses (25006)."""

_SHARES: Final = (_RUNS_READ_ONLY - {"CALL", "DO"}) | (_CANNOT_WRITE - _BOUNDARIES - {"DISCARD"})
"""What runs inside a transaction as it does outside; a procedure may end its transaction only outside."""

_CONTAINED_LANGUAGES: Final = words("sql plpgsql plperl pltcl plv8")
"""PostgreSQL's own for everybody, and those of others that are trusted (chapter "Procedural Languages")."""

_CONTAINED_EXTENSIONS: Final = words(
    """amcheck autoinc bloom btree_gin btree_gist citext cube dict_int dict_xsyn earthdistance fuzzystrmatch hstore
    insert_username intagg intarray isn lo ltree moddatetime pageinspect pg_buffercache pg_freespacemap
    pg_logicalinspect pg_prewarm pg_stat_statements pg_trgm pg_walinspect pgcrypto pgrowlocks pgstattuple plpgsql
    refint seg sslinfo tablefunc tcn tsm_system_rows tsm_system_time unaccent uuid-ossp vector xml2"""
)
"""Their functions in C work on the database that they are in, and write to it only as SQL would.  Of PostgreSQL's
own, adminpack, dblink, file_fdw, pg_surgery, pg_visibility and postgres_fdw are left out: they do not."""

_UNDONE_WITH_IT: Final = words("SET RESET DISCARD LISTEN UNLISTEN")
_WRITES_LARGE_OBJECTS: Final = words(
    "lo_creat lo_create lo_from_bytea lo_put lo_truncate lo_truncate64 lo_unlink lowrite"
)
_REFUSES_TRANSACTIONS: Final = re.compile(
    r"(?:CREATE|ALTER|DROP) (?:DATABASE|TABLESPACE|SYSTEM|SUBSCRIPTION)\b"
)
_ROWS: Final = frozenset([Action.READ, Action.INSERT, Action.UPDATE, Action.DELETE, Action.CALL])
_REACHES_OUT: Final = frozenset([Nature.SERVER_FILE, Nature.REPLICATION])


def containment(facts: Facts, catalog: SchemaSnapshot) -> Containment:
    """How a message with these facts is run read-only in a database with these definitions."""
    if facts.unreadable is not None:
        return _UNREADABLE
    statements = facts.statements
    kinds = [_first_word(statement) for statement in statements]
    boundary = _boundary(statements, kinds)
    takes_data = any(map(_takes_data, statements))
    shares = boundary is Boundary.NONE and not takes_data and all(map(_SHARES.__contains__, kinds))
    if all(_cannot_write(statement, kind) for statement, kind in zip(statements, kinds, strict=True)):
        return Containment(needed=False, boundary=boundary, shares=shares)
    undo = any(map(_does_what_nobody_read, facts.effects)) or (
        catalog.server_version == 0 and _may_hide_code(facts)
    )
    return Containment(
        undo=undo,
        obstacle=_obstacle(facts, kinds) or (_keepsake(facts, kinds) if undo else None),
        boundary=boundary,
        shares=shares,
        takes_data=takes_data,
    )


def way_out(catalog: SchemaSnapshot) -> str | None:
    """What in a database may reach out of a transaction if code that nobody has read calls it; None: nothing.

    Code of a language that keeps to the database cannot, nor can the functions of extensions known not to.  Where
    nobody asked what is there, nothing is found.
    """
    if catalog.unavailable is not None:
        return f"it is not known what it could call ({catalog.unavailable})"
    for function in catalog.functions:
        if function.language in _CONTAINED_LANGUAGES or function.extension in _CONTAINED_EXTENSIONS:
            continue
        if function.kind == "a":
            # An aggregate is made of other functions.
            continue
        return f"{function.full_name}() may reach out of the database (language {function.language})"
    return None


def joint(several: Sequence[Containment]) -> Containment:
    """How a message is run read-only that may be any of several."""
    first = several[0]
    if all(one == first for one in several):
        return first
    boundaries = {one.boundary for one in several}
    obstacle = next((one.obstacle for one in several if one.obstacle is not None), None)
    if obstacle is None and len(boundaries) > 1:
        obstacle = "its name may stand for statements of different kinds"
    return Containment(
        needed=any(one.needed for one in several),
        undo=any(one.undo for one in several),
        obstacle=obstacle,
        boundary=first.boundary if len(boundaries) == 1 else Boundary.UNKNOWN,
        shares=all(one.shares for one in several),
        takes_data=any(one.takes_data for one in several),
    )


_UNREADABLE: Final = Containment(
    obstacle="its text cannot be read with certainty",
    boundary=Boundary.UNKNOWN,
    shares=False,
    takes_data=True,
)


def _may_hide_code(facts: Facts) -> bool:
    """Whether a relation is touched that could, for all that is known of it, be a view over code."""
    return any(effect.action in _ROWS and not _is_systems(effect.relation) for effect in facts.effects)


def _is_systems(relation: str | None) -> bool:
    return (relation or "").partition(".")[0] in ("pg_catalog", "information_schema")


def _does_what_nobody_read(effect: EffectFacts) -> bool:
    """Whether the effect is code nobody has read, or a change that a read-only transaction let pass once."""
    if effect.nature in (Nature.OPAQUE, Nature.READINGS_DIFFER):
        return True
    name = (effect.relation or "").rpartition(".")[2]
    return effect.action is Action.CALL and name in _WRITES_LARGE_OBJECTS


def _first_word(statement: StatementFacts) -> str:
    return statement.kind.upper().partition(" ")[0]


def _boundary(statements: tuple[StatementFacts, ...], kinds: list[str]) -> Boundary:
    if not any(
        kind in _BOUNDARIES or _is_two_phase(one) for kind, one in zip(kinds, statements, strict=True)
    ):
        return Boundary.NONE
    if len(statements) > 1 or _is_two_phase(statements[0]):
        return Boundary.UNKNOWN
    if kinds[0] in _OPENS:
        return Boundary.OPENS
    if kinds[0] in _KEEPS or _STAYS_OPEN.search(statements[0].sql):
        return Boundary.KEEPS
    return Boundary.CLOSES


def _is_two_phase(statement: StatementFacts) -> bool:
    kind = statement.kind.upper()
    if kind.startswith("PREPARE"):
        return kind != "PREPARE"
    return kind.partition(" ")[0] in _BOUNDARIES and _TWO_PHASE.search(statement.sql) is not None


def _takes_data(statement: StatementFacts) -> bool:
    """Whether it may be a COPY from the client: the server then reads nothing else until the data ends."""
    return _first_word(statement) == "COPY" and any(
        effect.action is Action.INSERT for effect in statement.effects
    )


def _cannot_write(statement: StatementFacts, kind: str) -> bool:
    return kind in _CANNOT_WRITE and not _is_two_phase(statement)


def _obstacle(facts: Facts, kinds: list[str]) -> str | None:
    for statement, kind in zip(facts.statements, kinds, strict=True):
        if kind in _BOUNDARIES or _is_two_phase(statement):
            return f"{statement.kind} is in the same message"
        if kind not in _RUNS_READ_ONLY and kind not in _CANNOT_WRITE:
            return f"{statement.kind} is not run inside a read-only transaction"
        if _REFUSES_TRANSACTIONS.match(statement.kind.upper()) or (
            kind in ("CREATE", "ALTER", "DROP") and _CONCURRENTLY.search(statement.sql)
        ):
            return f"{statement.kind} cannot run inside a transaction"
        if _takes_data(statement):
            return "COPY from the client is not run read-only"
        if kind == "EXECUTE" and any(effect.action not in _ROWS for effect in statement.effects):
            return "what EXECUTE stands for is not a query"
    for effect in facts.effects:
        if effect.nature in _REACHES_OUT:
            return f"a read-only transaction does not stop it ({effect.detail})"
        if effect.action is Action.SESSION and _may_switch_off(effect):
            return "it may set the transaction's own modes"
    return None


def _keepsake(facts: Facts, kinds: list[str]) -> str | None:
    """What else is in the message and must stay, though what it runs is undone."""
    kept = next((kind for kind in kinds if kind in _UNDONE_WITH_IT), None)
    if kept is None and any(effect.action is Action.SESSION for effect in facts.effects):
        kept = "set_config()"
    return (
        None if kept is None else f"what code did that nobody has read is undone, and {kept} would be with it"
    )


def _may_switch_off(effect: EffectFacts) -> bool:
    return effect.relation is None or effect.relation.startswith("transaction")
