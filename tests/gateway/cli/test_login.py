"""``holdgate login``: a code is shown, somebody types it in elsewhere, a token is kept."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.cli.running import Said, holdgate
from tests.gateway.management import Desk, management, signing_in_by
from tests.support.oidc import OidcServer, oidc_server


@pytest.fixture
async def provider() -> AsyncIterator[OidcServer]:
    async with oidc_server() as running:
        yield running


@pytest.fixture
async def sso(provider: OidcServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with management(tmp_path, **signing_in_by(provider)) as running:
        yield running


async def code_of(provider: OidcServer) -> str:
    """The code that a device shows, once there is one."""
    async with asyncio.timeout(10):
        while not provider.grants:
            await asyncio.sleep(0.01)
    (grant,) = provider.grants.values()
    return grant.query["user_code"]


async def sign_in(sso: Desk, provider: OidcServer, folder: Path, *arguments: str, login: str = "zoe") -> Said:
    command = asyncio.ensure_future(
        holdgate("login", *arguments, HOLDGATE_SERVER=sso.url, XDG_CONFIG_HOME=str(folder))
    )
    provider.say_yes(await code_of(provider), login)
    return await command


async def test_a_code_is_shown_and_a_token_kept(sso: Desk, provider: OidcServer, tmp_path: Path) -> None:
    said = await sign_in(sso, provider, tmp_path)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith(f"Open {provider.issuer}/activate and type in the code ")
    code = lines[0].rpartition(" ")[2]
    assert lines[1] == f"or open {provider.issuer}/activate?code={code} and compare the code."
    assert lines[2] == "Signed in as zoe (approver, viewer)."
    file = tmp_path / "holdgate" / "tokens.json"
    assert lines[3].startswith(f"The token is in {file} and is good until ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "hg_" not in said.out

    hold = await sso.open()
    own = {"HOLDGATE_SERVER": sso.url, "XDG_CONFIG_HOME": str(tmp_path)}
    approved = await holdgate("holds", "approve", hold.id, **own)
    assert approved.code == 0, approved
    (decision,) = (await sso.holds.get(hold.id)).decisions
    assert (decision.who, decision.how) == ("zoe", "cli")
    # A token that is given counts before the one that is kept, and one of another server is none.
    assert "not accepted" in (await holdgate("holds", "list", HOLDGATE_TOKEN="hg_x", **own)).failed()
    elsewhere = {**own, "HOLDGATE_SERVER": f"{sso.url}/other"}
    assert "no token: holdgate login" in (await holdgate("holds", "list", **elsewhere)).failed(2)

    out = await holdgate("logout", **own)
    assert (out.code, out.out) == (0, "Signed out.\n")
    assert "no token" in (await holdgate("holds", "list", **own)).failed(2)
    assert [token.revoked_at is not None for token in await sso.tokens.list()] == [True]
    assert "there is no token for" in (await holdgate("logout", **own)).failed()


async def test_for_scripts(sso: Desk, provider: OidcServer, tmp_path: Path) -> None:
    said = await sign_in(sso, provider, tmp_path, "--json")
    begun, token = said.json
    assert begun["verification_uri"] == f"{provider.issuer}/activate"
    assert (token["user"], token["roles"]) == ("zoe", ["approver", "viewer"])
    assert "secret" not in token


async def test_a_token_that_is_too_old_leads_to_a_new_one(
    sso: Desk, provider: OidcServer, tmp_path: Path
) -> None:
    await sign_in(sso, provider, tmp_path)
    sso.clock.ahead += 8 * 3600
    own = {"HOLDGATE_SERVER": sso.url, "XDG_CONFIG_HOME": str(tmp_path)}
    assert (await holdgate("holds", "list", **own)).failed() == (
        "the token is not accepted: it is unknown, expired or revoked; holdgate login gets a new one"
    )
    # It is forgotten, though there is nothing to revoke.
    assert "not accepted" in (await holdgate("logout", **own)).failed()
    assert "there is no token" in (await holdgate("logout", **own)).failed()


async def test_somebody_says_no(sso: Desk, provider: OidcServer, tmp_path: Path) -> None:
    command = asyncio.ensure_future(holdgate("login", HOLDGATE_SERVER=sso.url, XDG_CONFIG_HOME=str(tmp_path)))
    provider.say_no(await code_of(provider))
    said = await command
    assert (said.code, said.err) == (1, "holdgate: Not signed in: the provider refused: access_denied.\n")
    assert not (tmp_path / "holdgate").exists()


async def test_somebody_without_a_role(sso: Desk, provider: OidcServer, tmp_path: Path) -> None:
    said = await sign_in(sso, provider, tmp_path, login="noone")
    assert (said.code, said.err) == (1, "holdgate: noone has no role here. Ask an administrator for one.\n")


async def test_a_code_that_nobody_types_in(sso: Desk, provider: OidcServer, tmp_path: Path) -> None:
    provider.lifetime = 2
    said = await holdgate("login", HOLDGATE_SERVER=sso.url, XDG_CONFIG_HOME=str(tmp_path))
    assert said.err == "holdgate: nobody typed the code in before it expired; holdgate login once more\n"


async def test_a_gateway_without_a_provider(desk: Desk) -> None:
    said = await holdgate("login", "--server", desk.url)
    assert said.failed() == "Not signed in: single sign-on is not set up here."


async def test_it_is_not_done_in_the_clear() -> None:
    assert "use https" in (await holdgate("login", "--server", "http://holdgate.example")).failed(2)
