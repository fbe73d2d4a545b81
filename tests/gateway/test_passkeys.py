"""Making and using passkeys: what browsers are asked for, and how many there may be."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Admin, load_config
from gateway.passkeys import NoPasskey, NoPasskeysHere, Passkeys
from gateway.step_up import StepUpFailed
from gateway.store import open_store
from tests.gateway.management import SteppedClock
from tests.gateway.store.samples import hold
from tests.support.passkey import SoftKey

ORIGIN = "https://hold.example:8443"


class Setting:
    """Passkeys with a configuration that can be changed."""

    def __init__(self, folder: Path) -> None:
        file = folder / "holdgate.yaml"
        file.write_text(f"databases: {{shop: {{host: db}}}}\nadmin: {{public_url: {ORIGIN}/}}\n")
        self.config = load_config(file)
        self.clock = SteppedClock()
        self.passkeys: Passkeys

    def key(self) -> SoftKey:
        return SoftKey(ORIGIN, rp_id="hold.example")

    async def made(self, user: str = "carol") -> SoftKey:
        key = self.key()
        await self.passkeys.finish(user, "telephone", key.make(await self.passkeys.begin(user)))
        return key


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(tmp_path)
    store = await open_store(f"sqlite:///{tmp_path / 'holdgate.db'}")
    made.passkeys = Passkeys(store, lambda: made.config, clock=made.clock)
    try:
        yield made
    finally:
        await store.close()


async def test_what_a_browser_is_asked_to_make(setting: Setting) -> None:
    key = await setting.made()
    options = await setting.passkeys.begin("carol")
    assert options["rp"] == {"name": "Holdgate", "id": "hold.example"}
    assert options["user"]["name"] == "carol"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert [one["id"] for one in options["excludeCredentials"]] == [key.id]
    # The same person at every time, another one for everybody else; no name can be read from it.
    again, other = await setting.passkeys.begin("carol"), await setting.passkeys.begin("dave")
    assert options["user"]["id"] == again["user"]["id"] != other["user"]["id"]
    assert options["challenge"] != again["challenge"]


async def test_what_a_browser_is_asked_to_sign(setting: Setting) -> None:
    key = await setting.made()
    held = hold(digest="ab" * 32)
    options = await setting.passkeys.approval_options("carol", held)
    assert options["rpId"] == "hold.example"
    assert options["userVerification"] == "required"
    assert [one["id"] for one in options["allowCredentials"]] == [key.id]
    proof = await setting.passkeys.prove_approval("carol", held, key.sign(options))
    assert sorted(proof) == [
        "authenticator_data",
        "client_data",
        "credential_id",
        "origin",
        "public_key",
        "rp_id",
        "signature",
    ]
    assert proof["origin"] == ORIGIN
    (record,) = await setting.passkeys.list("carol")
    assert (record.sign_count, record.used_at is not None) == (1, True)


async def test_an_approval_is_bound_to_the_digest(setting: Setting) -> None:
    key = await setting.made()
    options = await setting.passkeys.approval_options("carol", hold(digest="ab" * 32))
    with pytest.raises(StepUpFailed, match=r"signed for something else \(digest\)"):
        await setting.passkeys.prove_approval("carol", hold(digest="cd" * 32), key.sign(options))


async def test_whoever_has_none(setting: Setting) -> None:
    with pytest.raises(NoPasskey):
        await setting.passkeys.approval_options("carol", hold())
    with pytest.raises(NoPasskey):
        await setting.passkeys.change_options("carol")
    with pytest.raises(NoPasskey):
        await setting.passkeys.prove_change("carol", setting.key().sign({"challenge": "e30"}))


async def test_twenty_are_enough(setting: Setting) -> None:
    for _ in range(20):
        await setting.made()
    with pytest.raises(StepUpFailed, match="20 passkeys are enough"):
        await setting.made()
    await setting.made("dave")


@pytest.mark.parametrize(
    "url", [None, "http://hold.example", "https://10.0.0.1", "https://[::1]:7433", "http://127.0.0.1:7433"]
)
async def test_where_browsers_make_none(setting: Setting, url: str | None) -> None:
    setting.config = dataclasses.replace(setting.config, admin=Admin(public_url=url))
    with pytest.raises(NoPasskeysHere, match=r"admin\.public_url has to be https"):
        await setting.passkeys.begin("carol")
