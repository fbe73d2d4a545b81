"""``notifications:`` in the configuration: who is told of what, and by which channel."""

import importlib.util
import logging
import re
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from gateway.config.channels import (
    EVENTS,
    SLACK_API,
    AppriseChannel,
    Channel,
    EmailChannel,
    SlackChannel,
    SqlText,
    TeamsChannel,
    WebhookChannel,
)
from gateway.config.model import User, is_loopback
from gateway.config.outbound import read_keys, read_url
from gateway.config.section import Section

__all__ = ["ADDRESS", "read_notifications"]

KINDS: Final = ("webhook", "slack", "teams", "email", "apprise")
SQL_TEXTS: Final[tuple[SqlText, ...]] = ("full", "redacted", "none")
TLS_MODES: Final[tuple[Literal["starttls", "tls", "none"], ...]] = ("starttls", "tls", "none")
PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_SENDER: Final = re.compile(rf"(?:[^<>@\"]+ <{ADDRESS.pattern}>|{ADDRESS.pattern})")
_DOMAIN: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")


def read_notifications(
    top: Section, users: Mapping[str, User], groups: Collection[str], rules: Collection[str] | None
) -> dict[str, Channel]:
    """The channels by name; every problem in them is noted. ``rules`` None: they are not known, and not compared."""
    known = set(groups) | {group for user in users.values() for group in user.groups}
    found = {}
    for name, section in top.sections("notifications"):
        channel = _channel(section, name, known, rules)
        if channel is not None:
            found[name] = channel
    return found


def _channel(section: Section, name: str, groups: set[str], rules: Collection[str] | None) -> Channel | None:
    kind = section.required_text("kind", f"kind: webhook; there are {', '.join(KINDS)}")
    if kind and kind not in KINDS:
        section.problem("kind", f"expected one of {', '.join(KINDS)}")
    common: dict[str, Any] = {
        "name": name,
        "events": _some(section, "events", EVENTS) or EVENTS,
        "groups": frozenset(_some(section, "groups", groups, "no group {} under groups")),
        "rules": frozenset(_some(section, "rules", rules, "no rule {} under rules")),
        "sql": section.word("sql", "redacted", SQL_TEXTS),
        "timeout": section.duration("timeout", 10.0, 0.1),
        "attempts": section.integer("attempts", 12, 1, 100),
    }
    if common["timeout"] > 60:
        section.problem("timeout", "expected at most 60s; more is tried by further attempts")
    if kind != "apprise":
        common["ca"] = section.optional_file("ca")
    match kind:
        case "webhook":
            return WebhookChannel(**common, url=_url(section), secrets=read_keys(section, "HOOK_SECRET"))
        case "slack":
            return SlackChannel(
                **common,
                token=_secret(section, "token", "token: ${SLACK_TOKEN}, the bot's"),
                channel=section.required_text("channel", "channel: C0123456789"),
                url=_url(section).rstrip("/") if "url" in section else SLACK_API,
            )
        case "teams":
            return TeamsChannel(**common, url=_url(section))
        case "email":
            return _email(section, common)
        case "apprise":
            return AppriseChannel(**common, urls=_apprise_urls(section))
    # Which keys there may be depends on the kind.
    for key in section.written():
        section.raw(key)
    return None


def _email(section: Section, common: Mapping[str, Any]) -> EmailChannel:
    tls = section.word("tls", "starttls", TLS_MODES)
    channel = EmailChannel(
        **common,
        host=section.required_text("host", "host: mail.example.org"),
        port=section.integer("port", PORTS[tls], 1, 65_535),
        tls=tls,
        user=section.optional_text("user"),
        password=section.secret("password"),
        sender=section.required_text("from", "from: Holdgate <holdgate@example.org>"),
        to=section.names("to"),
        domain=section.optional_text("domain"),
    )
    if tls == "none" and channel.host and not is_loopback(channel.host):
        section.problem(
            "tls", "none is for a mail server on this machine; what is sent elsewhere is encrypted"
        )
    if channel.sender and _SENDER.fullmatch(channel.sender) is None:
        section.problem("from", "expected an address such as Holdgate <holdgate@example.org>")
    for number, address in enumerate(channel.to):
        if ADDRESS.fullmatch(address) is None:
            section.document.problem(
                (*section.path, "to", number), "expected an address such as dpo@example.org"
            )
    if channel.domain is not None and _DOMAIN.fullmatch(channel.domain) is None:
        section.problem("domain", "expected a domain such as example.org")
    if (channel.user is None) != (channel.password is None):
        section.problem(
            "user" if channel.password is not None else "password", "is missing; the two go together"
        )
    return channel


def _url(section: Section) -> str:
    return read_url(section, "url", "https://hooks.example.org/holdgate")


def _secret(section: Section, key: str, example: str) -> str:
    if key not in section:
        return section.required_text(key, example)
    return section.secret(key) or ""


def _apprise_urls(section: Section) -> tuple[str, ...]:
    urls = section.names("urls")
    if not urls:
        if "urls" not in section:
            section.problem("urls", 'is missing; for example ["ntfys://ntfy.example.org/holdgate"]')
        return ()
    if importlib.util.find_spec("apprise") is None:
        section.problem("kind", "Apprise is not installed: pip install 'holdgate[apprise]'")
        return ()
    # Slow to import, and most do without.
    from apprise import Apprise

    # It logs the addresses, and there are tokens in them.
    logging.getLogger("apprise").disabled = True

    for number, url in enumerate(urls):
        made = Apprise.instantiate(url, suppress_exceptions=True)
        if made is None:
            section.document.problem(
                (*section.path, "urls", number),
                "Apprise knows no such address, or something in it is missing",
            )
            continue
        plain, encrypted = _schemas(made.protocol), _schemas(made.secure_protocol)
        scheme = url.partition(":")[0].lower()
        if encrypted and scheme in plain and not is_loopback(getattr(made, "host", "") or ""):
            section.document.problem(
                (*section.path, "urls", number), f"is not encrypted; {encrypted[0]}:// is"
            )
    return urls


def _schemas(protocol: object) -> tuple[str, ...]:
    if isinstance(protocol, str):
        return (protocol,)
    return tuple(map(str, protocol)) if isinstance(protocol, list | tuple | set) else ()


def _some(
    section: Section, key: str, known: Collection[str] | None, unknown: str = "no event {}; there are {}"
) -> tuple[str, ...]:
    names = section.names(key)
    for number, name in enumerate(names):
        if known is not None and name not in known:
            section.document.problem((*section.path, key, number), unknown.format(name, ", ".join(known)))
    return names
