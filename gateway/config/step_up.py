"""What the rules ask of approvers, compared with what the rest of the file makes possible."""

from gateway.config.model import Admin, Store, passkey_host
from gateway.config.section import Section
from rules import Approval, Policy

__all__ = ["check_step_ups"]


def check_step_ups(top: Section, policy: Policy, store: Store, admin: Admin) -> None:
    """Note every approval that nobody could give."""
    approvals: list[tuple[tuple[str | int, ...], Approval | None]] = [(("approval",), policy.approval)]
    approvals += [(("rules", number, "approval"), rule.approval) for number, rule in enumerate(policy.rules)]
    for path, approval in approvals:
        ways = {way for stage in approval.stages for way in stage.step_up} if approval is not None else set()
        if "totp" in ways and store.key is None:
            top.document.problem(
                path,
                "step_up: totp needs store.key, with which the secrets of authenticators are sealed; "
                "`openssl rand -base64 32` makes one",
            )
        if "passkey" in ways and passkey_host(admin.public_url) is None:
            top.document.problem(
                path,
                "step_up: passkey needs admin.public_url: https and a host's name, for which browsers make passkeys",
            )
