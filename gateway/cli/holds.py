"""``holdgate holds``: list, show, approve, reject, watch."""

import json
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Final

from gateway.cli.client import Client, ConnectionLost, Refusal, part
from gateway.cli.errors import USAGE, CliError
from gateway.cli.output import moment, print_fields, print_json, print_table
from gateway.cli.totp import ask_for_code
from gateway.text import one_line

__all__ = ["confirm", "decide", "list_holds", "show", "watch"]

_PAGE = 200
_SQL_WIDTH = 60
_ROWS = {"POINT": "one subject", "UNBOUNDED": "any number"}
_RETRY_SECONDS = 2.0
_EVENTS = {
    "hold.opened": "waits",
    "hold.decided": "approved in part",
    "hold.escalated": "escalated",
    "hold.checked": "its criteria are checked",
    "hold.confirmed": "its requester has confirmed it",
    "hold.queued": "waits for room",
    "hold.conflict": "is not the only one about these people",
    "hold.released": "runs",
    "hold.reviewed": "reviewed",
    "hold.outcome": "done",
}
_SPANS = {60.0: "a minute", 3600.0: "an hour", 86400.0: "a day"}
_BY_PEOPLE = ("hold.decided", "hold.resolved")

REACHED: Final = {
    "CASCADE": "they change with it",
    "SET NULL": "they lose the reference",
    "SET DEFAULT": "they get the default",
    "RESTRICT": "they stop it",
    "NO ACTION": "they stop it",
}
"""What a foreign key does about the rows that refer, in words."""


OUTCOMES: Final = {
    "met": "met",
    "unmet": "not met",
    "denied": "denied",
    "unchecked": "could not be checked",
    "checking": "being checked",
}
"""What came of a criterion, in words."""


CONFLICTS: Final = {
    ("export_then_delete", True): "exports what this deletes",
    ("export_then_delete", False): "deletes what this exports",
    ("delete_then_export", True): "deletes what this exports",
    ("delete_then_export", False): "exports what this deletes",
    ("delete_twice", True): "deletes the same, and came first",
    ("delete_twice", False): "deletes the same, and came later",
}
"""What another hold does, by the kind of the conflict and whether it came first."""


def list_holds(options: Namespace) -> None:
    """A table of holds, or one JSON object a line."""
    state = None if options.state == "all" else options.state
    holds: list[dict[str, Any]] = []
    with Client(options) as client:
        cursor = None
        while len(holds) < options.limit:
            wanted = {"state": state, "limit": min(_PAGE, options.limit - len(holds)), "cursor": cursor}
            page = client.get("/api/v1/holds", wanted)
            holds += page["holds"]
            cursor = page["next"]
            if cursor is None:
                break
    if options.json:
        for hold in holds:
            print_json(hold)
        return
    print_table(
        ("ID", "STATE", "USER", "DATABASE", "OPENED", "EXPIRES", "RULE", "STATEMENT"),
        [
            (
                hold["id"],
                f"queued {hold['queue']['place']}/{hold['queue']['of']}" if hold["queue"] else hold["state"],
                hold["user"],
                hold["database"],
                moment(hold["opened_at"]),
                moment(hold["expires_at"]),
                hold["rule"],
                one_line(hold["sql"], _SQL_WIDTH),
            )
            for hold in holds
        ],
        empty="nothing waits for a decision" if state == "pending" else "no holds",
    )


def show(options: Namespace) -> None:
    """Everything about one hold."""
    with Client(options) as client:
        hold = client.get(f"/api/v1/holds/{part(options.id)}")
    if options.json:
        print_json(hold)
        return
    parameters = hold["parameters"] or []
    outcome = hold["outcome"] or {}
    print_fields(
        {
            "id": hold["id"],
            "state": hold["state"],
            "user": f"{hold['user']} ({', '.join(hold['groups'])})" if hold["groups"] else hold["user"],
            "database": hold["database"],
            "from": ", ".join(filter(None, (hold["client_addr"], hold["application_name"]))),
            "session": hold["session_id"],
            "opened": moment(hold["opened_at"]),
            "expires": moment(hold["expires_at"]),
            "people asked": _not_yet(hold),
            "mode": "ticket: it goes through once when it is run again" if hold["ticket"] else None,
            "use by": moment(hold["use_by"]),
            "transaction": moment(hold["transaction_open_since"]),
            "rule": hold["rule"],
            "reason": hold["reason"],
            "asked because": hold["intent"]["reason"],
            "ticket": hold["intent"]["ticket"],
            "criteria": "\n".join(map(_criterion, hold["criteria"])),
            "confirmation": _confirmation(hold),
            "conflicts": "\n".join(map(_conflict, hold["conflicts"])),
            "broke the glass": hold["intent"]["break_glass"] if hold["break_glass"] else None,
            "review": _review(hold),
            "actions": ", ".join(hold["actions"]),
            "relations": ", ".join(hold["relations"]),
            "columns": ", ".join(hold["columns"]),
            "rows": _ROWS.get(hold["row_bound"], hold["row_bound"]),
            "can decide": "\n".join(map(_stage, hold["stages"])),
            "runs under": ", ".join(hold["obligations"]) or None,
            "statement": hold["sql"],
            "laid out": _laid_out(hold),
            "parameters": "\n".join(
                f"${number} = {'NULL' if value is None else value}"
                for number, value in enumerate(parameters, 1)
            ),
            "before it": "\n".join(map(_past, hold["recent"])),
            **_impact(hold["impact"]),
            "no more than": _ceiling(hold),
            "decisions": "\n".join(
                f"{decision['verdict']} by {_who(decision)} at {moment(decision['at'])} ({_how(decision)})"
                + (f": {decision['reason']}" if decision["reason"] else "")
                for decision in hold["decisions"]
            ),
            "can be granted": _grantable(hold),
            "ran by grant": hold["grant_id"],
            "granted": hold["granted_id"],
            "queue": _place(hold["queue"]),
            "ended": moment(hold["resolved_at"]),
            "because": hold["end_reason"],
            "outcome": f"failed with {outcome['sqlstate']}"
            if outcome.get("sqlstate")
            else outcome.get("tag"),
            "digest": hold["digest"],
        }
    )


def _not_yet(hold: dict[str, Any]) -> str | None:
    """When people are asked at the latest, while criteria are being checked."""
    if hold["state"] != "pending" or hold["checking_until"] is None:
        return None
    return f"once its criteria are checked, at {moment(hold['checking_until'])} at the latest"


def _laid_out(hold: dict[str, Any]) -> str | None:
    formatted: str | None = (hold["impact"] or {}).get("formatted")
    return formatted if formatted != hold["sql"] else None


def _past(one: dict[str, Any]) -> str:
    end = one["sqlstate"] and f"failed with {one['sqlstate']}"
    return f"{moment(one['at'])} {one_line(one['sql'], _SQL_WIDTH)} ({end or one['tag']})"


def _impact(impact: dict[str, Any] | None) -> dict[str, str | None]:
    """What was previewed, line by line."""
    if impact is None:
        return {}
    lines: list[str] = []
    for change in impact["changes"]:
        lines.append(f"{change['action']} {_count(change['rows'])} of {change['relation']}")
        lines += [
            f"  {_count(one['rows'])} of {one['relation']} refer to {one['parent']}: "
            f"{REACHED[one['rule']]} ({one['constraint']}, {one['rule']})"
            for one in change["reached"]
        ]
        lines += [f"  trigger on {trigger}" for trigger in change["triggers"]]
        lines += [f"  not seen: {text}" for text in change["unseen"]]
    for read in impact["reads"]:
        lines.append(
            read["unseen"] or f"the planner expects {read['rows']:.0f} rows at a cost of {read['cost']:.0f}"
        )
    transaction = impact["transaction"]
    if transaction is not None:
        waiting = transaction["waiting"]
        lines.append(f"{'some' if waiting is None else waiting} sessions wait for its transaction")
        lines += [f"  it holds {lock['mode']} on {lock['relation']}" for lock in transaction["locks"]]
    lines += [f"not seen: {text}" for text in impact["unseen"]]
    return {"impact": "\n".join(lines), "looked at": moment(impact["taken_at"])}


def _ceiling(hold: dict[str, Any]) -> str | None:
    """The rows that it is, or would be, approved for."""
    if hold["max_rows"] is not None:
        return _count(hold["max_rows"])
    if hold["state"] != "pending":
        return None
    if hold["uncounted"] is not None:
        return f"any number of rows: {hold['uncounted']}"
    proposed = hold["proposed_rows"]
    return f"{_count(proposed)}, unless --max-rows says otherwise" if proposed is not None else None


def _grantable(hold: dict[str, Any]) -> str | None:
    limits = hold["grantable"]
    if limits is None or hold["state"] != "pending":
        return None
    uses = f", {limits['max_uses']} times" if limits["max_uses"] is not None else ""
    return f"for up to {limits['max_seconds']:.0f} s{uses}: {limits['statement']}"


def _place(place: dict[str, Any] | None) -> str | None:
    if place is None:
        return None
    room = f", room at {moment(place['room_at'])}" if place["room_at"] else ""
    return f"place {place['place']} of {place['of']} under the cap {place['cap']}{room}"


def _count(rows: int | None) -> str:
    return "an unknown number of rows" if rows is None else f"{rows} row{'' if rows == 1 else 's'}"


def _how(decision: dict[str, Any]) -> str:
    """The way somebody decided, and how they proved who they are."""
    return ", ".join(filter(None, (decision["how"], decision["step_up"])))


def _review(hold: dict[str, Any]) -> str | None:
    review = hold["review"]
    if review is None:
        return "open: somebody else has to close it" if hold["break_glass"] else None
    return f"by {review['who']} at {moment(review['at'])}: {review['note']}"


def _criterion(criterion: dict[str, Any]) -> str:
    why = f" ({criterion['why']})" if criterion["why"] else ""
    return f"{OUTCOMES[criterion['outcome']]}: {criterion['criterion']}{why}"


def _conflict(conflict: dict[str, Any]) -> str:
    does = CONFLICTS[conflict["kind"], conflict["earlier"]]
    state = "ended" if conflict["ended"] else conflict["state"]
    waits = "; this one waits until it has ended" if conflict["waits"] else ""
    about = "; ".join(conflict["about"])
    return f"{conflict['hold_id']} of {conflict['user']} ({state}) {does}: {about}{waits}"


def _who(decision: dict[str, Any]) -> str:
    deputy_for = decision["deputy_for"]
    return f"{decision['who']} for {deputy_for}" if deputy_for else str(decision["who"])


def _stage(stage: dict[str, Any]) -> str:
    """Who is asked in a stage, who has approved, and who is still needed."""
    text = " or ".join(stage["groups"]) or "any approver"
    if stage["quorum"] > 1:
        text = f"{stage['quorum']} of {text}"
    if stage["approved_by"]:
        text += f"; approved by {', '.join(stage['approved_by'])}"
    if stage["missing"]:
        text += f"; {stage['missing']} still needed"
        escalation = stage["escalation"]
        if escalation is not None:
            when = f" from {moment(escalation['at'])}" if escalation["at"] else " later"
            text += f"; {' or '.join(escalation['to'])} too{when}"
    return text


def reviews(options: Namespace) -> None:
    """What ran without an approval and nobody has reviewed: a table, or one JSON object a line."""
    with Client(options) as client:
        holds = client.get("/api/v1/reviews")["holds"]
    if options.json:
        for hold in holds:
            print_json(hold)
        return
    print_table(
        ("ID", "USER", "DATABASE", "RAN", "BECAUSE", "STATEMENT"),
        [
            (
                hold["id"],
                hold["user"],
                hold["database"],
                moment(hold["resolved_at"]),
                one_line(hold["intent"]["break_glass"] or "", _SQL_WIDTH),
                one_line(hold["sql"], _SQL_WIDTH),
            )
            for hold in holds
        ],
        empty="nothing is to be reviewed",
    )


def queue(options: Namespace) -> None:
    """Who has places under caps and who waits for one: a table, or one JSON object a line."""
    with Client(options) as client:
        found = client.get("/api/v1/queue")["queue"]
    if options.json:
        for one in found:
            print_json(one)
        return
    print_table(
        ("CAP", "FOR", "MOST", "TAKEN", "WAITING"),
        [
            (
                one["cap"],
                one["key"],
                f"{one['most']} {_SPANS.get(one['per_seconds'], 'at a time')}",
                str(len(one["taken"])),
                " ".join(one["waiting"]),
            )
            for one in found
        ],
        empty="nothing is at work under a cap, and nothing waits",
    )


def review(options: Namespace) -> None:
    """Close a review."""
    with Client(options) as client:
        hold = client.post(f"/api/v1/holds/{part(options.id)}/review", {"note": options.note})
    if options.json:
        print_json(hold)
        return
    print(f"{hold['id']} reviewed: {one_line(hold['sql'], _SQL_WIDTH)}")


def decide(options: Namespace) -> None:
    """Approve or reject."""
    path = f"/api/v1/holds/{part(options.id)}/{options.verdict}"
    body: dict[str, object] = {"reason": options.reason}
    if "max_rows" in options:
        body["max_rows"] = options.max_rows
    if options.verdict == "approve":
        body.update(_grant(options))
    if options.verdict == "approve" and options.totp is not None:
        body["totp"] = options.totp
    with Client(options) as client:
        try:
            hold = client.post(path, body)
        except Refusal as refusal:
            if refusal.kind != "step-up-required" or "totp" in body or not sys.stdin.isatty():
                raise
            hold = client.post(path, {**body, "totp": ask_for_code()})
    if options.json:
        print_json(hold)
        return
    missing = next((stage["missing"] for stage in hold["stages"] if stage["missing"]), 0)
    rows = f" for no more than {_count(hold['max_rows'])}" if hold["max_rows"] is not None else ""
    state = f"pending, {missing} still needed" if hold["state"] == "pending" else hold["state"]
    print(f"{hold['id']} {state}{rows}: {one_line(hold['sql'], _SQL_WIDTH)}")
    if hold["granted_id"] is not None:
        print(
            f"{hold['granted_id']} granted; holdgate grants list shows it, and holdgate grants revoke ends it"
        )


def confirm(options: Namespace) -> None:
    """Say that one asks for it, with a code of one's authenticator."""
    code = options.totp
    if code is None:
        if not sys.stdin.isatty():
            raise CliError("give a code of your authenticator: --totp CODE", USAGE)
        code = ask_for_code()
    with Client(options) as client:
        hold = client.post(f"/api/v1/holds/{part(options.id)}/confirm", {"totp": code})
    if options.json:
        print_json(hold)
        return
    print(f"{hold['id']} confirmed: {one_line(hold['sql'], _SQL_WIDTH)}")


def _confirmation(hold: Mapping[str, Any]) -> str | None:
    if hold["confirm"] is None:
        return None
    said = hold["confirmation"]
    if said is None:
        return f"by {hold['user']}, {hold['confirm']}, not given"
    return f"by {said['who']} at {moment(said['at'])} ({said['how']})"


def _grant(options: Namespace) -> dict[str, object]:
    """What is allowed besides."""
    more = {"uses": options.grant_uses, "rows": options.grant_rows}
    given = {name: number for name, number in more.items() if number is not None}
    if options.grant_for is None:
        if given:
            raise CliError("a grant needs a time: --grant-for 1h")
        return {}
    return {"grant": {"for": options.grant_for, **given}}


def watch(options: Namespace) -> None:
    """Print what waits, then every hold as it opens and ends, until interrupted."""
    after: str | None = None
    with Client(options) as client:
        if not options.json:
            for hold in reversed(client.get("/api/v1/holds", {"state": "pending", "limit": _PAGE})["holds"]):
                _announce("hold.opened", hold)
        while True:
            try:
                for event in client.events(after):
                    after = event.id or after
                    if event.kind == "signed-out":
                        raise CliError("the token is not accepted any more: it expired or was revoked")
                    if event.kind == "reset":
                        print("holdgate: events were missed; see holdgate holds list", file=sys.stderr)
                    elif event.kind.startswith("hold."):
                        message = json.loads(event.data)
                        if options.json:
                            print_json(message)
                        else:
                            _announce(event.kind, message["data"], message["at"])
            except ConnectionLost:
                print(f"holdgate: the connection to {client.server} was lost; trying again", file=sys.stderr)
                time.sleep(_RETRY_SECONDS)


def _when(kind: str, hold: dict[str, Any]) -> str | None:
    if kind == "hold.decided":
        at = hold["decisions"][-1]["at"]
    elif kind == "hold.escalated":
        at = next(stage["escalation"]["at"] for stage in hold["stages"] if stage["missing"])
    else:
        at = hold["opened_at"] if kind == "hold.opened" else hold["resolved_at"]
    return str(at) if at is not None else None


def _announce(kind: str, hold: dict[str, Any], at: str | None = None) -> None:
    """Print one line; ``at`` is when it was heard of, for what a hold keeps no time of."""
    if kind == "hold.previewed":
        return
    word = _EVENTS.get(kind, hold["state"])
    last = hold["decisions"][-1] if hold["decisions"] else None
    by = f" by {last['who']}" if last is not None and kind in _BY_PEOPLE else ""
    outcome = hold["outcome"] or {}
    result = f" ({outcome.get('sqlstate') or outcome.get('tag')})" if kind == "hold.outcome" else ""
    when = moment(_when(kind, hold) or at)
    what = f"{hold['user']}@{hold['database']}: {hold['sql']}"
    print(one_line(f"{when} {hold['id']} {word}{by}{result} {what}"), flush=True)
