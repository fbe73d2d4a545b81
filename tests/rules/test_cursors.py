"""Which cursors are known, by what a session did."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import NO_CURSORS, CursorAct, CursorStep, Facts, OpenCursors
from rules.cursors import MAX_SAVEPOINTS
from tests.rules.policies import context, cursors, strict_judge


def steps(sql: str, known: OpenCursors = NO_CURSORS) -> tuple[CursorStep, ...]:
    return strict_judge().judge(sql.encode(), context(cursors=known)).facts.cursors


def after(*statements: str) -> OpenCursors:
    """The cursors behind these, one message each and all successful, judged in their order."""
    found = NO_CURSORS
    for sql in statements:
        found = found.after(steps(sql, found))
    return found


HOLDABLE = "DECLARE h CURSOR WITH HOLD FOR SELECT 1"
DECLARE = "DECLARE c CURSOR FOR SELECT 1"
OPAQUE = "SELECT opaque()"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (DECLARE, [CursorStep(CursorAct.DECLARE, "c", statement=0)]),
        (HOLDABLE, [CursorStep(CursorAct.DECLARE, "h", hold=True, statement=0)]),
        (
            "DECLARE c SCROLL CURSOR FOR SELECT opaque()",
            [
                CursorStep(CursorAct.CODE, statement=0),
                CursorStep(CursorAct.DECLARE, "c", code=True, statement=0),
            ],
        ),
        ("CLOSE c", [CursorStep(CursorAct.CLOSE, "c", statement=0)]),
        ("CLOSE ALL", [CursorStep(CursorAct.CLOSE, statement=0)]),
        ("DISCARD ALL", [CursorStep(CursorAct.CLOSE, statement=0)]),
        ("DISCARD TEMP", []),
        ("BEGIN", []),
        ("SAVEPOINT S", [CursorStep(CursorAct.SAVEPOINT, "s", statement=0)]),
        ("ROLLBACK TO s", [CursorStep(CursorAct.ROLLBACK_TO, "s", statement=0)]),
        ("RELEASE s", [CursorStep(CursorAct.RELEASE, "s", statement=0)]),
        ("COMMIT AND CHAIN", [CursorStep(CursorAct.COMMIT, statement=0)]),
        ("PREPARE TRANSACTION 'x'", [CursorStep(CursorAct.COMMIT, statement=0)]),
        ("ABORT", [CursorStep(CursorAct.ROLLBACK, statement=0)]),
        ("SET CONSTRAINTS ALL IMMEDIATE", [CursorStep(CursorAct.FIRE, statement=0)]),
        ("EXPLAIN ANALYZE DECLARE c CURSOR FOR SELECT 1", []),
        ("SELECT 1; CLOSE c", [CursorStep(CursorAct.CLOSE, "c", statement=1)]),
        ("SELECT 1; SELECT opaque()", [CursorStep(CursorAct.CODE, statement=1)]),
        ("SELEC", [CursorStep(CursorAct.CODE)]),
    ],
)
def test_what_a_statement_does(sql: str, expected: list[CursorStep]) -> None:
    assert list(steps(sql)) == expected


def test_what_nobody_read_may_do_anything() -> None:
    assert Facts((), "why").cursors == (CursorStep(CursorAct.CODE),)
    called = strict_judge().judge_function_call(99_999, context()).facts
    assert called.cursors == (CursorStep(CursorAct.CODE),)


@pytest.mark.parametrize(
    ("statements", "names"),
    [
        ((DECLARE,), "c"),
        ((DECLARE, HOLDABLE), "ch"),
        ((DECLARE, HOLDABLE, "CLOSE c"), "h"),
        ((DECLARE, HOLDABLE, "CLOSE ALL"), ""),
        ((DECLARE, HOLDABLE, "COMMIT"), "h"),
        ((DECLARE, HOLDABLE, "ROLLBACK"), ""),
        ((HOLDABLE, "COMMIT", DECLARE, "ROLLBACK"), "h"),
        ((HOLDABLE, "COMMIT", "SAVEPOINT s", DECLARE, "ROLLBACK TO s"), "h"),
        ((DECLARE, "SAVEPOINT s", HOLDABLE, "ROLLBACK TO s"), "c"),
        ((DECLARE, "SAVEPOINT s", HOLDABLE, "SAVEPOINT s", "ROLLBACK TO s"), "ch"),
        ((DECLARE, "SAVEPOINT s", HOLDABLE, "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s"), "c"),
        ((DECLARE, "SAVEPOINT s", HOLDABLE, "RELEASE s", "ROLLBACK TO s"), ""),
        (("SAVEPOINT s", DECLARE, "ROLLBACK TO s"), ""),
        ((DECLARE, "SAVEPOINT a", "SAVEPOINT b", HOLDABLE, "ROLLBACK TO a", "ROLLBACK TO b"), ""),
        ((DECLARE, OPAQUE), ""),
        ((OPAQUE, DECLARE), "c"),
        ((OPAQUE, HOLDABLE, "COMMIT"), ""),
        ((OPAQUE, "COMMIT", HOLDABLE, "COMMIT"), "h"),
        ((OPAQUE, "ROLLBACK", HOLDABLE, "COMMIT"), "h"),
        ((OPAQUE, DECLARE, "SET CONSTRAINTS ALL DEFERRED"), ""),
        ((DECLARE, "SET CONSTRAINTS ALL DEFERRED"), "c"),
        ((DECLARE, "SAVEPOINT s", OPAQUE, HOLDABLE, "ROLLBACK TO s"), ""),
        ((DECLARE, HOLDABLE, "FETCH c"), "ch"),
        (("DECLARE x CURSOR FOR SELECT opaque()", DECLARE, "FETCH c"), "cx"),
        (("DECLARE x CURSOR FOR SELECT opaque()", DECLARE, "FETCH x"), "x"),
        ((DECLARE, "FETCH unknown"), ""),
        ((DECLARE, "SELECT 1; CLOSE c; SELECT 2"), ""),
        ((DECLARE, "SELEC"), ""),
    ],
)
def test_what_is_known_afterwards(statements: tuple[str, ...], names: str) -> None:
    assert after(*statements).names == frozenset(names)


@pytest.mark.parametrize(
    ("sql", "readable"),
    [
        (f"{DECLARE}; FETCH c", True),
        ("FETCH k", True),
        ("CLOSE k; FETCH k", False),
        ("CLOSE c; FETCH k", True),
        ("COMMIT; FETCH k", False),
        ("SELECT opaque(); FETCH k", False),
        (f"ROLLBACK; {DECLARE}; FETCH c", True),
    ],
)
def test_a_message_is_read_by_what_its_own_statements_did(sql: str, readable: bool) -> None:
    facts = strict_judge().judge(sql.encode(), context(cursors=cursors("k"))).facts
    assert (facts.unreadable is None) == readable


def test_savepoints_without_end_are_forgotten_from_the_oldest() -> None:
    found = after(DECLARE)
    names = [f"s{number}" for number in range(MAX_SAVEPOINTS + 1)]
    found = found.after(CursorStep(CursorAct.SAVEPOINT, name) for name in names)
    assert len(found.savepoints) == MAX_SAVEPOINTS
    assert found.after([CursorStep(CursorAct.ROLLBACK_TO, names[1])]).names == {"c"}
    assert found.after([CursorStep(CursorAct.ROLLBACK_TO, names[0])]).names == set()


def test_savepoints_cost_nothing_without_cursors() -> None:
    assert NO_CURSORS.after([CursorStep(CursorAct.SAVEPOINT, "s")]) is NO_CURSORS


def test_portals_of_the_same_name() -> None:
    found = cursors("c", "d")
    assert found.without(frozenset("c")).names == {"d"}
    assert found.without(frozenset("x")) is found


def test_what_may_have_run_by_now() -> None:
    found = cursors("c")
    assert found.touched(steps("CLOSE c")) == found
    assert found.touched(steps(OPAQUE)).names == set()


_NAMES = st.sampled_from("ab")
_STEPS = st.one_of(
    st.builds(CursorStep, st.just(CursorAct.DECLARE), _NAMES, hold=st.booleans(), code=st.booleans()),
    st.builds(CursorStep, st.just(CursorAct.CLOSE), st.none() | _NAMES),
    st.builds(CursorStep, st.sampled_from([CursorAct.FETCH, CursorAct.SAVEPOINT, CursorAct.RELEASE]), _NAMES),
    st.builds(CursorStep, st.just(CursorAct.ROLLBACK_TO), _NAMES),
    st.builds(
        CursorStep, st.sampled_from([CursorAct.CODE, CursorAct.COMMIT, CursorAct.ROLLBACK, CursorAct.FIRE])
    ),
)


class _Server:
    """Cursors as PostgreSQL keeps them: each in the subtransaction that opened it."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.levels: list[tuple[str, dict[str, bool]]] = [("", {})]

    def names(self) -> set[str]:
        return self.kept.union(*(opened for _, opened in self.levels))

    def take(self, step: CursorStep) -> bool:
        """Whether it succeeded."""
        name = step.name or ""
        match step.act:
            case CursorAct.DECLARE:
                if name in self.names():
                    return False
                self.levels[-1][1][name] = step.hold
            case CursorAct.CLOSE:
                closed = {name} if step.name else self.names()
                self.kept -= closed
                for _, opened in self.levels:
                    for each in closed:
                        opened.pop(each, None)
            case CursorAct.FETCH:
                return name in self.names()
            case CursorAct.SAVEPOINT:
                self.levels.append((name, {}))
            case CursorAct.ROLLBACK_TO | CursorAct.RELEASE:
                found = [at for at, (each, _) in enumerate(self.levels) if each == name]
                if not found:
                    return False
                if step.act is CursorAct.ROLLBACK_TO:
                    self.levels = [*self.levels[: found[-1]], (name, {})]
                else:
                    for _, opened in self.levels[found[-1] :]:
                        self.levels[found[-1] - 1][1].update(opened)
                    del self.levels[found[-1] :]
            case CursorAct.COMMIT:
                self.kept.update(each for _, opened in self.levels for each, hold in opened.items() if hold)
                self.levels = [("", {})]
            case CursorAct.ROLLBACK:
                self.levels = [("", {})]
            case CursorAct.CODE | CursorAct.FIRE:
                pass
        return True


@given(st.lists(_STEPS, max_size=30))
def test_nothing_is_known_that_the_server_has_not(given_steps: list[CursorStep]) -> None:
    server, known = _Server(), NO_CURSORS
    code = False
    for step in given_steps:
        if not server.take(step):
            continue
        known = known.after([step])
        code = code or step.code or step.act is CursorAct.CODE
        assert known.names <= server.names()
        if not code:
            # Without code that nobody read, what is known is what there is.
            assert known.names == server.names()
    assert pickle.loads(pickle.dumps(known)) == known
