"""``holdgate login`` and ``logout``: a token by way of the OpenID provider, for the other commands."""

import time
from argparse import Namespace
from typing import Any

from gateway.cli.client import Client, Refusal, server_of
from gateway.cli.errors import CliError
from gateway.cli.kept_tokens import forget_token, keep_token, kept_token
from gateway.cli.output import moment, print_json
from gateway.text import one_line

__all__ = ["login", "logout"]


def login(options: Namespace) -> None:
    """Show the code, wait until somebody has typed it in, keep the token."""
    with Client(options, anonymous=True) as client:
        begun = client.post("/api/v1/device", {})
        page, code = one_line(begun["verification_uri"]), one_line(begun["user_code"])
        whole = begun["verification_uri_complete"]
        if options.json:
            print_json({"verification_uri": page, "verification_uri_complete": whole, "user_code": code})
        else:
            print(f"Open {page} and type in the code {code}", flush=True)
            if whole:
                print(f"or open {one_line(whole)} and compare the code.", flush=True)
        token = _wait(client, begun)
    file = keep_token(server_of(options), token["secret"])
    if options.json:
        print_json({name: value for name, value in token.items() if name != "secret"})
        return
    print(f"Signed in as {one_line(token['user'])} ({', '.join(token['roles'])}).")
    print(f"The token is in {file} and is good until {moment(token['expires_at'])}.")


def _wait(client: Client, begun: dict[str, Any]) -> dict[str, Any]:
    """The token, once there is one."""
    until = time.monotonic() + begun["expires_in"]
    wait = begun["interval"]
    while time.monotonic() + wait < until:
        time.sleep(wait)
        try:
            return client.post("/api/v1/device/token", {"device_code": begun["device_code"]})
        except Refusal as refusal:
            if refusal.kind != "authorization-pending":
                raise
            wait = max(refusal.retry_after, 1)
    raise CliError("nobody typed the code in before it expired; holdgate login once more")


def logout(options: Namespace) -> None:
    """Revoke the token, and forget it whether or not that could be done."""
    server = server_of(options)
    token = kept_token(server)
    if token is None:
        raise CliError(f"there is no token for {one_line(server)} to forget")
    options.token = token
    try:
        with Client(options) as client:
            client.post("/api/v1/logout", {})
    finally:
        forget_token(server)
    print("Signed out.")
