"""Refusals as RFC 9457 problem details."""

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.api.problems import MEDIA_TYPE, Problem, http_error, problem_response, send_problem, unavailable
from gateway.audit import AuditUnavailable
from gateway.store import StoreUnavailable

REQUEST = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


def body(response: Any) -> dict[str, Any]:
    assert response.media_type == MEDIA_TYPE == "application/problem+json"
    return dict(json.loads(response.body))


def test_a_problem_has_what_the_standard_asks_for() -> None:
    response = problem_response(409, "Too late.", kind="already-resolved", headers={"Retry-After": "5"})
    assert response.status_code == 409
    assert response.headers["retry-after"] == "5"
    assert body(response) == {
        "type": "urn:holdgate:problem:already-resolved",
        "title": "Conflict",
        "status": 409,
        "detail": "Too late.",
    }


def test_without_a_kind_there_is_no_type_to_compare() -> None:
    assert body(problem_response(404, "Nothing."))["type"] == "about:blank"


def test_more_members_never_replace_the_standard_ones() -> None:
    assert body(problem_response(400, "Wrong.", extra={"status": 200, "hold": {"id": "H-1"}})) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "Wrong.",
        "hold": {"id": "H-1"},
    }


def test_any_text_can_be_said() -> None:
    for text in ("ü \x1b \u2028", "\ud800", "\0"):
        assert body(problem_response(400, text, extra={"more": text}))["more"] == text


async def test_a_problem_raised_is_a_problem_sent() -> None:
    problem = Problem(403, "No.", kind="csrf", headers={"x-a": "b"}, extra={"c": 1})
    response = await send_problem(REQUEST, problem)
    assert (response.status_code, response.headers["x-a"], body(response)["c"]) == (403, "b", 1)


@pytest.mark.parametrize(
    ("status", "detail"),
    [
        (404, "There is nothing at this address."),
        (405, "This address does not answer to this method."),
        (400, "The request could not be read."),
    ],
)
async def test_what_the_framework_refuses_is_in_our_words(status: int, detail: str) -> None:
    assert body(await http_error(REQUEST, HTTPException(status, "its own words")))["detail"] == detail


@pytest.mark.parametrize(
    ("error", "kind"),
    [(AuditUnavailable("inside"), "audit-unavailable"), (StoreUnavailable("inside"), "store-unavailable")],
)
async def test_what_is_broken_inside_stays_inside(error: Exception, kind: str) -> None:
    response = await unavailable(REQUEST, error)
    assert response.status_code == 503
    assert body(response)["type"] == f"urn:holdgate:problem:{kind}"
    assert b"inside" not in response.body
