"""What a message would do, before anyone has said whether it may.

Facts depend on the text, on the session it runs in, and on which relations hold personal data; never on who
asks or on the time of day.  That is why they can be kept while verdicts change.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from rules.catalog import Relation
from rules.cursors import CursorAct, CursorStep


class Action(StrEnum):
    """What is done to a relation, a function or the session."""

    READ = "read"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    DDL = "ddl"
    GRANT = "grant"
    CALL = "call"
    SESSION = "session"
    UTILITY = "utility"
    REPLICATION = "replication"


class Nature(StrEnum):
    """Why an effect that no rule matches gets the default it gets."""

    PLAIN = "otherwise"
    UNREADABLE = "unreadable"
    READINGS_DIFFER = "readings_differ"
    NOT_CROSS_CHECKED = "not_cross_checked"
    UNKNOWN_RELATION = "unknown_relation"
    OPAQUE = "opaque_function"
    SERVER_FILE = "server_files"
    GUARDED = "guarded_settings"
    REPLICATION = "replication"


@dataclass(frozen=True, slots=True)
class RowBound:
    """How many rows, counted in subjects, an effect can reach at most.

    ``point``: equality on the subject column, so one subject.  ``bounded``: at most ``n``.  ``unbounded``: no
    limit could be proven, ``n`` is None.
    """

    kind: Literal["point", "bounded", "unbounded"]
    n: int | None

    def __str__(self) -> str:
        return f"BOUNDED({self.n})" if self.kind == "bounded" else self.kind.upper()

    @property
    def most(self) -> float:
        """The bound as a number, infinite when there is none."""
        return float("inf") if self.n is None else self.n

    @staticmethod
    def at_most(n: int) -> "RowBound":
        """At most ``n`` rows; a negative ``n`` counts as none."""
        return RowBound("bounded", max(n, 0))


POINT: Final = RowBound("point", 1)
UNBOUNDED: Final = RowBound("unbounded", None)


@dataclass(frozen=True, slots=True)
class ParameterBound:
    """A bound that only a bound parameter knows: ``LIMIT $1`` or ``= ANY($1)``.  ``index`` counts from 0."""

    index: int
    kind: Literal["limit", "array"]


@dataclass(frozen=True, slots=True)
class EffectFacts:
    """One thing a statement does.

    ``relation`` is ``schema.name``, a name as written where the schema is not known, ``schema.*`` for all of a
    schema, a function's name for a call, a setting's name for a session effect; None means "could be any".
    ``columns`` are those exposed (read) or written; ``*`` stands for columns that are not known one by one.
    ``personal`` are the personal ones among them; empty for a read means that no personal value leaves.
    ``touches_personal`` says whether the relation holds personal data at all, and ``classes`` of which kind.
    ``parameter_bounds`` may narrow ``row_bound`` once the parameters are known.
    ``erases``: an update that blanks personal columns (NULL, or a value that says nothing).
    ``resets``: a setting goes back to its default.
    ``detail`` is for people: which function, which file, which setting.
    """

    action: Action
    relation: str | None = None
    columns: tuple[str, ...] = ()
    row_bound: RowBound = UNBOUNDED
    personal: tuple[str, ...] = ()
    touches_personal: bool = False
    classes: frozenset[str] = frozenset()
    nature: Nature = Nature.PLAIN
    detail: str = ""
    parameter_bounds: tuple[ParameterBound, ...] = ()
    erases: bool = False
    resets: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What the command tags of a statement say of the rows it changes (rules.tallies).

    ``counts``: a tag counts rows of it.  ``why`` there are others that none counts; None if there are not.
    ``executes``: it is what the prepared statement of this name is.
    """

    counts: bool = False
    why: str | None = None
    executes: str | None = None


_UNTALLIED: Final = Tally(why="it is not known which rows it changes")


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """One statement: ``kind`` is its leading key words (``SELECT``, ``CREATE TABLE AS``), ``sql`` its own text.

    ``readings`` tells how it was read: by ``both`` readers, by ``one`` (PostgreSQL's grammar), or so that they
    ``differ``; ``none`` where it could not be read.
    """

    kind: str
    sql: str
    effects: tuple[EffectFacts, ...] = ()
    readings: str = "none"
    tally: Tally = _UNTALLIED


_ANYTHING: Final = (CursorStep(CursorAct.CODE),)


@dataclass(frozen=True, slots=True)
class Facts:
    """A whole message: every statement in it, and what the session must remember of it.

    ``unreadable`` says why the text could not be read with certainty; None means that it was.  ``ungrammatical``:
    because it is no statement of PostgreSQL's grammar, as far as is known here.
    ``changes_context``: search_path, role or settings may differ afterwards, so the next statement waits for it.
    ``runs_code_when_planned``: binding alone may run code (unreadable text, or functions and operators that are
    not PostgreSQL's own and may claim to be immutable).
    ``prepares`` and ``deallocates`` (None: all) name what SQL-level commands create or drop, and ``cursors`` tells, in
    order, what becomes of the session's cursors. ``prepared_types`` are the types (OIDs) of somebody's own that each of
    what it prepares names for its arguments.
    ``changes_catalog``: once it succeeded, the definitions of the database may differ.  ``creates`` are the
    relations it makes, for the session to know until the catalog is read again; ``fills`` those that are there and
    into which it puts copies of personal columns, with these in ``copied``.  ``missing`` are the relations,
    functions and types it names that the catalog does not know: reading the catalog again may help.
    ``session_dependent``: the effects came from prepared statements or cursors of the session.
    """

    statements: tuple[StatementFacts, ...] = ()
    unreadable: str | None = None
    changes_context: bool = False
    runs_code_when_planned: bool = False
    prepares: tuple[tuple[str, str], ...] = ()
    prepared_types: tuple[tuple[int, ...], ...] = ()
    deallocates: tuple[str | None, ...] = ()
    cursors: tuple[CursorStep, ...] = ()
    changes_catalog: bool = False
    creates: tuple[Relation, ...] = ()
    fills: tuple[Relation, ...] = ()
    missing: tuple[str, ...] = ()
    session_dependent: bool = field(default=False, compare=False)
    ungrammatical: bool = False

    @property
    def effects(self) -> tuple[EffectFacts, ...]:
        """The effects of all statements, in order."""
        return tuple(effect for statement in self.statements for effect in statement.effects)

    def __post_init__(self) -> None:
        # Whoever makes facts: what nobody read may do anything to cursors.
        if self.unreadable is not None:
            object.__setattr__(self, "cursors", _ANYTHING)
        elif self.runs_unread_code and all(step.act is not CursorAct.CODE for step in self.cursors):
            object.__setattr__(self, "cursors", _ANYTHING + self.cursors)

    @property
    def runs_unread_code(self) -> bool:
        """Whether something runs that nobody read."""
        return self.unreadable is not None or any(effect.nature is Nature.OPAQUE for effect in self.effects)

    @property
    def changes_reading(self) -> bool:
        """Whether a text may be read otherwise afterwards: names may stand for others, or strings end elsewhere.

        What could not be read, or runs code that nobody read, may have done anything.
        """
        if self.runs_unread_code:
            return True
        if self.changes_catalog or any(
            effect.action in (Action.DDL, Action.GRANT) for effect in self.effects
        ):
            # A schema that comes or goes, or may no longer be used, changes what is searched.
            return True
        return self.changes_context and any(_may_change_reading(effect) for effect in self.effects)

    @property
    def has_parameter_bounds(self) -> bool:
        """Whether the verdict may depend on the parameters' values."""
        return any(effect.parameter_bounds for effect in self.effects)


READING_SETTINGS: Final = frozenset(
    ["search_path", "role", "session_authorization", "standard_conforming_strings", "client_encoding"]
)
"""What decides how texts are read in a session, and what names in them stand for."""


def _may_change_reading(effect: EffectFacts) -> bool:
    """Whether an effect may be the one for which ``changes_context`` was set."""
    if effect.action is Action.SESSION:
        return effect.relation is None or effect.relation in READING_SETTINGS
    return effect.action is Action.CALL
