"""``checks:`` in the configuration: web services that criteria ask; and what criteria need of the rest of the file."""

import base64
import binascii
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from gateway.config.model import Database, WebCheck, is_loopback
from gateway.config.section import Section
from rules import Policy
from rules.criteria import MAX_CHECK_SECONDS

__all__ = ["check_criteria", "read_checks"]

KEY_BYTES: Final = (24, 64)
"""How long a key is (Standard Webhooks, "Signature scheme")."""

_MAKES_ONE: Final = "`echo whsec_$(openssl rand -base64 32)` makes one"


def read_checks(top: Section) -> dict[str, WebCheck]:
    """The web services by name; every problem in them is noted."""
    return {name: _check(section, name) for name, section in top.sections("checks")}


def check_criteria(top: Section, policy: Policy, databases: Mapping[str, Database]) -> None:
    """Note every criterion that could never be checked."""
    if any(database.inspect is not None for database in databases.values()):
        return
    for number, rule in enumerate(policy.rules):
        for place, criterion in enumerate(rule.criteria):
            if criterion.sql is not None:
                top.document.problem(
                    ("rules", number, "criteria", place, "sql"),
                    "is asked by databases.*.inspect, and no database has such a login",
                )


def _check(section: Section, name: str) -> WebCheck:
    default = WebCheck("", "", ())
    timeout = section.duration("timeout", default.timeout, 0.1)
    if timeout > MAX_CHECK_SECONDS:
        section.problem("timeout", f"expected at most {MAX_CHECK_SECONDS:.0f}s: somebody waits")
    return WebCheck(
        name=name,
        url=_url(section),
        keys=_keys(section),
        timeout=timeout,
        ca=section.optional_file("ca"),
    )


def _url(section: Section) -> str:
    """An address that can be asked. It may contain a secret, so it is never shown."""
    if "url" not in section:
        return section.required_text("url", "url: https://desk.example.org/holdgate")
    url = section.secret("url") or ""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or " " in url or parts.fragment or parts.username is not None:
        section.problem("url", "expected an address such as https://desk.example.org/holdgate")
        return ""
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        section.problem("url", "must be an https address: whoever is on the way could answer in its place")
    return url


def _keys(section: Section) -> tuple[bytes, ...]:
    """One or more keys with blanks between them: while the service changes its key, both sign."""
    if "secret" not in section:
        section.required_text("secret", f"secret: ${{DESK_SECRET}}; {_MAKES_ONE}")
        return ()
    keys: list[bytes] = []
    for one in (section.secret("secret") or "").split():
        try:
            key = base64.b64decode(one.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        least, most = KEY_BYTES
        if not least <= len(key) <= most:
            section.problem("secret", f"expected whsec_ and {least} to {most} bytes in base64; {_MAKES_ONE}")
            return ()
        keys.append(key)
    return tuple(keys)
