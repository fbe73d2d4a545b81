"""People: who somebody is here, and what they may do, by the configuration and by what an OpenID provider says.

A person has one name, whichever way they come: it is the name of the user who connects to a database, so that
nobody approves under one name what they asked for under another. The provider's own name for somebody may
change and may be given to somebody else; what never does is its subject (OpenID Connect Core 1.0, 5.7). So a
name stays with the subject that had it first, until an administrator lets it go.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from gateway.clock import SYSTEM_CLOCK, Clock
from gateway.config.model import Config, Oidc, Role
from gateway.store import PeopleStore, PersonRecord
from gateway.text import same_name

__all__ = ["NotAdmitted", "People", "Person", "same_person"]

MAX_GROUPS = 1_000
MAX_TEXT = 255
"""Bytes of a name, a subject or a group; the subject's limit is the standard's."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as they are now. ``bounded``: they have these roles and can be given no others by a token."""

    name: str
    groups: frozenset[str]
    roles: frozenset[Role]
    enabled: bool = True
    bounded: bool = False


class NotAdmitted(Exception):
    """The provider vouches for somebody who is nobody here. The text is one sentence that says why."""


class People:
    """Finds people. Methods raise ``StoreUnavailable`` when the store does not answer.

    ``config`` is asked each time, since it may be loaded anew.
    """

    def __init__(
        self, store: PeopleStore, config: Callable[[], Config], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._store = store
        self._config = config
        self._clock = clock

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self._config()

    async def find(self, name: str) -> Person | None:
        """The person of this name, if the configuration lists them or the provider vouched for them lately."""
        config = self._config()
        user = config.users.get(name)
        record = await self._vouched(config.oidc, name)
        if user is None and record is None:
            return None
        groups = config.groups_of(name)
        roles: frozenset[Role] = user.roles if user is not None else frozenset()
        if record is not None and config.oidc is not None:
            groups |= _groups(config.oidc, record)
            if user is None or not user.roles_listed:
                roles = frozenset().union(*(config.oidc.roles.get(group, ()) for group in groups))
        return Person(
            name=name,
            groups=groups,
            roles=roles,
            enabled=user is None or user.enabled,
            bounded=record is not None or (user is not None and user.roles_listed),
        )

    async def admit(self, claims: Mapping[str, object]) -> Person:
        """The person whom the claims of a verified ID token are about; what they say of groups counts from now.

        Raises :class:`NotAdmitted`.
        """
        config = self._config()
        oidc = config.oidc
        assert oidc is not None, "there is no provider"
        called = _text(claims, oidc.username)
        if oidc.username == "email" and claims.get("email_verified") is not True:
            raise NotAdmitted("the provider has not verified this e-mail address")
        name = name_of(called, config)
        now = self._clock.now()
        record = PersonRecord(
            name=name,
            issuer=oidc.issuer,
            subject=_text(claims, "sub"),
            claim=called,
            groups=_claimed_groups(claims, oidc.groups),
            first_at=now,
            seen_at=now,
        )
        other = await self._store.keep_person(record)
        if other is not None:
            raise NotAdmitted(
                f"{name} is another person of the provider here; an administrator can let go of the name"
                if other.name == name
                else f"this person of the provider is {other.name} here, and now comes as {name}; "
                "an administrator can let go of the old name"
            )
        person = await self.find(name)
        if person is None or not person.enabled:
            raise NotAdmitted(f"{name} is disabled")
        return person

    async def asked(self, groups: Collection[str]) -> set[str]:
        """Who of ``groups`` (none: whoever) can approve today, deputies of those who are away included."""
        config = self._config()
        names = set(config.users)
        if config.oidc is not None:
            names |= {record.name for record in await self._store.people()}
        found = set()
        for name in names:
            person = await self.find(name)
            if person is not None and person.enabled and (not groups or not person.groups.isdisjoint(groups)):
                found.add(name)
                found |= {
                    one.deputy
                    for one in config.deputies
                    if one.absent == name and one.covers(self._clock.now())
                }
        people = [await self.find(name) for name in found]
        return {one.name for one in people if one is not None and one.enabled and Role.APPROVER in one.roles}

    async def list(self) -> list[PersonRecord]:
        """Everybody the provider vouched for, however long ago."""
        return await self._store.people()

    async def forget(self, name: str) -> bool:
        """Let go of a name: whoever has it loses what the provider gave them. False: nobody has it."""
        return await self._store.forget_person(name)

    async def _vouched(self, oidc: Oidc | None, name: str) -> PersonRecord | None:
        if oidc is None:
            return None
        record = await self._store.person(name)
        if record is None or record.issuer != oidc.issuer:
            return None
        if record.seen_at + timedelta(seconds=oidc.session) <= self._clock.now():
            return None
        return record


def same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, as far as names can say."""
    return same_name(one) == same_name(other)


def name_of(called: str, config: Config) -> str:
    """Who here the provider calls so. Raises :class:`NotAdmitted`."""
    assert config.oidc is not None, "there is no provider"
    wanted = same_name(called)
    for user in config.users.values():
        if user.oidc is not None and same_name(user.oidc) == wanted:
            return user.name
    name, at, domain = wanted.rpartition("@")
    if at and domain not in config.oidc.domains:
        raise NotAdmitted(f"{called} is of no domain that oidc.username.domains lists")
    name = name if at else domain
    if not name or "@" in name:
        raise NotAdmitted(f"{called} cannot be a name here")
    meant = [user for user in config.users.values() if same_name(user.name) == name]
    if len(meant) > 1:
        raise NotAdmitted(
            f"{called} could be {' or '.join(user.name for user in meant)}; set oidc for one of them"
        )
    if meant and meant[0].oidc is not None:
        raise NotAdmitted(f"{meant[0].name} is somebody else of the provider")
    return meant[0].name if meant else name


def _groups(oidc: Oidc, record: PersonRecord) -> frozenset[str]:
    if oidc.map_groups is None:
        return frozenset(record.groups)
    return frozenset(oidc.map_groups[group] for group in record.groups if group in oidc.map_groups)


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise NotAdmitted(f"the ID token has no {name}")
    if not value.isprintable() or value != value.strip() or len(value.encode()) > MAX_TEXT:
        raise NotAdmitted(f"the ID token has a {name} that cannot be used")
    return value


def _claimed_groups(claims: Mapping[str, object], name: str) -> tuple[str, ...]:
    """The groups in a claim: a list, or one text. None are needed; what is no group is none."""
    value = claims.get(name, ())
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple):
        raise NotAdmitted(f"{name} in the ID token is not a list of groups")
    groups = [
        group for group in value if isinstance(group, str) and group.isprintable() and len(group) <= MAX_TEXT
    ]
    if len(groups) > MAX_GROUPS:
        raise NotAdmitted(f"the ID token names more than {MAX_GROUPS} groups")
    return tuple(dict.fromkeys(groups))
