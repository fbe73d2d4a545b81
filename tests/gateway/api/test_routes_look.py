"""Health, metrics, sessions, the audit and verdicts over HTTP."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.audit import AuditRecord, Kind
from gateway.config import Role
from tests.gateway.audit.samples import NOON, record
from tests.gateway.management import Desk, SessionValue, management


class TestHealth:
    async def test_a_process_that_answers_is_alive(self, desk: Desk) -> None:
        desk.reasons = ["the store does not answer"]
        async with await desk.client() as client:
            answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    async def test_it_is_ready_or_says_why_not(self, desk: Desk) -> None:
        async with await desk.client() as client:
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
            desk.reasons = ["the store does not answer", "the audit cannot be written"]
            answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {
            "type": "urn:holdgate:problem:not-ready",
            "title": "Service Unavailable",
            "status": 503,
            "detail": "the store does not answer; the audit cannot be written",
            "reasons": ["the store does not answer", "the audit cannot be written"],
        }


class TestMetrics:
    async def test_metrics_are_prometheus_text(self, desk: Desk) -> None:
        desk.metrics.statement("delete", "hold")
        async with await desk.client("prometheus", Role.VIEWER) as client:
            answer = await client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        families = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"holdgate_statements", "holdgate_audit_queue", "holdgate_build_info"} <= families

    async def test_they_are_closed_unless_the_configuration_opens_them(self, desk: Desk) -> None:
        async with await desk.client() as client:
            assert (await client.get("/metrics")).status_code == 401

    async def test_opened_they_need_nobody_and_nothing_else_is_open(self, tmp_path: Path) -> None:
        async with management(tmp_path, admin={"open_metrics": True}) as desk, await desk.client() as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/metrics", headers={"Authorization": "Bearer hg_x"})).status_code == 200
            for path in ("/api/v1/holds", "/api/v1/sessions", "/api/v1/audit", "/api/v1/me"):
                assert (await client.get(path)).status_code == 401


class TestSessions:
    async def test_the_oldest_first_with_all_that_is_known(self, desk: Desk) -> None:
        young = SessionValue(
            "S-2", started_at=NOON + timedelta(seconds=1), current_sql="SELECT '\x1b'", state="held"
        )
        old = SessionValue(
            "S-1", started_at=NOON, client_addr=None, transaction_status=None, backend_pid=None
        )
        desk.sessions.sessions = {"S-2": young, "S-1": old}
        async with await desk.client("vic") as client:
            answer = await client.get("/api/v1/sessions")
        first, second = answer.json()["sessions"]
        assert (first["id"], first["client_addr"], first["backend_pid"]) == ("S-1", None, None)
        assert second == {
            "id": "S-2",
            "user": "alice",
            "groups": ["crew", "support"],
            "database": "shop",
            "client_addr": "127.0.0.1",
            "application_name": "psql",
            "state": "held",
            "started_at": "2030-01-31T12:00:01.000Z",
            "transaction_status": "I",
            "current_sql": "SELECT '\x1b'",
            "hold_id": None,
            "backend_pid": 4711,
        }

    async def test_nobody_connected(self, desk: Desk) -> None:
        async with await desk.client("vic") as client:
            assert (await client.get("/api/v1/sessions")).json() == {"sessions": []}


class TestAudit:
    @pytest.fixture
    async def filled(self, desk: Desk) -> Desk:
        for number in range(1, 6):
            await desk.audit.intent(record(number))
        await desk.audit.intent(record(6, user="bob", verdict="hold", hold_id="H-1", actions=("delete",)))
        await desk.audit.intent(AuditRecord(Kind.GATEWAY, at=NOON + timedelta(hours=1), tag="stop"))
        return desk

    async def seqs(self, desk: Desk, **query: Any) -> list[int]:
        async with await desk.client("olga", Role.AUDITOR) as client:
            answer = await client.get("/api/v1/audit", params=query)
        assert answer.status_code == 200, answer.text
        return [one["seq"] for one in answer.json()["records"]]

    async def test_records_are_shown_as_they_are_written(self, filled: Desk) -> None:
        async with await filled.client("olga", Role.AUDITOR) as client:
            answer = await client.get("/api/v1/audit", params={"limit": 1})
        (shown,) = answer.json()["records"]
        (wanted,) = await filled.audit.tail(1)
        assert shown == wanted

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, [7, 6, 5, 4, 3, 2, 1]),
            ({"order": "oldest", "limit": 2}, [1, 2]),
            ({"kind": "gateway"}, [7]),
            ({"user": "bob"}, [6]),
            ({"verdict": "hold", "hold_id": "H-1", "action": "delete"}, [6]),
            ({"text": "select 3"}, [3]),
            ({"session_id": "S-none"}, []),
            ({"since": "2030-01-31T12:00:04Z", "until": "2030-01-31T12:00:06Z"}, [5, 4]),
            ({"since": "2030-01-31T13:00:04+01:00", "until": "2030-01-31T12:00:05Z"}, [4]),
        ],
    )
    async def test_records_are_found(self, filled: Desk, query: dict[str, Any], found: list[int]) -> None:
        assert await self.seqs(filled, **query) == found

    async def test_page_by_page(self, filled: Desk) -> None:
        found: list[int] = []
        cursor: str | None = None
        async with await filled.client("olga", Role.AUDITOR) as client:
            while not found or cursor is not None:
                query: dict[str, str | int] = {"limit": 3, **({} if cursor is None else {"cursor": cursor})}
                page = (await client.get("/api/v1/audit", params=query)).json()
                found += [one["seq"] for one in page["records"]]
                cursor = page["next"]
        assert found == [7, 6, 5, 4, 3, 2, 1]

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ({"since": "2030-01-31T12:00:00"}, "since needs an offset, such as Z"),
            ({"until": "2030-01-31"}, "until needs an offset, such as Z"),
            ({"since": "yesterday"}, "query.since"),
            ({"order": "best"}, "query.order"),
            ({"limit": 501}, "query.limit"),
            ({"cursor": "x"}, "the cursor is not one of this listing."),
            ({"cursor": "oldest:1:0"}, "the cursor is not one of this listing."),
            ({"cursor": "x" * 101}, "query.cursor"),
            ({"text": "x" * 257}, "query.text"),
        ],
    )
    async def test_a_question_that_makes_no_sense(
        self, filled: Desk, query: dict[str, Any], says: str
    ) -> None:
        async with await filled.client("olga", Role.AUDITOR) as client:
            answer = await client.get("/api/v1/audit", params=query)
        assert answer.status_code == 422
        assert says in answer.json()["detail"]

    async def test_a_file_that_cannot_be_read(self, filled: Desk) -> None:
        file = filled.config.audit.file
        kept = file.read_bytes()
        file.write_bytes(b"something else\n" + kept)
        async with await filled.client("olga", Role.AUDITOR) as client:
            answer = await client.get("/api/v1/audit")
        file.write_bytes(kept)
        assert answer.status_code == 503
        assert answer.json()["detail"] == "The audit cannot be read now."

    async def test_lines_that_are_no_records_are_passed_over(self, filled: Desk) -> None:
        with filled.config.audit.file.open("ab") as file:
            file.write(b"[" * 9_999 + b"\n")
        assert await self.seqs(filled) == [7, 6, 5, 4, 3, 2, 1]


class TestCheck:
    async def test_the_verdict_with_every_effect_and_why(self, desk: Desk) -> None:
        async with await desk.client("vic") as client:
            body = {"sql": "DELETE FROM customer", "user": "alice", "database": "shop"}
            answer = await client.post("/api/v1/check", json=body)
        shown = answer.json()
        assert answer.status_code == 200
        assert (shown["decision"], shown["rule"]) == ("hold", "erasure")
        assert (shown["approval_groups"], shown["expires_seconds"]) == (["dpo"], 900.0)
        assert [(one["action"], one["relation"], one["decision"]) for one in shown["effects"]] == [
            ("delete", "public.customer", "hold")
        ]
        assert shown["effects"][0]["reason"]

    async def test_it_is_judged_as_whom_it_names(self, desk: Desk) -> None:
        async with await desk.client("vic") as client:
            answers = [
                (await client.post("/api/v1/check", json={"sql": "CREATE TABLE t ()", "user": user})).json()
                for user in ("alice", "carol", None)
            ]
        assert [answer["decision"] for answer in answers] == ["deny", "allow", "allow"]

    async def test_what_cannot_be_read_says_so(self, desk: Desk) -> None:
        async with await desk.client("vic") as client:
            shown = (await client.post("/api/v1/check", json={"sql": "DELET FROM customer"})).json()
        assert shown["decision"] == "hold"
        assert shown["unreadable"]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"sql": 5},
            {"sql": "SELECT 1", "user": "a\x1b"},
            {"sql": "SELECT 1", "database": "x" * 257},
            {"sql": "SELECT 1", "role": "root"},
        ],
    )
    async def test_a_question_that_makes_no_sense(self, desk: Desk, body: dict[str, Any]) -> None:
        async with await desk.client("vic") as client:
            assert (await client.post("/api/v1/check", json=body)).status_code == 422

    @pytest.mark.parametrize(
        "sql", ["", ";", "\0", "\x1b[2J", "(" * 5_000, "SELECT 1" + "+1" * 20_000, "'", "/*" * 9_000]
    )
    async def test_any_text_gets_a_verdict(self, desk: Desk, sql: str) -> None:
        async with await desk.client("vic") as client:
            answer = await client.post("/api/v1/check", json={"sql": sql})
        assert answer.status_code == 200
        assert answer.json()["decision"] in ("allow", "hold", "deny")
