"""What the readers of definitions have in common.

Source: PostgreSQL's ``parsenodes.h``; documentation part VI, "SQL Commands".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rules.bodies import Bodies
from rules.catalog import Relation
from rules.facts import Action, EffectFacts
from rules.findings import Frame
from rules.pgquery import Node

if TYPE_CHECKING:
    from rules.statements import Statements

_EXPRESSIONS: Final = frozenset(["raw_default", "raw_expr", "whereClause", "where_clause", "expr"])
_BOUNDS: Final = frozenset(["listdatums", "lowerdatums", "upperdatums"])
_STORED: Final = frozenset(["raw_default", "raw_expr"])


Handler = Callable[[Any, Node, Frame], None]


class Definer:
    """Reads definitions of some kinds into the findings; a subclass lists its ``handlers`` by kind of node."""

    def __init__(self, statements: "Statements") -> None:
        self.statements = statements

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What reads a definition of a kind, with itself as the first argument."""
        raise NotImplementedError

    def handles(self, kind: str, fields: Node, frame: Frame) -> bool:
        """Read the definition if it is of one of the kinds; whether it was."""
        handler = self.handlers.get(kind)
        if handler is not None:
            handler(self, fields, frame)
        return handler is not None

    def ddl(self, detail: str, effect: EffectFacts | None = None) -> None:
        """Note that something is defined, or defined otherwise."""
        effect = effect or EffectFacts(Action.DDL, detail=detail)
        self.statements.findings.note(effect if effect.detail else replace(effect, detail=detail))

    def relation_in(self, fields: Node, frame: Frame) -> EffectFacts | None:
        """The effect on the relation that a definition names, if it does."""
        relation = fields.get("relation")
        if not isinstance(relation, dict) or "relname" not in relation:
            return None
        return self.statements.on_relation(relation, Action.DDL, frame, "changes")

    def known(self, relation: Node, frame: Frame) -> Relation | None:
        """What the catalog knows of a relation that a definition names."""
        return self.statements.findings.relation(relation.get("schemaname"), relation["relname"], frame).known

    def rebuilt(self, relation: Node, frame: Frame) -> None:
        """The server scans or rewrites the relation: what hangs on it is worked out anew for the rows there."""
        known = self.known(relation, frame)
        if known is not None and not frame.planned:
            Bodies(self.statements.findings).rebuilt(known, frame)

    def expressions(self, node: Any, frame: Frame) -> None:
        """Code in a definition: it may run right away, over the rows that are there.

        That is the expressions, the types that values become, and the operators and operator classes named.
        """
        stack = [node]
        while stack:
            one = stack.pop()
            if isinstance(one, list):
                stack.extend(one)
            elif isinstance(one, dict):
                for key, value in one.items():
                    if key in _EXPRESSIONS and isinstance(value, dict):
                        self.statements.expressions([value], frame, shown=key in _STORED)
                    elif key in _BOUNDS:
                        self.statements.expressions(value, frame)
                    elif key == "typeName" and isinstance(value, dict):
                        self.statements.types([value], frame)
                    elif key == "opclass":
                        self._operator_class(value[-1]["String"]["sval"], frame)
                    elif key == "exclusions":
                        self.statements.operators(_operators_in(value), frame)
                        stack.append(value)
                    elif isinstance(value, dict | list):
                        stack.append(value)

    def _operator_class(self, name: str, frame: Frame) -> None:
        for one in self.statements.findings.world.catalog.operator_classes:
            if one.name == name:
                Bodies(self.statements.findings).compared((one.type,), frame)


def _operators_in(exclusions: list[Node]) -> Iterator[list[Node]]:
    """The operators behind WITH, each as the parts of its name."""
    for one in exclusions:
        yield one["List"]["items"][1]["List"]["items"]
