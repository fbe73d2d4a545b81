"""``holdgate token``: create, list, revoke; directly in the store of a configuration, or by a gateway."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from gateway.cli.errors import USAGE, CliError
from gateway.cli.output import moment, print_fields, print_json, print_table
from gateway.cli.spans import seconds_of
from gateway.config import Config, ConfigError, Role, load_config
from gateway.people import People
from gateway.store import StoreUnavailable, open_store
from gateway.text import one_line
from gateway.tokens import Tokens

__all__ = ["create", "list_tokens", "revoke"]

T = TypeVar("T")


def create(options: Namespace) -> None:
    """Make a token; its secret is printed this once."""
    for option, text in (("--user", options.user), ("--note", options.note)):
        if not text.isprintable():
            raise CliError(f"{option} {one_line(text)} holds characters that cannot be shown", USAGE)
    if not options.user.strip():
        raise CliError("--user is empty", USAGE)
    seconds = None if options.expires is None else seconds_of("--expires", options.expires)
    roles = sorted(set(options.roles))
    token: dict[str, Any]
    if options.config is not None:

        async def issue(tokens: Tokens) -> dict[str, Any]:
            made, secret = await tokens.issue(
                options.user,
                [Role(role) for role in roles],
                note=options.note,
                expires_in=None if seconds is None else timedelta(seconds=seconds),
            )
            return {**made.to_dict(), "secret": secret}

        token = _in_store(options.config, issue)
    else:
        from gateway.cli.client import Client

        with Client(options) as client:
            token = client.post(
                "/api/v1/tokens",
                {"user": options.user, "roles": roles, "note": options.note, "expires_seconds": seconds},
            )
    if options.json:
        print_json(token)
        return
    print_fields(
        {
            "id": token["id"],
            "user": token["user"],
            "roles": ", ".join(token["roles"]),
            "expires": moment(token["expires_at"]) or "never",
            "token": token["secret"],
        }
    )


def list_tokens(options: Namespace) -> None:
    """A table of tokens, or one JSON object a line."""
    found: list[dict[str, Any]]
    if options.config is not None:

        async def read(tokens: Tokens) -> list[dict[str, Any]]:
            return [token.to_dict() for token in await tokens.list()]

        found = _in_store(options.config, read)
    else:
        from gateway.cli.client import Client

        with Client(options) as client:
            found = client.get("/api/v1/tokens")["tokens"]
    if options.json:
        for token in found:
            print_json(token)
        return
    print_table(
        ("ID", "USER", "ROLES", "CREATED", "EXPIRES", "REVOKED", "NOTE"),
        [
            (
                token["id"],
                token["user"],
                ",".join(token["roles"]),
                moment(token["created_at"]),
                moment(token["expires_at"]) or "never",
                moment(token["revoked_at"]),
                token["note"],
            )
            for token in found
        ],
        empty="no tokens",
    )


def revoke(options: Namespace) -> None:
    """End a token."""
    if options.config is not None:
        if not _in_store(options.config, lambda tokens: tokens.revoke(options.id)):
            raise CliError(f"there is no token {one_line(options.id)}, or it was revoked before")
    else:
        from gateway.cli.client import Client, part

        with Client(options) as client:
            client.delete(f"/api/v1/tokens/{part(options.id)}")
    if options.json:
        print_json({"id": options.id, "revoked": True})
    else:
        print(f"token {one_line(options.id)} revoked")


def _in_store(path: str, action: Callable[[Tokens], Awaitable[T]]) -> T:
    """Do something with the tokens of a configuration's store; a gateway may be running on it."""
    try:
        config = load_config(path)
        return asyncio.run(_with_tokens(config, action))
    except ConfigError as error:
        raise CliError(f"{path} cannot be used, see holdgate validate: {one_line(error, 200)}") from None
    except StoreUnavailable as error:
        raise CliError(str(error)) from None


async def _with_tokens(config: Config, action: Callable[[Tokens], Awaitable[T]]) -> T:
    store = await open_store(config.store.url)
    try:
        return await action(Tokens(store, lambda: config, People(store, lambda: config)))
    finally:
        await store.close()
