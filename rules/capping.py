"""Caps: how many of the statements that were held may run at the same time, or in a span of time, over all gateways."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rules.context import Context
from rules.facts import EffectFacts
from rules.policy import When

__all__ = ["COUNTED_BY", "PERIODS", "Cap", "CountedBy", "Demand", "demands"]

CountedBy = Literal["all", "user", "group", "database", "relation"]

COUNTED_BY: Final[tuple[CountedBy, ...]] = ("all", "user", "group", "database", "relation")

PERIODS: Final = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
"""Seconds in which a number of statements may begin."""


@dataclass(frozen=True, slots=True)
class Cap:
    """No more than ``most`` statements that ``when`` speaks of at the same time or, where ``per`` is there, begun in so
    many seconds; counted apart for each of what ``by`` says."""

    name: str
    when: When
    most: int
    per: float | None = None
    by: CountedBy = "all"

    def places(self, effects: Sequence[EffectFacts], context: Context, *, erasing: bool) -> tuple[str, ...]:
        """What a statement with these effects counts for, none where the cap does not speak of it.

        Whoever is in several groups counts for each, and so does what touches several relations. A relation that is not
        known counts as one of its own, ``*``.
        """
        if not self.when.matches_session(context):
            return ()
        met = [one for one in effects if self.when.matches_effect(one, cautious=True, erasing=erasing)]
        if not met and not (self.when.names_no_effect and not effects):
            return ()
        match self.by:
            case "user":
                return (context.user,)
            case "group":
                return tuple(sorted(context.groups)) or ("",)
            case "database":
                return (context.database,)
            case "relation":
                names = dict.fromkeys(one.relation or "*" for one in met)
                return tuple(f"{context.database}.{name}" for name in sorted(names or {"*": None}))
            case _:
                return ("",)


@dataclass(frozen=True, slots=True)
class Demand:
    """One of the ``most`` places that there are for ``key`` under a cap; ``per`` as in the cap."""

    cap: str
    key: str
    most: int
    per: float | None


def demands(
    caps: Iterable[Cap], effects: Sequence[EffectFacts], context: Context, *, erasing: bool
) -> tuple[Demand, ...]:
    """Every place that a statement with these effects needs before it may run."""
    return tuple(
        Demand(cap.name, key, cap.most, cap.per)
        for cap in caps
        for key in cap.places(effects, context, erasing=erasing)
    )
