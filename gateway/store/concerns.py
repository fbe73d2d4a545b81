"""What the store is told of a new hold, so that it finds others that concern the same people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rules import Affected, ConflictAction, ConflictKind

__all__ = ["Concern"]


@dataclass(frozen=True, slots=True)
class Concern:
    """Whose data a hold exports and deletes, in the database at ``place``; what is done about conflicts of each kind;
    and for how many seconds what has ended counts. ``at_once``: it waits for nobody, and is only told of."""

    place: str
    affected: Sequence[Affected]
    actions: Mapping[ConflictKind, ConflictAction]
    window: float
    at_once: bool = False

    def action(self, kind: ConflictKind) -> ConflictAction:
        """What is done about a conflict of this kind."""
        return ConflictAction.WARN if self.at_once else self.actions[kind]
