"""Signing in through an OpenID provider, as a browser does."""

import asyncio
import dataclasses
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import ECKey, OctKey

from gateway.config import Role
from tests.gateway.api.test_routes_people import recorded
from tests.gateway.management import Desk, management, signing_in_by
from tests.support.oidc import OidcServer, sign_in_through, to_provider

ME = "/api/v1/me"


async def why_not(desk: Desk, caller: httpx.AsyncClient, answer: httpx.Response, status: int = 403) -> str:
    """The sentence on the page that says why nobody is signed in; and nobody is."""
    assert answer.status_code == status, answer.text
    assert "holdgate=" not in answer.headers.get("set-cookie", "").replace('holdgate-oidc="', "")
    assert (await caller.get(ME)).status_code == 401
    text = answer.text.partition("<p role='alert'>")[2].partition("</p>")[0]
    return text.removeprefix("You are not signed in: ").removesuffix(".")


async def test_somebody_known_to_the_provider_alone_signs_in(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as browser:
        answer = await sign_in_through(browser, "zoe")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookies = answer.headers.get_list("set-cookie")
        assert any(one.startswith("holdgate=") and "SameSite=strict" in one for one in cookies)
        assert any(one.startswith('holdgate-oidc=""') for one in cookies)
        me = (await browser.get(ME)).json()
    assert (me["user"], me["roles"], me["groups"]) == ("zoe", ["approver", "viewer"], ["dpo", "staff"])
    assert await recorded(sso) == [("signed in", "zoe", "single sign-on")]


async def test_what_the_provider_is_asked(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as browser:
        begun = await browser.get("/oidc/login")
    cookie = begun.headers["set-cookie"]
    assert cookie.startswith("holdgate-oidc=")
    assert "HttpOnly; Max-Age=600; Path=/; SameSite=lax" in cookie
    asked = {name: value for name, (value,) in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{sso.config.admin.public_url}/oidc/callback"
    assert asked["scope"] == "openid profile email"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert all(len(asked[name]) >= 43 for name in ("state", "nonce", "code_challenge"))


async def test_they_decide_as_the_groups_say(sso: Desk, provider: OidcServer) -> None:
    hold = await sso.open()
    async with await sso.client() as browser:
        await sign_in_through(browser, "zoe")
        browser.headers["X-CSRF-Token"] = (await browser.get(ME)).json()["csrf_token"]
        answer = await browser.post(f"/api/v1/holds/{hold.id}/approve", json={"reason": "yes"})
    assert answer.json()["decisions"][0]["who"] == "zoe"


@pytest.mark.parametrize(
    "called", ["alice@corp.example", "Alice@Corp.example", "alice", "ＡＬＩＣＥ@corp.example"]
)
async def test_nobody_approves_their_own_statement_by_another_name(
    sso: Desk, provider: OidcServer, called: str
) -> None:
    provider.people["her"] = {"preferred_username": called, "groups": ["dpo", "staff"]}
    hold = await sso.open(user="alice")
    async with await sso.client() as browser:
        await sign_in_through(browser, "her")
        me = (await browser.get(ME)).json()
        assert me["user"] == "alice"
        browser.headers["X-CSRF-Token"] = me["csrf_token"]
        answer = await browser.post(f"/api/v1/holds/{hold.id}/approve", json={})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "Not allowed: nobody decides about their own statement."


async def test_somebody_whom_the_configuration_gives_another_name(
    provider: OidcServer, tmp_path: Path
) -> None:
    provider.people["her"] = {"preferred_username": "a.smith@corp.example", "groups": ["dpo"]}
    provider.people["him"] = {"preferred_username": "alice@corp.example", "groups": ["dpo"]}
    users = {"alice": {"oidc": "a.smith@corp.example", "roles": ["viewer"], "groups": ["support"]}}
    async with management(tmp_path, **signing_in_by(provider), users=users) as desk:
        async with await desk.client() as browser:
            await sign_in_through(browser, "her")
            me = (await browser.get(ME)).json()
            # What the configuration says of her roles, the provider's groups do not widen.
            assert (me["user"], me["roles"]) == ("alice", ["viewer"])
        async with await desk.client() as browser:
            answer = await sign_in_through(browser, "him")
            assert await why_not(desk, browser, answer) == "alice is somebody else of the provider"


async def test_a_name_stays_with_whom_it_was_first(sso: Desk, provider: OidcServer) -> None:
    """Who renames their account at the provider becomes nobody else here."""
    async with await sso.client() as browser:
        await sign_in_through(browser, "zoe")
    provider.people["thief"] = {"preferred_username": "zoe@corp.example", "groups": ["dpo", "staff"]}
    async with await sso.client() as browser:
        why = await why_not(sso, browser, await sign_in_through(browser, "thief"))
        assert why.startswith("zoe is another person of the provider here")
    provider.people["zoe"]["preferred_username"] = "carol"
    async with await sso.client() as browser:
        why = await why_not(sso, browser, await sign_in_through(browser, "zoe"))
        assert why.startswith("this person of the provider is zoe here, and now comes as carol")
    async with await sso.client("root", Role.ADMIN) as admin:
        (found,) = (await admin.get("/api/v1/people")).json()["people"]
        assert (found["name"], found["subject"], found["claim"]) == ("zoe", "id-of-zoe", "zoe@corp.example")
        assert (await admin.delete("/api/v1/people/zoe")).status_code == 204
        again = await admin.delete("/api/v1/people/zoe")
        assert (again.status_code, again.json()["detail"]) == (404, "Nobody of the provider has this name.")
    async with await sso.client() as browser:
        await sign_in_through(browser, "zoe")
        assert (await browser.get(ME)).json()["user"] == "carol"


async def test_whom_an_administrator_lets_go_is_signed_out_at_once(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as browser, await sso.client("root", Role.ADMIN) as admin:
        await sign_in_through(browser, "zoe")
        assert (await browser.get(ME)).status_code == 200
        await admin.delete("/api/v1/people/zoe")
        assert (await browser.get(ME)).status_code == 401
    assert ("name released", "root", "of zoe") in await recorded(sso)


async def test_what_the_provider_said_counts_for_a_while(provider: OidcServer, tmp_path: Path) -> None:
    async with (
        management(tmp_path, **signing_in_by(provider, session="10m")) as desk,
        await desk.client() as browser,
        await desk.client() as known,
    ):
        began = desk.clock.now()
        await sign_in_through(browser, "zoe")
        # The configuration itself gives carol her roles; her session is as short.
        await sign_in_through(known, "carol")
        took = (desk.clock.now() - began).total_seconds()
        desk.clock.ahead += 599 - took
        assert (await browser.get(ME)).status_code == 200
        assert (await known.get(ME)).status_code == 200
        desk.clock.ahead += 2 + took
        assert (await browser.get(ME)).status_code == 401
        assert (await known.get(ME)).status_code == 401


async def test_who_has_no_role_is_told_so(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as browser:
        answer = await sign_in_through(browser, "noone")
        assert await why_not(sso, browser, answer) == "noone has no role here. Ask an administrator for one"
    assert await recorded(sso) == [("sign-in failed", "noone", "no role on the management port")]


async def test_who_is_disabled_stays_out(sso: Desk, provider: OidcServer) -> None:
    provider.people["gone"] = {"preferred_username": "gone", "groups": ["dpo", "staff"]}
    async with await sso.client() as browser:
        assert await why_not(sso, browser, await sign_in_through(browser, "gone")) == "gone is disabled"


async def test_groups_are_translated(provider: OidcServer, tmp_path: Path) -> None:
    provider.people["zoe"]["roles"] = ["acme/privacy", "dpo", "staff"]
    groups = {"claim": "roles", "map": {"acme/privacy": "dpo"}}
    async with (
        management(tmp_path, **signing_in_by(provider, groups=groups)) as desk,
        await desk.client() as browser,
    ):
        await sign_in_through(browser, "zoe")
        assert (await browser.get(ME)).json()["groups"] == ["dpo"]


async def test_a_public_client_has_no_secret(provider: OidcServer, tmp_path: Path) -> None:
    provider.public_client = True
    async with management(tmp_path, **signing_in_by(provider)) as desk, await desk.client() as browser:
        assert (await sign_in_through(browser, "zoe")).status_code == 303


async def test_a_provider_that_takes_the_secret_in_the_form(sso: Desk, provider: OidcServer) -> None:
    provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    async with await sso.client() as browser:
        assert (await sign_in_through(browser, "zoe")).status_code == 303


async def test_it_leads_back_to_the_hold_and_nowhere_else(sso: Desk, provider: OidcServer) -> None:
    hold = await sso.open()
    for then, where in (
        (f"/holds/{hold.id}", f"/holds/{hold.id}"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        (f"/holds/{hold.id}\n", "/"),
    ):
        async with await sso.client() as browser:
            assert (await sign_in_through(browser, "zoe", then=then)).headers["location"] == where


class TestAnswers:
    """What comes back with the browser is not believed."""

    async def test_an_answer_counts_once(self, sso: Desk, provider: OidcServer) -> None:
        async with await sso.client() as browser:
            back = await to_provider(browser, "zoe")
            kept = dict(browser.cookies)
            assert (await browser.get(back)).status_code == 303
        async with await sso.client() as browser:
            browser.cookies.update({"holdgate-oidc": kept["holdgate-oidc"]})
            why = await why_not(sso, browser, await browser.get(back))
            assert why == "this sign-in was used before, or is too old"

    async def test_an_answer_for_another_browser(self, sso: Desk, provider: OidcServer) -> None:
        """A link that signs the victim in as the attacker."""
        async with await sso.client() as attacker, await sso.client() as victim:
            back = await to_provider(attacker, "zoe")
            await victim.get("/oidc/login")
            why = await why_not(sso, victim, await victim.get(back))
            assert why == "this sign-in was begun in another browser"
            # Nor can it be used where it was begun any more.
            await why_not(sso, attacker, await attacker.get(back))

    async def test_an_answer_that_comes_late(self, sso: Desk, provider: OidcServer) -> None:
        async with await sso.client() as browser:
            back = await to_provider(browser, "zoe")
            sso.clock.ahead += 601
            await why_not(sso, browser, await browser.get(back))

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"state": "x"}, "this sign-in was used before, or is too old"),
            ({"iss": "https://evil.example"}, "the answer is of another provider"),
            ({"iss": None}, "the answer is of another provider"),
            ({"code": None}, "the provider sent no code"),
            ({"code": "x"}, "the provider refused: invalid_grant"),
            (
                {"error": "access_denied", "error_description": "<b>no</b>\x1b[2J"},
                "the provider refused: access_denied: &lt;b&gt;no&lt;/b&gt;\\x1b[2J",
            ),
        ],
    )
    async def test_an_answer_that_was_changed(
        self, sso: Desk, provider: OidcServer, changes: dict[str, str | None], why: str
    ) -> None:
        async with await sso.client() as browser:
            back = await to_provider(browser, "zoe")
            answer = {name: value for name, (value,) in parse_qs(urlsplit(back).query).items()} | changes
            sent = {name: value for name, value in answer.items() if value is not None}
            said = await why_not(sso, browser, await browser.get("/oidc/callback", params=sent))
            assert said == why
        (entry,) = await recorded(sso)
        assert entry[:2] == ("sign-in failed", "")

    async def test_an_answer_that_says_something_twice(self, sso: Desk, provider: OidcServer) -> None:
        async with await sso.client() as browser:
            back = await to_provider(browser, "zoe")
            await why_not(sso, browser, await browser.get(f"{back}&code=other"))

    async def test_nothing_at_all(self, sso: Desk) -> None:
        async with await sso.client() as browser:
            await why_not(sso, browser, await browser.get("/oidc/callback"))

    async def test_a_code_of_another_sign_in(self, sso: Desk, provider: OidcServer) -> None:
        """A stolen code is worth nothing without the verifier of the sign-in that it is for (PKCE)."""
        async with await sso.client() as thief, await sso.client() as victim:
            stolen = parse_qs(urlsplit(await to_provider(victim, "zoe")).query)["code"][0]
            own = parse_qs(urlsplit(await to_provider(thief, "noone")).query)
            answer = {"state": own["state"][0], "iss": own["iss"][0], "code": stolen}
            why = await why_not(sso, thief, await thief.get("/oidc/callback", params=answer))
            assert why == "the provider refused: invalid_grant"


class TestTokens:
    """What is wrong with an ID token, said in the browser; test_id_tokens.py has every way."""

    async def test_one_without_a_signature(self, sso: Desk, provider: OidcServer) -> None:
        provider.header = {"alg": "none"}
        async with await sso.client() as browser:
            why = await why_not(sso, browser, await sign_in_through(browser, "zoe"))
        assert "signed with &#x27;none&#x27;" in why

    async def test_one_signed_with_our_own_secret(self, sso: Desk, provider: OidcServer) -> None:
        provider.signer = OctKey.import_key("a:secret/with+signs")
        async with await sso.client() as browser:
            why = await why_not(sso, browser, await sign_in_through(browser, "zoe"))
        assert "signed with &#x27;HS256&#x27;" in why

    async def test_one_for_another_sign_in(self, sso: Desk, provider: OidcServer) -> None:
        provider.change = lambda claims: {**claims, "nonce": "another"}
        async with await sso.client() as browser:
            why = await why_not(sso, browser, await sign_in_through(browser, "zoe"))
        assert why == "the ID token is not accepted: it does not answer this sign-in (nonce)"

    async def test_new_keys_are_fetched_once_and_not_for_everybody_who_asks(
        self, sso: Desk, provider: OidcServer
    ) -> None:
        async with await sso.client() as browser:
            await sign_in_through(browser, "zoe")
            assert provider.requests["/keys"] == 1
            sso.clock.ahead += 31
            provider.rotate(ECKey.generate_key("P-256", {"kid": "new", "use": "sig", "alg": "ES256"}))
            assert (await sign_in_through(browser, "zoe")).status_code == 303
            assert provider.requests["/keys"] == 2
            # Keys that nobody publishes: asked for once, however many tokens come.
            sso.clock.ahead += 31
            provider.published = []
            provider.rotate()
            for _ in range(5):
                answer = await sign_in_through(browser, "zoe")
                assert "by a key that the provider does not publish" in answer.text
            assert provider.requests["/keys"] == 3

    async def test_many_at_once_ask_once(self, sso: Desk, provider: OidcServer) -> None:
        async with await sso.client() as browser:
            await asyncio.gather(*(browser.get("/oidc/login") for _ in range(20)))
        assert provider.requests["/.well-known/openid-configuration"] == 1


class TestProviders:
    @pytest.mark.parametrize(
        "path", ["/.well-known/openid-configuration", "/keys"], ids=["discovery", "keys"]
    )
    async def test_one_that_is_broken(self, sso: Desk, provider: OidcServer, path: str) -> None:
        provider.broken.add(path)
        async with await sso.client() as browser:
            answer = await browser.get("/oidc/login")
            assert answer.status_code == 503
            assert "You are not signed in: the provider" in answer.text
            # Signing in with a password does not need it.
            login = {"user": "carol", "password": "correct horse"}
            assert (await browser.post("/api/v1/login", json=login)).status_code == 200
            provider.broken.clear()
            assert (await browser.get("/oidc/login")).status_code == 303

    async def test_one_that_breaks_on_the_way(self, sso: Desk, provider: OidcServer) -> None:
        async with await sso.client() as browser:
            back = await to_provider(browser, "zoe")
            provider.broken.add("/token")
            assert await why_not(sso, browser, await browser.get(back)) == (
                "the provider refused: server_error"
            )

    async def test_one_that_is_away(self, sso: Desk, provider: OidcServer, tmp_path: Path) -> None:
        oidc = sso.config.oidc
        assert oidc is not None
        sso.config = dataclasses.replace(
            sso.config, oidc=dataclasses.replace(oidc, issuer="http://127.0.0.1:1")
        )
        async with await sso.client() as browser:
            answer = await browser.get("/oidc/login")
        assert answer.status_code == 503
        assert "the provider does not answer: ConnectError" in answer.text

    @pytest.mark.parametrize(
        ("metadata", "why"),
        [
            ({"issuer": "https://evil.example"}, "calls itself otherwise"),
            ({"authorization_endpoint": None}, "has no authorization_endpoint"),
            ({"authorization_endpoint": "http://evil.example/a"}, "is not an https address"),
            ({"jwks_uri": "ftp://evil.example/a"}, "jwks_uri is not an https address"),
            ({"jwks_uri": "https://[bad"}, "has no jwks_uri"),
        ],
    )
    async def test_one_that_says_what_cannot_be(
        self, sso: Desk, provider: OidcServer, metadata: dict[str, object], why: str
    ) -> None:
        provider.metadata.update(metadata)
        async with await sso.client() as browser:
            answer = await browser.get("/oidc/login")
        assert answer.status_code == 503
        assert why in answer.text

    async def test_none(self, desk: Desk) -> None:
        async with await desk.client() as browser:
            assert (await browser.get("/api/v1/login")).json() == {"password": True, "oidc": None}
            answer = await browser.get("/oidc/login")
            assert answer.status_code == 403
            assert "single sign-on is not set up here" in answer.text


class TestSigningOut:
    async def test_the_browser_is_told_where_it_can_sign_out_too(
        self, sso: Desk, provider: OidcServer
    ) -> None:
        async with await sso.client() as browser:
            assert (await browser.get("/api/v1/login")).json()["oidc"] == {
                "name": "Acme",
                "url": "/oidc/login",
            }
            await sign_in_through(browser, "zoe")
            browser.headers["X-CSRF-Token"] = (await browser.get(ME)).json()["csrf_token"]
            answer = await browser.post("/api/v1/logout")
            assert answer.status_code == 200
            url = urlsplit(answer.json()["provider"])
            asked = parse_qs(url.query)
            assert f"{url.scheme}://{url.netloc}{url.path}" == f"{provider.issuer}/logout"
            assert asked["post_logout_redirect_uri"] == [f"{sso.config.admin.public_url}/"]
            assert asked["id_token_hint"][0].count(".") == 2
            assert (await browser.get(ME)).status_code == 401

    @pytest.mark.parametrize("endpoint", [None, "http://evil.example/logout"])
    async def test_a_provider_without_such_a_place(
        self, sso: Desk, provider: OidcServer, endpoint: str | None
    ) -> None:
        provider.metadata["end_session_endpoint"] = endpoint
        async with await sso.client() as browser:
            await sign_in_through(browser, "zoe")
            browser.headers["X-CSRF-Token"] = (await browser.get(ME)).json()["csrf_token"]
            assert (await browser.post("/api/v1/logout")).status_code == 204
            assert (await browser.get(ME)).status_code == 401

    async def test_without_a_provider_its_people_are_nobody(self, sso: Desk, provider: OidcServer) -> None:
        async with await sso.client() as browser:
            await sign_in_through(browser, "zoe")
            sso.config = dataclasses.replace(sso.config, oidc=None)
            assert (await browser.get(ME)).status_code == 401
