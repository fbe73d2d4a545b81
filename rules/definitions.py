"""CREATE, ALTER, DROP, TRUNCATE, GRANT and their kin: what they define, and what is lost or let out by it."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Final, Protocol

from rules.builtin import KEYWORDS
from rules.effects import Surroundings
from rules.facts import Action, EffectFacts, Nature
from rules.functions import Conduct, known
from rules.lexer import Kind, Token
from rules.personal import ALL
from rules.reader import Source, Unreadable
from rules.walk import Walker

_BEFORE_CALL: Final = frozenset(
    ["default", "and", "or", "not", "then", "else", "when", "check", "select", "in", "is"]
)
_LATER_CODE: Final = frozenset(
    ["trigger", "operator", "cast", "aggregate", "event", "transform", "access", "conversion"]
)
"""What a CREATE of these ties to code that then runs unseen, or under a name everybody uses."""
_HARMLESS_DROPS: Final = frozenset(["constraint", "not", "default", "expression", "identity"])
_SETTINGS_OF: Final = ("role", "user", "database", "system", "function", "procedure", "routine")

Read = tuple[str, list[EffectFacts]]


class Reader(Protocol):
    """Reads the statements that definitions hold inside of them."""

    def statement(self, source: Source) -> tuple[str, tuple[EffectFacts, ...]]: ...

    def query(self, source: Source) -> tuple[str, tuple[EffectFacts, ...]]: ...

    def assignment(self, walker: Walker, name: str) -> EffectFacts: ...


class Definitions:
    """Reads one definition at a time; what it cannot place raises Unreadable."""

    def __init__(self, reader: Reader, around: Surroundings) -> None:
        self._reader = reader
        self._around = around

    def read(self, walker: Walker) -> Read:
        """Kind and effects of a statement that is neither a query nor about the session."""
        word = walker.word
        match word:
            case "create":
                return self._create(walker)
            case "alter":
                return self._alter(walker)
            case "drop":
                return self._drop(walker)
            case "truncate":
                return self._truncate(walker)
            case "grant" | "revoke":
                return word.upper(), self._grant(walker)
            case "comment" | "security":
                return word.upper(), [EffectFacts(Action.DDL, detail=f"{word.upper()}")]
            case "reassign":
                return "REASSIGN", [EffectFacts(Action.DDL, detail="gives a role's objects to another")]
            case "import":
                why = "IMPORT FOREIGN SCHEMA opens relations of another server"
                return "IMPORT", [EffectFacts(Action.DDL, nature=Nature.SERVER_FILE, detail=why)]
            case _:
                raise Unreadable(f"no statement begins with {walker.source.tokens[0].value}")

    # -- CREATE ---------------------------------------------------------------------------------------------

    def _create(self, walker: Walker) -> Read:
        walker.skip()
        replaces = walker.take("or", "replace")
        while walker.take_any(
            "global",
            "local",
            "temp",
            "temporary",
            "unlogged",
            "recursive",
            "unique",
            "constraint",
            "trusted",
            "procedural",
        ):
            pass
        kind = walker.word
        walker.skip()
        if kind == "materialized" and walker.take("view"):
            kind = "view"
        if kind == "foreign" and walker.word in ("table", "data"):
            return f"CREATE FOREIGN {walker.word.upper()}", [self._outside(walker.word)]
        match kind:
            case "table":
                return self._create_table(walker)
            case "view":
                return self._create_view(walker)
            case "rule":
                return self._create_rule(walker)
            case "function" | "procedure":
                return f"CREATE {kind.upper()}", self._create_function(walker, kind, replaces=replaces)
            case "schema":
                return self._create_schema(walker)
            case "extension" | "server" | "subscription" | "language":
                return f"CREATE {kind.upper()}", [self._outside(kind)]
            case "user" if walker.take("mapping"):
                return "CREATE USER MAPPING", [self._outside("user mapping")]
        effects = [self._on_relation(walker, f"creates a {kind}")]
        if kind in _LATER_CODE:
            why = f"CREATE {kind.upper()} ties code to what others do later"
            effects.append(EffectFacts(Action.CALL, f"create {kind}", nature=Nature.OPAQUE, detail=why))
        effects.extend(self._calls(walker.source))
        return f"CREATE {kind.upper()}", effects

    def _outside(self, kind: str) -> EffectFacts:
        why = f"CREATE {kind.upper()} brings in code or data from outside of the database"
        nature = Nature.OPAQUE if kind in ("extension", "language") else Nature.SERVER_FILE
        return EffectFacts(Action.DDL, nature=nature, detail=why)

    def _create_table(self, walker: Walker) -> Read:
        walker.take("if", "not", "exists")
        schema, name = walker.dotted()
        created = replace(
            self._around.effect(Action.DDL, schema, name), nature=Nature.PLAIN, detail=f"creates {name}"
        )
        if walker.find("as"):
            if walker.word in ("execute", "select", "with", "values", "table") or walker.peek(0) == "(":
                source = self._without_with_data(walker.rest())
                return "CREATE TABLE AS", [created, *self._reader.statement(source)[1]]
            raise Unreadable("CREATE TABLE AS of what is no query")
        effects = [created, *self._calls(walker.source)]
        walker.position = 0
        if walker.find("partition", "of"):
            # Rows of the parent will be found under this name too.
            effects.append(
                replace(self._around.effect(Action.DDL, *walker.dotted()), detail=f"adds a partition {name}")
            )
        return "CREATE TABLE", effects

    def _without_with_data(self, source: Source) -> Source:
        words = [token.word for token in source.tokens[-3:]]
        if words[-2:] == ["with", "data"]:
            return source.part(0, -2)
        return source.part(0, -3) if words == ["with", "no", "data"] else source

    def _create_view(self, walker: Walker) -> Read:
        walker.take("if", "not", "exists")
        schema, name = walker.dotted()
        if not walker.find("as"):
            raise Unreadable("CREATE VIEW without a query")
        source = self._without_with_data(walker.rest())
        words = [token.word for token in source.tokens]
        for option in (
            ["with", "check", "option"],
            ["with", "local", "check", "option"],
            ["with", "cascaded", "check", "option"],
        ):
            if words[-len(option) :] == option:
                source = source.part(0, -len(option))
                break
        # What a view shows can be read under its name from now on: it counts as read here.
        effects = self._reader.query(source)[1]
        shows = any(effect.personal for effect in effects)
        relation, _, _ = self._around.relation(schema, name)
        created = EffectFacts(Action.DDL, relation, touches_personal=shows, detail=f"creates a view {name}")
        return "CREATE VIEW", [created, *effects]

    def _create_rule(self, walker: Walker) -> Read:
        """CREATE RULE: whatever its commands do will be done in someone's name."""
        effects = [self._on_relation(walker, "creates a rule")]
        why = "CREATE RULE adds commands to what others do later"
        effects.append(EffectFacts(Action.CALL, "create rule", nature=Nature.OPAQUE, detail=why))
        walker.position = 0
        if not walker.find("do"):
            raise Unreadable("CREATE RULE without DO")
        walker.take_any("also", "instead")
        if walker.word == "nothing":
            return "CREATE RULE", effects
        tokens = list(walker.rest().tokens)
        if tokens[0].value == "(" and tokens[1].word != "select":
            tokens = tokens[1:-1]
        for command in _cut(tokens):
            effects.extend(self._reader.statement(Source(walker.source.text, tuple(command)))[1])
        return "CREATE RULE", effects

    def _create_function(self, walker: Walker, kind: str, *, replaces: bool) -> list[EffectFacts]:
        schema, name = walker.dotted()
        full = name if schema is None else f"{schema}.{name}"
        effects = [EffectFacts(Action.DDL, full, detail=f"creates {kind} {full}")]
        if replaces:
            # A trigger, a view or a default may call it already.
            why = f"replaces {kind} {full}, which others may call unseen"
            effects.append(EffectFacts(Action.CALL, full, nature=Nature.OPAQUE, detail=why))
        return effects

    def _create_schema(self, walker: Walker) -> Read:
        effects = [EffectFacts(Action.DDL, detail="creates a schema")]
        tokens = walker.source.tokens
        starts = [
            index
            for index in range(walker.position, len(tokens))
            if tokens[index].word in ("create", "grant") and index > walker.position
        ]
        for start, end in pairwise([*starts, len(tokens)]):
            effects.extend(self._reader.statement(walker.source.part(start, end))[1])
        return "CREATE SCHEMA", effects

    # -- ALTER ----------------------------------------------------------------------------------------------

    def _alter(self, walker: Walker) -> Read:
        walker.skip()
        kind = walker.word
        walker.skip()
        if kind in ("materialized", "foreign") and walker.word in ("view", "table"):
            kind = walker.word
            walker.skip()
        if kind == "default" and walker.word == "privileges":
            return "ALTER DEFAULT PRIVILEGES", [
                EffectFacts(Action.GRANT, detail="changes default privileges")
            ]
        if kind in ("table", "view", "sequence", "index"):
            return f"ALTER {kind.upper()}", self._alter_relation(walker)
        effects = [EffectFacts(Action.DDL, detail=f"alters a {kind}")]
        if kind == "schema":
            schema = walker.name()
            if walker.has("rename", "to"):
                effects.append(self._lost_schema(schema))
        if kind in _SETTINGS_OF and (
            walker.find("set") and walker.token is not None and walker.word not in ("schema", "tablespace")
        ):
            walker_name = walker.dotted()
            name = (
                walker_name[1] if walker_name[0] is None else ".".join(part for part in walker_name if part)
            )
            if name == "time" and walker.take("zone"):
                name = "timezone"
            elif walker.take("from", "current"):
                return f"ALTER {kind.upper()}", effects
            else:
                effects.append(self._reader.assignment(walker, name))
        if kind in ("policy", "trigger", "operator", "domain", "server", "extension", "aggregate", "type"):
            effects[0] = self._on_relation(walker, f"alters a {kind}")
            if kind in ("domain", "type") and walker.has("cascade"):
                effects.append(_anything_lost(f"ALTER {kind.upper()} … CASCADE"))
        effects.extend(self._calls(walker.source))
        return f"ALTER {kind.upper()}", effects

    def _alter_relation(self, walker: Walker) -> list[EffectFacts]:
        walker.take("all", "in", "tablespace")
        walker.take("if", "exists")
        walker.take("only")
        schema, name = walker.dotted()
        altered = replace(self._around.effect(Action.DDL, schema, name), detail=f"alters {name}")
        effects = [altered]
        why = self._why_lost(walker, altered.touches_personal)
        if why is not None:
            lost = self._around.effect(Action.DELETE, schema, name)
            effects.append(replace(lost, detail=why))
        for switch in ("disable", "no"):
            if (
                walker.has(switch, "trigger")
                or walker.has(switch, "rule")
                or walker.has(switch, "row")
                or walker.has(switch, "force")
            ):
                guarded = f"switches triggers, rules or row security of {name} off"
                effects.append(replace(altered, nature=Nature.GUARDED, detail=guarded))
        effects.extend(self._calls(walker.source))
        return effects

    def _why_lost(self, walker: Walker, personal: bool) -> str | None:
        """What of an ALTER TABLE takes rows or columns away, or out of reach of the rules about the relation."""
        start = walker.position
        tokens = walker.source.tokens
        try:
            while walker.token is not None:
                if walker.word == "drop" and walker.peek(1) not in _HARMLESS_DROPS:
                    return "drops a column"
                if walker.word == "detach":
                    return "detaches a partition"
                if walker.word == "type" and any(
                    token.word == "using" for token in tokens[walker.position :]
                ):
                    return "rewrites a column"
                if personal and (
                    walker.word == "rename" or (walker.word == "set" and walker.peek(1) == "schema")
                ):
                    return "renames or moves what the rules name"
                walker.skip()
            return None
        finally:
            walker.position = start

    # -- DROP and TRUNCATE ----------------------------------------------------------------------------------

    def _drop(self, walker: Walker) -> Read:
        walker.skip()
        kind = walker.word
        walker.skip()
        if kind in ("materialized", "foreign") and walker.word in ("view", "table"):
            kind = walker.word
            walker.skip()
        label = f"DROP {kind.upper()}"
        if kind == "owned":
            return label, [
                EffectFacts(Action.DDL, detail="drops all of a role"),
                _anything_lost("DROP OWNED"),
            ]
        if kind == "index":
            walker.take("concurrently")
        walker.take("if", "exists")
        match kind:
            case "database":
                return label, [
                    EffectFacts(Action.DDL, detail="drops a database"),
                    _anything_lost("DROP DATABASE"),
                ]
            case "schema":
                effects = [EffectFacts(Action.DDL, detail="drops a schema")]
                while True:
                    effects.append(self._lost_schema(walker.name()))
                    if not walker.take(","):
                        return label, effects
            case "table" | "view" | "sequence" | "index":
                effects = []
                for schema, name in self._names(walker):
                    dropped = self._around.effect(Action.DDL, schema, name)
                    effects.append(replace(dropped, detail=f"drops {kind} {name}"))
                    if kind in ("table", "view"):
                        effects.append(
                            replace(self._around.effect(Action.DELETE, schema, name), detail=f"drops {name}")
                        )
                return label, effects
            case _:
                effects = [self._on_relation(walker, f"drops a {kind}")]
                if walker.has("cascade"):
                    effects.append(_anything_lost(f"{label} … CASCADE"))
                return label, effects

    def _truncate(self, walker: Walker) -> Read:
        walker.skip()
        walker.take("table")
        effects = [self._around.effect(Action.DELETE, schema, name) for schema, name in self._names(walker)]
        if walker.has("cascade"):
            effects.append(_anything_lost("TRUNCATE … CASCADE"))
        return "TRUNCATE", effects

    def _lost_schema(self, schema: str) -> EffectFacts:
        inside = self._around.personal.in_schema(schema)
        return EffectFacts(
            Action.DELETE,
            f"{schema}.*",
            (),
            personal=tuple(dict.fromkeys(column for one in inside for column in one.columns)),
            touches_personal=bool(inside),
            classes=frozenset().union(*(one.classes for one in inside)),
            detail=f"takes away all of schema {schema}",
        )

    # -- GRANT ----------------------------------------------------------------------------------------------

    def _grant(self, walker: Walker) -> list[EffectFacts]:
        word = walker.word
        if not walker.find("on"):
            return [EffectFacts(Action.GRANT, detail=f"{word}s roles")]
        if walker.take("all"):
            effects = []
            if walker.find("in", "schema"):
                while True:
                    schema = walker.name()
                    effects.append(
                        replace(self._lost_schema(schema), action=Action.GRANT, detail=f"{word}s on {schema}")
                    )
                    if not walker.take(","):
                        break
            return effects or [EffectFacts(Action.GRANT, detail=f"{word}s")]
        on_table = walker.take("table")
        if not on_table and walker.word in KEYWORDS and walker.peek(1) not in ("to", "from", ",", ".", ""):
            return [EffectFacts(Action.GRANT, detail=f"{word}s on a {walker.word}")]
        return [
            replace(
                self._around.effect(Action.GRANT, schema, name),
                nature=Nature.PLAIN,
                detail=f"{word}s on {name}",
            )
            for schema, name in self._names(walker)
        ]

    # -- shared ---------------------------------------------------------------------------------------------

    def _names(self, walker: Walker) -> list[tuple[str | None, str]]:
        """A list of relations with ONLY and ``*`` around them."""
        names: list[tuple[str | None, str]] = []
        while True:
            bracket = walker.take("only") and walker.take("(")
            names.append(walker.dotted())
            if bracket:
                walker.take(")")
            token = walker.token
            if token is not None and token.kind is Kind.OPERATOR and token.value == "*":
                walker.skip()
            if not walker.take(","):
                return names

    def _on_relation(self, walker: Walker, detail: str) -> EffectFacts:
        """A DDL effect on the relation behind ON (or, in CREATE RULE, behind TO)."""
        start, effect = walker.position, EffectFacts(Action.DDL, detail=detail)
        for word in ("to", "on") if "rule" in detail else ("on",):
            walker.position = start
            if walker.find(word) and walker.token is not None and walker.token.is_name:
                walker.take("only")
                effect = replace(self._around.effect(Action.DDL, *walker.dotted()), detail=detail)
                break
        walker.position = start
        return effect

    def _calls(self, source: Source) -> list[EffectFacts]:
        """An effect for each function in an expression of a definition that is not PostgreSQL's own."""
        effects: list[EffectFacts] = []
        tokens = source.tokens
        for index, token in enumerate(tokens):
            if not token.is_name or index + 1 >= len(tokens) or tokens[index + 1].value != "(":
                continue
            if token.kind is Kind.WORD and token.value in KEYWORDS:
                continue
            start, schema = index, None
            if index >= 2 and tokens[index - 1].value == "." and tokens[index - 2].is_name:
                start, schema = index - 2, tokens[index - 2].value
            if not _calls_here(tokens[start - 1] if start else None):
                continue
            function = known(schema, token.value, pg_catalog_first=self._around.pg_catalog_first)
            if function.conduct is Conduct.OPAQUE:
                effects.append(
                    EffectFacts(Action.CALL, function.name, nature=Nature.OPAQUE, detail=function.why)
                )
        return effects


def _calls_here(before: Token | None) -> bool:
    """Whether a name in front of a bracket, after this token, calls a function (and is not a table or a type)."""
    if before is None:
        return False
    return before.kind is Kind.OPERATOR or before.value in ("(", ",") or before.word in _BEFORE_CALL


def _cut(tokens: Iterable[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind is Kind.PUNCTUATION and token.value == ";":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _anything_lost(what: str) -> EffectFacts:
    """Rows are lost, and the text does not say of which relations."""
    return EffectFacts(
        Action.DELETE, None, personal=(ALL,), touches_personal=True, detail=f"{what} can reach any relation"
    )
