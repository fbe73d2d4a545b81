"""The catalog as one session sees it: what everybody sees, and what only this session has made.

A definition made in an open transaction is seen by its own session alone, a temporary object by its session until
it ends. Neither is guessed from the statements that passed: after a statement that may have made, changed or
dropped one, and after a rollback, the session itself is asked what there is. Only where it cannot be asked, in the
middle of a series of the extended protocol, the relations that statements have just made are taken as made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gateway import clock
from gateway.catalog.build import Row
from gateway.catalog.copies import Copies, Copy, Expected, filled
from gateway.catalog.kept import Catalog
from gateway.catalog.queries import HAS_TEMPORARY, ISOLATION
from gateway.catalog.read import AskError, Reading, Run, read, refresh
from rules import Action, Facts, Nature
from rules.catalog import EMPTY, Relation, SchemaSnapshot

__all__ = ["SessionCatalog", "Way"]

TEMPORARY: Final = "pg_temp"
"""The name of the session's schema of temporary objects, whatever number it has."""

_ELSEWHERE: Final = "the session is in another database than the one that was looked at"

_ENDS: Final = ("COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE TRANSACTION", "DISCARD")
"""How statements begin that take back what was done, or drop what is temporary."""


class Way(Protocol):
    """A session as a way to look at the catalog."""

    @property
    def in_transaction(self) -> bool:
        """Whether the session has work that is not committed, a failed transaction included."""

    @property
    def open(self) -> bool:
        """Whether the session is where it can be asked."""

    async def run(self, queries: Sequence[str]) -> Sequence[Sequence[Row]]:
        """See :data:`gateway.catalog.read.Run`; in a transaction, it sees what that sees."""


class SessionCatalog:
    """What one session's statements are judged by. ``fresh`` and ``snapshot`` cost nothing; what must be asked is
    asked in ``ready``, when the server owes the session nothing. Where nothing is ``wanted``, because every verdict
    is the same, nothing is asked."""

    def __init__(
        self,
        catalog: Catalog,
        generations: Iterator[int],
        way: Way,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.catalog = catalog
        self._generations = generations
        self._way = way
        self._wanted = wanted
        self._identity: str | None = None
        """Which database the session is in; None while nobody has asked."""
        self._changed = False
        """Whether the open transaction has changed shared definitions."""
        self._unsettled = False
        """Whether a statement is under way that may change what this session sees."""
        self._forwarded = False
        """Whether statements that change definitions were sent and their transaction has not ended."""
        self._own: SchemaSnapshot | None = None
        """The shared definitions as the open transaction saw them when ``_own_changes`` changes were known."""
        self._own_reading: Reading | None = None
        """The same as it was read."""
        self._own_changes = -1
        self._own_until = 0.0
        self._temporary: SchemaSnapshot | None = None
        self._temporary_known = True
        self._copies = Copies()
        """Those that are temporary, or that the open transaction makes."""
        self._expected: list[tuple[Facts, list[Expected]]] = []
        """What others may find once this session has committed it, by the message that makes it."""
        self._made_copies: list[Expected] = []
        """Of these, what statements of the open transaction have made."""
        self._made: list[Relation] = []
        """Relations that statements have made since the session was asked."""
        self._made_by: Facts | None = None
        """The message that made the last of them."""
        self._doubtful = False
        """Whether statements have changed anything else since, or may have."""
        self._followed: SchemaSnapshot | None = None
        self._unknown: SchemaSnapshot | None = None
        self._composed: tuple[SchemaSnapshot, SchemaSnapshot, SchemaSnapshot] | None = None
        self._last_conduct: tuple[Facts, _Conduct] | None = None
        self._extended: tuple[SchemaSnapshot, tuple[Relation, ...], SchemaSnapshot] | None = None

    # What is known -------------------------------------------------------------------------------------

    @property
    def fresh(self) -> bool:
        """Whether a statement can be judged by ``snapshot`` at once."""
        if self._unsettled or not self._temporary_known or self._unknown is not None:
            return False
        if not self.catalog.is_of(self._identity):
            return False
        if not self._changed:
            return self.catalog.fresh
        return (
            self._own is not None
            and self._own_changes == self.catalog.changes
            and clock.monotonic() < self._own_until
        )

    @property
    def shared(self) -> bool:
        """Whether the session sees what everybody sees, and nothing is under way that may change that."""
        return not (
            self._changed
            or self._unsettled
            or self._forwarded
            or self._doubtful
            or self._made
            or self._made_copies
            or self._expected
            or self._temporary is not None
            or self._unknown is not None
            or self._followed is not None
        ) and (self._temporary_known and self.catalog.is_of(self._identity))

    @property
    def own(self) -> bool:
        """Whether the session sees anything that others do not, which the end of its transaction may take away."""
        return self._changed or self._forwarded or self._temporary is not None

    @property
    def version(self) -> tuple[int, int]:
        """Differs once shared definitions, schemas and rights to use them among them, may differ."""
        return self.catalog.changes, self.catalog.differences

    @property
    def snapshot(self) -> SchemaSnapshot:
        """The definitions this session sees, or a snapshot that says why they are not known."""
        if not self._wanted():
            return self.catalog.snapshot or EMPTY
        if self._unknown is not None or self._followed is not None:
            return self._unknown or self._followed or EMPTY
        if not self.catalog.is_of(self._identity):
            return self.catalog.nothing(_ELSEWHERE)
        shared = self._own if self._changed else self.catalog.snapshot
        return self.catalog.nothing() if shared is None else self._with_temporary(shared)

    def _with_temporary(self, shared: SchemaSnapshot) -> SchemaSnapshot:
        temporary = self._temporary
        if temporary is None:
            return shared
        composed = self._composed
        if composed is None or composed[0] is not shared or composed[1] is not temporary:
            composed = (shared, temporary, shared.extended(temporary, next(self._generations)))
            self._composed = composed
        return composed[2]

    def after(self, snapshot: SchemaSnapshot, facts: Facts) -> SchemaSnapshot:
        """What the next statement of the same request sees, before the server has run any of them."""
        conduct, takes_away = self._conduct(facts), self._may_take_away(facts)
        if not self._wanted():
            return snapshot
        if facts.fills:
            snapshot = filled(snapshot, facts.fills, next(self._generations))
        if not (conduct.changes or takes_away):
            return snapshot
        if takes_away or not conduct.only_creates:
            return self.catalog.nothing("an earlier statement of the same request may change it")
        made = tuple(replace(relation, oid=-1 - at) for at, relation in enumerate(facts.creates))
        return snapshot.extended(SchemaSnapshot(relations=made), next(self._generations))

    def may_help(self, names: Iterable[str]) -> bool:
        """Whether looking again may make one of these unknown names known."""
        return self.catalog.may_help(names)

    # Looking -------------------------------------------------------------------------------------------

    def is_in(self, identity: str) -> None:
        """The server said which database the session is in (:data:`gateway.catalog.queries.IDENTITY`)."""
        self._identity = identity

    def _look_here(self) -> None:
        """Let the catalog be read anew if it is that of a database which had this name before."""
        if not self.catalog.is_of(self._identity):
            self.catalog.replaced()

    async def ready(self) -> None:
        """Ask what must be asked. Call it when the server owes nothing."""
        self._unknown = self._followed = None
        try:
            if not self._way.open:
                self._followed = await self._follow()
                return
            if self._changed:
                await self._read_own()
            else:
                self._look_here()
                shared = await self.catalog.ready(await self._shared_way(wanted=not self.catalog.fresh))
                if shared.unavailable is None and not self.catalog.is_of(self._identity):
                    shared = self.catalog.nothing(_ELSEWHERE)
                if shared.unavailable is not None:
                    self._unknown = shared
                    return
            if not self._temporary_known:
                await self._read_temporary()
            self._made, self._made_by, self._doubtful = [], None, False
        except (AskError, OSError, ValueError) as error:
            self._unknown = self.catalog.nothing(str(error))

    async def look_again(self, names: Iterable[str]) -> bool:
        """Look again for names nobody knows; whether anything was new."""
        if self._changed:
            return False
        try:
            return await self.catalog.look_again(names, await self._shared_way(wanted=True))
        except (AskError, OSError, ValueError):
            return False

    async def _shared_way(self, *, wanted: bool) -> Run | None:
        """The session's way to see what others see, if it has one."""
        if not wanted or not self._way.open:
            return None
        if not self._way.in_transaction:
            return self._way.run
        if self.catalog.looker is not None:
            return None
        return self._way.run if await self._sees_what_others_see() else None

    async def _sees_what_others_see(self) -> bool:
        """A transaction of a higher isolation level sees the catalog's tables as they were when it began."""
        ((row,),) = await self._way.run([ISOLATION])
        return row == ("read committed",)

    async def _follow(self) -> SchemaSnapshot:
        """What the session sees where it cannot be asked: what was known, with the relations made since."""
        if self._doubtful:
            raise OSError("the session cannot be asked in the middle of a series of messages")
        self._look_here()
        shared = self._own if self._own_changes == self.catalog.changes else await self.catalog.ready(None)
        if not self.catalog.is_of(self._identity):
            raise OSError(_ELSEWHERE)
        if shared is None or shared.unavailable is not None or not self._made:
            return shared or self.catalog.nothing()
        seen, made = self._with_temporary(shared), tuple(self._made)
        known = self._extended
        if known is None or known[0] is not seen or known[1] != made:
            # The same each time it is asked for: a text may be read elsewhere meanwhile, in this very snapshot.
            relations = tuple(replace(relation, oid=-1 - at) for at, relation in enumerate(made))
            extended = seen.extended(SchemaSnapshot(relations=relations), next(self._generations))
            known = self._extended = (seen, made, extended)
        return known[2]

    async def _read_own(self) -> None:
        """The shared definitions as this transaction sees them."""
        changes, started = self.catalog.changes, clock.monotonic()
        ((isolation,),) = await self._way.run([ISOLATION])
        if isolation != ("read committed",):
            raise ValueError("the transaction changed definitions and sees others as they were when it began")
        shared, known, number = self.catalog.reading, self._own_reading, next(self._generations)
        begin = known or shared
        reading = await (
            read(self._way.run, generation=number)
            if begin is None
            else refresh(self._way.run, begin, generation=number)
        )
        if shared is not None and reading.snapshot is shared.snapshot:
            self._own = self.catalog.snapshot
        elif known is None or reading.snapshot is not known.snapshot or self._own is None:
            self._own = self._copies.marked(self.catalog.copies.marked(reading.snapshot))
        self._own_reading = reading
        self._own_changes = changes
        self._own_until = started + self.catalog.period

    async def _read_temporary(self) -> None:
        ((found,),) = await self._way.run([HAS_TEMPORARY])
        self._temporary = None
        if found == ("true",):
            reading = await read(self._way.run, generation=next(self._generations), temporary=True)
            self._temporary = self._copies.marked(_renamed(reading.snapshot))
            if not reading.complete:
                raise ValueError("the session's own temporary objects could not be read")
        self._temporary_known = True

    # Following -----------------------------------------------------------------------------------------

    def forwarded(self, facts: Facts) -> None:
        """A statement is on its way to the server."""
        changes = self._conduct(facts).changes
        self._unsettled = self._unsettled or changes or self._may_take_away(facts)
        self._forwarded = self._forwarded or changes
        copies = Copy.among((*facts.creates, *facts.fills))
        if copies:
            expected = self._expect(tuple(copy for copy in copies if not copy.oid))
            self._expected.append((facts, expected))
            self._fill(tuple(copy for copy in copies if copy.oid))

    def settled(self) -> None:
        """The server owes nothing: what was under way has ended."""
        self._unsettled = False

    def finished(self, facts: Facts, tag: str) -> None:
        """A statement succeeded. Tags are those of CommandComplete."""
        self._followed = None
        self._follow_copies(facts, tag)
        if tag == "ROLLBACK" or tag.startswith("DISCARD"):
            if self._temporary is not None or self._forwarded:
                self._temporary_known, self._doubtful = False, True
            self._own_changes = -1
        if tag.startswith("COMMIT") and (self._changed or tag == "COMMIT PREPARED"):
            self.catalog.changed()
        conduct = self._conduct(facts)
        if conduct.changes:
            self._temporary_known = False
            if conduct.only_creates:
                if self._made_by is not facts:
                    # Each statement of a message comes here with the facts of all.
                    self._made.extend(facts.creates)
                    self._made_by = facts
            else:
                self._doubtful = True
            if not self._only_temporary(facts):
                self._changed, self._own_changes = True, -1
                if not self._way.in_transaction:
                    self.catalog.changed()
        elif self._temporary is not None and conduct.runs_code:
            self._temporary_known, self._doubtful = False, True

    def idle(self) -> None:
        """No transaction is open any more."""
        if self._changed:
            self.catalog.changed()
        self._settle(self._made_copies)
        if self._forwarded:
            self._temporary_known = False
        self._changed = self._forwarded = False
        self._own = self._own_reading = self._followed = None
        self._own_changes = -1

    def close(self) -> None:
        """The session is over."""
        if self._changed or self._forwarded:
            self.catalog.changed()
        self._settle([one for _, expected in self._expected for one in expected])

    # Copies --------------------------------------------------------------------------------------------

    def _expect(self, copies: tuple[Copy, ...]) -> list[Expected]:
        """Copies are about to be made: in this session they are known at once, in others once it has committed."""
        if copies:
            self._copies.expect(copies, self.snapshot)
        shared = tuple(copy for copy in copies if copy.schema != TEMPORARY)
        return self.catalog.expect(shared) if shared else []

    def _fill(self, copies: tuple[Copy, ...]) -> None:
        """Copies are put into what is there: that counts for everybody at once, rolled back or not."""
        shared = tuple(copy for copy in copies if copy.schema != TEMPORARY)
        if shared and self.catalog.filled(shared) and self._own is not None:
            self._own = self.catalog.copies.marked(self._own, generation=next(self._generations))
        own = [copy for copy in copies if copy.schema == TEMPORARY]
        if self._temporary is not None and self._copies.fill(own):
            self._temporary = self._copies.marked(self._temporary, generation=next(self._generations))

    def _follow_copies(self, facts: Facts, tag: str) -> None:
        """A statement succeeded: what it made, kept or took back."""
        self._made_copies += [one for message, made in self._expected if message is facts for one in made]
        if tag == "PREPARE TRANSACTION":
            # Anybody may commit it, whenever.
            self._forget(self._made_copies)
        elif (
            tag == "ROLLBACK"
            and len(facts.statements) == 1
            and "ROLLBACK TO" not in self._conduct(facts).kinds
        ):
            self.catalog.copies.give_up(self._made_copies)
            self._forget(self._made_copies)

    def _settle(self, expected: list[Expected]) -> None:
        """What was made is there for everybody by now, or was taken back."""
        self.catalog.copies.settle(expected, self.catalog.changes)
        self._forget(expected)

    def _forget(self, expected: list[Expected]) -> None:
        done = set(expected)
        self._expected = [each for each in self._expected if not done.intersection(each[1])]
        self._made_copies = []

    def _may_take_away(self, facts: Facts) -> bool:
        """Whether a message may take away what only this session sees, without changing definitions itself."""
        conduct = self._conduct(facts)
        return self.own and (conduct.runs_code or conduct.ends)

    def _conduct(self, facts: Facts) -> "_Conduct":
        last = self._last_conduct
        if last is None or last[0] is not facts:
            last = self._last_conduct = (facts, _Conduct.of(facts))
        return last[1]

    def _only_temporary(self, facts: Facts) -> bool:
        """Whether all that a message changed of the definitions are temporary relations it made."""
        if self.snapshot.event_triggers or not self._conduct(facts).only_creates:
            return False
        return bool(facts.creates) and all(relation.schema == TEMPORARY for relation in facts.creates)


@dataclass(frozen=True, slots=True)
class _Conduct:
    """What a message does to definitions: worked out once, and asked for after each of its statements.

    ``runs_code`` that nobody has read; ``changes``: definitions may differ once it succeeded; ``only_creates``: what it
    defines are the relations it creates and nothing else; ``ends`` a transaction or goes back in one.
    """

    kinds: frozenset[str]
    runs_code: bool
    changes: bool
    only_creates: bool
    ends: bool

    @classmethod
    def of(cls, facts: Facts) -> "_Conduct":
        definitions = sum(
            any(effect.action is Action.DDL for effect in one.effects) for one in facts.statements
        )
        kinds = frozenset(one.kind for one in facts.statements)
        return cls(
            kinds=kinds,
            runs_code=any(effect.nature is Nature.OPAQUE for effect in facts.effects),
            changes=facts.changes_catalog or facts.unreadable is not None or definitions > 0,
            only_creates=facts.unreadable is None and definitions == len(facts.creates),
            ends=any(kind.startswith(_ENDS) for kind in kinds),
        )


def _renamed(snapshot: SchemaSnapshot) -> SchemaSnapshot:
    """Temporary objects under the name that every session has for its own."""
    return replace(
        snapshot,
        relations=tuple(replace(one, schema=TEMPORARY) for one in snapshot.relations),
        functions=tuple(replace(one, schema=TEMPORARY) for one in snapshot.functions),
        operators=tuple(replace(one, schema=TEMPORARY) for one in snapshot.operators),
        types=tuple(replace(one, schema=TEMPORARY) for one in snapshot.types),
    )
