"""Statements of every kind: the allow-list of root nodes, and the reader for each.

A kind that is not listed is unreadable.  Queries go to rules.queries, definitions to rules.definitions; what is
about the session (settings, prepared statements, cursors, COPY, EXPLAIN) is read here.
Source: PostgreSQL's ``parsenodes.h``; documentation part VI, "SQL Commands".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rules.alterations import Alterations
from rules.bodies import Bodies
from rules.catalog import Relation
from rules.cursors import CursorStep, OpenCursors, cursor_steps
from rules.definitions import Definitions
from rules.facts import Action, EffectFacts, Nature
from rules.findings import Findings, Frame, Write
from rules.lineage import Output, Scope, Shape
from rules.losses import Losses
from rules.maintenance import Maintenance
from rules.personal import ALL
from rules.pgquery import GrammarError, Node, Parsed, parse
from rules.privileges import Privileges
from rules.queries import Queries
from rules.reader import Unreadable, read_text
from rules.settings import assignment, search_path
from rules.titles import PLAIN, TRANSACTION, statement_name
from rules.world import TEMPORARY, World

MAX_EXECUTE_DEPTH: Final = 8
"""Prepared statements that prepare or execute others; nobody honest goes further."""

QUERIES: Final = frozenset(["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"])
_NAMES_NOTHING: Final = frozenset(
    [
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
        "DiscardStmt",
        "DeallocateStmt",
        "ClosePortalStmt",
    ]
)
_KEEPS_SETTINGS: Final = frozenset(
    ["TRANS_STMT_BEGIN", "TRANS_STMT_START", "TRANS_STMT_SAVEPOINT", "TRANS_STMT_RELEASE"]
)
_EXCLUSIVE: Final = 7
"""As in ``lockdefs.h``: from here on nobody else can write."""
_EXPLAINED: Final = QUERIES | frozenset(
    ["DeclareCursorStmt", "CreateTableAsStmt", "RefreshMatViewStmt", "ExecuteStmt"]
)


class Statements:
    """Reads the statements of one message into findings."""

    def __init__(
        self,
        world: World,
        prepared: Mapping[str, tuple[str, ...]],
        cursors: OpenCursors,
        path: tuple[str, ...],
        parameter_types: tuple[int, ...] = (),
    ) -> None:
        self._prepared = {name: list(texts) for name, texts in prepared.items()}
        self._cursors = cursors
        self._path = path
        self._parameter_types = parameter_types
        self._next_path: tuple[str, ...] | None = None
        self._path_changed = False
        self._path_lost: str | None = None
        self._depth = 0
        self._own_text = ""
        self.findings = Findings(world, self)
        self.definitions = Definitions(self)
        self.alterations = Alterations(self)
        self.losses = Losses(self)
        self.privileges = Privileges(self)
        self.maintenance = Maintenance(self)
        self.session_dependent = False
        self.prepares: list[tuple[str, str]] = []
        self.prepared_types: list[tuple[int, ...]] = []
        self.deallocates: list[str | None] = []
        self.cursor_steps: list[CursorStep] = []
        self._position = -1
        self.created_relations: list[Relation] = []
        self.filled_relations: dict[int, Relation] = {}
        self.changes_context = self.changes_catalog = self.calls_code = False
        self.missing: dict[str, None] = {}
        self._relations_met = self._calls_met = 0

    def message_statement(self, kind: str, fields: Node, text: str) -> tuple[str, tuple[EffectFacts, ...]]:
        """One statement of the message: its name for people, and its effects.  Raises Unreadable."""
        self._own_text = text
        self._position += 1
        self.findings = Findings(self.findings.world, self, doubtful=self._position > 0)
        if self._path_lost is not None and kind not in _NAMES_NOTHING:
            raise Unreadable(
                f"{statement_name(kind, fields)} stands behind {self._path_lost} in one message, which may change "
                "what it means"
            )
        frame = Frame(self._path)
        self._next_path = None
        Bodies(self.findings).parameters(self._parameter_types, frame)
        shape = self.statement(kind, fields, frame, Scope())
        self.findings.expose(shape.everything())
        self._follow_path(kind, fields)
        self._follow_cursors(kind, fields)
        return statement_name(kind, fields), self.findings.facts()

    def _follow_path(self, kind: str, fields: Node) -> None:
        """What names stand for in the statements behind this one."""
        if self._next_path is not None:
            self._path, self._path_changed = self._next_path, True
            return
        ends = kind == "TransactionStmt" and fields["kind"] not in _KEEPS_SETTINGS
        if self._runs_unread_code or self.findings.changes_path or (self._path_changed and ends):
            self._path_lost = statement_name(kind, fields)

    def _follow_cursors(self, kind: str, fields: Node) -> None:
        """Which cursors are known to the statements behind this one."""
        code = self._runs_unread_code or self.findings.opens_cursors
        steps = cursor_steps(kind, fields, self._position, code=code)
        self.cursor_steps.extend(steps)
        self._cursors = self._cursors.after(steps)

    @property
    def _runs_unread_code(self) -> bool:
        return any(effect.nature is Nature.OPAQUE for effect in self.findings.effects)

    def statement(self, kind: str, fields: Node, frame: Frame, scope: Scope) -> Shape:
        """A statement wherever it stands: in the message, in a function's body, in another statement."""
        if kind in QUERIES:
            return self.query(kind, fields, frame, scope)
        if kind in PLAIN:
            self._utility(PLAIN[kind])
            return Shape()
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, fields, frame)
            return Shape()
        if self.maintenance.handles(kind, fields, frame):
            return Shape()
        self.definitions.read(kind, fields, frame)
        return Shape()

    def query(self, kind: str, fields: Node, frame: Frame, scope: Scope) -> Shape:
        """A query; what it returns."""
        queries = Queries(self.findings, frame)
        queries.bodies.own_casts(frame)
        shape = queries.statement(kind, fields, scope)
        self._count(queries, frame)
        return shape

    def expressions(self, nodes: Iterable[Node], frame: Frame, *, shown: bool = False) -> None:
        """Expressions that stand by themselves: arguments, defaults, conditions.

        ``shown``: their values end where they can be read.
        """
        queries = Queries(self.findings, frame)
        queries.bodies.own_casts(frame)
        scope = Scope(variables=True)
        for node in nodes:
            origins = queries.origins(node, scope)
            if shown:
                self.findings.expose(origins)
        self._count(queries, frame)

    def types(self, names: Iterable[Node], frame: Frame) -> tuple[int, ...]:
        """Values become of these types; those of them that are somebody's own."""
        queries = Queries(self.findings, frame)
        found = [queries.type_used(one) for one in names]
        return tuple(one.oid for one in found if one is not None)

    def operators(self, names: Iterable[list[Node]], frame: Frame) -> None:
        """Operators are called, each given by the parts of its name."""
        queries = Queries(self.findings, frame)
        for one in names:
            queries.named_operator(one)

    def _count(self, queries: Queries, frame: Frame) -> None:
        if not frame.depth:
            self._relations_met += len(queries.seen_relations)
            self._calls_met += len(queries.seen_calls)

    def collect(self) -> None:
        """Take over what the statement just read means for the session."""
        found = self.findings
        self.changes_context |= found.changes_context
        self.changes_catalog |= found.changes_catalog
        self.calls_code |= found.calls_code
        for oid, filled in found.fills.items():
            if filled.copied:
                earlier = self.filled_relations.get(oid, filled)
                copied = tuple(dict.fromkeys((*earlier.copied, *filled.copied)))
                self.filled_relations[oid] = replace(filled, copied=copied)
        self.missing.update(found.missing)
        self.missing.update((one.relation, None) for one in found.references if not one.exists)

    def met(self, parsed: Parsed) -> bool:
        """Whether every relation and every call in the trees was met: nothing was passed over."""
        if not all(kind in QUERIES for kind, _, _ in parsed.statements):
            # Definitions name relations and functions in many other places.
            return True
        return self._relations_met == parsed.relations and self._calls_met == parsed.calls

    def _utility(self, detail: str, relation: str | None = None) -> None:
        self.findings.note(EffectFacts(Action.UTILITY, relation, detail=detail))

    def _transaction(self, fields: Node, frame: Frame) -> None:
        self._utility(TRANSACTION[fields["kind"]])

    # -- SQL-level prepared statements and cursors ----------------------------------------------------------

    def _prepare(self, fields: Node, frame: Frame) -> None:
        name = fields["name"]
        text = _after_as(self._own_text)
        if frame.depth:
            raise Unreadable("PREPARE inside of a function")
        types = self.types((one["TypeName"] for one in fields.get("argtypes", ())), frame)
        self.prepares.append((name, text))
        self.prepared_types.append(types)
        # A PREPARE that fails because the name is taken leaves the older text in place.
        self._prepared.setdefault(name, []).append(text)
        self._utility(f"prepares {name}")

    def _execute(self, fields: Node, frame: Frame) -> None:
        self.executed(fields, frame)

    def executed(self, fields: Node, frame: Frame) -> Shape:
        """EXECUTE: every text the name may stand for; what it returns."""
        name = fields["name"]
        self.expressions(fields.get("params", ()), frame)
        self.session_dependent = True
        texts = self._prepared.get(name)
        if not texts:
            raise Unreadable(f"EXECUTE of {name}, which is not known to be prepared")
        self._depth += 1
        if self._depth > MAX_EXECUTE_DEPTH:
            raise Unreadable("prepared statements that execute one another")
        shape = Shape()
        for text in list(texts):
            try:
                statements = parse(text.encode("utf-8", "surrogateescape")).statements
            except GrammarError as error:
                raise Unreadable(f"what {name} stands for: {error}") from None
            for kind, each, _ in statements:
                # The command tag does not tell what another kind of statement did.
                self.findings.opens_cursors |= kind not in QUERIES
                # $1 in the prepared text is an argument of EXECUTE, not a parameter of the message.
                shape = self.statement(kind, each, replace(frame, variables=True), Scope(variables=True))
                self.findings.expose(shape.everything())
        self._depth -= 1
        return shape

    def _deallocate(self, fields: Node, frame: Frame) -> None:
        name = fields.get("name")
        self.deallocates.append(name)
        self._utility(f"forgets {name or 'all prepared statements'}")

    def _declare(self, fields: Node, frame: Frame) -> None:
        kind, query = next(iter(fields["query"].items()))
        shape = self.query(kind, query, frame, Scope())
        self.findings.expose(shape.everything())
        self._inside_code(frame)

    def _fetch(self, fields: Node, frame: Frame) -> None:
        name = fields["portalname"]
        self.session_dependent = True
        self._inside_code(frame)
        if name not in self._cursors.names and not frame.depth:
            raise Unreadable(f"FETCH or MOVE in {name}, a cursor that is not known")
        self._utility(f"reads on in {name}")

    def _close(self, fields: Node, frame: Frame) -> None:
        self._inside_code(frame)
        self._utility(f"closes {fields.get('portalname', 'all cursors')}")

    def _inside_code(self, frame: Frame) -> None:
        """Code that works on cursors may do so on those of the session."""
        self.findings.opens_cursors |= frame.depth > 0

    # -- the session ----------------------------------------------------------------------------------------

    def _set(self, fields: Node, frame: Frame) -> None:
        """SET and RESET in all their forms (reference page of SET and those it points to)."""
        self.findings.session(assignment(fields))
        path = search_path(fields)
        if path is not None and not frame.depth:
            self._next_path = path

    def _discard(self, fields: Node, frame: Frame) -> None:
        target = fields.get("target", "DISCARD_ALL")
        everything = target == "DISCARD_ALL"
        effect = EffectFacts(Action.SESSION, detail=target.replace("_", " ").lower(), resets=everything)
        if everything:
            self.deallocates.append(None)
            self.findings.session(effect)
        else:
            self.findings.note(effect)

    # -- EXPLAIN and COPY -----------------------------------------------------------------------------------

    def _explain(self, fields: Node, frame: Frame) -> None:
        kind, query = next(iter(fields["query"].items()))
        if kind not in _EXPLAINED:
            raise Unreadable("EXPLAIN of what cannot be explained")
        runs = False
        for option in fields.get("options", ()):
            element = option["DefElem"]
            if element["defname"] in ("analyze", "analyse"):
                runs = _is_on(element.get("arg"))
        inner = frame if runs else replace(frame, planned=True)
        shape = self.statement(kind, query, inner, Scope())
        if runs:
            # ANALYZE throws the rows away, but an estimate and a filter's count say something of them.
            self.findings.expose(shape.everything())

    def _copy(self, fields: Node, frame: Frame) -> None:
        self._copy_place(fields)
        query = fields.get("query")
        if query is not None:
            kind, each = next(iter(query.items()))
            if kind not in QUERIES:
                raise Unreadable("COPY of what is no query")
            self.findings.expose(self.query(kind, each, frame, Scope()).everything())
            return
        relation = fields["relation"]
        columns = tuple(one["String"]["sval"] for one in fields.get("attlist", ()))
        queries = Queries(self.findings, frame)
        if fields.get("is_from"):
            scope = Scope()
            reference = queries.target(relation, scope)
            queries.changed(Action.INSERT, reference, scope, columns or (ALL,))
            if "whereClause" in fields:
                queries.consider(fields["whereClause"], scope)
        else:
            shape = queries.relation(relation.get("schemaname"), relation["relname"])
            queries.seen_relations.add(id(relation))
            found = [shape.column(column) for column in columns]
            for one in found:
                self.findings.expose(one.origins if one is not None else shape.everything())
            if not columns:
                self.findings.expose(shape.everything())
        self._count(queries, frame)

    def _copy_place(self, fields: Node) -> None:
        place = fields.get("filename")
        if place is None:
            return
        program = fields.get("is_program")
        what = f"a program on the server: {place}" if program else f"a file on the server: {place}"
        name = "copy program" if program else "copy file"
        self.findings.note(
            EffectFacts(Action.CALL, name, nature=Nature.SERVER_FILE, detail=f"COPY with {what}")
        )

    # -- code and locks -------------------------------------------------------------------------------------

    def _do(self, fields: Node, frame: Frame) -> None:
        language, text = "plpgsql", None
        for option in fields.get("args", ()):
            element = option["DefElem"]
            if element["defname"] == "language":
                language = element["arg"]["String"]["sval"]
            elif element["defname"] == "as":
                text = element["arg"]["String"].get("sval", "")
        if language != "plpgsql" or text is None:
            self.findings.opaque("do", f"DO runs code in {language}, which is not read", frame.trail)
            return
        self.findings.note(EffectFacts(Action.CALL, "do", detail="runs a DO block"))
        # What a block runs may change the session, and commit in the middle.
        self.findings.changes_context = True
        try:
            Bodies(self.findings).block(text, frame.into("DO", variables=True))
        except GrammarError as error:
            raise Unreadable(f"the DO block: {error}") from None

    def _call(self, fields: Node, frame: Frame) -> None:
        self.findings.changes_context = True
        self.expressions([{"FuncCall": fields["funccall"]}], frame)

    def _load(self, fields: Node, frame: Frame) -> None:
        why = "LOAD runs a library of the server"
        self.findings.note(EffectFacts(Action.CALL, "load", nature=Nature.SERVER_FILE, detail=why))

    def _lock(self, fields: Node, frame: Frame) -> None:
        for one in fields["relations"]:
            effect = self.on_relation(one["RangeVar"], Action.UTILITY, frame, "locks")
            if fields["mode"] >= _EXCLUSIVE and effect.touches_personal:
                effect = replace(
                    effect, nature=Nature.GUARDED, detail=f"keeps everybody out of {effect.relation}"
                )
            self.findings.note(effect)

    # -- shared ---------------------------------------------------------------------------------------------

    def on_relation(self, fields: Node, action: Action, frame: Frame, verb: str) -> EffectFacts:
        """An effect on a relation as it is named."""
        if fields.get("relpersistence") == "t":
            # A temporary relation that is made hides another of its name, and is none of it.
            name = f"{TEMPORARY}.{fields['relname']}"
            return EffectFacts(action, name, detail=f"{verb} {name}")
        named = self.findings.relation(fields.get("schemaname"), fields["relname"], frame)
        mark = named.mark
        return EffectFacts(
            action,
            named.full_name,
            touches_personal=mark is not None,
            classes=mark.classes if mark is not None else frozenset(),
            personal=tuple(sorted(mark.columns)) if mark is not None and action is Action.DELETE else (),
            detail=f"{verb} {named.full_name}",
        )

    def lost(self, fields: Node, frame: Frame, detail: str) -> None:
        """All rows of a relation go, with those that refer to them."""
        queries = Queries(self.findings, frame)
        reference = queries.mention(queries.named(fields.get("schemaname"), fields["relname"]))
        reference.is_target = True
        self.findings.write(Write(Action.DELETE, reference, (), detail))

    def created(self, into: Node, shape: Shape, query: Node, frame: Frame) -> None:
        """SELECT INTO and CREATE TABLE AS: a relation is made of what a query returns."""
        relation = into["rel"]
        schema, name = _schema_made_in(relation), relation["relname"]
        full_name = name if schema is None else f"{schema}.{name}"
        self.findings.changes_catalog = True
        self.findings.note(EffectFacts(Action.DDL, full_name, detail=f"creates {full_name}"))
        self.definitions.events(frame)
        self.made(relation, shape, frame, into.get("colNames", ()))

    def made(self, relation: Node, shape: Shape, frame: Frame, names: Sequence[Node] = ()) -> None:
        """Let the rest of the session know a relation made by a statement, and whose data is in it.

        ``names`` are the column names given to it, as far as they are.
        """
        schema = _schema_made_in(relation) or next(
            (place for place in frame.path if not place.startswith(("pg_temp", "pg_catalog"))), "public"
        )
        outputs = shape.renamed([one["String"]["sval"] for one in names]).outputs
        personal = tuple(output.name for output in outputs if _is_personal(output))
        subjects = tuple(
            output.name
            for output in outputs
            if output.direct and any(reference.is_subject(column) for reference, column in output.origins)
        )
        columns = tuple(output.name for output in outputs)
        if shape.open:
            columns = ()
            personal = (ALL,) if any(r.holds(c) for r, c in shape.everything()) else ()
        self.created_relations.append(
            Relation(
                0, schema, relation["relname"], "r", columns, copied=personal, copied_subject=subjects[:1]
            )
        )


_HANDLERS: Final[Mapping[str, Callable[[Statements, Node, Frame], None]]] = {
    "TransactionStmt": Statements._transaction,
    "PrepareStmt": Statements._prepare,
    "ExecuteStmt": Statements._execute,
    "DeallocateStmt": Statements._deallocate,
    "DeclareCursorStmt": Statements._declare,
    "FetchStmt": Statements._fetch,
    "ClosePortalStmt": Statements._close,
    "VariableSetStmt": Statements._set,
    "DiscardStmt": Statements._discard,
    "ExplainStmt": Statements._explain,
    "CopyStmt": Statements._copy,
    "LockStmt": Statements._lock,
    "DoStmt": Statements._do,
    "CallStmt": Statements._call,
    "LoadStmt": Statements._load,
}


def _schema_made_in(relation: Node) -> str | None:
    """The schema that a new relation's name says it belongs to; None where the search path decides."""
    temporary = relation.get("relpersistence") == "t" or relation.get("schemaname") == TEMPORARY
    return TEMPORARY if temporary else relation.get("schemaname")


def _is_personal(output: Output) -> bool:
    return any(reference.holds(column) for reference, column in output.origins)


def _is_on(argument: Node | None) -> bool:
    """Whether an option's value means yes (defGetBoolean in the server); in doubt it does."""
    if argument is None:
        return True
    kind, fields = next(iter(argument.items()))
    if kind == "Integer":
        return bool(fields.get("ival", 0))
    if kind == "Boolean":
        return bool(fields.get("boolval", False))
    return str(fields.get("sval", "")).lower() not in ("false", "off")


def _after_as(text: str) -> str:
    """The text behind AS of a PREPARE: what is found again, statement by statement, by the grammar itself."""
    (source,) = read_text(text)
    depth = 0
    for index, token in enumerate(source.tokens):
        if token.value in ("(", ")") and token.kind.name == "PUNCTUATION":
            depth += 1 if token.value == "(" else -1
        elif not depth and token.word == "as":
            return source.part(index + 1).sql
    raise Unreadable("PREPARE without AS")
