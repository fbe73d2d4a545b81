"""The management port as one application: its table, its page, and a description that is true."""

import re
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

import gateway.api.app
from gateway.api.access import ACCESS, PUBLIC
from gateway.api.app import create_app, installed_version
from gateway.api.routes_people import add_people_routes
from gateway.config import Role
from tests.gateway.management import PASSWORD, Desk, SessionValue

PAGES = {
    "/",
    "/holds/{hold_id}",
    "/console/{name}",
    "/confirm/{hold_id}",
    "/login",
    "/oidc/login",
    "/oidc/callback",
    "/openapi.json",
}
"""For browsers and for whoever reads the description; not part of it."""


async def description(desk: Desk) -> dict[str, Any]:
    async with await desk.client() as client:
        answer = await client.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


async def test_the_description_is_openapi(desk: Desk) -> None:
    described = await description(desk)
    assert described["openapi"].startswith("3.1")
    validate(described)


async def test_the_description_names_every_route_and_who_may_call_it(desk: Desk) -> None:
    described = await description(desk)
    operations = {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == {key for key in (*ACCESS, *PUBLIC) if key[1] not in PAGES}
    for key, operation in operations.items():
        assert operation["summary"]
        assert operation["tags"]
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
        assert "422" not in operation["responses"]
        if key in ACCESS:
            assert set(operation["x-roles"]) == {str(role) for role in ACCESS[key]}
            assert operation["security"] == [{"token": []}, {"browser": []}]
        else:
            assert "security" not in operation
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(set(ids)) == len(ids)


class Described:
    """Compares answers with what the description says of them."""

    def __init__(self, described: dict[str, Any]) -> None:
        self._described = described

    def check(self, method: str, path: str, status: int, body: Any) -> None:
        responses = self._described["paths"][path][method.lower()]["responses"]
        response = responses.get(str(status), responses["default"])
        if "$ref" in response:
            response = self._described["components"]["responses"][response["$ref"].rpartition("/")[2]]
        if body is None:
            assert "content" not in response
            return
        (content,) = response["content"].values()
        schema = {**content["schema"], "components": self._described["components"]}
        Draft202012Validator(schema).validate(body)


async def test_answers_are_as_described(desk: Desk) -> None:
    described = Described(await description(desk))
    desk.sessions.sessions["S-1"] = SessionValue("S-1", client_addr=None)
    hold = await desk.open()
    other = await desk.open(parameters=None, client_addr=None)
    async with (
        await desk.client("root", *Role) as root,
        await desk.client("carol", Role.APPROVER) as carol,
        await desk.client() as nobody,
    ):
        token = await root.post("/api/v1/tokens", json={"user": "grafana", "roles": ["viewer"]})
        described.check("POST", "/api/v1/tokens", 201, token.json())
        await carol.post(f"/api/v1/holds/{hold.id}/approve", json={"reason": "as asked"})
        await desk.holds.claim(hold.id, hold.digest)
        await desk.holds.record_outcome(hold.id, "DELETE 1", 1, None, 1.5)
        for caller, method, path, parts, body, status in (
            (root, "GET", "/healthz", {}, None, 200),
            (root, "GET", "/readyz", {}, None, 200),
            (root, "GET", "/api/v1/me", {}, None, 200),
            (root, "GET", "/api/v1/holds", {}, None, 200),
            (root, "GET", "/api/v1/holds/{hold_id}", {"hold_id": hold.id}, None, 200),
            (root, "GET", "/api/v1/holds/{hold_id}", {"hold_id": "H-x"}, None, 404),
            (carol, "POST", "/api/v1/holds/{hold_id}/approve", {"hold_id": hold.id}, {}, 409),
            (carol, "POST", "/api/v1/holds/{hold_id}/reject", {"hold_id": other.id}, {"reason": ""}, 422),
            (carol, "POST", "/api/v1/holds/{hold_id}/reject", {"hold_id": other.id}, {"reason": "no"}, 200),
            (root, "GET", "/api/v1/sessions", {}, None, 200),
            (root, "DELETE", "/api/v1/sessions/{session_id}", {"session_id": "S-1"}, None, 204),
            (root, "GET", "/api/v1/audit", {}, None, 200),
            (root, "POST", "/api/v1/check", {}, {"sql": "DELETE FROM customer"}, 200),
            (root, "POST", "/api/v1/check", {}, {"sql": "DELET"}, 200),
            (root, "POST", "/api/v1/check", {}, {}, 422),
            (root, "GET", "/api/v1/tokens", {}, None, 200),
            (root, "DELETE", "/api/v1/tokens/{token_id}", {"token_id": token.json()["id"]}, None, 204),
            (nobody, "POST", "/api/v1/login", {}, {"user": "carol", "password": PASSWORD}, 200),
            (nobody, "POST", "/api/v1/login", {}, {"user": "carol", "password": "x"}, 401),
            (root, "POST", "/api/v1/logout", {}, None, 204),
        ):
            answer = await caller.request(method, path.format(**parts), json=body)
            assert answer.status_code == status, (method, path, answer.text)
            described.check(method, path, status, answer.json() if answer.content else None)


async def test_every_unknown_address_is_a_problem(desk: Desk) -> None:
    async with await desk.client("root", *Role) as client:
        for path in (
            "/nowhere",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/api/v1/holds/",
            "/docs",
            "/redoc",
            "/%00",
        ):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert answer.json()["detail"] == "There is nothing at this address."


async def test_head_and_options_do_not_slip_past_the_table(desk: Desk) -> None:
    async with await desk.client() as client:
        for method in ("HEAD", "OPTIONS"):
            assert (await client.request(method, "/api/v1/holds")).status_code in (401, 405)


async def test_the_page_and_its_files_are_served_as_they_are(desk: Desk) -> None:
    folder = files("gateway") / "console"
    async with await desk.client() as client:
        for path, name, kind in (
            ("/", "index.html", "text/html; charset=utf-8"),
            ("/holds/H-1", "index.html", "text/html; charset=utf-8"),
            ("/console/console.js", "console.js", "text/javascript; charset=utf-8"),
            ("/console/console.css", "console.css", "text/css; charset=utf-8"),
            ("/console/icon.svg", "icon.svg", "image/svg+xml"),
        ):
            answer = await client.get(path)
            assert answer.content == (folder / name).read_bytes()
            assert answer.headers["content-type"] == kind
        assert (await client.get("/console/other.js")).status_code == 404


def test_the_page_needs_nothing_that_its_policy_forbids() -> None:
    page = (files("gateway") / "console" / "index.html").read_text(encoding="utf-8")
    assert "<style" not in page
    assert "style=" not in page
    assert "<script>" not in page
    assert not re.search(r"<[^>]*\son\w+=", page)
    scripts = re.findall(r'src="/console/(\w+\.js)"', page)
    assert "console.js" in scripts
    for name in scripts:
        script = (files("gateway") / "console" / name).read_text(encoding="utf-8")
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert word not in script


def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_version() == version("holdgate")
    monkeypatch.setattr(gateway.api.app, "version", lambda name: version("no-such-distribution"))
    assert installed_version() == "unknown"


class TestTable:
    """A route that the table does not know, or that is not guarded as it says, keeps the port from starting."""

    def broken(self, desk: Desk, monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
        def changed(app: FastAPI, *rest: Any) -> None:
            add_people_routes(app, *rest)
            change(app)

        monkeypatch.setattr(gateway.api.app, "add_people_routes", changed)
        create_app(desk.server._services)

    async def test_a_route_that_is_not_in_the_table(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def more(app: FastAPI) -> None:
            app.add_api_route("/api/v1/secrets", lambda: {})

        with pytest.raises(RuntimeError, match=r"routes and access table differ: .*secrets"):
            self.broken(desk, monkeypatch, more)

    async def test_a_route_that_is_open_against_the_table(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(ACCESS, ("GET", "/api/v1/secrets"), frozenset({Role.ADMIN}))

        def more(app: FastAPI) -> None:
            app.add_api_route("/api/v1/secrets", lambda: {})

        with pytest.raises(RuntimeError, match="GET /api/v1/secrets is open, the table says otherwise"):
            self.broken(desk, monkeypatch, more)
