"""Who comes next."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.fairqueue import FairQueue


def drain(queue: FairQueue[str, int]) -> list[tuple[str, int]]:
    taken = []
    while (one := queue.pop()) is not None:
        taken.append(one)
    return taken


def test_equals_are_served_in_the_order_they_came() -> None:
    queue = FairQueue[str, int]()
    for number, owner in enumerate("abc"):
        queue.push(owner, number)
    assert len(queue) == 3
    assert drain(queue) == [("a", 0), ("b", 1), ("c", 2)]
    assert len(queue) == 0
    assert queue.pop() is None


def test_one_who_asks_for_much_at_once_takes_turns_with_the_others() -> None:
    queue = FairQueue[str, int]()
    for number in range(4):
        queue.push("greedy", number)
    queue.push("modest", 9)
    assert drain(queue)[:2] == [("greedy", 0), ("modest", 9)]


def test_one_who_used_much_waits_for_those_who_used_little() -> None:
    queue = FairQueue[str, int]()
    queue.charge("greedy", 2.0)
    queue.charge("modest", 0.001)
    queue.push("greedy", 1)
    queue.push("modest", 2)
    queue.push("new", 3)
    assert drain(queue) == [("new", 3), ("modest", 2), ("greedy", 1)]


def test_having_been_away_is_no_credit() -> None:
    queue = FairQueue[str, int]()
    queue.charge("busy", 100.0)
    queue.push("busy", 1)
    queue.pop()
    queue.charge("late", 1.0)
    assert queue.used("late") == 101.0
    queue.push("busy", 2)
    queue.push("late", 3)
    assert drain(queue)[0] == ("busy", 2)


def test_an_item_can_be_taken_back() -> None:
    queue = FairQueue[str, int]()
    queue.push("a", 1)
    queue.push("a", 2)
    assert queue.remove("a", 1)
    assert not queue.remove("a", 1)
    assert not queue.remove("b", 1)
    assert drain(queue) == [("a", 2)]
    assert not queue.remove("a", 2)


def test_the_greediest_is_who_used_most_and_came_last() -> None:
    queue = FairQueue[str, int]()
    assert queue.greediest() is None
    queue.push("a", 1)
    queue.push("b", 2)
    assert queue.greediest() == ("b", 2)
    queue.charge("a", 1.0)
    queue.push("a", 3)
    assert queue.greediest() == ("a", 3)
    assert len(queue) == 3


def test_who_is_gone_is_forgotten() -> None:
    queue = FairQueue[int, int]()
    for owner in range(1000):
        queue.push(owner, 0)
        queue.pop()
        queue.charge(owner, 1.0)
        queue.push(-1, 0)
        queue.pop()
        queue.charge(-1, 2.0)
    assert len(queue._used) < 200


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.001, 10.0)), min_size=1, max_size=60))
def test_next_is_always_who_was_served_least(pushed: list[tuple[str, float]]) -> None:
    queue = FairQueue[str, int]()
    left = dict.fromkeys("abcd", 0)
    for number, (owner, _) in enumerate(pushed):
        queue.push(owner, number)
        left[owner] += 1
    served = dict.fromkeys("abcd", 0.0)
    taken = []
    while (one := queue.pop()) is not None:
        owner, number = one
        taken.append(number)
        assert served[owner] == min(served[other] for other, waiting in left.items() if waiting)
        left[owner] -= 1
        cost = pushed[number][1]
        queue.charge(owner, cost)
        served[owner] += cost
    assert sorted(taken) == list(range(len(pushed)))
