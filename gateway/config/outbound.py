"""What the configuration says of addresses that the gateway posts to, and of the keys that it signs with."""

import base64
import binascii
from typing import Final
from urllib.parse import urlsplit

from gateway.config.model import is_loopback
from gateway.config.section import Section

__all__ = ["read_keys", "read_url"]

KEY_BYTES: Final = (24, 64)
"""How long a key is (Standard Webhooks, "Signature scheme")."""

_MAKES_ONE: Final = "`echo whsec_$(openssl rand -base64 32)` makes one"


def read_url(section: Section, key: str, example: str) -> str:
    """An https address, or an http one of this machine. It may contain a secret, so it is never shown."""
    if key not in section:
        return section.required_text(key, f"{key}: {example}")
    url = section.secret(key) or ""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or " " in url or parts.fragment or parts.username is not None:
        section.problem(key, f"expected an address such as {example}")
        return ""
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        section.problem(key, "must be an https address: whoever is on the way could answer in its place")
    return url


def read_keys(section: Section, variable: str) -> tuple[bytes, ...]:
    """One or more keys with blanks between them: while the other side changes its key, both sign."""
    if "secret" not in section:
        section.required_text("secret", f"secret: ${{{variable}}}; {_MAKES_ONE}")
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
