"""Holds that concern the same people: what the store is told of a new one, and how people are told of the others."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.config.model import Config, Conflicts
from gateway.hold_terms import HoldRequest
from gateway.store import Concern, Conflict, Hold
from rules import ConflictAction, ConflictKind

__all__ = ["concern_of", "in_the_way", "must_end", "only_warned", "place_of"]

_DOES: Final[Mapping[ConflictKind, str]] = {
    ConflictKind.EXPORT_THEN_DELETE: "exports",
    ConflictKind.DELETE_THEN_EXPORT: "deletes",
    ConflictKind.DELETE_TWICE: "deletes",
}
"""What the earlier of two does."""


def concern_of(request: HoldRequest, conflicts: Conflicts) -> Concern | None:
    """What the store has to know to find others that concern the same people; None where nobody is concerned."""
    if not request.affected:
        return None
    actions = {kind: conflicts.action(kind) for kind in ConflictKind}
    return Concern(request.place, request.affected, actions, conflicts.window, at_once=request.breaks_glass)


def place_of(config: Config, database: str) -> str:
    """The database that a client reaches by a name, the same for every name of it."""
    found = config.database(database)
    if found is None:
        return database
    return f"{found.host}:{found.port}/{found.dbname or database}"


def only_warned(hold: Hold) -> bool:
    """Whether people are to see another hold before this one runs: nothing but their eyes is between the two."""
    return any(one.action is ConflictAction.WARN and not one.ended for one in hold.conflicts)


def in_the_way(conflicts: Sequence[Conflict]) -> str:
    """Why a hold is not opened, for whoever asks."""
    first = conflicts[0]
    state = "which has ended" if first.ended else first.state.value
    more = f", and so {'does' if len(conflicts) == 2 else 'do'} {len(conflicts) - 1} more"
    return (
        f"hold {first.other} of {first.user} ({state}) {_DOES[first.kind]} the same data: "
        f"{'; '.join(first.about)}{more if len(conflicts) > 1 else ''}"
    )


def must_end(first: Sequence[Hold], others: Sequence[str]) -> str:
    """What has to end before something else may run, for people; ``first`` is the first of them, if it is there."""
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    if not first:
        return f"{others[0]}{more}"
    (hold,) = first
    state = "it runs" if hold.released_at is not None else hold.state.value
    return f"hold {hold.id} of {hold.user} ({state}){more}"
