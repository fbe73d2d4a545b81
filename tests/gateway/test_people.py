"""Who somebody is here: names, groups and roles, out of the configuration and of what a provider says."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, Oidc, Role, User, load_config
from gateway.people import NotAdmitted, People, Person, same_person
from gateway.store import open_store
from gateway.store.sql import SqlStore
from tests.gateway.management import SteppedClock

OIDC = Oidc(
    issuer="https://login.example",
    client_id="holdgate",
    domains=frozenset({"corp.example"}),
    roles={"dpo": frozenset({Role.APPROVER}), "staff": frozenset({Role.VIEWER})},
    session=600.0,
)
CONFIG = """\
databases: {shop: {host: db}}
users:
  alice: {groups: [support]}
  carol: {roles: [viewer]}
  Dora: {}
  gone: {enabled: false}
  anna: {oidc: a.smith@corp.example}
groups: {dpo: [carol, bob]}
"""


class Setting:
    """People, with a configuration that can be changed and a clock that can be moved."""

    def __init__(self, store: SqlStore, config: Config) -> None:
        self.store = store
        self.config = config
        self.clock = SteppedClock()
        self.people = People(store, lambda: self.config, clock=self.clock)

    def configure(self, **changes: Any) -> None:
        oidc = dataclasses.replace(OIDC, **changes)
        self.config = dataclasses.replace(self.config, oidc=oidc)

    async def admit(self, name: object = "zoe", subject: object = "7", **claims: object) -> Person:
        return await self.people.admit({"sub": subject, "preferred_username": name, **claims})


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    file = tmp_path / "holdgate.yaml"
    file.write_text(CONFIG)
    store = await open_store(f"sqlite:///{tmp_path / 'holdgate.db'}")
    try:
        yield Setting(store, dataclasses.replace(load_config(file), oidc=OIDC))
    finally:
        await store.close()


class TestFinding:
    async def test_those_of_the_configuration(self, setting: Setting) -> None:
        assert await setting.people.find("alice") == Person("alice", frozenset({"support"}), frozenset())
        assert await setting.people.find("carol") == Person(
            "carol", frozenset({"dpo"}), frozenset({Role.VIEWER}), bounded=True
        )
        gone = await setting.people.find("gone")
        assert gone is not None
        assert not gone.enabled
        # Named in a group is not known.
        assert await setting.people.find("bob") is None
        assert await setting.people.find("zoe") is None

    async def test_those_of_the_provider(self, setting: Setting) -> None:
        admitted = await setting.admit("zoe", groups=["dpo", "other"])
        assert admitted == Person(
            "zoe", frozenset({"dpo", "other"}), frozenset({Role.APPROVER}), bounded=True
        )
        assert await setting.people.find("zoe") == admitted

    async def test_both_together(self, setting: Setting) -> None:
        alice = await setting.admit("alice", groups=["dpo"])
        assert alice.groups == {"support", "dpo"}
        assert alice.roles == {Role.APPROVER}
        # Roles that the configuration lists are all there are; groups add up.
        carol = await setting.admit("carol", "8", groups=["staff", "dpo"])
        assert carol.groups == {"dpo", "staff"}
        assert carol.roles == {Role.VIEWER}

    async def test_groups_of_the_configuration_give_roles_too(self, setting: Setting) -> None:
        """bob is in dpo by the configuration, and came by the provider."""
        bob = await setting.admit("bob")
        assert bob.groups == {"dpo"}
        assert bob.roles == {Role.APPROVER}

    async def test_what_was_said_long_ago_counts_no_more(self, setting: Setting) -> None:
        await setting.admit("zoe", groups=["dpo"])
        setting.clock.ahead += 599
        assert await setting.people.find("zoe") is not None
        setting.clock.ahead += 1
        assert await setting.people.find("zoe") is None
        await setting.admit("zoe", groups=["staff"])
        zoe = await setting.people.find("zoe")
        assert zoe is not None
        assert zoe.roles == {Role.VIEWER}

    async def test_another_provider_or_none(self, setting: Setting) -> None:
        await setting.admit("zoe", groups=["dpo"])
        setting.configure(issuer="https://other.example")
        assert await setting.people.find("zoe") is None
        setting.config = dataclasses.replace(setting.config, oidc=None)
        assert await setting.people.find("zoe") is None

    async def test_what_the_configuration_makes_of_groups_counts_at_once(self, setting: Setting) -> None:
        await setting.admit("zoe", groups=["/acme/privacy", "dpo"])
        setting.configure(map_groups={"/acme/privacy": "dpo"})
        zoe = await setting.people.find("zoe")
        assert zoe is not None
        assert zoe.groups == {"dpo"}
        setting.configure(map_groups={}, roles={})
        assert await setting.people.find("zoe") == Person("zoe", frozenset(), frozenset(), bounded=True)

    async def test_forgotten(self, setting: Setting) -> None:
        await setting.admit("zoe")
        assert [one.name for one in await setting.people.list()] == ["zoe"]
        assert await setting.people.forget("zoe")
        assert not await setting.people.forget("zoe")
        assert await setting.people.find("zoe") is None


class TestNames:
    @pytest.mark.parametrize(
        ("called", "name"),
        [
            ("zoe", "zoe"),
            ("Zoe", "zoe"),
            ("zoe@corp.example", "zoe"),
            ("ZOE@CORP.EXAMPLE", "zoe"),
            ("ｚｏｅ@corp.example", "zoe"),
            ("alice@corp.example", "alice"),
            ("dora@corp.example", "Dora"),
            ("A.Smith@corp.example", "anna"),
            ("Łucja@corp.example", "łucja"),
        ],
    )
    async def test_one_name_for_one_person(self, setting: Setting, called: str, name: str) -> None:
        assert (await setting.admit(called)).name == name

    @pytest.mark.parametrize(
        ("called", "why"),
        [
            ("zoe@evil.example", r"is of no domain that oidc\.username\.domains lists"),
            ("zoe@corp.example@evil.example", "is of no domain"),
            ("alice@evil.example@corp.example", "cannot be a name here"),
            ("@corp.example", "cannot be a name here"),
            ("anna@corp.example", "anna is somebody else of the provider"),
            ("anna", "anna is somebody else of the provider"),
            ("gone", "gone is disabled"),
            ("", "the ID token has no preferred_username"),
            (None, "the ID token has no preferred_username"),
            (7, "the ID token has no preferred_username"),
            (["alice"], "the ID token has no preferred_username"),
            ("al\nice", "has a preferred_username that cannot be used"),
            (" alice", "has a preferred_username that cannot be used"),
            ("al\u200bice", "has a preferred_username that cannot be used"),
            ("a" * 256, "has a preferred_username that cannot be used"),
        ],
    )
    async def test_who_is_nobody(self, setting: Setting, called: object, why: str) -> None:
        with pytest.raises(NotAdmitted, match=why):
            await setting.admit(called)

    async def test_two_users_that_one_name_could_mean(self, setting: Setting) -> None:
        users = {**setting.config.users, "dora": User("dora")}
        setting.config = dataclasses.replace(setting.config, users=users)
        with pytest.raises(NotAdmitted, match="could be Dora or dora; set oidc for one of them"):
            await setting.admit("dora")

    async def test_without_domains_no_address_is_a_name(self, setting: Setting) -> None:
        setting.configure(domains=frozenset())
        with pytest.raises(NotAdmitted, match="is of no domain"):
            await setting.admit("alice@corp.example")
        assert (await setting.admit("alice")).name == "alice"

    @pytest.mark.parametrize("verified", [False, None, "true", 1])
    async def test_an_address_that_was_not_verified(self, setting: Setting, verified: object) -> None:
        setting.configure(username="email")
        with pytest.raises(NotAdmitted, match="has not verified this e-mail address"):
            await setting.admit(email="alice@corp.example", email_verified=verified)

    async def test_an_address_that_was(self, setting: Setting) -> None:
        setting.configure(username="email")
        assert (await setting.admit(email="alice@corp.example", email_verified=True)).name == "alice"


class TestSubjects:
    async def test_a_name_stays_with_whom_it_was_first(self, setting: Setting) -> None:
        await setting.admit("zoe", "7", groups=["dpo"])
        with pytest.raises(NotAdmitted, match="zoe is another person of the provider here"):
            await setting.admit("zoe", "8", groups=["staff"])
        # What the other one said of groups was not taken.
        zoe = await setting.people.find("zoe")
        assert zoe is not None
        assert zoe.groups == {"dpo"}

    async def test_somebody_stays_who_they_were(self, setting: Setting) -> None:
        await setting.admit("zoe", "7")
        with pytest.raises(
            NotAdmitted, match="this person of the provider is zoe here, and now comes as alice"
        ):
            await setting.admit("alice", "7")

    async def test_a_subject_is_one_of_its_issuer(self, setting: Setting) -> None:
        await setting.admit("zoe", "7")
        setting.configure(issuer="https://other.example")
        with pytest.raises(NotAdmitted, match="zoe is another person"):
            await setting.admit("zoe", "7")

    @pytest.mark.parametrize("subject", ["", None, 7, "a\0b", "s" * 256])
    async def test_a_subject_that_is_none(self, setting: Setting, subject: object) -> None:
        with pytest.raises(NotAdmitted, match="sub"):
            await setting.admit("zoe", subject)


class TestGroups:
    async def test_one_text_is_one_group(self, setting: Setting) -> None:
        assert (await setting.admit(groups="dpo")).groups == {"dpo"}

    @pytest.mark.parametrize("groups", [{"dpo": True}, 7, True])
    async def test_what_is_no_list(self, setting: Setting, groups: object) -> None:
        with pytest.raises(NotAdmitted, match="is not a list of groups"):
            await setting.admit(groups=groups)

    async def test_what_is_no_group_is_left_out(self, setting: Setting) -> None:
        said = ["dpo", 7, None, {}, "a\nb", "g" * 300, "dpo"]
        assert (await setting.admit(groups=said)).groups == {"dpo"}

    async def test_too_many(self, setting: Setting) -> None:
        with pytest.raises(NotAdmitted, match="more than 1000 groups"):
            await setting.admit(groups=[f"g{number}" for number in range(1001)])


def test_two_names_of_one_person() -> None:
    assert same_person("alice", "Alice")
    assert same_person("STRASSE", "straße")
    assert not same_person("alice", "alicia")
