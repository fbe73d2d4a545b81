"""Checking once more what approvers signed, from the audit alone.

Whoever reads the audit needs to trust neither the store nor the gateway: the record of a decision has the
signature, the key, and the challenge, which names the hold and the digest of what was approved; the record that
opened the hold has the same digest beside the statement; the record of the passkey says whose key it is.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.passkey_proof import ProofInvalid, check_approval, check_confirmation

__all__ = ["ProofCheck"]


class ProofCheck:
    """Takes the records of an audit, oldest first. ``checked`` counts the proofs, ``faults`` has what is wrong, and
    ``unregistered`` counts those whose passkey was set up before the first record that is still there."""

    def __init__(self) -> None:
        self.checked = 0
        self.unregistered = 0
        self.faults: list[str] = []
        self._digests: dict[str, str] = {}
        self._keys: dict[str, tuple[str, str]] = {}

    def take(self, record: Mapping[str, Any]) -> None:
        """One record."""
        details = record.get("details")
        if not isinstance(details, dict):
            return
        if record.get("kind") == "hold" and record.get("tag") == "opened" and "digest" in details:
            self._digests[str(record.get("hold_id"))] = str(details["digest"])
        elif record.get("kind") == "gateway" and record.get("tag") == "passkey set up":
            self._keys[str(details.get("credential_id"))] = (
                str(record.get("user")),
                str(details.get("public_key")),
            )
        elif record.get("kind") == "decision" and "proof" in details:
            deciders = record.get("approved_by") or [None]
            self._check(record, details, str(deciders[0]), check_approval)
        elif record.get("kind") == "hold" and record.get("tag") == "confirmed" and "proof" in details:
            self._check(record, details, str(details.get("confirmed_by")), check_confirmation)

    def _check(
        self,
        record: Mapping[str, Any],
        details: Mapping[str, Any],
        who: str,
        check: Callable[..., object],
    ) -> None:
        self.checked += 1
        hold_id, digest, proof = str(record.get("hold_id")), details.get("digest"), details["proof"]
        if not isinstance(proof, dict):
            self._fault(record, "its proof cannot be read")
            return
        opened = self._digests.get(hold_id)
        if opened is not None and opened != digest:
            self._fault(record, "it is for something else than what was held")
            return
        try:
            check(proof, hold_id=hold_id, digest=str(digest), who=who)
        except ProofInvalid as error:
            self._fault(record, f"its proof is not good: {error}")
            return
        known = self._keys.get(str(proof.get("credential_id")))
        if known is None:
            self.unregistered += 1
        elif known != (who, proof.get("public_key")):
            self._fault(record, f"it was signed with a key that is not {who}'s")

    def _fault(self, record: Mapping[str, Any], why: str) -> None:
        self.faults.append(f"record {record.get('seq')}: {why}")
