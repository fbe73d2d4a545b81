"""What an approver wants to know of a statement before it runs: what to ask the database, and how to say it.

Everything here is planned and nothing is decided on it. A question is asked only if reading it shows that it reads
and does nothing else: code that is not PostgreSQL's own is never run for a preview, and where it would have to be,
the plan says what cannot be seen.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rules.builtin import words
from rules.caps import MAX_COMMENT_DEPTH
from rules.catalog import ForeignKey, Relation, SchemaSnapshot
from rules.counting import (
    CHANGES,
    Changing,
    NotCounted,
    Rows,
    bracketed,
    changing,
    parameters_of,
    quoted,
    rows_of,
)
from rules.facts import Action, Facts, Nature
from rules.functions import CARRIES_OUT
from rules.lexer import LexError
from rules.pgquery import GrammarError, Node, parse
from rules.titles import statement_name

MAX_TEXT: Final = 8 * 1024
"""Bytes of a message that is previewed: parsing it takes the event loop a few milliseconds."""
MAX_REACHED: Final = 24
"""Foreign keys that are followed from one statement."""
MAX_STEPS: Final = 5
"""Foreign keys that are followed one behind the other."""

_RULES: Final = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT", "r": "RESTRICT", "a": "NO ACTION"}
_SEEN: Final = (Nature.PLAIN, Nature.NOT_CROSS_CHECKED)

_ANSWERS_DIFFER: Final = words(
    """random random_normal setseed gen_random_uuid uuidv4 uuidv7 clock_timestamp timeofday nextval setval currval
    lastval pg_backend_pid pg_my_temp_schema current_setting inet_client_addr inet_client_port pg_sleep
    pg_sleep_for pg_sleep_until txid_current pg_current_xact_id txid_current_if_assigned
    pg_current_xact_id_if_assigned pg_export_snapshot current_query pg_stat_get_xact_numscans"""
)
"""Functions that act, or that answer another session, or at another moment, otherwise."""
_ACTS: Final = ("pg_advisory_", "pg_try_advisory_", "lo_", "pg_logical_", "pg_replication_")
_WHO_ASKS: Final = ("USER", "ROLE")

Read = Callable[[bytes], Facts]
"""Reads a message as the session would that asks."""


@dataclass(frozen=True, slots=True)
class Question:
    """One query and the numbers of the statement's parameters in it. Its answer is one value, or a plan in JSON."""

    sql: str
    parameters: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Reached:
    """Rows that refer to those which change: of ``relation``, by the foreign key ``constraint`` to ``parent``.

    ``rule`` is what the key does about them, in SQL's words. ``question`` is None where they cannot be counted.
    """

    relation: str
    constraint: str
    parent: str
    rule: str
    question: Question | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing in the message that changes rows: ``action`` is delete, update or truncate.

    ``triggers`` are those that would run, as ``table: name (function)``; ``unseen`` what a count would not show.
    """

    action: str
    relation: str
    question: Question | None
    reached: tuple[Reached, ...] = ()
    triggers: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Impact:
    """What to ask about one message. ``reads`` are answered by the planner's plan, without running anything."""

    changes: tuple[Change, ...] = ()
    reads: tuple[Question, ...] = ()
    unseen: tuple[str, ...] = ()


def plan_impact(sql: bytes, catalog: SchemaSnapshot, read: Read) -> Impact:
    """The questions about a message; it never raises for what the message holds."""
    if sql.count(b"/*") > MAX_COMMENT_DEPTH:
        return Impact(unseen=("a text of so many comments is not previewed",))
    if len(sql) > MAX_TEXT:
        return Impact(unseen=(f"a text of more than {MAX_TEXT} bytes is not previewed",))
    try:
        statements = parse(sql).statements
    except (GrammarError, RecursionError) as error:
        return Impact(unseen=(f"the statement cannot be read: {error}",))
    plan = _Plan(catalog, read)
    if len(statements) > 1:
        plan.unseen.append("every statement is counted as things are before the first of them runs")
    for kind, fields, raw in statements:
        plan.statement(kind, fields, raw.decode())
    return Impact(tuple(plan.changes), tuple(plan.reads), tuple(dict.fromkeys(plan.unseen)))


@dataclass(slots=True)
class _Plan:
    catalog: SchemaSnapshot
    read: Read
    changes: list[Change] = field(default_factory=list)
    reads: list[Question] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def statement(self, kind: str, fields: Node, text: str) -> None:
        found = list(changing(kind, fields, text))
        for one in found:
            if one.kind in CHANGES:
                self.changes.append(self._change(one))
            elif one.kind == "MergeStmt":
                self.unseen.append("the rows that a MERGE would change are not counted")
        if kind == "SelectStmt" and not found:
            self._estimate(text)
        elif kind == "CopyStmt" and not fields.get("is_from"):
            self._copy(fields, text)
        elif kind == "TruncateStmt":
            for one in fields["relations"]:
                self._truncate(one["RangeVar"], cascade=fields.get("behavior") == "DROP_CASCADE")
        elif not found and kind not in ("TransactionStmt", "InsertStmt"):
            self.unseen.append(f"{statement_name(kind, fields)} is not previewed")

    def _change(self, one: Changing) -> Change:
        action = CHANGES[one.kind]
        written = one.fields["relation"]
        name = ".".join(filter(None, (written.get("schemaname"), written["relname"])))
        try:
            rows = rows_of(one)
            known = self._target(rows)
        except NotCounted as why:
            return Change(action, name, None, unseen=(f"not counted: {why}",))
        columns: frozenset[str] = frozenset()
        if action == "update":
            columns = frozenset(target["ResTarget"]["name"] for target in one.fields["targetList"])
        unseen: list[str] = []
        if known.row_security:
            unseen.append(f"row-level security of {known.full_name} may hide rows from the login that counts")
        unseen += [
            f"rule {rule.name} of {known.full_name} puts other statements in place of or beside this one"
            for rule in known.rules
            if rule.event == action
        ]
        if known.kind == "v":
            unseen.append(f"{known.full_name} is a view: what follows in the tables behind it is not counted")
            question = Question(rows.whole("pg_catalog.count(*)"), parameters_of(rows.whole("1")))
            return Change(action, known.full_name, question, unseen=tuple(unseen))
        walk = _Walk(self.catalog, rows, known, action, columns)
        reached = tuple(walk.reached())
        return Change(
            action, known.full_name, walk.count(), reached, tuple(walk.triggers), (*unseen, *walk.unseen)
        )

    def _target(self, rows: Rows) -> Relation:
        """The table that changes, once it is known that counting its rows only reads. Raises NotCounted."""
        query = rows.whole("1").encode()
        facts = self.read(query)
        why = _beyond_reading(facts) or _depends(query)
        if why is not None:
            raise NotCounted(why)
        # The reader names what it resolved; the target stands first among what FROM names.
        wanted = rows.relation
        places = {effect.relation for effect in facts.effects if effect.relation is not None}
        found = [
            known
            for known in self.catalog.relations
            if known.name == wanted["relname"]
            and known.full_name in places
            and wanted.get("schemaname", known.schema) == known.schema
        ]
        if len(found) != 1:
            raise NotCounted("it is not known which table it changes")
        if found[0].schema.startswith("pg_temp"):
            raise NotCounted("only its own session sees a temporary table")
        return found[0]

    def _estimate(self, text: str) -> None:
        why = _beyond_reading(self.read(text.encode()))
        try:
            numbers = parameters_of(text)
        except LexError as error:
            why = why or str(error)
        if why is not None:
            self.unseen.append(f"the rows it reads are not estimated: {why}")
            return
        self.reads.append(Question(f"EXPLAIN (FORMAT JSON) {text}", numbers))

    def _copy(self, fields: Node, text: str) -> None:
        try:
            if "query" in fields:
                kind, tree = next(iter(fields["query"].items()))
                query = bracketed(text, "copy")
                if kind != "SelectStmt" or list(changing(kind, tree, query)):
                    raise NotCounted("it copies what a change returns")
            else:
                query = f"SELECT * FROM {_written(fields['relation'])}"
        except NotCounted as why:
            self.unseen.append(f"the rows it reads are not estimated: {why}")
            return
        self._estimate(query)

    def _truncate(self, relation: Node, *, cascade: bool) -> None:
        name = _written(relation)
        why = _beyond_reading(self.read(f"SELECT 1 FROM {name}".encode()))
        unseen = ["the tables that refer to it are emptied too, and not counted"] if cascade else []
        question = None if why else Question(f"SELECT pg_catalog.count(*) FROM {name}")
        if why:
            unseen.append(f"not counted: {why}")
        self.changes.append(Change("truncate", relation["relname"], question, unseen=tuple(unseen)))


class _Walk:
    """From the rows that change along the foreign keys to the rows that refer to them."""

    def __init__(
        self, catalog: SchemaSnapshot, rows: Rows, target: Relation, action: str, columns: frozenset[str]
    ) -> None:
        self._catalog = catalog
        self._rows = rows
        self._target = target
        self._action = action
        self._columns = columns
        self._found = 0
        self.triggers: list[str] = []
        self.unseen: list[str] = []
        for one in self._family(target):
            self._note_triggers(one, action, columns)

    def count(self) -> Question:
        """How many rows change."""
        return self._question([self._first(())], 0)

    def reached(self) -> Iterator[Reached]:
        """Everything that refers to the rows, near and far, the nearest first."""
        waiting: list[tuple[list[tuple[ForeignKey, str]], Relation, str, frozenset[str]]] = [
            ([], self._target, self._action, self._columns)
        ]
        while waiting:
            trail, parent, action, columns = waiting.pop(0)
            for key, rule, child in self._referring(parent, action, columns):
                if self._found >= MAX_REACHED or len(trail) >= MAX_STEPS:
                    self.unseen.append(f"foreign keys are not followed further than {parent.full_name}")
                    return
                self._found += 1
                further = [*trail, (key, action)]
                yield Reached(child.full_name, key.name, parent.full_name, rule, self._count_at(further))
                if rule in ("CASCADE", "NO ACTION", "RESTRICT"):
                    # What a key stops is followed too: it is what has to be removed first.
                    waiting.append((further, child, action, frozenset(key.columns)))
                if rule in ("CASCADE", "SET NULL", "SET DEFAULT"):
                    becomes = "delete" if rule == "CASCADE" and action == "delete" else "update"
                    for one in self._family(child):
                        self._note_triggers(one, becomes, frozenset(key.columns))

    def _family(self, relation: Relation) -> list[Relation]:
        """A table with all that inherits from it."""
        family = [relation]
        for one in family:
            children = self._catalog.children.get(one.oid, ())
            family += [self._catalog.by_oid[oid] for oid in children if oid in self._catalog.by_oid]
        return family

    def _referring(
        self, parent: Relation, action: str, columns: frozenset[str]
    ) -> Iterator[tuple[ForeignKey, str, Relation]]:
        """The foreign keys to a table that a change of its rows concerns, with what they do and whose they are."""
        for key in self._catalog.referring.get(parent.oid, ()):
            child = self._catalog.by_oid.get(key.child)
            if child is None or child.is_partition:
                # A partition has its partitioned table's keys once more.
                continue
            if action == "update" and not columns & set(key.parent_columns):
                continue
            yield key, _RULES.get(key.on_delete if action == "delete" else key.on_update, "NO ACTION"), child
        for one in self._family(parent)[1:]:
            if any(
                (key.child, key.columns)
                not in {(own.child, own.columns) for own in self._catalog.referring.get(parent.oid, ())}
                for key in self._catalog.referring.get(one.oid, ())
            ):
                self.unseen.append(
                    f"what refers to {one.full_name}, a part of {parent.full_name}, is not counted"
                )

    def _count_at(self, trail: list[tuple[ForeignKey, str]]) -> Question | None:
        """How many rows stand at the end of a trail of foreign keys."""
        steps = [self._first(trail[0][0].parent_columns)]
        for at, (key, _) in enumerate(trail):
            child = self._catalog.by_oid[key.child]
            needed = trail[at + 1][0].parent_columns if at + 1 < len(trail) else ()
            columns = ", ".join(f"c.{quoted(column)}" for column in needed) or "1"
            pairs = zip(key.columns, key.parent_columns, strict=True)
            # By name, so that no operator of the session's own stands in for equality.
            meets = " AND ".join(
                f"c.{quoted(own)} OPERATOR(pg_catalog.=) p.{quoted(theirs)}" for own, theirs in pairs
            )
            table = f"{quoted(child.schema)}.{quoted(child.name)}"
            steps.append(
                f"SELECT {columns} FROM {table} c WHERE EXISTS (SELECT FROM {_step(at)} p WHERE {meets})"
            )
        return self._question(steps, len(trail))

    def _first(self, columns: Iterable[str]) -> str:
        name = self._rows.name
        wanted = [f"{name}.{quoted(column)}" for column in columns]
        if self._rows.joined:
            # A row that several rows of other tables meet changes once.
            wanted = [f"{name}.tableoid", f"{name}.ctid", *wanted]
        return self._rows.select(", ".join(wanted) or "1", distinct=self._rows.joined)

    def _question(self, steps: list[str], last: int) -> Question:
        ctes = [f"{_step(at)} AS ({sql}\n)" for at, sql in enumerate(steps)]
        parts = ", ".join(filter(None, (self._rows.ctes, *ctes)))
        sql = f"WITH {parts} SELECT pg_catalog.count(*) FROM {_step(last)}"
        return Question(sql, parameters_of(sql))

    def _note_triggers(self, relation: Relation, action: str, columns: frozenset[str]) -> None:
        for trigger in relation.triggers:
            if action not in trigger.events:
                continue
            if action == "update" and trigger.columns and not columns & set(trigger.columns):
                continue
            function = self._catalog.functions_by_oid.get(trigger.function)
            runs = f" ({function.full_name})" if function is not None else ""
            text = f"{relation.full_name}: {trigger.name}{runs}"
            if text not in self.triggers:
                self.triggers.append(text)


def _step(number: int) -> str:
    return f'"holdgate {number}"'


def _written(relation: Node) -> str:
    """A table's name as the statement wrote it, quoted."""
    names = (relation.get("schemaname"), relation["relname"])
    only = "" if relation.get("inh") else "ONLY "
    return only + ".".join(quoted(name) for name in names if name)


def _beyond_reading(facts: Facts) -> str | None:
    """What a query does beyond reading what is known, in words; None: nothing."""
    if facts.unreadable is not None:
        return facts.unreadable
    for effect in facts.effects:
        if effect.nature not in _SEEN:
            return effect.detail or f"it runs {effect.relation}"
        if effect.action is not Action.READ and effect.nature is Nature.PLAIN:
            return effect.detail or f"it does more than read ({effect.action})"
    if facts.runs_code_when_planned or facts.changes_context:
        return "it runs code that is not PostgreSQL's own"
    return None


def _depends(query: bytes) -> str | None:
    """What in a query answers another session otherwise, or does something each time it is asked; None: nothing."""
    stack: list[Any] = [fields for _, fields, _ in parse(query).statements]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
            continue
        if not isinstance(node, dict):
            continue
        stack.extend(node.values())
        if "funcname" in node:
            name = node["funcname"][-1]["String"]["sval"]
            if name in _ANSWERS_DIFFER or name in CARRIES_OUT or name.startswith(_ACTS):
                return f"{name}() acts, or answers every session otherwise"
        value = node.get("SQLValueFunction", {}).get("op", "")
        if value.endswith(_WHO_ASKS):
            return "it depends on who asks"
    return None
