"""A short form of ``make redteam``: lines of each category, a real gateway, a real server."""

import json
from pathlib import Path

import pytest

from tests.redteam.__main__ import CORPORA, SCHEMA, SHIPPED, main
from tests.redteam.campaign import Score, run_all
from tests.redteam.corpus import read_corpus
from tests.redteam.scoring import Outcome, Result
from tests.redteam.test_scoring import entry

# Two servers and two gateways start within one test.
pytestmark = pytest.mark.timeout(240)

SHORT = (
    *("del_one", "del_ws", "explain_1", "copy_cte_delete", "multi_lead", "lex_nest_adjacent", "enc_gbk"),
    *("guc_scs", "fn_limit", "do_dynamic", "prepared_explain", "cursor_current", "read_whole_cast"),
    *("read_copy_bin", "read_ts_stat", "read_uncommitted", "read_notify", "read_copy_file", "pg18_vt_space"),
    *("ok_literal2", "ok_cte_named", "ok_limit0", "ok_merge", "ok_tx", "ok_builtin", "ok_tablesample"),
)


VARIATIONS = (
    *("i2_trigger_values", "i2_cascade", "i2_cast", "i2_path_schema", "i4_temp_drop", "i4_temp_rollback"),
    *("r2_with_ties", "r2_view_view", "r3_union_key", "s2_notnull_tier", "ok2_prepared", "ok2_3_transitive"),
)

UNSEEN = (
    *("d2_type_using", "d5_drop_column", "i3_drop_domain"),
    *("read_join_leak_hash", "r2_base64", "r2_reverse", "r2_prefix"),
)
"""What is deleted or told here is in no row count, and no value as it is stored."""


@pytest.fixture
def said() -> list[str]:
    return []


async def test_short(said: list[str]) -> None:
    entries = [entry for entry in read_corpus(SHIPPED / "redteam.jsonl") if entry.id in SHORT]
    assert len(entries) == len(SHORT)
    total = await run_all(entries, SHIPPED / SCHEMA, said.append)
    assert not said
    assert str(total) == "stopped 19 of 19, innocent held 0 of 7"
    assert total.perfect


async def test_short_form_of_the_variations(said: list[str]) -> None:
    entries = [entry for entry in read_corpus(SHIPPED / "variations.jsonl") if entry.id in VARIATIONS]
    assert len(entries) == len(VARIATIONS)
    total = await run_all(entries, SHIPPED / SCHEMA, said.append)
    assert not said
    assert str(total) == "stopped 10 of 10, innocent held 0 of 2"


async def test_it_tells_what_slipped_through_and_what_was_held_for_nothing(said: list[str]) -> None:
    entries = [
        entry("hold_delete", id="slips", messages=(b"SELECT 1",)),
        entry("allow", id="held", messages=(b"DELETE FROM customers WHERE id = 1",)),
        entry("allow", id="passes", messages=(b"SELECT now(), pg_backend_pid()",)),
        entry("hold_delete", id="unknown", versions=(9,), messages=(b"DELETE FROM no_such_table",)),
        entry("hold_delete", id="unprepared", setup=("SELECT no_such_function()",)),
    ]
    total = await run_all(entries, SHIPPED / SCHEMA, said.append)
    assert [(line[:8].strip(), line[9:].split()[0]) for line in said] == [
        ("missed", "slips"),
        ("held", "held"),
        ("not run", "unknown"),
        ("not run", "unprepared"),
    ]
    assert str(total) == "stopped 0 of 1, innocent held 1 of 2"
    assert not total.perfect


def test_what_was_not_run_counts_neither_way() -> None:
    total = Score([Result(entry(), Outcome.NOT_RUN), Result(entry(), Outcome.STOPPED)])
    assert str(total) == "stopped 1 of 1, innocent held 0 of 0"


def write(tmp_path: Path, **entries: str) -> Path:
    corpus = tmp_path / "corpus.jsonl"
    lines = [
        {"id": name, "cat": "x", "expect": expect, "sql": "SELECT 1"} for name, expect in entries.items()
    ]
    corpus.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return corpus


@pytest.mark.parametrize(
    ("entries", "code", "last"),
    [
        ({"a": "allow"}, 0, "stopped 0 of 0, innocent held 0 of 1"),
        ({"a": "deny", "b": "allow"}, 1, "stopped 0 of 1, innocent held 0 of 1"),
    ],
)
def test_the_exit_code_and_the_last_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], entries: dict[str, str], code: int, last: str
) -> None:
    assert main([str(write(tmp_path, **entries))]) == code
    assert capsys.readouterr().out.splitlines()[-1] == last


def test_no_entry_is_no_success(tmp_path: Path) -> None:
    assert main([str(write(tmp_path, a="allow")), "--only", "b"]) == 1


def test_evidence_is_taken_without_the_gateway(tmp_path: Path) -> None:
    corpus = write(tmp_path, a="deny")
    assert main([str(corpus), "--record"]) == 0
    line = json.loads(corpus.read_text(encoding="utf-8"))
    assert line["evidence"] == {"tags": ["SELECT 1"], "deleted": {}, "pii_tokens_out": 0, "errors": []}


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.stem)
def test_every_line_did_what_it_is_there_for(corpus: Path) -> None:
    """What must be stopped has done harm (or changed what nobody sees), what is innocent has not."""
    for line in read_corpus(corpus):
        deleted, told = line.evidence["deleted"], line.evidence["pii_tokens_out"]
        personal = {"customers", "customers_archive", "orders", "events", "Kunden-Daten"} & set(deleted or ())
        if line.innocent:
            assert not [name for name in personal if deleted[name] > 0], line.id
        elif line.side_channel:
            assert told, line.id
        elif line.expect == "hold_delete":
            assert deleted or line.id in UNSEEN, line.id
        elif line.expect == "hold_bulk_pii":
            assert told > 20 or line.id in UNSEEN, line.id
