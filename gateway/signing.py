"""Signatures of what is posted to others.

Source: the specification of Standard Webhooks 1.0 (github.com/standard-webhooks/standard-webhooks), "Webhook
headers" and "Symmetric signatures".
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable

__all__ = ["signature", "signed_headers"]


def signed_headers(keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message, signed with each of ``keys``; ``timestamp`` is in seconds since 1970."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(key, message_id, timestamp, body) for key in keys),
    }


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One member of the header ``webhook-signature``."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
