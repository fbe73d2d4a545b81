"""The judge: bytes and context in, facts and verdict out."""

from collections.abc import Sequence

from rules.builtin import FUNCTION_BY_OID
from rules.cache import LruCache
from rules.context import Context, Parameter
from rules.effects import Surroundings
from rules.facts import Action, EffectFacts, Facts, Nature, StatementFacts
from rules.functions import Conduct, known
from rules.message import Message
from rules.policy import Policy
from rules.verdict import Judgement

_OVERHEAD = 2048
"""Bytes that a kept judgement takes besides its text, roughly."""


class Judge:
    """Judges messages under one policy and one view of the database; keeps what it has read.

    Not thread-safe.  ``hits`` and ``misses`` count verdicts taken from the cache and made anew;
    ``last_was_hit`` tells which the latest was.
    """

    def __init__(self, policy: Policy, cache_size: int = 4096) -> None:
        self.policy = policy
        self.hits = 0
        self.misses = 0
        self.last_was_hit = False
        self._verdicts: LruCache[tuple[object, ...], Judgement] = LruCache(cache_size)
        self._facts: LruCache[tuple[object, ...], Facts] = LruCache(cache_size)

    def judge(self, sql: bytes, context: Context, parameters: Sequence[Parameter] | None = None) -> Judgement:
        """The judgement on one message; never raises, whatever the bytes are."""
        key = (
            sql,
            context.user,
            context.database,
            context.application_name,
            context.client_addr,
            context.groups,
            context.role,
            context.search_path,
            context.client_encoding,
            context.standard_conforming_strings,
            context.catalog.generation,
        )
        kept = self._verdicts.get(key)
        if kept is not None:
            self.hits += 1
            self.last_was_hit = True
            return kept
        self.misses += 1
        self.last_was_hit = False
        facts = self._read(sql, context)
        judgement = Judgement(facts, self.policy.decide(facts, context, parameters))
        if not (self.policy.depends_on_time or facts.session_dependent or facts.has_parameter_bounds):
            self._verdicts.put(key, judgement, len(sql) + _OVERHEAD)
        return judgement

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
        facts = Facts(
            (), f"nobody knows what {name} stands for", changes_context=True, runs_code_when_planned=True
        )
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

    def _read(self, sql: bytes, context: Context) -> Facts:
        why = context.readable
        if why is not None:
            return Facts((), why, changes_context=True, runs_code_when_planned=True)
        key = (sql, context.search_path, context.catalog.database, context.catalog.generation)
        facts = self._facts.get(key)
        if facts is None:
            around = Surroundings(self.policy.personal, context.search_path, context.catalog)
            facts = Message(around, context.prepared, context.cursors).facts(sql)
            if not facts.session_dependent:
                self._facts.put(key, facts, len(sql) + _OVERHEAD)
        return facts
