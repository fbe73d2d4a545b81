"""What the rules ask of whoever asks, compared with what the rest of the file makes possible."""

from collections.abc import Iterable

from gateway.config.channels import Channel, EmailChannel
from gateway.config.model import Admin, Store, passkey_host
from gateway.config.section import Section
from rules import Approval, Policy

__all__ = ["check_confirmations"]


def check_confirmations(
    top: Section, policy: Policy, store: Store, admin: Admin, channels: Iterable[Channel]
) -> None:
    """Note every confirmation that nobody could give."""
    mail = any(isinstance(channel, EmailChannel) for channel in channels)
    approvals: list[tuple[tuple[str | int, ...], Approval | None]] = [(("approval",), policy.approval)]
    approvals += [(("rules", number, "approval"), rule.approval) for number, rule in enumerate(policy.rules)]
    for path, approval in approvals:
        way = None if approval is None else approval.confirm
        needed: tuple[tuple[bool, str], ...] = ()
        if way == "second-factor":
            possible = store.key is not None or passkey_host(admin.public_url) is not None
            needed = (
                (possible, "store.key, for authenticators, or an https admin.public_url, for passkeys"),
            )
        elif way == "email":
            needed = (
                (mail, "a channel of the kind email under notifications"),
                (admin.public_url is not None, "admin.public_url, where the link leads to"),
                (store.key is not None, "store.key, with which the link is signed"),
            )
        missing = [name for there, name in needed if not there]
        if missing:
            top.document.problem((*path, "confirm"), f"{way} needs {'; '.join(missing)}")
