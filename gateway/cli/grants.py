"""``holdgate grants``: list, revoke."""

from argparse import Namespace
from typing import Any

from gateway.cli.client import Client, part
from gateway.cli.output import moment, print_json, print_table
from gateway.text import one_line

__all__ = ["list_grants", "revoke"]

_SQL_WIDTH = 60


def list_grants(options: Namespace) -> None:
    """Grants that are of use, or all: a table, or one JSON object a line."""
    with Client(options) as client:
        found = client.get("/api/v1/grants")["grants"]
    grants = [one for one in found if options.all or one["state"] == "active"]
    if options.json:
        for grant in grants:
            print_json(grant)
        return
    print_table(
        ("ID", "STATE", "USER", "DATABASE", "UNTIL", "USES", "ROWS", "GRANTED BY", "STATEMENT"),
        [
            (
                grant["id"],
                grant["state"],
                grant["user"],
                grant["database"],
                moment(grant["expires_at"]),
                _of(grant["used"], grant["uses"]),
                _of(grant["rows_used"], grant["rows"]),
                ", ".join(grant["approved_by"]),
                one_line(grant["statement"], _SQL_WIDTH),
            )
            for grant in grants
        ],
        empty="no grants" if options.all else "no grants are in force",
    )


def revoke(options: Namespace) -> None:
    """End a grant."""
    with Client(options) as client:
        grant = client.post(f"/api/v1/grants/{part(options.id)}/revoke", {"reason": options.reason})
    if options.json:
        print_json(grant)
        return
    print(f"{grant['id']} revoked: {grant['user']} cannot run it without an approval any more")


def _of(used: int, most: Any) -> str:
    return f"{used} of {most}" if most is not None else str(used)
