"""What may be granted, and what a use of it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import AuditUnavailable
from gateway.config import Role
from gateway.grants import checked_terms
from gateway.hold_terms import GrantNotFound, GrantOver, InvalidGrant, InvalidReason
from gateway.holds import Hold, HoldState
from gateway.store import Grantable, GrantTerms
from tests.gateway.management import Desk, hold_request, management
from tests.gateway.store.samples import hold

LIMITS = Grantable(
    3600, 5, "a" * 64, "b" * 64, "DELETE \N{HORIZONTAL ELLIPSIS}", "DELETE 1", True, "", (), ""
)


@pytest.mark.parametrize(
    ("terms", "meant"),
    [
        (GrantTerms(3600), GrantTerms(3600, 5)),
        (GrantTerms(1, 5, 10), GrantTerms(1, 5, 10)),
    ],
)
def test_what_may_be_granted(terms: GrantTerms, meant: GrantTerms) -> None:
    assert checked_terms(hold(grantable=LIMITS), terms, ()) == meant


@pytest.mark.parametrize(
    ("changes", "terms", "step_up", "why"),
    [
        ({"grantable": None}, GrantTerms(60), (), "nothing can be granted here"),
        ({}, GrantTerms(60), ("totp", "passkey"), "a passkey signs this statement and no others"),
        ({}, GrantTerms(0), (), "for at most 3600 s"),
        ({}, GrantTerms(3601), (), "for at most 3600 s"),
        ({}, GrantTerms(60, 0), (), "for 1 to 5 uses"),
        ({}, GrantTerms(60, 6), (), "for 1 to 5 uses"),
        ({}, GrantTerms(60, 1, 0), (), "at least one row"),
        (
            {"uncounted": "it is a COPY"},
            GrantTerms(60, 1, 5),
            (),
            "rows cannot be counted here: it is a COPY",
        ),
    ],
)
def test_what_may_not(changes: dict[str, Any], terms: GrantTerms, step_up: tuple[str, ...], why: str) -> None:
    with pytest.raises(InvalidGrant, match=why):
        checked_terms(hold(**{"grantable": LIMITS, **changes}), terms, step_up)


def test_without_a_number_of_uses_there_are_as_many_as_there_are() -> None:
    limits = replace(LIMITS, max_uses=None)
    assert checked_terms(hold(grantable=limits), GrantTerms(60), ()) == GrantTerms(60)


async def given(desk: Desk, **changes: Any) -> Hold:
    """A hold approved with a grant by carol."""
    limits = replace(LIMITS, binding=desk.people.config.policy.binding(()))
    request = hold_request(**{"grantable": limits, **changes})
    opened = await desk.holds.open(request)
    return await desk.holds.decide(
        opened.id,
        who="carol",
        who_groups={"dpo"},
        who_roles={Role.APPROVER},
        approve=True,
        reason=None,
        how="api",
        grant=GrantTerms(600, 2),
    )


async def test_values_may_differ_only_where_something_bounds_the_rows(tmp_path: Path) -> None:
    async with management(tmp_path) as desk:
        binding = desk.people.config.policy.binding(())
        for bounded, text in ((True, LIMITS.text), (False, LIMITS.same)):
            limits = replace(LIMITS, bounded=bounded, binding=binding, free=f"{bounded}")
            await given(desk, grantable=limits)
            view, *_ = await desk.holds.grants.list()
            assert (view.state, view.grant.text) == ("active", text)


async def test_a_use_needs_rows_that_can_be_counted_where_they_are(tmp_path: Path) -> None:
    async with management(tmp_path) as desk:
        source = await given(desk)
        limits = source.grantable
        again = await desk.holds.open(hold_request(grantable=limits, uncounted="it is a COPY"))
        assert (again.state, again.grant_id) == (HoldState.APPROVED, source.granted_id)
        capped = replace(source, uncounted="it is a COPY")
        grants = await desk.store.grants()
        assert [one.id for one in await desk.holds.grants.fitting(capped)] == [grants[0].id]


async def test_revoking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with management(tmp_path) as desk:
        grants, source = desk.holds.grants, await given(desk)
        assert source.granted_id is not None
        assert await grants.problem(source.granted_id) is None
        with pytest.raises(GrantNotFound):
            await grants.revoke("G-none", "root", None)
        with pytest.raises(InvalidReason):
            await grants.revoke(source.granted_id, "root", "\x1b[2J")
        with monkeypatch.context() as patched:
            patched.setattr(type(desk.audit), "healthy", property(lambda self: False))
            with pytest.raises(AuditUnavailable):
                await grants.revoke(source.granted_id, "root", None)
        assert (await grants.revoke(source.granted_id, "root", "done")).state == "revoked"
        with pytest.raises(GrantOver):
            await grants.revoke(source.granted_id, "root", None)
        assert await grants.problem(source.granted_id) == f"grant {source.granted_id} was revoked"
        assert await grants.problem("G-none") == "grant G-none was revoked"
