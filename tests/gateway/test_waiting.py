"""Holding one request: what is checked at its release, and what the client reads at every end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest

from gateway import clock
from gateway.bus import Event
from gateway.config import load_config
from gateway.totp import Totp
from tests.support.disk import full_disk
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    make_config,
    merged,
    running_gateway,
    write_config,
)
from tests.support.postgres import Postgres
from tests.support.relay import Relay
from tests.support.wire import Message, Q, RawClient, tags

HELD = "DELETE FROM invoice_line WHERE invoice_line_id = 7"


@pytest.fixture
def config(postgres: Postgres) -> dict[str, Any]:
    # Whoever asks is known, so that disabling them is no other policy.
    return make_config(postgres, SHOP_POLICY, {"users": {"postgres": {"groups": ["support"]}}})


@pytest.fixture
async def gateway(config: dict[str, Any], tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, config) as running:
        yield running


@pytest.fixture
def untouched(postgres: Postgres, database: str) -> Callable[[], None]:
    """Asserts that nothing was deleted."""
    count = "SELECT count(*) FROM invoice_line"
    before = postgres.scalar(count, database)

    def check() -> None:
        assert postgres.scalar(count, database) == before

    return check


async def held(client: RawClient, carol: ApproverClient, sql: str = HELD) -> tuple[Message, dict[str, Any]]:
    """Send what is held: the notice, and the hold."""
    await client.send(Q(sql))
    notice = await client.read()
    assert notice.tag == "N"
    return notice, await carol.wait_for_hold()


async def refusal(client: RawClient) -> Message:
    """The error that the statement ends with; the session goes on."""
    answer = [each for each in await client.read_until("Z") if each.tag != "N"]
    assert tags(answer) == "EZ"
    assert tags(await client.query("SELECT 1")) == "TDCZ"
    return answer[0]


def when(gateway: RunningGateway, kind: str, action: Callable[[], None]) -> None:
    """Do something at the very moment of an event, before the session hears of it."""

    def listener(event: Event) -> None:
        if event.kind == kind:
            action()

    gateway.gateway.bus.listen(listener)


def reload(gateway: RunningGateway, config: Mapping[str, Any], *changes: Mapping[str, Any]) -> None:
    gateway.gateway.reload(load_config(write_config(gateway.directory, merged(config, *changes))))


class TestNotice:
    @asynccontextmanager
    async def before(
        self, tmp_path: Path, config: dict[str, Any], *changes: Mapping[str, Any]
    ) -> AsyncIterator[RunningGateway]:
        async with running_gateway(tmp_path, merged(config, *changes)) as running:
            yield running

    @pytest.mark.parametrize(
        ("admin", "groups", "hint"),
        [
            ({}, ["dpo"], "Somebody of group dpo can approve or reject it on the management port."),
            (
                {"public_url": "https://holdgate.example.org"},
                ["dpo", "legal"],
                "Somebody of groups dpo, legal can approve or reject it at https://holdgate.example.org/#{}.",
            ),
            ({}, None, "Anyone with the role approver can approve or reject it on the management port."),
        ],
    )
    async def test_it_says_who_can_decide_and_where(
        self,
        tmp_path: Path,
        config: dict[str, Any],
        database: str,
        admin: dict[str, Any],
        groups: list[str] | None,
        hint: str,
    ) -> None:
        rule: dict[str, Any] = {"name": "erasure", "when": {"action": "delete"}, "then": "hold"}
        rule["approval"] = {"expires": "90s", **({"from": groups} if groups else {})}
        changes = {"admin": admin, "rules": [rule], "groups": {"legal": ["carol"]}}
        async with self.before(tmp_path, config, changes) as gateway, await gateway.raw(database) as client:
            carol = await gateway.client()
            notice, hold = await held(client, carol)
            assert (notice.fields["S"], notice.sqlstate) == ("NOTICE", "01000")
            assert notice.fields["M"] == f"statement waits for approval: hold {hold['id']}"
            assert notice.fields["D"].startswith("Rule erasure: deletes from public.invoice_line")
            assert notice.fields["D"].endswith(". It expires in 90 s.")
            assert notice.fields["H"] == hint.format(hold["id"]) + " Cancel the statement to withdraw it."
            await carol.reject(hold["id"], "no")
            await refusal(client)


class TestRelease:
    """Between the decision and the release everything that the approval is bound to is looked at once more."""

    async def test_whoever_asked_was_disabled(
        self,
        gateway: RunningGateway,
        client: RawClient,
        config: dict[str, Any],
        untouched: Callable[[], None],
    ) -> None:
        carol = await gateway.client()
        _, hold = await held(client, carol)
        reload(gateway, config, {"users": {"postgres": {"enabled": False}}})
        assert (await carol.approve(hold["id"])).status_code == 200
        error = await refusal(client)
        assert error.sqlstate == "42501"
        assert error.fields["M"] == (
            f"the approval of hold {hold['id']} is void: user postgres was disabled while the statement waited"
        )
        assert error.fields["H"] == "Run the statement again to ask anew."
        final = await carol.hold(hold["id"])
        assert (final["state"], final["end_reason"]) == (
            "interrupted",
            "user postgres was disabled while the statement waited",
        )
        untouched()

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"users": {"carol": {"enabled": False}}}, "approver carol is no longer known or enabled"),
            # To leave a group is to change the policy.
            ({"users": {"carol": {"groups": []}}}, "the policy changed while the statement waited"),
            ({"rules": []}, "the policy changed while the statement waited"),
        ],
    )
    async def test_whoever_approved_may_not_any_more(
        self,
        gateway: RunningGateway,
        client: RawClient,
        config: dict[str, Any],
        untouched: Callable[[], None],
        change: dict[str, Any],
        why: str,
    ) -> None:
        carol = await gateway.client()
        _, hold = await held(client, carol)
        when(gateway, "hold.resolved", lambda: reload(gateway, config, change))
        await gateway.gateway.holds.decide(
            hold["id"],
            who="carol",
            who_groups={"dpo"},
            who_roles={"approver"},
            approve=True,
            reason="",
            how="api",
        )
        error = await refusal(client)
        assert error.fields["M"] == f"the approval of hold {hold['id']} is void: {why}"
        untouched()
        await gateway.written()
        (record,) = gateway.audit(kind="statement", hold_id=hold["id"])
        assert (record["tag"], record["sqlstate"]) == ("(interrupted)", "42501")

    @pytest.mark.parametrize(
        ("last", "why"),
        [
            (None, None),
            ("forgotten", "approver zoe is no longer known or enabled"),
            ("elsewhere", "approver zoe is no longer in group dpo"),
        ],
    )
    async def test_an_approver_whom_only_the_provider_knows(
        self,
        tmp_path: Path,
        config: dict[str, Any],
        database: str,
        last: str | None,
        why: str | None,
    ) -> None:
        oidc = {
            "admin": {"public_url": "http://127.0.0.1:7433"},
            "oidc": {
                "issuer": "https://login.example",
                "client_id": "holdgate",
                "roles": {"approver": ["dpo"]},
            },
        }
        async with (
            running_gateway(tmp_path, merged(config, oidc)) as gateway,
            await gateway.raw(database) as client,
        ):
            carol, people = await gateway.client(), gateway.gateway.people
            claims = {"sub": "7", "preferred_username": "zoe"}
            zoe = await people.admit({**claims, "groups": ["dpo"]})
            _, hold = await held(client, carol)
            # Things change between her decision and the release.
            if last == "forgotten":
                await people.forget("zoe")
            elif last == "elsewhere":
                await people.admit({**claims, "groups": ["staff"]})
            await gateway.gateway.holds.decide(
                hold["id"],
                who=zoe.name,
                who_groups=zoe.groups,
                who_roles=zoe.roles,
                approve=True,
                reason="",
                how="console",
            )
            if why is None:
                answer = await client.read_until("Z")
                assert [each.fields["C"] for each in answer if each.tag == "E"] == []
                await gateway.written()
                (record,) = gateway.audit(kind="statement", hold_id=hold["id"])
                assert (record["tag"], record["approved_by"]) == ("DELETE 1", ["zoe"])
            else:
                error = await refusal(client)
                assert error.fields["M"] == f"the approval of hold {hold['id']} is void: {why}"

    async def test_what_a_rule_wants_proven_runs_once_it_is(
        self, tmp_path: Path, config: dict[str, Any], database: str
    ) -> None:
        """The whole way: a rule that asks for a code, a real client, a code of a real authenticator."""
        rule = {
            "name": "erasure",
            "when": {"action": "delete"},
            "then": "hold",
            "approval": {"from": ["dpo"], "step_up": "totp"},
        }
        changes = {"store": {"key": "0123456789abcdef0123456789abcdef"}, "rules": [rule]}
        async with (
            running_gateway(tmp_path, merged(config, changes)) as gateway,
            await gateway.raw(database) as client,
        ):
            carol = await gateway.client()
            totp = Totp(gateway.gateway.store, lambda: gateway.gateway.config)
            secret, _ = await totp.begin("carol")
            one_time, step = pyotp.TOTP(secret), int(clock.now().timestamp()) // 30
            await totp.confirm("carol", one_time.generate_otp(step))
            _, hold = await held(client, carol)
            path = f"/api/v1/holds/{hold['id']}/approve"
            assert (await carol.http.post(path, json={})).status_code == 403
            assert (
                await carol.http.post(path, json={"totp": one_time.generate_otp(step)})
            ).status_code == 403
            assert (
                await carol.http.post(path, json={"totp": one_time.generate_otp(step + 1)})
            ).status_code == 200
            answer = await client.read_until("Z")
            assert [each.fields["C"] for each in answer if each.tag == "E"] == []
            await gateway.written()
            (decision,) = gateway.audit(kind="decision", hold_id=hold["id"])
            assert decision["details"]["step_up"] == "totp"
            (record,) = gateway.audit(kind="statement", hold_id=hold["id"])
            assert (record["tag"], record["approved_by"]) == ("DELETE 1", ["carol"])

    @pytest.mark.parametrize("moment", ["hold.resolved", "hold.released"])
    async def test_a_client_that_leaves_at_the_moment_of_the_approval_ran_nothing(
        self, gateway: RunningGateway, client: RawClient, untouched: Callable[[], None], moment: str
    ) -> None:
        carol = await gateway.client()
        _, hold = await held(client, carol)
        (session,) = gateway.gateway.sessions.list()
        when(gateway, moment, lambda: (gateway.gateway.sessions.kill(session.id, "root"), None)[1])
        assert (await carol.approve(hold["id"])).status_code == 200
        assert "57P01" in [each.sqlstate for each in await client.read_to_end() if each.tag in "EN"]
        async with asyncio.timeout(10):
            while len(gateway.gateway.sessions):
                await asyncio.sleep(0.005)
        untouched()
        await gateway.written()
        assert not gateway.audit(kind="statement", tag="DELETE 1")
        if moment == "hold.resolved":
            assert (await carol.hold(hold["id"]))["state"] == "interrupted"


class TestTrouble:
    async def test_a_store_that_does_not_answer_refuses_what_would_be_held_and_nothing_else(
        self,
        tmp_path: Path,
        config: dict[str, Any],
        postgres: Postgres,
        database: str,
        empty_database: str,
        untouched: Callable[[], None],
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            url = f"postgresql://{postgres.superuser}@{relay.host}:{relay.port}/{empty_database}"
            async with (
                running_gateway(tmp_path, merged(config, {"store": {"url": url}})) as gateway,
                await gateway.raw(database) as client,
            ):
                carol = await gateway.client()
                relay.refuse()
                relay.cut()
                await client.send(Q(HELD))
                error = await refusal(client)
                assert error.sqlstate == "58000"
                assert error.fields["M"] == "statement refused: the gateway cannot record it"
                assert error.fields["D"].endswith("Nothing was run.")
                assert "its store or its audit cannot be written" in error.fields["H"]
                untouched()
                await gateway.written()
                assert [one["verdict"] for one in gateway.audit(kind="statement", sqlstate="58000")] == [
                    "hold"
                ]
                relay.refuse(False)
                _, hold = await held(client, carol)
                await carol.reject(hold["id"], "no")
                await refusal(client)

    async def test_a_disk_that_fills_up_while_a_statement_waits(
        self,
        tmp_path: Path,
        config: dict[str, Any],
        postgres: Postgres,
        database: str,
        empty_database: str,
        untouched: Callable[[], None],
    ) -> None:
        url = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{empty_database}"
        async with (
            running_gateway(tmp_path, merged(config, {"store": {"url": url}})) as gateway,
            await gateway.raw(database) as client,
        ):
            carol = await gateway.client()
            _, hold = await held(client, carol)
            await gateway.written()
            with full_disk(tmp_path / "audit.jsonl"):
                answer = await carol.approve(hold["id"])
                assert answer.status_code == 503
                error = next(each for each in await client.read_until("Z") if each.tag == "E")
                assert error.sqlstate in ("57014", "58000")
            await gateway.written()
            untouched()
            assert (await carol.hold(hold["id"]))["state"] == "interrupted"
            assert gateway.gateway.audit.lost == 0
            _, hold = await held(client, carol)
            await carol.reject(hold["id"], "no")
            await refusal(client)
