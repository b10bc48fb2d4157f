"""`RoundRobin`: each line in its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eqlbond.schedulers import Line, RoundRobin, check_scheduler, testing


def names(policy: RoundRobin, lines: tuple[Line, ...], n: int) -> str:
    return "".join(policy.place(testing.packet(100), lines, 0.0).line.name for _ in range(n))


@given(st.integers(1, 9), st.integers(0, 50))
def test_every_line_gets_the_same_number(lines: int, rounds: int) -> None:
    offered = tuple(testing.line(chr(97 + n), rate=9600 * (n + 1)) for n in range(lines))
    assert names(RoundRobin(), offered, lines * rounds) == "".join(line.name for line in offered) * rounds


def test_lines_that_come_and_go() -> None:
    a, b, c = (testing.line(name) for name in "abc")
    policy = RoundRobin()
    assert names(policy, (a, b, c), 2) == "ab"
    assert names(policy, (a, b), 2) == "ab"  # c is gone: on from b, round to a
    assert names(policy, (a, b, c), 1) == "c"
    assert names(policy, (a, b), 1) == "a"  # the last one is gone: from the start
    assert names(policy, (b,), 3) == "bbb"


def test_keeps_the_contract() -> None:
    check_scheduler(RoundRobin())
