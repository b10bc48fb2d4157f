"""`ActiveBackup`: one line, and others in reserve."""

from __future__ import annotations

from collections.abc import Sequence

from eqlbond.schedulers import ActiveBackup, Line, check_scheduler, testing
from eqlbond.sim import ConstantBitRate, SimLine, simulate

CABLE = testing.line("cable", rate=57600)
MODEM = testing.line("modem", rate=14400)
RADIO = testing.line("radio", rate=9600)


def chosen(policy: ActiveBackup, *steps: Sequence[Line]) -> list[str]:
    names = []
    for up in steps:
        policy.lines_changed(up, 0.0)
        if up:
            names.append(policy.place(testing.packet(99), up, 0.0).line.name)
    return names


STEPS = [(MODEM, CABLE, RADIO), (MODEM, RADIO), (RADIO,), (RADIO, MODEM), (RADIO, MODEM, CABLE)]


def test_the_best_line_that_is_up() -> None:
    assert chosen(ActiveBackup(), *STEPS) == ["cable", "modem", "radio", "modem", "cable"]


def test_stays_until_the_line_goes_down() -> None:
    assert chosen(ActiveBackup(returns=False), *STEPS) == ["cable", "modem", "radio", "radio", "radio"]
    assert chosen(ActiveBackup(returns=False), (MODEM,), (MODEM, CABLE), (CABLE, RADIO)) == ["modem", "modem", "cable"]


def test_begins_again_after_all_lines_were_down() -> None:
    assert chosen(ActiveBackup(returns=False), (MODEM,), (), (RADIO, CABLE)) == ["modem", "cable"]


def test_of_equals_the_one_that_came_up_first() -> None:
    a, b = testing.line("a"), testing.line("b")
    assert chosen(ActiveBackup(), (b, a), (a,), (a, b)) == ["b", "a", "a"]


def test_priority_goes_before_rate() -> None:
    slow = testing.line("slow", rate=9600, priority=100_000)
    assert chosen(ActiveBackup(), (CABLE, slow)) == ["slow"]


def test_asks_to_place_again_only_when_the_line_changes() -> None:
    policy = ActiveBackup()
    policy.lines_changed((CABLE, MODEM), 0.0)
    assert policy.lines_changed((CABLE, MODEM, RADIO), 0.0) is False
    assert policy.lines_changed((MODEM, RADIO), 0.0) is True
    assert policy.lines_changed((MODEM,), 0.0) is False


def test_a_packet_that_the_active_line_cannot_take_goes_by_another() -> None:
    policy = ActiveBackup()
    policy.lines_changed((CABLE, MODEM, RADIO), 0.0)
    assert policy.place(testing.packet(2000), (MODEM, RADIO), 0.0).line is MODEM
    assert policy.place(testing.packet(99), (CABLE, MODEM, RADIO), 0.0).line is CABLE


def test_works_where_nobody_tells_of_changes() -> None:
    policy = ActiveBackup()
    assert policy.place(testing.packet(99), (CABLE, MODEM), 0.0).line is CABLE
    assert policy.place(testing.packet(99), (MODEM,), 0.0).line is MODEM


def test_a_bond_goes_on_over_the_reserve_and_returns() -> None:
    lines = [SimLine(57600, name="cable", cut_at=10, revive_at=20), SimLine(57600, name="spare", priority=1)]
    result = simulate(lines, ConstantBitRate(rate=20_000, size=500, duration=30), ActiveBackup())
    assert result.delivered + sum(result.lost.values()) == result.sent
    cable, spare = result.lines
    assert abs(spare.frames - result.sent / 3) <= 3
    assert abs(cable.frames - result.sent * 2 / 3) <= 3


def test_keeps_the_contract() -> None:
    check_scheduler(ActiveBackup())
    check_scheduler(ActiveBackup(returns=False))
