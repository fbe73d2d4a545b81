"""What a message says, in words and as data, with no more of the statement than its channel is to see.

Everything in it that somebody else wrote is made visible: a message is read where nothing may hide or reorder it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.audit.redact import redact_literals
from gateway.config.channels import SqlText
from gateway.notify.selection import ASKED, CONFIRM, ESCALATED, REVIEW
from gateway.store import Hold, HoldState, Message, iso
from gateway.text import one_line, visible

__all__ = ["Notice", "notice_of", "sample"]

SQL_LENGTH: Final = 2_000
"""Characters of a statement in a message for people."""
DATA_LENGTH: Final = 100_000
"""Characters of it in one for programs."""
TITLE_LENGTH: Final = 200
VALUE_LENGTH: Final = 500

_DATA: Final = (
    *(
        "id",
        "state",
        "user",
        "groups",
        "database",
        "client_addr",
        "application_name",
        "session_id",
        "actions",
    ),
    *("relations", "columns", "row_bound", "rule", "reason", "intent", "approval_groups", "stages", "ticket"),
    *("break_glass", "max_rows", "opened_at", "expires_at", "resolved_at", "end_reason", "digest"),
)
"""What programs are told of a hold; of its decisions and its statement below."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message. ``id`` is the same for every attempt. ``facts`` are names and values, one line each; ``sql`` is None
    where the channel is to see none; ``link`` leads to the hold, if people can reach the management port by one."""

    id: str
    event: str
    at: datetime
    hold_id: str
    state: HoldState
    requester: str
    title: str
    facts: tuple[tuple[str, str], ...]
    sql: str | None
    link: str | None
    data: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All of it as plain text, but for the title."""
        lines = [f"{name}: {value}" for name, value in self.facts]
        if self.sql is not None:
            lines += ["", self.sql]
        if self.link is not None:
            lines += ["", self.link]
        return "\n".join(lines)


def notice_of(
    message: Message, hold: Hold, sql: SqlText, public_url: str | None, confirm: str | None = None
) -> Notice:
    """What ``message`` says of ``hold`` as it is now; ``confirm`` is the link by which it is confirmed, for whoever
    asked."""
    link = None if public_url is None else f"{public_url}/#{hold.id}"
    if message.event == CONFIRM and confirm is not None:
        link = confirm
    return Notice(
        id=message.id,
        event=message.event,
        at=message.created_at,
        hold_id=hold.id,
        state=hold.state,
        requester=hold.user,
        title=one_line(_title(message.event, hold), TITLE_LENGTH),
        facts=tuple(
            (name, one_line(value, VALUE_LENGTH)) for name, value in _facts(message, hold).items() if value
        ),
        sql=_statement(hold.sql, sql, SQL_LENGTH),
        link=link,
        data=_data(hold, sql, link),
    )


def sample(message_id: str, at: datetime, public_url: str | None) -> Notice:
    """A message that says that messages arrive."""
    return Notice(
        id=message_id,
        event="test",
        at=at,
        hold_id="",
        state=HoldState.PENDING,
        requester="",
        title="A test of Holdgate: messages arrive here",
        facts=(("Sent", iso(at) or ""),),
        sql=None,
        link=public_url,
        data={"test": True},
    )


def _title(event: str, hold: Hold) -> str:
    what = f"{' and '.join(hold.actions) or 'a statement'} on {', '.join(hold.relations) or hold.database}"
    if event == ASKED:
        return f"{hold.user} asks for approval: {what}"
    if event == CONFIRM:
        return f"Confirm that you ask for this: {what}"
    if event == ESCALATED:
        return f"Still waits for approval: {what}, asked by {hold.user}"
    if event == REVIEW:
        return f"Ran without an approval, to be reviewed: {what}, by {hold.user}"
    word = hold.state.value
    if hold.decisions and hold.decided:
        word += f" by {hold.decisions[-1].who}"
    return f"{word[0].upper()}{word[1:]}: {what}, asked by {hold.user}"


def _facts(message: Message, hold: Hold) -> dict[str, str]:
    decision = hold.decisions[-1] if hold.decisions else None
    standing = hold.standing
    asked: tuple[str, ...] = ()
    if standing is not None and message.event in (ASKED, ESCALATED):
        escalation = standing.stage.escalation
        late = message.event == ESCALATED and escalation is not None
        asked = escalation.groups if late and escalation is not None else standing.stage.groups
    return {
        "Hold": hold.id,
        "Asked of": ", ".join(asked),
        "Requester": f"{hold.user} ({hold.application_name})" if hold.application_name else hold.user,
        "Database": hold.database,
        "Rule": f"{hold.rule}: {hold.reason}",
        "Rows": hold.row_bound,
        "Reason": hold.intent.reason or "",
        "Ticket": hold.intent.ticket or "",
        "Broke the glass": hold.intent.break_glass or "" if hold.breaks_glass else "",
        "Expires": (iso(hold.expires_at) or "") if hold.state is HoldState.PENDING else "",
        "Decision": decision.reason if decision is not None and not hold.breaks_glass else "",
        "Ended": hold.end_reason or "",
        "If it was not you": "do nothing, so that it does not run, and tell the operator of the gateway"
        if message.event == CONFIRM
        else "",
    }


def _statement(text: str, sql: SqlText, length: int) -> str | None:
    if sql == "none":
        return None
    shown = redact_literals(text).strip() if sql == "redacted" else text
    shown = visible(shown)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _data(hold: Hold, sql: SqlText, link: str | None) -> dict[str, Any]:
    known = hold.to_dict()
    data: dict[str, Any] = {name: known[name] for name in _DATA}
    data["decisions"] = [
        {name: value for name, value in decision.to_dict().items() if name != "proof"}
        for decision in hold.decisions
    ]
    data["sql"] = _statement(hold.sql, sql, DATA_LENGTH)
    data["parameters"] = known["parameters"] if sql == "full" else None
    data["link"] = link
    return data
