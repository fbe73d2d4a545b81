"""Read one message: each of its statements to effects, and what the session must remember of it.

A statement's leading key words say what kind it is; PostgreSQL's grammar leaves no other way in.  Queries go to
the analysis of their tree, everything else is read here and in rules.definitions, word by word.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from rules.definitions import Definitions
from rules.effects import Analysis, Surroundings, planned
from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.grammar import parse
from rules.lexer import Kind, Token
from rules.personal import ALL
from rules.reader import Source, Unreadable, read, read_text
from rules.settings import setting
from rules.walk import Walker

MAX_EXECUTE_DEPTH: Final = 8
"""Prepared statements that prepare or execute others; nobody honest goes further."""

QUERIES: Final = frozenset(["select", "with", "values", "table", "insert", "update", "delete", "merge"])
_TRANSACTION: Final = frozenset(
    ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "checkpoint"]
)
_PLAIN: Final = frozenset(["listen", "unlisten", "notify", "show"])
_MAINTENANCE: Final = frozenset(["vacuum", "analyze", "analyse", "cluster", "reindex", "refresh"])


class Message:
    """Reads a message against what its session knows: prepared statements and cursors."""

    def __init__(
        self, around: Surroundings, prepared: Mapping[str, tuple[str, ...]], cursors: frozenset[str]
    ) -> None:
        self._around = around
        self._prepared = {name: list(texts) for name, texts in prepared.items()}
        self._cursors = set(cursors)
        self._depth = 0
        self._definitions = Definitions(self, around)
        self._changes_context = False
        self._session_dependent = False
        self._prepares: list[tuple[str, str]] = []
        self._deallocates: list[str | None] = []
        self._declares: list[str] = []

    def facts(self, sql: bytes) -> Facts:
        """The facts of the whole message; never raises for what the message holds."""
        statements: list[StatementFacts] = []
        unreadable: str | None = None
        try:
            sources = read(sql)
        except Unreadable as error:
            return Facts((), str(error), changes_context=True, runs_code_when_planned=True)
        for source in sources:
            effects: tuple[EffectFacts, ...] = ()
            kind = source.tokens[0].value.upper()
            try:
                kind, effects = self.statement(source)
            except Unreadable as error:
                unreadable = unreadable or str(error)
            except RecursionError:
                unreadable = unreadable or "nested too deeply"
            except Exception as error:
                # The reader's tree can have a shape nobody foresaw. What was not understood is not read, and
                # must never end the session, let alone pass.
                unreadable = unreadable or f"the reader failed ({type(error).__name__})"
            statements.append(StatementFacts(kind, source.sql, effects))
        opaque = any(
            effect.action is Action.CALL and effect.nature is not Nature.PLAIN
            for statement in statements
            for effect in statement.effects
        )
        return Facts(
            statements=tuple(statements),
            unreadable=unreadable,
            changes_context=self._changes_context or unreadable is not None,
            runs_code_when_planned=opaque or unreadable is not None,
            prepares=tuple(self._prepares),
            deallocates=tuple(self._deallocates),
            declares_cursors=tuple(self._declares),
            session_dependent=self._session_dependent,
        )

    def statement(self, source: Source) -> tuple[str, tuple[EffectFacts, ...]]:
        """The kind and the effects of one statement.  Raises Unreadable."""
        first = source.tokens[0]
        word = first.word
        if word in QUERIES or (first.value == "(" and first.kind is Kind.PUNCTUATION):
            return self.query(source)
        if word in _TRANSACTION:
            return word.upper(), (EffectFacts(Action.UTILITY, detail=f"{word.upper()}"),)
        if word in _PLAIN:
            return word.upper(), (EffectFacts(Action.UTILITY, detail=f"{word.upper()}"),)
        handler = self._HANDLERS.get(word)
        if handler is not None:
            return handler(self, Walker(source))
        if word in _MAINTENANCE:
            return word.upper(), (EffectFacts(Action.UTILITY, detail=f"{word.upper()}"),)
        kind, effects = self._definitions.read(Walker(source))
        return kind, tuple(effects)

    def query(self, source: Source) -> tuple[str, tuple[EffectFacts, ...]]:
        """A query's kind and effects."""
        tree = parse(source)
        analysis = Analysis(tree, self._around)
        effects = analysis.run()
        self._changes_context |= analysis.changes_context
        kind = tree.root.key.upper()
        return ("SELECT" if kind in ("UNION", "EXCEPT", "INTERSECT", "SUBQUERY", "PAREN") else kind), effects

    def expressions(self, source: Source) -> tuple[EffectFacts, ...]:
        """The effects of a list of expressions, read as those of a SELECT of them."""
        first = source.tokens[0]
        select = Token(Kind.WORD, "select", first.start, first.start)
        return self.query(Source(source.text, (select, *source.tokens)))[1]

    # -- SQL-level prepared statements and cursors ----------------------------------------------------------

    def _prepare(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        if walker.take("transaction"):
            return "PREPARE TRANSACTION", (EffectFacts(Action.UTILITY, detail="PREPARE TRANSACTION"),)
        name = walker.name()
        if walker.peek(0) == "(":
            walker.skip()
        if not walker.take("as"):
            raise Unreadable("PREPARE without AS")
        text = walker.rest().sql
        self._prepares.append((name, text))
        # A PREPARE that fails because the name is taken leaves the older text in place.
        self._prepared.setdefault(name, []).append(text)
        return "PREPARE", (EffectFacts(Action.UTILITY, detail=f"prepares {name}"),)

    def _execute(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        name = walker.name()
        effects: list[EffectFacts] = []
        if walker.take("("):
            arguments = walker.source.part(walker.position, len(walker.source.tokens) - 1)
            if arguments.tokens:
                effects.extend(self.expressions(arguments))
        self._session_dependent = True
        texts = self._prepared.get(name)
        if not texts:
            raise Unreadable(f"EXECUTE of {name}, which is not known to be prepared")
        self._depth += 1
        if self._depth > MAX_EXECUTE_DEPTH:
            raise Unreadable("prepared statements that execute one another")
        for text in list(texts):
            for source in read_text(text):
                # $1 in the prepared text is an argument of EXECUTE, not a parameter of the message.
                effects.extend(replace(effect, parameter_bounds=()) for effect in self.statement(source)[1])
        self._depth -= 1
        return "EXECUTE", tuple(dict.fromkeys(effects))

    def _deallocate(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        walker.take("prepare")
        name = None if walker.word == "all" else walker.name()
        self._deallocates.append(name)
        return "DEALLOCATE", (
            EffectFacts(Action.UTILITY, detail=f"forgets {name or 'all prepared statements'}"),
        )

    def _declare(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        name = walker.name()
        if not walker.find("cursor") or not walker.find("for"):
            raise Unreadable("DECLARE without CURSOR FOR")
        kind, effects = self.query(walker.rest())
        if kind not in ("SELECT", "VALUES"):
            raise Unreadable("a cursor over something that is no query")
        self._declares.append(name)
        self._cursors.add(name)
        return "DECLARE CURSOR", effects

    def _fetch(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        kind = walker.word.upper()
        self._session_dependent = True
        last = walker.source.tokens[-1]
        if len(walker.source.tokens) < 2 or not last.is_name:
            raise Unreadable(f"{kind} without a cursor's name")
        if kind == "CLOSE":
            return kind, (EffectFacts(Action.UTILITY, detail=f"closes {last.value}"),)
        if last.value not in self._cursors:
            raise Unreadable(f"{kind} from {last.value}, a cursor that is not known")
        return kind, (EffectFacts(Action.UTILITY, detail=f"reads on in {last.value}"),)

    # -- the session ----------------------------------------------------------------------------------------

    def _set(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        """SET in all its forms (reference page of SET and those it points to)."""
        walker.skip()
        self._changes_context = True
        if walker.word in ("constraints", "transaction") or walker.take("session", "characteristics"):
            return "SET", (EffectFacts(Action.SESSION, "transaction", detail="sets transaction modes"),)
        following = walker.source.tokens[2:3]
        if following and following[0].value not in ("to", "="):
            walker.take_any("session", "local")
        if walker.take("authorization") or walker.take("session", "authorization"):
            return "SET", (
                EffectFacts(Action.SESSION, "session_authorization", detail="changes the session's user"),
            )
        if walker.take("role"):
            return "SET", (EffectFacts(Action.SESSION, "role", detail="changes the role"),)
        if walker.take("time", "zone"):
            return "SET", (setting("timezone", None),)
        if walker.take("names"):
            value = walker.token.value if walker.token is not None else "default"
            return "SET", (setting("client_encoding", value),)
        if walker.take("xml", "option"):
            return "SET", (setting("xmloption", None),)
        if walker.word in ("schema", "catalog") and walker.peek(1) == "":
            return "SET", (setting("search_path", None),)
        schema, name = walker.dotted()
        return "SET", (self.assignment(walker, name if schema is None else f"{schema}.{name}"),)

    def assignment(self, walker: Walker, name: str) -> EffectFacts:
        """``name TO value`` with the name behind us; also as ALTER ROLE, DATABASE and SYSTEM have it."""
        token = walker.token
        if not walker.take("to"):
            if token is None or token.value != "=":
                raise Unreadable(f"SET {name} without a value")
            walker.skip()
        values = walker.source.tokens[walker.position :]
        return setting(name, values[0].value if len(values) == 1 else None)

    def _reset(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        self._changes_context = True
        name = " ".join(token.value for token in walker.source.tokens[1:])
        return "RESET", (setting(name.replace(" . ", "."), None, resets=True),)

    def _discard(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        if walker.word == "all":
            self._changes_context = True
            self._deallocates.append(None)
        return "DISCARD", (EffectFacts(Action.SESSION, detail=f"discards {walker.word}"),)

    # -- EXPLAIN and COPY -----------------------------------------------------------------------------------

    def _explain(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        runs = False
        if walker.peek(0) == "(" and walker.peek(1) not in (*QUERIES, "("):
            walker.position += 1
            while not walker.take(")"):
                runs |= self._explain_option(walker)
        else:
            while option := walker.take_any("analyze", "analyse", "verbose"):
                runs |= option != "verbose"
        kind, effects = self.statement(walker.rest())
        if kind in ("EXPLAIN", "COPY"):
            raise Unreadable("EXPLAIN of what cannot be explained")
        return "EXPLAIN", effects if runs else planned(effects)

    def _explain_option(self, walker: Walker) -> bool:
        """Move past one option; true if it makes EXPLAIN run the statement."""
        name = walker.name()
        values: list[str] = []
        while walker.token is not None and walker.peek(0) not in (",", ")"):
            values.append(walker.token.value.lower())
            walker.skip()
        if walker.token is None:
            raise Unreadable("EXPLAIN options without an end")
        walker.take(",")
        return name in ("analyze", "analyse") and values not in (["false"], ["off"], ["0"])

    def _copy(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        """COPY, its pre-7.3 forms included."""
        walker.skip()
        if walker.peek(0) == "(":
            start = walker.position + 1
            walker.skip()
            _, effects = self.statement(walker.source.part(start, walker.position - 1))
            if not walker.take("to"):
                raise Unreadable("COPY of a query without TO")
            return "COPY", (*effects, *self._copy_end(walker))
        # COPY BINARY t, unless a table is called binary; reserved as it is, it would have to be quoted.
        walker.take("binary")
        schema, name = walker.dotted()
        columns: tuple[str, ...] = (ALL,)
        if walker.peek(0) == "(":
            start = walker.position + 1
            walker.skip()
            inside = walker.source.tokens[start : walker.position - 1]
            columns = tuple(token.value for token in inside if token.is_name)
        direction = walker.take_any("from", "to")
        if not direction:
            raise Unreadable("COPY without FROM or TO")
        effect = self._around.effect(
            Action.READ if direction == "to" else Action.INSERT, schema, name, columns
        )
        where: tuple[EffectFacts, ...] = ()
        if direction == "from" and walker.has("where"):
            clause = Walker(walker.source)
            clause.position = walker.position
            clause.find("where")
            where = self.expressions(clause.rest())
        return "COPY", (effect, *self._copy_end(walker), *where)

    def _copy_end(self, walker: Walker) -> tuple[EffectFacts, ...]:
        if walker.word in ("stdin", "stdout"):
            return ()
        program = walker.take("program")
        place = walker.string()
        if place is None:
            raise Unreadable("COPY from or to a place not known here")
        what = f"a program on the server: {place}" if program else f"a file on the server: {place}"
        return (
            EffectFacts(
                Action.CALL,
                "copy program" if program else "copy file",
                nature=Nature.SERVER_FILE,
                detail=f"COPY with {what}",
            ),
        )

    # -- the rest -------------------------------------------------------------------------------------------

    def _lock(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        walker.take("table")
        effects: list[EffectFacts] = []
        while True:
            walker.take("only")
            schema, name = walker.dotted()
            effects.append(replace(self._around.effect(Action.UTILITY, schema, name), detail=f"locks {name}"))
            token = walker.token
            if token is not None and token.kind is Kind.OPERATOR and token.value == "*":
                walker.skip()
            if not walker.take(","):
                return "LOCK", tuple(effects)

    def _do(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        return "DO", (
            EffectFacts(
                Action.CALL,
                "do",
                nature=Nature.OPAQUE,
                detail="DO runs code that cannot be read from outside",
            ),
        )

    def _call(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        walker.skip()
        schema, name = walker.dotted()
        full = name if schema is None else f"{schema}.{name}"
        effects = [
            EffectFacts(
                Action.CALL, full, nature=Nature.OPAQUE, detail=f"procedure {full}() is code nobody has read"
            )
        ]
        if walker.take("(") and walker.peek(0) != ")":
            effects.extend(
                self.expressions(walker.source.part(walker.position, len(walker.source.tokens) - 1))
            )
        return "CALL", tuple(effects)

    def _load(self, walker: Walker) -> tuple[str, tuple[EffectFacts, ...]]:
        return "LOAD", (
            EffectFacts(
                Action.CALL, "load", nature=Nature.SERVER_FILE, detail="LOAD runs a library of the server"
            ),
        )

    _HANDLERS: Final[Mapping[str, Callable[["Message", Walker], tuple[str, tuple[EffectFacts, ...]]]]] = {
        "prepare": _prepare,
        "execute": _execute,
        "deallocate": _deallocate,
        "declare": _declare,
        "fetch": _fetch,
        "move": _fetch,
        "close": _fetch,
        "set": _set,
        "reset": _reset,
        "discard": _discard,
        "explain": _explain,
        "copy": _copy,
        "lock": _lock,
        "do": _do,
        "call": _call,
        "load": _load,
    }
