"""The key ``oidc``: the OpenID provider whose people use the management port."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from gateway.config.model import Admin, Oidc, Role, User, is_loopback
from gateway.config.section import Section
from gateway.text import same_name

__all__ = ["ALGORITHMS", "open_groups", "read_oidc"]

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
"""Signatures by a key that only the provider has (RFC 7518, 3.1; RFC 9864). One made with a shared secret, or none,
proves nothing here."""

_ROLES: Final = tuple(Role)


def read_oidc(
    top: Section, admin: Admin, users: Mapping[str, User], groups: Mapping[str, frozenset[str]]
) -> Oidc | None:
    """What is written under ``oidc``, None where nothing is. Problems are noted in the document."""
    _explicit_names(top, users)
    if "oidc" not in top:
        top.raw("oidc")
        return None
    section = top.section("oidc")
    known = set(groups) | {group for user in users.values() for group in user.groups}
    default = Oidc("", "")
    name, domains = _username(section.section("username"))
    claim, mapped = _groups(section.section("groups"), known)
    oidc = Oidc(
        issuer=_issuer(section),
        client_id=section.required_text("client_id", "client_id: holdgate"),
        client_secret=section.secret("client_secret"),
        label=section.text("name", default.label),
        scopes=tuple(dict.fromkeys(("openid", *(section.names("scopes") or default.scopes)))),
        algorithms=_algorithms(section) or default.algorithms,
        username=name,
        domains=domains,
        groups=claim,
        map_groups=mapped,
        roles=_roles(section.section("roles"), known),
        session=section.duration("session", default.session, 60.0),
    )
    if admin.public_url is None and not top.document.is_faulty(("admin", "public_url")):
        top.problem(
            "oidc",
            "needs admin.public_url: the provider sends people back to PUBLIC_URL/oidc/callback, which must be "
            "registered there",
        )
    section.close()
    return oidc


def open_groups(
    oidc: Oidc | None, users: Mapping[str, User], groups: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """The groups that may have members whom only the provider knows."""
    if oidc is None:
        return ()
    if oidc.map_groups is not None:
        return tuple(sorted(set(oidc.map_groups.values())))
    return tuple(sorted(set(groups) | {group for user in users.values() for group in user.groups}))


def _issuer(section: Section) -> str:
    issuer = section.required_text("issuer", "issuer: https://login.example.org/realms/acme")
    try:
        parts = urlsplit(issuer)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _no_issuer(section)
    if not issuer:
        return ""
    if not usable or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        return _no_issuer(section)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        section.problem("issuer", "must be an https address: whoever is on the way could be the provider")
    return issuer


def _no_issuer(section: Section) -> str:
    section.problem("issuer", "expected an address such as https://login.example.org/realms/acme")
    return ""


def _algorithms(section: Section) -> tuple[str, ...]:
    names = section.names("algorithms")
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown:
        section.problem(
            "algorithms",
            f"{', '.join(unknown)} cannot be trusted here; expected some of {', '.join(ALGORITHMS)}",
        )
    return tuple(name for name in names if name in ALGORITHMS)


def _username(section: Section) -> tuple[str, frozenset[str]]:
    name = section.text("claim", "preferred_username")
    domains = section.names("domains")
    for domain in domains:
        if "@" in domain:
            section.problem("domains", f"{domain}: write the domain alone, without @")
    if name == "email" and not domains:
        section.problem("domains", "is missing; with claim: email, say which domains' addresses become names")
    section.close()
    return name, frozenset(map(same_name, domains))


def _groups(section: Section, known: set[str]) -> tuple[str, Mapping[str, str] | None]:
    claim = section.text("claim", "groups")
    mapped: dict[str, str] | None = None
    if "map" in section:
        part = section.section("map")
        mapped = {}
        for theirs in part.written():
            ours = part.required_text(theirs, f"{theirs}: dpo")
            if ours and ours not in known:
                part.problem(theirs, f"no group {ours} under groups; add it there, {ours}: [] is enough")
            mapped[theirs] = ours
    else:
        section.raw("map")
    section.close()
    return claim, mapped


def _roles(section: Section, known: set[str]) -> Mapping[str, frozenset[Role]]:
    roles: defaultdict[str, set[Role]] = defaultdict(set)
    for role in _ROLES:
        for group in section.names(role.value):
            if group not in known:
                section.problem(
                    role.value, f"no group {group} under groups; add it there, {group}: [] is enough"
                )
            roles[group].add(role)
    section.close()
    return {group: frozenset(each) for group, each in roles.items()}


def _explicit_names(top: Section, users: Mapping[str, User]) -> None:
    """No two users can be the same person of the provider."""
    seen: dict[str, str] = {}
    for name, user in users.items():
        if user.oidc is None:
            continue
        other = seen.setdefault(same_name(user.oidc), name)
        if other != name:
            top.document.problem(("users", name, "oidc"), f"{other} is already this person of the provider")
