"""The channels by which people and programs are told of holds, as frozen values."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

__all__ = [
    "EVENTS",
    "SLACK_API",
    "AppriseChannel",
    "Channel",
    "EmailChannel",
    "SlackChannel",
    "SqlText",
    "TeamsChannel",
    "WebhookChannel",
]

EVENTS = ("asked", "escalated", "resolved", "review")
"""Approvers are asked (at the beginning, and by each further stage); more groups are; a hold has ended; a statement ran
without an approval and is to be reviewed."""

SLACK_API = "https://slack.com/api"

SqlText = Literal["full", "redacted", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What all channels have. ``groups`` and ``rules``: only holds that ask one of these groups, or that one of these
    rules holds; empty for all. ``timeout`` is in seconds and for one attempt, of which there are ``attempts``."""

    name: str
    events: tuple[str, ...] = EVENTS
    groups: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    sql: SqlText = "redacted"
    timeout: float = 10.0
    attempts: int = 12
    ca: Path | None = None
    """PEM file of the authorities to trust, None for the machine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChannel(Channel):
    """An address that is sent JSON, signed as Standard Webhooks says; ``secrets`` are the keys, the newest first."""

    url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackChannel(Channel):
    """A conversation of Slack, written to as the bot that ``token`` is of; ``url`` is where its Web API is."""

    token: str = field(repr=False)
    channel: str
    url: str = SLACK_API


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamsChannel(Channel):
    """A channel of Microsoft Teams, by the address of its workflow or incoming webhook."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChannel(Channel):
    """A mail server. ``to`` are addresses that are asked besides those of the approvers themselves; whoever has none
    of their own has one in ``domain``, where that is said."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sender: str
    to: tuple[str, ...] = ()
    domain: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseChannel(Channel):
    """Whatever the addresses of Apprise reach. They contain secrets."""

    urls: tuple[str, ...] = field(repr=False)
