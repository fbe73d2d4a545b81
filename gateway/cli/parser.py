"""What can be typed after ``holdgate``. ``run`` names the function of each command as ``module:function``."""

import argparse
from typing import NoReturn

__all__ = ["build_parser"]

_EPILOG = """\
exit codes: 0 done, 1 failed, 2 wrong usage, 3 hold and 4 deny (check only), 130 interrupted

environment: HOLDGATE_SERVER and HOLDGATE_TOKEN stand in for --server and --token; without a token, the
one that holdgate login kept is used
"""
_ROLES = ("viewer", "approver", "auditor", "admin")
_STATES = ("pending", "approved", "rejected", "expired", "withdrawn", "abandoned", "interrupted")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, and where to read on."""
        from gateway.text import one_line

        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: reading the package's metadata takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"holdgate {version('holdgate')}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _Parser(
        prog="holdgate",
        description="A PostgreSQL gateway that holds deletions and bulk reads of personal data until a "
        "person approves.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="command", required=True, parser_class=_Parser)
    _add_local(commands)
    _add_holds(commands)
    _add_grants(commands)
    _add_sessions(commands)
    _add_catalog(commands)
    _add_audit(commands)
    _add_tokens(commands)
    _add_login(commands)
    _add_totp(commands)
    _add_notify(commands)
    return parser


def _add_local(commands: "argparse._SubParsersAction[_Parser]") -> None:
    serve = commands.add_parser("serve", help="run the gateway", allow_abbrev=False)
    _config(serve, required=True)
    serve.set_defaults(run="local:serve")

    demo = commands.add_parser(
        "demo", help="run a gateway with an embedded PostgreSQL and sample data", allow_abbrev=False
    )
    demo.add_argument("--port", type=_port, metavar="N", help="port of the gateway (7432)")
    demo.add_argument("--admin-port", type=_port, metavar="N", help="port of the management page (7433)")
    demo.add_argument("--data", metavar="DIR", help="where to keep the sample data between runs")
    demo.add_argument("--tour", action="store_true", help="play a whole story, then exit")
    demo.set_defaults(run="local:demo")

    validate = commands.add_parser("validate", help="check a configuration file", allow_abbrev=False)
    _config(validate, required=True)
    _json(validate)
    validate.set_defaults(run="local:validate")

    check = commands.add_parser(
        "check",
        help="judge a statement without running it",
        description="Say what would be decided about a statement, and why. Nothing is run. It is judged by the "
        "catalog of the database as it is now, if databases.NAME.inspect says who reads it, or by one from a file. "
        "Exits with 0 for allow, 3 for hold, 4 for deny, 1 if it cannot tell.",
        allow_abbrev=False,
    )
    _config(check, required=True)
    check.add_argument("--user", metavar="U", help="who would run it (nobody that the configuration knows)")
    _database(check)
    check.add_argument("--catalog", metavar="FILE", help="judge by this one, from holdgate catalog dump")
    check.add_argument(
        "--search-path", metavar="PATH", help="the session's search_path, as in SET (what it begins with)"
    )
    _json(check)
    check.add_argument("sql", metavar="SQL", help="the statement, or - to read it from standard input")
    check.set_defaults(run="check:check")

    verifier = commands.add_parser(
        "scram-verifier",
        help="make the verifier of a password, for users.NAME.verifier",
        allow_abbrev=False,
    )
    verifier.add_argument("--stdin", action="store_true", help="read the password from standard input, once")
    verifier.add_argument(
        "--iterations", type=_iterations, default=4096, metavar="N", help="cost of one guess (4096)"
    )
    verifier.set_defaults(run="local:scram_verifier")


def _add_holds(commands: "argparse._SubParsersAction[_Parser]") -> None:
    holds = _group(commands, "holds", "list, show and decide held statements")
    listing = holds.add_parser("list", help="list holds, newest first", allow_abbrev=False)
    listing.add_argument("--state", choices=(*_STATES, "all"), default="pending", help="(pending)")
    listing.add_argument("--limit", type=_count, default=50, metavar="N", help="at most so many (50)")
    _remote(listing)
    listing.set_defaults(run="holds:list_holds")

    show = holds.add_parser("show", help="show everything about a hold", allow_abbrev=False)
    show.add_argument("id", metavar="ID")
    _remote(show)
    show.set_defaults(run="holds:show")

    for verdict, needed in (("approve", False), ("reject", True)):
        decide = holds.add_parser(verdict, help=f"{verdict} a held statement", allow_abbrev=False)
        decide.add_argument("id", metavar="ID")
        decide.add_argument(
            "--reason",
            metavar="R",
            required=needed,
            default="",
            help="why; the requester reads it" if needed else "why, for the record",
        )
        if verdict == "approve":
            decide.add_argument(
                "--max-rows",
                type=_rows_or_any,
                metavar="N|any",
                default=argparse.SUPPRESS,
                help="it may change no more rows than these (as previewed, with the margin of its rule)",
            )
            decide.add_argument(
                "--grant-for", metavar="TIME", help="allow more of the same shape for this time, such as 1h"
            )
            decide.add_argument("--grant-uses", type=int, metavar="N", help="no more than so many of them")
            decide.add_argument(
                "--grant-rows", type=int, metavar="N", help="that change no more rows together"
            )
            decide.add_argument(
                "--totp", metavar="CODE", help="a code of your authenticator, where the rule asks for one"
            )
        _remote(decide)
        decide.set_defaults(run="holds:decide", verdict=verdict)

    confirm = holds.add_parser(
        "confirm", help="say that you ask for what waits in your name", allow_abbrev=False
    )
    confirm.add_argument("id", metavar="ID")
    confirm.add_argument("--totp", metavar="CODE", help="a code of your authenticator")
    _remote(confirm)
    confirm.set_defaults(run="holds:confirm")

    reviews = holds.add_parser(
        "reviews", help="list what ran without an approval and nobody has reviewed", allow_abbrev=False
    )
    _remote(reviews)
    reviews.set_defaults(run="holds:reviews")

    queue = holds.add_parser(
        "queue", help="list what is at work under each cap, and what waits for room", allow_abbrev=False
    )
    _remote(queue)
    queue.set_defaults(run="holds:queue")

    review = holds.add_parser("review", help="close the review of a statement", allow_abbrev=False)
    review.add_argument("id", metavar="ID")
    review.add_argument("--note", metavar="N", required=True, help="what was found")
    _remote(review)
    review.set_defaults(run="holds:review")

    watch = holds.add_parser("watch", help="print holds as they open and end", allow_abbrev=False)
    _remote(watch)
    watch.set_defaults(run="holds:watch")


def _add_grants(commands: "argparse._SubParsersAction[_Parser]") -> None:
    grants = _group(commands, "grants", "list and revoke what may run without another approval")
    listing = grants.add_parser("list", help="list grants, newest first", allow_abbrev=False)
    listing.add_argument("--all", action="store_true", help="also those that are of no more use")
    _remote(listing)
    listing.set_defaults(run="grants:list_grants")
    revoke = grants.add_parser("revoke", help="let a grant be of no more use", allow_abbrev=False)
    revoke.add_argument("id", metavar="ID")
    revoke.add_argument("--reason", metavar="R", default="", help="why, for the record")
    _remote(revoke)
    revoke.set_defaults(run="grants:revoke")


def _add_sessions(commands: "argparse._SubParsersAction[_Parser]") -> None:
    sessions = _group(commands, "sessions", "list and end client sessions")
    listing = sessions.add_parser("list", help="list client sessions", allow_abbrev=False)
    _remote(listing)
    listing.set_defaults(run="sessions:list_sessions")
    kill = sessions.add_parser("kill", help="end a client session", allow_abbrev=False)
    kill.add_argument("id", metavar="ID")
    _remote(kill)
    kill.set_defaults(run="sessions:kill")


def _add_catalog(commands: "argparse._SubParsersAction[_Parser]") -> None:
    catalog = _group(commands, "catalog", "write down, compare and scan the definitions of a database")
    dump = catalog.add_parser(
        "dump",
        help="write a database's definitions as JSON",
        description="Write the definitions of a database, read by its inspect login, as JSON: for holdgate check "
        "--catalog where the database is not, and for comparing.",
        allow_abbrev=False,
    )
    _config(dump, required=True)
    _database(dump)
    dump.add_argument("-o", "--output", metavar="FILE", help="(standard output)")
    dump.set_defaults(run="catalog:dump")

    diff = catalog.add_parser(
        "diff",
        help="compare two dumps, or one with a database",
        description="Say what the second has otherwise than the first: B, or the database as it is now. "
        "Exits with 0 if nothing differs, 1 if something does, 2 if it cannot tell.",
        allow_abbrev=False,
    )
    diff.add_argument("first", metavar="A", help="a dump")
    diff.add_argument(
        "second", metavar="B", nargs="?", help="another; without it, -c says where the database is"
    )
    _config(diff, required=False)
    _database(diff)
    _json(diff)
    diff.set_defaults(run="catalog:diff")

    scan = catalog.add_parser(
        "scan",
        help="propose what is personal in a database",
        description="Look at names, types and comments of columns and at a sample of values, read-only and by the "
        "inspect login, and propose personal_data for the configuration. No value is printed.",
        allow_abbrev=False,
    )
    _config(scan, required=True)
    _database(scan)
    scan.add_argument(
        "--schema", action="append", default=[], metavar="S", help="only this one; may be repeated"
    )
    scan.add_argument(
        "--rows", type=_rows, default=200, metavar="N", help="of each table (200); 0: look at no values"
    )
    scan.add_argument("--seconds", type=_count, default=60, metavar="N", help="in all (60)")
    scan.add_argument("--confidence", type=_share, default=0.5, metavar="X", help="the least, of 1 (0.5)")
    scan.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="CC",
        help="a country whose telephone numbers are written without its code, such as DE; may be repeated",
    )
    _json(scan)
    scan.set_defaults(run="catalog:scan")


def _add_audit(commands: "argparse._SubParsersAction[_Parser]") -> None:
    audit = _group(commands, "audit", "read, export and verify the audit")
    tail = audit.add_parser("tail", help="print the latest records", allow_abbrev=False)
    tail.add_argument("-n", "--lines", type=_count, default=20, metavar="N", help="so many (20)")
    tail.add_argument("-f", "--follow", action="store_true", help="go on printing new ones")
    _audit_source(tail)
    _remote(tail)
    tail.set_defaults(run="audit:tail")

    search = audit.add_parser("search", help="find records, newest first", allow_abbrev=False)
    _audit_filters(search)
    search.add_argument("--limit", type=_count, default=100, metavar="N", help="at most so many (100)")
    _audit_source(search)
    _remote(search)
    search.set_defaults(run="audit:search")

    export = audit.add_parser("export", help="write records to a file, oldest first", allow_abbrev=False)
    _audit_filters(export)
    export.add_argument(
        "--format", choices=("jsonl", "csv"), default="jsonl", help="(jsonl) csv needs -c or --file"
    )
    export.add_argument("-o", "--output", metavar="FILE", help="(standard output)")
    _audit_source(export)
    _remote(export, json=False)
    export.set_defaults(run="audit:export_records")

    verify = audit.add_parser(
        "verify", help="check that no record was changed or removed", allow_abbrev=False
    )
    source = verify.add_mutually_exclusive_group(required=True)
    source.add_argument("-c", "--config", metavar="FILE", help="the audit of this configuration")
    source.add_argument("--file", metavar="FILE", help="this audit file")
    verify.add_argument(
        "--contains", metavar="HASH", help="also that the record with this hash, known from before, is there"
    )
    _json(verify)
    verify.set_defaults(run="audit:verify_chain")


def _add_tokens(commands: "argparse._SubParsersAction[_Parser]") -> None:
    tokens = _group(
        commands,
        "token",
        "make, list and revoke bearer tokens (with -c directly in the store, else by --server)",
    )
    create = tokens.add_parser("create", help="make a token and print its secret, once", allow_abbrev=False)
    create.add_argument("--user", required=True, metavar="U", help="who the token acts as")
    create.add_argument(
        "--role",
        dest="roles",
        action="append",
        required=True,
        choices=_ROLES,
        help="may be given more than once",
    )
    create.add_argument("--note", default="", metavar="TEXT", help="what it is for")
    create.add_argument("--expires", metavar="TIME", help="such as 12h or 90d (never)")
    _config(create, required=False)
    _remote(create)
    create.set_defaults(run="tokens:create")

    listing = tokens.add_parser("list", help="list tokens, without their secrets", allow_abbrev=False)
    _config(listing, required=False)
    _remote(listing)
    listing.set_defaults(run="tokens:list_tokens")

    revoke = tokens.add_parser("revoke", help="end a token", allow_abbrev=False)
    revoke.add_argument("id", metavar="ID")
    _config(revoke, required=False)
    _remote(revoke)
    revoke.set_defaults(run="tokens:revoke")


def _add_login(commands: "argparse._SubParsersAction[_Parser]") -> None:
    login = commands.add_parser(
        "login",
        help="sign in through the OpenID provider and keep a token for the other commands",
        description="Show a code to type in at the OpenID provider's page, wait until somebody has, and keep the "
        "token for this server in a file that only you can read.",
        allow_abbrev=False,
    )
    _server(login)
    _json(login)
    login.set_defaults(run="login:login")
    logout = commands.add_parser("logout", help="revoke and forget the token of login", allow_abbrev=False)
    _server(logout)
    logout.set_defaults(run="login:logout")


def _add_totp(commands: "argparse._SubParsersAction[_Parser]") -> None:
    totp = _group(commands, "totp", "your authenticator, for approvals that ask for its codes")
    for name, text in (
        ("status", "say whether you have one"),
        ("enrol", "set one up: shows its secret, then asks for its first code"),
        ("remove", "remove yours, with one of its codes"),
    ):
        command = totp.add_parser(name, help=text, allow_abbrev=False)
        _remote(command, json=name == "status")
        command.set_defaults(run=f"totp:{name}")
    reset = totp.add_parser("reset", help="remove somebody's who has lost it", allow_abbrev=False)
    reset.add_argument("user", metavar="USER")
    _remote(reset, json=False)
    reset.set_defaults(run="totp:reset")


def _add_notify(commands: "argparse._SubParsersAction[_Parser]") -> None:
    notify = _group(commands, "notify", "messages to people and programs")
    test = notify.add_parser(
        "test",
        help="send a sample by a channel",
        description="Send a sample by a channel of the configuration, at once and once, and say what went wrong.",
        allow_abbrev=False,
    )
    test.add_argument("channel", metavar="CHANNEL", help="its name under notifications")
    test.add_argument("--user", metavar="U", help="send it to this user, where the channel knows how")
    _config(test, required=True)
    test.set_defaults(run="notify:test")


def _group(
    commands: "argparse._SubParsersAction[_Parser]", name: str, text: str
) -> "argparse._SubParsersAction[_Parser]":
    group = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    return group.add_subparsers(metavar="command", required=True, parser_class=_Parser)


def _config(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", required=required, help="the configuration file")


def _database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="D", help="which database (the only one configured)")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _remote(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    _server(parser)
    parser.add_argument(
        "--token", metavar="TOKEN", help="better in HOLDGATE_TOKEN: others see your arguments"
    )
    if json:
        _json(parser)


def _server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", metavar="URL", help="the management port (http://127.0.0.1:7433)")


def _audit_source(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-c", "--config", metavar="FILE", help="read the audit of this configuration itself")
    source.add_argument("--file", metavar="FILE", help="read this audit file itself")


def _audit_filters(parser: argparse.ArgumentParser) -> None:
    for name, text in (
        ("kind", "statement, session, hold, decision or gateway"),
        ("user", "who ran it"),
        ("database", "where"),
        ("session", "the id of a session"),
        ("hold", "the id of a hold"),
        ("verdict", "allow, hold or deny"),
        ("rule", "the rule that decided"),
        ("action", "such as delete"),
        ("relation", "such as public.customer"),
        ("text", "text within the SQL"),
        ("since", "such as 2030-01-31, 2030-01-31T12:00Z, or 2h ago as 2h"),
        ("until", "the same, not included"),
    ):
        parser.add_argument(f"--{name}", metavar=name.upper(), help=text)


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError
    return number


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise ValueError
    return number


def _rows(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _rows_or_any(text: str) -> int | None:
    if text == "any":
        return None
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError("a number of rows is needed, or any")
    return int(text)


def _iterations(text: str) -> int:
    number = int(text)
    if not 4096 <= number <= 10_000_000:
        raise ValueError
    return number


_port.__name__, _count.__name__, _iterations.__name__ = "port", "count", "number of iterations"
_rows.__name__, _share.__name__ = "count", "share of 1"
