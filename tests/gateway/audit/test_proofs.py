"""Signed approvals, checked from the records alone."""

from typing import Any

import pytest

from gateway.audit.proofs import ProofCheck
from tests.gateway.test_passkey_proof import ORIGIN, approval, proof_of
from tests.support.passkey import SoftKey

Record = dict[str, Any]
DIGEST = "d" * 64


def story() -> list[Record]:
    """A passkey is set up, a hold is opened, and approved with it."""
    proof = proof_of(SoftKey(ORIGIN), approval())
    key = {"credential_id": proof["credential_id"], "public_key": proof["public_key"]}
    return [
        {"seq": 1, "kind": "gateway", "tag": "passkey set up", "user": "carol", "details": key},
        {"seq": 2, "kind": "hold", "tag": "opened", "hold_id": "H-1", "details": {"digest": DIGEST}},
        {
            "seq": 3,
            "kind": "decision",
            "tag": "approved",
            "hold_id": "H-1",
            "approved_by": ["carol"],
            "details": {"stage": 0, "step_up": "passkey", "digest": DIGEST, "proof": proof},
        },
    ]


def checked(records: list[Record]) -> ProofCheck:
    check = ProofCheck()
    for record in records:
        check.take(record)
    return check


def test_a_good_one() -> None:
    check = checked(story())
    assert (check.checked, check.unregistered, check.faults) == (1, 0, [])


def test_records_without_a_proof_are_none() -> None:
    plain = {"kind": "decision", "approved_by": ["carol"], "details": {"step_up": "totp"}}
    check = checked([{"kind": "statement"}, {"kind": "decision", "details": None}, plain])
    assert (check.checked, check.faults) == (0, [])


def test_a_passkey_from_before_the_first_record_that_is_left() -> None:
    check = checked(story()[1:])
    assert (check.checked, check.unregistered, check.faults) == (1, 1, [])


def test_a_hold_from_before_it() -> None:
    first, _, last = story()
    assert checked([first, last]).faults == []


@pytest.mark.parametrize(
    ("number", "change", "why"),
    [
        (1, {"details": {"digest": "e" * 64}}, "it is for something else than what was held"),
        (2, {"approved_by": ["dave"]}, "signed for something else (who)"),
        (2, {"approved_by": []}, "signed for something else (who)"),
        (0, {"user": "dave"}, "it was signed with a key that is not carol's"),
    ],
)
def test_what_does_not_fit(number: int, change: Record, why: str) -> None:
    records = story()
    records[number] = {**records[number], **change}
    check = checked(records)
    (fault,) = check.faults
    assert fault.startswith("record 3: ")
    assert why in fault


def test_another_key_under_the_name_of_the_first() -> None:
    """Whoever can write the records makes a key of their own: the record of the passkey tells."""
    records, forged = story(), proof_of(SoftKey(ORIGIN), approval())
    forged["credential_id"] = records[2]["details"]["proof"]["credential_id"]
    records[2]["details"]["proof"] = forged
    assert checked(records).faults == ["record 3: it was signed with a key that is not carol's"]


@pytest.mark.parametrize("proof", [None, "x", [], {}, {"signature": 7}])
def test_what_is_no_proof(proof: object) -> None:
    records = story()
    records[2]["details"]["proof"] = proof
    assert len(checked(records).faults) == 1


def test_for_another_hold() -> None:
    records = story()
    records[2]["hold_id"] = "H-2"
    (fault,) = checked(records).faults
    assert "signed for something else (hold)" in fault
