"""The provider as the gateway knows it: how long, how often it is asked, and how many sign-ins may be under way."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.api.oidc import NotSignedIn, Provider, ProviderUnavailable, id_token_of, refusal
from gateway.config import Config, load_config
from tests.gateway.management import SteppedClock, signing_in_by, write_config
from tests.support.oidc import OidcServer, oidc_server

DISCOVERY = "/.well-known/openid-configuration"


class Setting:
    """A provider and what the gateway knows of it."""

    def __init__(self, server: OidcServer, config: Config) -> None:
        self.server = server
        self.config = config
        self.clock = SteppedClock()
        self.provider = Provider(lambda: self.config, self.clock)

    async def state(self, address: str = "10.0.0.7") -> tuple[str, str]:
        """Begin a sign-in: its state, and the browser's secret."""
        url, browser = await self.provider.begin("/", address)
        return parse_qs(urlsplit(url).query)["state"][0], browser

    async def why(self, state: str, browser: str) -> str:
        """Why this sign-in does not end well; no code of it is real."""
        with pytest.raises(NotSignedIn) as raised:
            await self.provider.finish({"state": state, "code": "x", "iss": self.server.issuer}, browser)
        return str(raised.value)


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    async with oidc_server() as server:
        yield Setting(server, load_config(write_config(tmp_path, **signing_in_by(server))))


async def test_what_it_says_of_itself_is_believed_for_an_hour(setting: Setting) -> None:
    for _ in range(3):
        await setting.state()
    assert setting.server.requests[DISCOVERY] == 1
    setting.clock.ahead += 3599
    await setting.state()
    assert setting.server.requests[DISCOVERY] == 1
    setting.clock.ahead += 1
    await setting.state()
    assert (setting.server.requests[DISCOVERY], setting.server.requests["/keys"]) == (2, 2)


async def test_another_provider_after_a_reload_is_asked_at_once(setting: Setting) -> None:
    await setting.state()
    assert setting.config.oidc is not None
    oidc = dataclasses.replace(setting.config.oidc, client_id="another")
    setting.config = dataclasses.replace(setting.config, oidc=oidc)
    url, _ = await setting.provider.begin("/", "10.0.0.7")
    assert parse_qs(urlsplit(url).query)["client_id"] == ["another"]
    assert setting.server.requests[DISCOVERY] == 2


async def test_whoever_begins_too_many_loses_their_own_oldest(setting: Setting) -> None:
    other = await setting.state("10.0.0.8")
    first, second, *_ = [await setting.state() for _ in range(101)]
    assert await setting.why(*first) == "this sign-in was used before, or is too old"
    # These got as far as the provider, which knows no such code.
    assert await setting.why(*second) == "the provider refused: invalid_grant"
    assert await setting.why(*other) == "the provider refused: invalid_grant"


async def test_a_sign_in_is_forgotten_after_ten_minutes(setting: Setting) -> None:
    begun = await setting.state()
    setting.clock.ahead += 601
    await setting.state()
    assert "too old" in await setting.why(*begun)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda server: server.metadata.update(issuer=f"{server.issuer}/"),
        lambda server: server.metadata.update(jwks_uri=f"{server.issuer}/nowhere"),
        lambda server: server.metadata.update(jwks_uri=f"{server.issuer}{DISCOVERY}"),
        lambda server: server.metadata.update(padding="x" * 600_000),
        lambda server: server.broken.add(DISCOVERY),
    ],
    ids=["issuer", "no-keys", "other-keys", "too-large", "broken"],
)
async def test_what_is_no_provider(setting: Setting, spoil: Callable[[OidcServer], object]) -> None:
    spoil(setting.server)
    with pytest.raises(ProviderUnavailable):
        await setting.state()


def test_an_answer_without_a_token() -> None:
    for answer in ({}, {"id_token": None}, {"id_token": ""}, {"id_token": ["a"]}):
        with pytest.raises(NotSignedIn, match="the provider gave no ID token"):
            id_token_of(answer)


def test_the_providers_own_words_are_cut() -> None:
    assert refusal({"error": "x", "error_description": "y"}) == "the provider refused: x: y"
    assert refusal({"error": 5}) == "the provider refused: it does not say why"
    assert len(refusal({"error": "x" * 5_000})) == 300
