"""One reader seen from the gateway: what it is told, what is believed of its answers, how its end is named."""

import asyncio
import os
import pickle
import signal

import pytest

from gateway.readers import process as reader_process
from gateway.readers.process import Reader, ReaderLost
from gateway.readers.reply import facts_from
from gateway.readers.wire import PORTION
from rules import Facts, SchemaSnapshot
from rules.catalog import Relation
from tests.rules.policies import context, strict_judge

MEMORY = 1 << 30
JUDGE = strict_judge()


def overheard(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the reader is told from now on."""
    sent: list[object] = []
    send = reader._send

    def listen(message: object) -> None:
        sent.append(message)
        send(message)

    monkeypatch.setattr(reader, "_send", listen)
    return sent


async def test_it_is_told_what_it_must_know_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = await Reader.start(MEMORY)
    try:
        sent = overheard(reader, monkeypatch)
        snapshot = SchemaSnapshot(1, "shop", 180000)
        for _ in range(3):
            await reader.load(JUDGE.policy, snapshot)
            facts = await reader.read(b"SELECT 1", context(catalog=snapshot), 20.0)
            assert facts == JUDGE.read(b"SELECT 1", context(catalog=snapshot))
        assert [type(message).__name__ for message in sent] == ["Rules", "Learn", "Read", "Read", "Read"]
        assert reader.answers == 3
    finally:
        assert await reader.end() == "SIGKILL"


async def test_a_long_answer_comes_in_portions_and_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    portions: list[Facts] = []

    def taking(body: bytes) -> Facts | None:
        portion = facts_from(body)
        if portion is not None:
            portions.append(portion)
        return portion

    monkeypatch.setattr(reader_process, "facts_from", taking)
    texts = [
        b"SELECT email FROM customers; " * 999,
        b"SET ROLE a; PREPARE p AS SELECT 1; DECLARE c CURSOR FOR SELECT nobodys(1); CREATE TABLE t (a int); "
        * 90,
        b"DO $$BEGIN EXECUTE a; END$$; " * 200,
        b"-- " + b"x" * 10_000,
    ]
    reader = await Reader.start(MEMORY)
    try:
        await reader.load(JUDGE.policy, SchemaSnapshot())
        for sql in texts:
            portions.clear()
            facts = await reader.read(sql, context(), 20.0)
            assert facts == JUDGE.read(sql, context())
            weights = [sum(1 + len(one.effects) for one in portion.statements) for portion in portions]
            heaviest = max((1 + len(one.effects) for one in facts.statements), default=0)
            assert max(weights) < PORTION + heaviest
            assert min(weights[:-1], default=PORTION) >= PORTION
    finally:
        await reader.end()


async def test_texts_nobody_refers_to_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = await Reader.start(MEMORY)
    try:
        sent = overheard(reader, monkeypatch)
        await reader.load(JUDGE.policy, SchemaSnapshot())
        session = context(prepared={"s": ("SELECT 'a very long text'",)})
        await reader.read(b"SELECT 1", session, 20.0)
        await reader.read(b"EXECUTE s", session, 20.0)
        without, with_it = (b"a very long text" in pickle.dumps(message) for message in sent[1:])
        assert not without
        assert with_it
    finally:
        await reader.end()


async def test_a_dead_reader_is_lost_at_whatever_it_is_asked() -> None:
    reader = await Reader.start(MEMORY)
    os.kill(reader.pid, signal.SIGKILL)
    await reader.exited()
    with pytest.raises(ReaderLost):
        await reader.read(b"SELECT 1", context(), 20.0)
    with pytest.raises(ReaderLost):
        await reader.load(JUDGE.policy, SchemaSnapshot(1, "shop", 180000))
    assert await reader.end() == "SIGKILL"


async def test_one_that_does_not_take_its_catalog_in_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = await Reader.start(MEMORY)
    try:
        os.kill(reader.pid, signal.SIGSTOP)
        monkeypatch.setattr(reader_process, "LOAD_SECONDS", 0.1)
        # More than a pipe and the buffers in front of it hold.
        relations = (Relation(1, "crm", "t", "r"),) * 200_000
        with pytest.raises(ReaderLost, match="did not take the catalog in"):
            await reader.load(JUDGE.policy, SchemaSnapshot(1, "shop", 180000, relations))
    finally:
        await reader.end()


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("true", "its pipe is closed"),
        (
            "import sys; sys.stdout.buffer.write(b'\\xff\\xff\\xff\\xff')",
            "an answer of more than 16777216 bytes",
        ),
        ("import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\2.x')", "its answer cannot be taken"),
        ("import sys; sys.stdout.buffer.write(b'\\0' * 4)", "its answer was no answer"),
        (
            "import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\2N.' * 2 + b'\\0' * 4)",
            "its answer was no answer",
        ),
        ("import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\2N.' * 2)", "its pipe is closed"),
    ],
)
async def test_what_is_no_reader_is_not_believed(
    program: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def impostor(*_: object, **options: object) -> asyncio.subprocess.Process:
        return await start("python3", "-c", program, **options)  # type: ignore[arg-type]

    start = asyncio.create_subprocess_exec
    monkeypatch.setattr(asyncio, "create_subprocess_exec", impostor)
    with pytest.raises(ReaderLost, match=why):
        await Reader.start(MEMORY)
