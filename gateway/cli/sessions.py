"""``holdgate sessions``: list, kill."""

from argparse import Namespace

from gateway.cli.client import Client, part
from gateway.cli.output import moment, print_json, print_table
from gateway.text import one_line

__all__ = ["kill", "list_sessions"]

_SQL_WIDTH = 60


def list_sessions(options: Namespace) -> None:
    """A table of client sessions, or one JSON object a line."""
    with Client(options) as client:
        sessions = client.get("/api/v1/sessions")["sessions"]
    if options.json:
        for session in sessions:
            print_json(session)
        return
    print_table(
        ("ID", "USER", "DATABASE", "FROM", "STATE", "SINCE", "PID", "HOLD", "STATEMENT"),
        [
            (
                session["id"],
                session["user"],
                session["database"],
                ", ".join(filter(None, (session["client_addr"], session["application_name"]))),
                session["state"],
                moment(session["started_at"]),
                session["backend_pid"],
                session["hold_id"],
                one_line(session["current_sql"] or "", _SQL_WIDTH),
            )
            for session in sessions
        ],
        empty="no client is connected",
    )


def kill(options: Namespace) -> None:
    """End one session."""
    with Client(options) as client:
        client.delete(f"/api/v1/sessions/{part(options.id)}")
    if options.json:
        print_json({"id": options.id, "killed": True})
    else:
        print(f"session {one_line(options.id)} ended")
