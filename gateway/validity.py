"""Whether the word of an approver still counts when it is used."""

from collections.abc import Mapping, Sequence

from gateway.config import Config
from gateway.people import Person, same_person
from gateway.step_up import satisfied
from gateway.store import BREAK_GLASS, BY_GRANT, BY_RULE, Decision, Hold

__all__ = ["named", "void"]


def void(config: Config, hold: Hold, decision: Decision, people: Mapping[str, Person | None]) -> str | None:
    """Why an approval does not count any more, None where it does. ``people`` are those in whose name it was given."""
    if decision.how in (BREAK_GLASS, BY_GRANT, BY_RULE):
        return None
    for person, known in people.items():
        if same_person(person, hold.user):
            return "nobody may approve their own statement"
        if known is None or not known.enabled:
            return f"approver {person} is no longer known or enabled"
    if not satisfied(hold.stages[decision.stage], decision):
        return f"approver {decision.who} did not prove who they are"
    voice = decision.deputy_for or decision.who
    if decision.deputy_for and voice not in config.stands_in_for(decision.who, decision.at):
        return f"approver {decision.who} is no longer a deputy of {voice}"
    groups = hold.stages[decision.stage].all_groups
    known = people[voice]
    if groups and (known is None or known.groups.isdisjoint(groups)):
        return f"approver {voice} is no longer in {named(groups)}"
    return None


def named(groups: Sequence[str]) -> str:
    """``group a``, or ``groups a, b``."""
    return ("group " if len(groups) == 1 else "groups ") + ", ".join(groups)
