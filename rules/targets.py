"""What follows from a write beside the write: cascades, triggers, rules, checks, defaults, policies.

Source: documentation chapters 5.5.5, "Foreign Keys", 39, "Triggers", and 41, "The Rule System".
"""

from typing import Final

from rules.bodies import MAX_DEPTH, Bodies
from rules.catalog import ForeignKey, Relation
from rules.facts import Action
from rules.findings import Findings, Frame, Write
from rules.lineage import Reference, Scope
from rules.personal import ALL
from rules.pgquery import GrammarError
from rules.reader import Unreadable

_STORED: Final = frozenset(["default", "check", "generated", "index", "partition", "policy"])
_LOOKED_AT: Final = frozenset(["policy"])
_EVENTS: Final = {Action.INSERT: "insert", Action.UPDATE: "update", Action.DELETE: "delete"}


class Targets:
    """Follows writes through the catalog, into the findings."""

    def __init__(self, findings: Findings, bodies: Bodies) -> None:
        self._findings = findings
        self._world = findings.world
        self._bodies = bodies

    def follow(self, action: Action, reference: Reference, columns: tuple[str, ...], frame: Frame) -> None:
        """Everything that a write to the reference's relation leads to."""
        relation = reference.known
        if relation is None or frame.planned:
            return
        if frame.depth >= MAX_DEPTH:
            raise Unreadable("writes that lead to writes more than a dozen deep")
        family = [relation] if reference.alone else [relation, *self._world.descendants(relation)]
        family += [one for one in self._world.ancestors(relation) if relation.is_partition]
        for member in family:
            self._one(action, member, reference, columns, frame)

    def _one(
        self, action: Action, relation: Relation, reference: Reference, columns: tuple[str, ...], frame: Frame
    ) -> None:
        key = (action, relation.oid)
        if key in self._findings.followed:
            self._again(key)
            return
        self._findings.followed[key] = []
        self._rules(action, relation, frame)
        self._bodies.triggers(relation, _EVENTS[action], () if ALL in columns else columns, frame)
        if action is Action.UPDATE and relation.is_partition:
            # A row may move: it is deleted here, and inserted there.
            self._bodies.triggers(relation, "delete", (), frame)
            self._bodies.triggers(relation, "insert", (), frame)
        stored = action is not Action.DELETE
        self._bodies.code(relation, _STORED if stored else _LOOKED_AT, frame)
        if stored:
            self._bodies.types(relation.types, frame)
            self._bodies.casts(relation, frame)
        if action is not Action.INSERT:
            for foreign_key in self._world.catalog.referring.get(relation.oid, ()):
                self._cascade(action, foreign_key, reference, columns, frame)

    def _again(self, key: tuple[Action, int]) -> None:
        """A second write of the kind: what the first one's rows proved of the rows behind does not hold for all."""
        for mention in self._findings.followed.get(key, ()):
            if not mention.repeated and mention.known is not None:
                mention.repeated = True
                for action in (Action.DELETE, Action.UPDATE):
                    self._again((action, mention.known.oid))

    def _rules(self, action: Action, relation: Relation, frame: Frame) -> None:
        for rule in relation.rules:
            if rule.event != _EVENTS[action]:
                continue
            step = f"rule {rule.name} on {relation.full_name}"
            inner = frame.into(step, variables=True, repeated=True, exposes=False, path=())
            try:
                _, fields, _ = self._world.parsed(rule.definition).statements[0]
            except (GrammarError, RecursionError) as error:
                self._findings.opaque(step, f"{step} cannot be read: {error}", frame.trail)
                continue
            if "whereClause" in fields:
                select = {"targetList": [{"ResTarget": {"val": fields["whereClause"]}}]}
                self._findings.reader.statement("SelectStmt", select, inner, Scope(variables=True))
            for node in fields.get("actions", ()):
                kind, each = next(iter(node.items()))
                shape = self._findings.reader.statement(kind, each, inner, Scope(variables=True))
                # What a rule's SELECT returns goes to the client.
                self._findings.expose(shape.everything())

    def _cascade(
        self,
        action: Action,
        foreign_key: ForeignKey,
        reference: Reference,
        columns: tuple[str, ...],
        frame: Frame,
    ) -> None:
        """What a foreign key does to the rows that refer to the ones written."""
        rule = foreign_key.on_delete if action is Action.DELETE else foreign_key.on_update
        if rule not in ("c", "n", "d"):
            return
        if action is Action.UPDATE and not self._may_change(foreign_key, columns):
            return
        child = self._world.catalog.by_oid.get(foreign_key.child)
        if child is None:
            return
        words = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}[rule]
        event = "DELETE" if action is Action.DELETE else "UPDATE"
        step = f"ON {event} {words} from {reference.relation}"
        inner = frame.into(step)
        mention = self._findings.refer(
            Reference(
                child.full_name,
                child,
                self._world.mark(child),
                per=inner.per,
                repeated=inner.repeated,
                is_target=True,
                trail=inner.trail,
                cause=reference,
            )
        )
        assert reference.known is not None
        self._findings.followed.setdefault((action, foreign_key.parent), []).append(mention)
        for own, theirs in zip(foreign_key.columns, foreign_key.parent_columns, strict=False):
            mention.within.append((own, reference, theirs))
        follows = Action.DELETE if action is Action.DELETE and rule == "c" else Action.UPDATE
        written = () if follows is Action.DELETE else foreign_key.columns
        erases = rule != "c" and any(mention.holds(column) for column in foreign_key.columns)
        self._findings.write(Write(follows, mention, written, " → ".join(inner.trail), erases=erases))
        self.follow(follows, mention, written, inner)

    def _may_change(self, foreign_key: ForeignKey, columns: tuple[str, ...]) -> bool:
        """Whether an update of these columns may change what the key refers to: by itself, or by a trigger."""
        if ALL in columns or not set(columns).isdisjoint(foreign_key.parent_columns):
            return True
        parent = self._world.catalog.by_oid.get(foreign_key.parent)
        return parent is not None and any("update" in trigger.events for trigger in parent.triggers)
