"""``holdgate audit``: by the management port, and on the file itself."""

import asyncio
import csv
import io
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import AuditRecord, Kind, verify
from gateway.clock import now
from gateway.config import Role
from rules import Stage
from tests.gateway.audit.samples import NOON, lines, record, records, write
from tests.gateway.cli.running import command, holdgate
from tests.gateway.management import Desk, management
from tests.support.disk import full_disk
from tests.support.passkey import SoftKey
from tests.support.ports import free_port

HOSTILE = "SELECT '\x1b[2J\u202e'"


@pytest.fixture
async def filled(desk: Desk) -> Desk:
    """Seven records: five reads of alice, a held deletion of bob, and a stop."""
    for number in range(1, 6):
        await desk.audit.intent(record(number, sql=HOSTILE if number == 3 else f"SELECT {number}"))
    held = {"verdict": "hold", "hold_id": "H-1", "rule": "erasure", "tag": "(rejected)"}
    await desk.audit.intent(
        record(6, user="bob", actions=("delete",), relations=("public.customer",), sql="DELETE", **held)
    )
    await desk.audit.intent(
        AuditRecord(Kind.GATEWAY, at=NOON + timedelta(hours=1), tag="stop", reason="told to")
    )
    return desk


@pytest.fixture(params=["config", "file", "gateway"])
async def where(request: pytest.FixtureRequest, filled: Desk) -> tuple[str, ...]:
    """The options by which the commands reach the records."""
    if request.param == "config":
        return ("-c", str(filled.config.path))
    if request.param == "file":
        return ("--file", str(filled.config.audit.file))
    return ("--server", filled.url, "--token", await filled.token("olga", Role.AUDITOR))


def file(desk: Desk) -> Path:
    return desk.config.audit.file


class TestReading:
    async def test_the_latest_come_last(self, filled: Desk, where: tuple[str, ...]) -> None:
        said = await holdgate("audit", "tail", "-n", "3", *where)
        header, *rows = said.out.splitlines()
        assert header.split() == ["TIME", "KIND", "USER", "DATABASE", "VERDICT", "RULE", "RESULT", "WHAT"]
        assert [row.split()[-1] for row in rows] == ["5", "DELETE", "to"]
        said = await holdgate("audit", "tail", "--json", *where)
        assert said.json == records(file(filled))

    async def test_who_decided_is_said(self, filled: Desk, where: tuple[str, ...]) -> None:
        decided = record(8, kind=Kind.DECISION, verdict="approve", tag="approved", approved_by=("carol",))
        await filled.audit.intent(decided)
        said = await holdgate("audit", "tail", "-n", "1", *where)
        assert "approve  default:otherwise  approved by carol  SELECT 8" in said.out

    async def test_hostile_text_speaks_to_no_terminal(self, where: tuple[str, ...]) -> None:
        for words in (("tail",), ("search",), ("tail", "--json"), ("export",)):
            said = await holdgate("audit", *words, *where)
            assert said.code == 0
            assert "\x1b" not in said.out
            assert "\u202e" not in said.out

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ((), [7, 6, 5, 4, 3, 2, 1]),
            (("--limit", "2"), [7, 6]),
            (("--user", "bob"), [6]),
            (("--kind", "gateway"), [7]),
            (("--verdict", "hold", "--rule", "erasure", "--hold", "H-1"), [6]),
            (("--action", "delete", "--relation", "public.customer"), [6]),
            (("--database", "other"), []),
            (("--session", "S-1", "--text", "select 2"), [2]),
            (("--since", "2030-01-31T12:00:04Z", "--until", "2030-01-31T12:00:06Z"), [5, 4]),
        ],
    )
    async def test_records_are_found(
        self, where: tuple[str, ...], words: tuple[str, ...], found: list[int]
    ) -> None:
        said = await holdgate("audit", "search", "--json", *words, *where)
        assert [one["seq"] for one in said.json] == found
        if not found:
            said = await holdgate("audit", "search", *words, *where)
            assert (said.code, said.out, said.err) == (0, "", "no records\n")

    async def test_since_a_while_ago(self, filled: Desk, where: tuple[str, ...]) -> None:
        await filled.audit.intent(record(8, at=now() - timedelta(minutes=50)))
        said = await holdgate("audit", "search", "--json", "--since", "1h", "--until", "40m", *where)
        assert [one["seq"] for one in said.json] == [8]

    @pytest.mark.parametrize(
        "moment", ["yesterday", "0001-01-01", "9999-12-31T23:59:59-12:00", "5", "\x1b[2J", "999999999d"]
    )
    async def test_a_time_that_is_none(self, where: tuple[str, ...], moment: str) -> None:
        said = (await holdgate("audit", "search", "--since", moment, *where)).failed(2)
        assert said.startswith("--since ")

    async def test_more_than_one_page_is_fetched(
        self, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.cli.audit._PAGE", 2)
        said = await holdgate("audit", "search", "--json", *where)
        assert [one["seq"] for one in said.json] == [7, 6, 5, 4, 3, 2, 1]

    async def test_new_ones_are_told_as_they_come(self, filled: Desk, where: tuple[str, ...]) -> None:
        process = await asyncio.create_subprocess_exec(
            *command("audit", "tail", "-f", "-n", "1", *where),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(25):
                while b"told to" not in await process.stdout.readline():
                    pass
                for number in (8, 9):
                    await filled.audit.intent(record(number, user=None, sql=HOSTILE))
                told = [(await process.stdout.readline()).decode() for _ in range(2)]
        finally:
            process.kill()
            await process.wait()
        for text in told:
            assert text.endswith(r"SELECT '\x1b[2J\u202e'" + "\n")

    async def test_whoever_may_not_look_is_told_so(self, filled: Desk) -> None:
        said = await holdgate(
            "audit", "tail", HOLDGATE_SERVER=filled.url, HOLDGATE_TOKEN=await filled.token("vic")
        )
        assert said.failed() == "Your roles do not allow this."


class TestExport:
    async def test_the_lines_are_as_they_are_written(
        self, filled: Desk, where: tuple[str, ...], tmp_path: Path
    ) -> None:
        out = tmp_path / "export.jsonl"
        said = await holdgate("audit", "export", "-o", str(out), *where)
        assert (said.code, said.out, said.err) == (0, "", "")
        assert out.read_bytes() == file(filled).read_bytes()
        assert verify(out).ok
        said = await holdgate("audit", "export", "--user", "bob", *where)
        assert [json.loads(line)["seq"] for line in said.out.splitlines()] == [6]
        said = await holdgate("audit", "export", "-o", str(out), *where)
        assert said.failed() == f"{out} exists; name another file"

    async def test_a_table_for_a_spreadsheet(self, filled: Desk) -> None:
        said = await holdgate("audit", "export", "--format", "csv", "--file", str(file(filled)))
        rows = list(csv.DictReader(io.StringIO(said.out, newline="")))
        assert [row["seq"] for row in rows] == ["1", "2", "3", "4", "5", "6", "7"]
        said = await holdgate(
            *("audit", "export", "--format", "csv", "--server", filled.url),
            *("--token", await filled.token("olga", Role.AUDITOR)),
        )
        assert said.failed(2) == "csv is made from the file itself: give -c FILE or --file"

    @pytest.mark.parametrize(
        ("place", "says"), [("nowhere/x", "No such file or directory"), ("", "exists; name")]
    )
    async def test_a_place_that_cannot_be_written(
        self, filled: Desk, tmp_path: Path, place: str, says: str
    ) -> None:
        said = await holdgate("audit", "export", "-o", str(tmp_path / place), "--file", str(file(filled)))
        assert says in said.failed()

    async def test_a_disk_that_fills_up_leaves_no_half_of_an_export(
        self, filled: Desk, tmp_path: Path
    ) -> None:
        out = tmp_path / "export.jsonl"
        with full_disk(file(filled), room=-100):
            said = await holdgate("audit", "export", "-o", str(out), "--file", str(file(filled)))
        assert said.failed() == f"cannot write {out}: File too large"
        assert not out.exists()

    async def test_a_record_that_cannot_be_read_is_named(self, filled: Desk) -> None:
        with file(filled).open("ab") as opened:
            opened.write(b"what is this\n")
        said = await holdgate("audit", "export", "--file", str(file(filled)))
        assert said.code == 1
        assert said.err == "holdgate: a record cannot be read, see holdgate audit verify: not a record\n"


class TestVerify:
    async def test_a_whole_chain(self, filled: Desk) -> None:
        last = records(file(filled))[-1]["hash"]
        for source in (("-c", str(filled.config.path)), ("--file", str(file(filled)))):
            said = await holdgate("audit", "verify", *source)
            assert (said.code, said.err) == (0, "")
            assert said.out == f"7 records, unbroken, the last with hash {last}\n"
        (found,) = (await holdgate("audit", "verify", "--json", "--file", str(file(filled)))).json
        assert found == {
            "ok": True,
            "records": 7,
            "first_bad_line": None,
            "why": None,
            "file": str(file(filled)),
            "last_hash": last,
            "proofs": 0,
            "proof_faults": [],
        }

    async def test_what_approvers_signed_is_checked_once_more(self, tmp_path: Path) -> None:
        port = free_port()
        admin = {"port": port, "public_url": f"http://localhost:{port}"}
        async with management(tmp_path, admin=admin) as desk, await desk.browser("carol") as carol:
            key = SoftKey(f"http://localhost:{port}")
            asked = (await carol.post("/api/v1/me/passkeys/options")).json()["options"]
            made = {"label": "telephone", "credential": key.make(asked)}
            assert (await carol.post("/api/v1/me/passkeys", json=made)).status_code == 201
            hold = await desk.open(stages=(Stage(("dpo",), step_up=("passkey",)),))
            asked = (await carol.post(f"/api/v1/holds/{hold.id}/passkey")).json()["options"]
            body = {"passkey": key.sign(asked)}
            approved = await carol.post(f"/api/v1/holds/{hold.id}/approve", json=body)
            assert approved.status_code == 200
            said = await holdgate("audit", "verify", "-c", str(desk.config.path))
            assert (said.code, said.err) == (0, "")
            assert said.out.endswith("1 signed approvals, 1 good\n")
            # A whole new chain, in which somebody else approved: the hashes fit, the signature does not.
            forged = tmp_path / "forged.jsonl"
            told = []
            for one in records(desk.config.audit.file):
                kept = {name: one[name] for name in AuditRecord.__dataclass_fields__ if name in one}
                if one["kind"] == "decision":
                    kept["approved_by"] = ["dave"]
                told.append(AuditRecord(**{**kept, "at": datetime.fromisoformat(one["at"])}))
            write(forged, told)
        said = await holdgate("audit", "verify", "--file", str(forged))
        assert said.code == 1
        assert said.out.endswith("1 signed approvals, 0 good\n")
        assert "its proof is not good: it was signed for something else (who)" in said.err
        (found,) = (await holdgate("audit", "verify", "--json", "--file", str(forged))).json
        assert (found["ok"], found["proofs"], len(found["proof_faults"])) == (True, 1, 1)

    async def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        said = await holdgate("audit", "verify", "--file", str(tmp_path / "empty"))
        assert (said.code, said.out) == (0, "0 records, unbroken\n")

    async def test_a_changed_record(self, filled: Desk, tmp_path: Path) -> None:
        copy = tmp_path / "copy.jsonl"
        copy.write_bytes(file(filled).read_bytes().replace(b"SELECT 2", b"SELECT 9"))
        said = await holdgate("audit", "verify", "--file", str(copy))
        assert said.failed() == f"{copy}:2: the record was changed: its hash is not its own"
        said = await holdgate("audit", "verify", "--json", "--file", str(copy))
        assert said.code == 1
        assert (said.json[0]["ok"], said.json[0]["first_bad_line"]) == (False, 2)

    async def test_an_end_that_was_cut_off(self, filled: Desk, tmp_path: Path) -> None:
        copy = tmp_path / "copy.jsonl"
        whole = lines(file(filled))
        known = records(file(filled))[-1]["hash"]
        copy.write_bytes(b"".join(whole[:5]))
        assert (await holdgate("audit", "verify", "--file", str(copy))).code == 0
        said = await holdgate("audit", "verify", "--contains", known, "--file", str(copy))
        assert said.failed() == (
            f"{copy}: no record has the hash that is known: the end was cut off, or this is another chain"
        )
        copy.write_bytes(b"".join(whole)[:-1])
        said = await holdgate("audit", "verify", "--file", str(copy))
        assert "bytes after the last record: a crash leaves them, or the end was cut off" in said.failed()
        copy.write_bytes(b"".join(whole))
        assert (await holdgate("audit", "verify", "--contains", known, "--file", str(copy))).code == 0

    @pytest.mark.parametrize("known", ["", "x", "A" * 64, "0" * 63])
    async def test_a_hash_that_is_none(self, filled: Desk, known: str) -> None:
        said = await holdgate("audit", "verify", "--contains", known, "--file", str(file(filled)))
        assert said.failed(2) == "--contains takes the hash of a record: 64 digits from 0 to f"


@pytest.mark.parametrize("words", [("tail",), ("search",), ("export",), ("verify",)])
async def test_a_file_that_is_not_there_or_not_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = await holdgate("audit", *words, "--file", str(tmp_path / "nowhere"))
    assert said.failed() == f"there is no audit file {tmp_path / 'nowhere'}"
    said = await holdgate("audit", *words, "--file", str(tmp_path))
    assert said.failed() == f"there is no audit file {tmp_path}"
    said = await holdgate("audit", *words, "-c", str(tmp_path / "nowhere"))
    assert "cannot be used, see holdgate validate" in said.failed()


@pytest.mark.parametrize("words", [("tail",), ("search",), ("export",)])
async def test_a_file_of_something_else(tmp_path: Path, words: tuple[str, ...]) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("Dear Sir,\n\x1b[2J\n")
    said: Any = await holdgate("audit", *words, "--file", str(other))
    assert said.failed() == f"the audit cannot be read: {other} is not an audit file: not a record"
