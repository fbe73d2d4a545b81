"""What a client reads of its hold: the notices while it waits, and the error where it does not run.

Nothing is decided here. Every message says what happened and what to do next.
"""

from datetime import datetime

from gateway.config import Config
from gateway.notify.addressees import how_to_confirm
from gateway.store import BY_RULE, Hold, HoldState, Standing
from gateway.validity import named
from protocol import sqlstate
from protocol.errors import ServerError

__all__ = [
    "conflicting",
    "full",
    "in_circle",
    "not_yet",
    "notice",
    "outdated",
    "refusal",
    "ticket_answer",
    "unavailable",
    "under_legal_hold",
]


def notice(hold: Hold, config: Config, now: datetime, *, first: bool) -> ServerError:
    """What the client of a hold is told while it waits, ``first`` and again later; and of one that does not wait."""
    left = max(0, round((hold.expires_at - now).total_seconds()))
    url = config.admin.public_url
    where = f" at {url}/#{hold.id}" if url else " on the management port"
    if hold.grant_id is not None:
        return ServerError.notice(
            f"statement was approved by grant {hold.grant_id}: hold {hold.id}",
            detail=f"Rule {hold.rule}: {hold.reason}. Granted by {', '.join(hold.decided_by[1:])}.",
        )
    if hold.state is HoldState.APPROVED and not hold.breaks_glass:
        return ServerError.notice(
            f"statement was approved by its rule: hold {hold.id}",
            detail=f"Rule {hold.rule}: {hold.reason}. All of its criteria are met.",
        )
    if hold.breaks_glass:
        return ServerError.notice(
            f"statement runs without an approval: hold {hold.id}",
            detail=f"Rule {hold.rule}: {hold.reason}. You broke the glass: {hold.intent.break_glass}",
            hint=f"Somebody else has to review it{where}. RESET holdgate.break_glass when the emergency is over.",
        )
    if hold.checking(now):
        return ServerError.notice(
            f"statement waits while the criteria of its rule are checked: hold {hold.id}",
            detail=f"Rule {hold.rule}: {hold.reason}. It expires in {_span(left)}.",
            hint="Cancel the statement to withdraw it.",
        )
    if hold.awaits_confirmation:
        return ServerError.notice(
            f"statement {'waits' if first else 'still waits'} for your confirmation: hold {hold.id}",
            detail=f"Rule {hold.rule}: {hold.reason}. Nobody is asked before. It expires in {_span(left)}.",
            hint=f"{how_to_confirm(hold, config)} Cancel the statement to withdraw it.",
        )
    return ServerError.notice(
        f"statement {'waits' if first else 'still waits'} for approval: hold {hold.id}",
        detail=f"Rule {hold.rule}: {hold.reason}.{_approved(hold)} It expires in {_span(left)}.",
        hint=f"{_asked(hold, now)}{where}. Cancel the statement to withdraw it.",
    )


def unavailable(why: str) -> ServerError:
    """The refusal of a request that could not be recorded, so must not run."""
    return ServerError(
        sqlstate.SYSTEM_ERROR,
        "statement refused: the gateway cannot record it",
        detail=f"{why}. Nothing was run.",
        hint="Tell the operator of the gateway: its store or its audit cannot be written.",
    )


def full(why: str) -> ServerError:
    """What the client reads where too much is held."""
    return ServerError(
        sqlstate.CONFIGURATION_LIMIT_EXCEEDED,
        f"statement needs approval, but {why}",
        detail="Nothing was run.",
        hint="Wait until pending holds are decided or expire, then run the statement again.",
    )


def conflicting(why: str) -> ServerError:
    """What the client reads where another hold forbids this one."""
    return ServerError(
        sqlstate.OBJECT_IN_USE,
        f"statement refused: {why}",
        detail="Both concern the same people. Nothing was run.",
        hint="Run it again when that hold has ended, if it is still needed.",
    )


def under_legal_hold(why: str) -> ServerError:
    """What the client reads of a deletion that a legal hold forbids."""
    return ServerError(
        sqlstate.INSUFFICIENT_PRIVILEGE,
        f"statement denied: {why}",
        detail="Data under legal hold must not be deleted, whoever approves it. Nothing was run.",
        hint="Delete others, naming them by their keys, or talk to whoever set the legal hold.",
    )


def not_yet(hold: Hold, first: str) -> ServerError:
    """What the client of a ticket reads that is approved, and has to let something else go first."""
    return ServerError(
        sqlstate.OBJECT_IN_USE,
        f"ticket {hold.id} is approved, and waits until {first} has ended",
        detail="Both concern the same people. Nothing was run.",
        hint="Run the same statement again then: it goes through once.",
    )


def outdated(hold: Hold, problem: str) -> ServerError:
    """What the client reads whose approval does not count any more."""
    return ServerError(
        sqlstate.INSUFFICIENT_PRIVILEGE,
        f"the approval of hold {hold.id} is void: {problem}",
        detail="Nothing was run.",
        hint="Run the statement again to ask anew.",
    )


def in_circle(hold: Hold) -> ServerError:
    """As the server says it of locks."""
    return ServerError(
        sqlstate.DEADLOCK_DETECTED,
        f"deadlock detected: hold {hold.id} was ended",
        detail=f"{(hold.end_reason or '').capitalize()}. Nothing was run.",
        hint="Roll back, so that the other one goes on, and run the transaction again.",
    )


def ticket_answer(hold: Hold, now: datetime, config: Config) -> ServerError:
    """What the client of a ticket that cannot be used reads."""
    if hold.state is HoldState.REJECTED:
        return refusal(hold)
    left = max(0, round((hold.expires_at - now).total_seconds()))
    if hold.awaits_confirmation:
        return ServerError(
            sqlstate.INSUFFICIENT_PRIVILEGE,
            f"statement needs your confirmation: ticket {hold.id}",
            detail=f"Rule {hold.rule}: {hold.reason}. Nobody is asked before. It expires in {_span(left)}. "
            "Nothing was run.",
            hint=f"{how_to_confirm(hold, config)} Run the same statement again once it is approved.",
        )
    return ServerError(
        sqlstate.INSUFFICIENT_PRIVILEGE,
        f"statement needs approval: ticket {hold.id}",
        detail=f"Rule {hold.rule}: {hold.reason}.{_approved(hold)} It expires in {_span(left)}. Nothing was run.",
        hint=f"{_asked(hold, now)}. Run the same statement again then: it goes through once.",
    )


def refusal(hold: Hold) -> ServerError:
    """What the client of a hold that was not approved reads."""
    asked = f"Hold {hold.id}, rule {hold.rule}: {hold.reason}. Nothing was run."
    if hold.state is HoldState.REJECTED:
        last = hold.decisions[-1]
        hint = f"Talk to {last.who}, then run the statement again if it is still needed."
        if last.how == BY_RULE:
            hint = "Change the statement, or ask the operator of the gateway about this rule."
        return ServerError(
            sqlstate.INSUFFICIENT_PRIVILEGE,
            f"statement rejected by {last.who}: {last.reason}",
            detail=asked,
            hint=hint,
        )
    if hold.state is HoldState.EXPIRED and hold.decisions and hold.standing is None:
        return ServerError(
            sqlstate.QUERY_CANCELED,
            f"hold {hold.id} was approved and expired: {hold.end_reason}",
            detail=asked,
            hint="Run the statement again when what it waited for is over.",
        )
    if hold.state is HoldState.EXPIRED and hold.confirm is not None and hold.confirmation is None:
        return ServerError(
            sqlstate.QUERY_CANCELED,
            f"hold {hold.id} expired before you confirmed it",
            detail=asked,
            hint="Run the statement again, and confirm it in time.",
        )
    if hold.state is HoldState.EXPIRED:
        return ServerError(
            sqlstate.QUERY_CANCELED,
            f"hold {hold.id} expired before anyone decided",
            detail=asked,
            hint=f"{_people(hold.standing, hold.expires_at)} has to be there; run the statement again when they are.",
        )
    if hold.state is HoldState.WITHDRAWN:
        return ServerError(
            sqlstate.QUERY_CANCELED, "canceling statement due to user request", detail=f"Withdrawn. {asked}"
        )
    return ServerError(
        sqlstate.QUERY_CANCELED,
        f"hold {hold.id} was {hold.state.value}: {hold.end_reason or 'the wait ended'}",
        detail=asked,
        hint="Connect again and run the statement again.",
    )


def _approved(hold: Hold) -> str:
    return f" Approved by {', '.join(hold.decided_by)} so far." if hold.decisions else ""


def _asked(hold: Hold, now: datetime) -> str:
    """Whose word the hold waits for, and what comes after them."""
    later = [one for one in hold.standings if one.missing][1:]
    then = "".join(f", then {_lowered(_people(one, now))}" for one in later)
    return f"{_people(hold.standing, now)} can approve or reject it{then and f' first{then},'}"


def _people(standing: Standing | None, now: datetime) -> str:
    groups = () if standing is None else standing.groups(now)
    many = 1 if standing is None else standing.missing
    if not groups:
        return "Anyone with the role approver" if many == 1 else f"Any {many} people with the role approver"
    return f"Somebody of {named(groups)}" if many == 1 else f"{many} people of {named(groups)}"


def _lowered(text: str) -> str:
    return text[0].lower() + text[1:]


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
