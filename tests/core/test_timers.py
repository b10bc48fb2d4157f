"""`Deadlines` against a plain dictionary."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eqlbond.core.timers import Deadlines

keys = st.sampled_from("abcdef")
times = st.integers(0, 20).map(float)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), keys, times),
        st.tuples(st.just("clear"), keys, times),
        st.tuples(st.just("due"), keys, times),
    )
)


@given(steps)
def test_behaves_as_a_table(steps: list[tuple[str, str, float]]) -> None:
    deadlines: Deadlines[str] = Deadlines()
    table: dict[str, float] = {}
    for what, key, when in steps:
        if what == "set":
            deadlines.set(key, when)
            table[key] = when
        elif what == "clear":
            deadlines.clear(key)
            table.pop(key, None)
        else:
            due = deadlines.pop_due(when)
            assert sorted(due) == sorted(k for k, w in table.items() if w <= when)
            assert [table[k] for k in due] == sorted(table[k] for k in due)
            for k in due:
                del table[k]
        assert deadlines.next() == min(table.values(), default=None)
        assert deadlines.get(key) == table.get(key)


def test_moving_a_deadline_for_ever_takes_no_memory() -> None:
    deadlines: Deadlines[int] = Deadlines()
    for n in range(10_000):
        deadlines.set(n % 3, float(n))
    assert len(deadlines._heap) < 200
    assert deadlines.pop_due(1e9) == [1, 2, 0] or len(deadlines._heap) == 0
    assert deadlines.next() is None


def test_a_deadline_that_was_cleared_and_set_again_comes_once() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 5.0)
    deadlines.clear("a")
    deadlines.set("a", 5.0)
    assert deadlines.pop_due(5.0) == ["a"]
    assert deadlines.pop_due(5.0) == []


def test_keys_need_no_order() -> None:
    deadlines: Deadlines[object] = Deadlines()
    one, two = object(), object()
    deadlines.set(one, 1.0)
    deadlines.set(two, 1.0)
    assert deadlines.pop_due(1.0) == [one, two]
