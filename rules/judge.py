"""The judge: bytes and context in, facts and verdict out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from rules.builtin import FUNCTION_BY_OID
from rules.cache import LruCache
from rules.caps import Allowance, is_light, weight
from rules.catalog import EMPTY, SchemaSnapshot
from rules.context import Context, Parameter
from rules.explanation import Explanation, explain
from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.functions import Conduct, known
from rules.kept import Kept
from rules.message import read_message
from rules.policy import Policy
from rules.settings import guarded_resets, startup
from rules.subjects import Kind, Touch, named_people, touches
from rules.templates import Template, other_literals, template_of
from rules.verdict import Judgement
from rules.world import World

_OVERHEAD = 2048
"""Bytes that a kept judgement takes besides its text, roughly."""
_WORLDS = 64
"""Catalogs of databases and sessions that a judge keeps what it worked out about."""
_RELATIONS = 50_000
"""How many relations these may have together: each keeps its whole catalog in memory, some 5 KB a relation."""

_EXECUTE: Final = re.compile(rb"\s*execute\s+([a-z_][a-z0-9_]*)\s*(?:\([^()]*\)\s*)?;?\s*", re.IGNORECASE)
"""The plainest EXECUTE, of which one can tell without reading it what it executes."""


class Seen(Enum):
    """Texts of a template met so far, of which nothing is known together."""

    ONCE = auto()
    UNLIKE = auto()
    """They are read one by one: their literals may matter."""


class TooHeavy(Exception):
    """A message is not read here and now: it is more work than was allowed."""


class Judge:
    """Judges messages under one policy and one view of the database; keeps what it has read.

    Not thread-safe.  ``hits`` and ``misses`` count verdicts taken from the cache and made anew.
    """

    def __init__(self, policy: Policy, cache_size: int = 4096) -> None:
        self.policy = policy
        self.hits = 0
        self.misses = 0
        self._verdicts: LruCache[tuple[object, ...], Judgement] = LruCache(cache_size)
        self._worlds: dict[int, World] = {}
        self._facts: LruCache[tuple[object, ...], Facts] = LruCache(cache_size)
        self._templates: LruCache[tuple[object, ...], Template | Seen] = LruCache(cache_size)

    def judge(
        self,
        sql: bytes,
        context: Context,
        parameters: Sequence[Parameter] | None = None,
        *,
        facts: Facts | None = None,
        allowance: Allowance | None = None,
    ) -> Judgement:
        """The judgement on one message; whatever the bytes are, nothing else is raised than what is said here.

        ``facts`` are what somebody else has read of this message in this context; they are used this once, and
        ``learn`` keeps them.  Without them the message is read here, unless that is more work than the allowance has
        left: then raises ``TooHeavy``.
        """
        key = (sql, *self.view(context))
        given = facts is not None
        kept = None if given else self._verdicts.get(key)
        if kept is not None:
            self.hits += 1
            return kept
        if facts is None:
            facts = self.cached(sql, context)
        template: bytes | None = None
        if facts is None and context.unknown is None:
            template = template_of(sql)
            known = self._template(template, context)
            if known is not None:
                return self._judged_alike((template, *key[1:]), known.read(sql), context, parameters)
        if facts is None:
            if allowance is not None and not allowance.spend(_weight(sql, context)):
                raise TooHeavy
            facts = self.read(sql, context)
            if template is None or not self._learn_template(template, sql, context, facts):
                self.learn(sql, context, facts)
        self.misses += 1
        facts = guarded_resets(facts, context.bad_defaults)
        judgement = Judgement(facts, self.policy.decide(facts, context, parameters))
        depends = self.policy.depends_on_time or facts.session_dependent or facts.has_parameter_bounds
        if not (depends or given):
            self._verdicts.put(key, judgement, len(sql) + _OVERHEAD)
        return judgement

    @staticmethod
    def view(context: Context) -> tuple[object, ...]:
        """What a verdict that is kept depends on, besides the policy and the text."""
        return (
            context.user,
            context.database,
            context.application_name,
            context.client_addr,
            context.groups,
            context.role,
            context.search_path,
            context.client_encoding,
            context.standard_conforming_strings,
            context.unknown,
            context.bad_defaults,
            context.parameter_types,
            context.catalog.generation,
        )

    def kept(self, sql: bytes, context: Context) -> Kept | None:
        """The judgement that ``judge`` has kept for a text, alone or for all texts of its template; None where each
        text is judged anew.  It is what ``judge`` says for as long as the ``view`` of the context stays the same."""
        view = self.view(context)
        judgement = self._verdicts.get((sql, *view))
        if judgement is not None:
            return Kept(judgement)
        template = template_of(sql) if context.unknown is None and self.cached(sql, context) is None else None
        known = self._template(template, context)
        judgement = None if known is None else self._verdicts.get((template, *view))
        return None if judgement is None else Kept(judgement, known)

    def _judged_alike(
        self, key: tuple[object, ...], facts: Facts, context: Context, parameters: Sequence[Parameter] | None
    ) -> Judgement:
        """The judgement on a text of a known template; what is decided about one is decided about all."""
        kept = self._verdicts.get(key)
        if kept is not None:
            self.hits += 1
            return Judgement(facts, kept.verdict)
        self.misses += 1
        judgement = Judgement(facts, self.policy.decide(facts, context, parameters))
        if not self.policy.depends_on_time:
            self._verdicts.put(key, judgement, len(facts.statements[0].sql) + _OVERHEAD)
        return judgement

    def _template(self, template: bytes | None, context: Context) -> Template | None:
        if template is None:
            return None
        known = self._templates.get(self.key(template, context))
        return known if isinstance(known, Template) else None

    def _learn_template(self, template: bytes, sql: bytes, context: Context, facts: Facts) -> bool:
        """Keep what was read for other texts of the template, once a second one has come; whether that was done."""
        key = self.key(template, context)
        met = self._templates.get(key)
        known: Template | None = None
        if met is Seen.ONCE:
            known = Template.of(sql, facts, self.read(other_literals(template), context))
        self._templates.put(
            key, known or (Seen.ONCE if met is None else Seen.UNLIKE), len(template) + _OVERHEAD
        )
        return known is not None

    def explain(self, sql: bytes, context: Context) -> Explanation:
        """The judgement on one message, and how it came about."""
        return explain(sql, context, self.judge(sql, context), self._world(context.catalog))

    @staticmethod
    def key(sql: bytes, context: Context) -> tuple[object, ...]:
        """What the facts of a message depend on, besides the policy and what only its own session knows."""
        return (
            sql,
            context.search_path,
            context.parameter_types,
            context.catalog.database,
            context.catalog.generation,
        )

    def cached(self, sql: bytes, context: Context) -> Facts | None:
        """What is known of the message without reading it; None if it must be read."""
        why = context.unreadable(sql)
        if why is not None:
            return unread(why)
        return self._facts.get(self.key(sql, context))

    def read(self, sql: bytes, context: Context) -> Facts:
        """Read the message.  Pure: nothing is kept, and the same is true of it in any process."""
        why = context.unreadable(sql)
        if why is not None:
            return unread(why)
        world = self._world(context.catalog)
        return read_message(
            sql, world, context.search_path, context.prepared, context.cursors, context.parameter_types
        )

    def touches(
        self, sql: bytes, context: Context, parameters: Sequence[Parameter] = ()
    ) -> tuple[Touch, ...]:
        """Whose rows a message touches, as far as it can be read here; see :func:`rules.subjects.touches`."""
        if context.unreadable(sql) is not None or not is_light(sql):
            return ()
        return touches(sql, context, self._world(context.catalog), parameters)

    def people(
        self, relation: str, values: Sequence[str], catalog: SchemaSnapshot
    ) -> tuple[Kind | None, frozenset[str]]:
        """The people of a relation by their keys; see :func:`rules.subjects.named_people`."""
        return named_people(relation, values, self._world(catalog))

    def learn(self, sql: bytes, context: Context, facts: Facts) -> None:
        """Keep what was read of the message in this context, if it is the same in every session."""
        if not facts.session_dependent:
            self._facts.put(self.key(sql, context), facts, len(sql) + _OVERHEAD)

    def judge_function_call(self, oid: int, context: Context) -> Judgement:
        """The judgement on a FunctionCall message: a call of the function with that OID.

        OIDs of PostgreSQL's own functions are the same on every server; any other OID is opaque.
        """
        name = FUNCTION_BY_OID.get(oid)
        if name is None:
            why = f"the function with OID {oid} is not one of PostgreSQL's own"
            effect = EffectFacts(Action.CALL, f"oid {oid}", nature=Nature.OPAQUE, detail=why)
        else:
            function = known("pg_catalog", name)
            nature = {
                Conduct.OPAQUE: Nature.OPAQUE,
                Conduct.INDEXES: Nature.OPAQUE,
                Conduct.SERVER_FILE: Nature.SERVER_FILE,
                Conduct.SESSION: Nature.GUARDED,
            }.get(function.conduct, Nature.PLAIN)
            effect = EffectFacts(
                Action.CALL, f"pg_catalog.{name}", nature=nature, detail=function.why or f"calls {name}()"
            )
        statement = StatementFacts("FUNCTION CALL", f"function {name or oid}", (effect,))
        facts = Facts((statement,), changes_context=name in (None, "set_config"), runs_code_when_planned=True)
        return Judgement(facts, self.policy.decide(facts, context))

    def judge_unknown(self, name: str, context: Context) -> Judgement:
        """The judgement on executing a prepared statement or portal whose text nobody knows."""
        facts = unread(f"nobody knows what {name} stands for")
        return Judgement(facts, self.policy.decide(facts, context))

    def judge_startup(self, settings: Mapping[str, str], context: Context) -> Judgement:
        """The judgement on a session that begins with these settings."""
        facts = startup(settings)
        return Judgement(facts, self.policy.decide(facts, context))

    def judge_replication(self, context: Context) -> Judgement:
        """The judgement on a connection that asks for replication at startup."""
        effect = EffectFacts(
            Action.REPLICATION,
            nature=Nature.REPLICATION,
            detail="a replication connection streams every change",
        )
        facts = Facts((StatementFacts("REPLICATION", "replication", (effect,)),))
        return Judgement(facts, self.policy.decide(facts, context))

    def forget(self, catalog: SchemaSnapshot) -> None:
        """Keep nothing that was worked out about a catalog: it will not be needed again."""
        self._worlds.pop(id(catalog), None)

    def _world(self, catalog: SchemaSnapshot) -> World:
        """The policy seen through a catalog; those of the catalogs used last are kept."""
        world = self._worlds.pop(id(catalog), None)
        if world is None or world.catalog is not catalog:
            world = World(self.policy.personal, catalog)
            others = self._worlds
            while len(others) >= _WORLDS or (
                others and self._relations() + len(catalog.relations) > _RELATIONS
            ):
                del others[next(iter(others))]
        self._worlds[id(catalog)] = world
        return world

    def _relations(self) -> int:
        return sum(len(world.catalog.relations) for world in self._worlds.values())


def unread(why: str) -> Facts:
    """The facts of a message that nobody has read, and why."""
    return Facts((), why, changes_context=True, changes_catalog=True, runs_code_when_planned=True)


def slim(sql: bytes, context: Context) -> Context:
    """The context without its catalog, and without what this message cannot refer to: what another process needs."""
    prepared = context.prepared if b"execute" in sql.lower() else {}
    return replace(context, catalog=EMPTY, prepared=prepared)


def _weight(sql: bytes, context: Context) -> int:
    """The weight of a message with that of the prepared texts it executes, which are read anew each time."""
    own = weight(sql)
    if not context.prepared or b"execute" not in sql.lower():
        return own
    match = _EXECUTE.fullmatch(sql)
    if match is not None:
        texts = context.prepared.get(match[1].decode("ascii").lower(), ())
    else:
        texts = tuple(text for texts in context.prepared.values() for text in texts)
    return own + sum(weight(text.encode("utf-8", "surrogateescape")) for text in texts)
