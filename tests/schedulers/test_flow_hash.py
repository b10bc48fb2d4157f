"""`FlowHash`: each flow on one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.packet import Packet
from eqlbond.schedulers import FlowHash, Line, check_scheduler, testing
from eqlbond.sim import SimLine, Trace, simulate
from tests.examples import examples


def lines_of(*rates: float) -> tuple[Line, ...]:
    return tuple(testing.line(f"line{n}", rate=rate) for n, rate in enumerate(rates))


def where(policy: FlowHash, lines: tuple[Line, ...], flows: int, now: float = 0.0) -> list[str]:
    return [policy.place(Packet(b"x", flow=n), lines, now).line.name for n in range(flows)]


def udp(port: int, *, version: int = 4) -> bytes:
    ports = (1000).to_bytes(2, "big") + port.to_bytes(2, "big") + bytes(12)
    if version == 6:
        return b"\x60\0\0\0" + len(ports).to_bytes(2, "big") + b"\x11\x40" + bytes(32) + ports
    return b"\x45\0" + (20 + len(ports)).to_bytes(2, "big") + bytes(4) + b"\x40\x11" + bytes(10) + ports


def test_flows_spread_by_priority() -> None:
    names = where(FlowHash(), lines_of(57600, 28800, 14400, 9600), 5000)
    for n, rate in enumerate((57600, 28800, 14400, 9600)):
        assert names.count(f"line{n}") / 5000 == pytest.approx(rate / 110400, abs=0.02)


def test_one_flow_has_one_line() -> None:
    policy, lines = FlowHash(), lines_of(9600, 9600, 9600)
    first = where(policy, lines, 50)
    assert all(where(policy, lines, 50, now) == first for now in (0.0, 1.0, 3600.0))


@settings(max_examples=examples(20))
@given(st.integers(2, 12), st.data())
def test_only_the_flows_of_a_line_that_goes_move(count: int, data: st.DataObject) -> None:
    policy, lines = FlowHash(), lines_of(*[9600] * count)
    before = where(policy, lines, 60)
    gone = data.draw(st.sampled_from(lines))
    left = tuple(line for line in lines if line is not gone)
    after = where(policy, left, 60)
    for one, other in zip(before, after, strict=True):
        assert other != gone.name
        assert one in (other, gone.name)
    assert where(policy, lines, 60, now=3600.0) == before  # and they come back with it


def test_a_flow_waits_for_a_gap_before_it_moves() -> None:
    lines = lines_of(9600, 9600)
    policy = FlowHash()
    flow = where(policy, lines, 20).index("line1")
    policy = FlowHash()
    packet = Packet(bytes(960), flow=flow)
    assert policy.place(packet, lines[:1], 0.0).line is lines[0]
    arrives = testing.take(lines[0], packet, 0.0)
    assert arrives == 1.0
    assert policy.place(Packet(b"", flow=flow), lines, 0.9).line is lines[0]
    assert policy.place(Packet(b"", flow=flow), lines, 0.99).line is lines[0]
    assert policy.place(Packet(b"", flow=flow), lines, 1.0).line is lines[1]
    assert policy.place(Packet(b"", flow=flow), lines, 1.0).line is lines[1]


@pytest.mark.parametrize("version", [4, 6])
def test_the_flow_is_read_from_ip_headers(version: int) -> None:
    policy, lines = FlowHash(), lines_of(*[9600] * 8)
    chosen = {port: policy.place(Packet(udp(port, version=version)), lines, 0.0).line for port in range(80)}
    assert len(set(chosen.values())) == 8
    for port, line in chosen.items():
        assert policy.place(Packet(udp(port, version=version) + b"more"), lines, 0.0).line is line


def test_a_flow_that_is_given_goes_before_the_headers() -> None:
    policy, lines = FlowHash(), lines_of(*[9600] * 8)
    assert len({policy.place(Packet(udp(port), flow="one"), lines, 0.0).line for port in range(80)}) == 1


def test_what_is_no_ip_is_one_flow() -> None:
    policy, lines = FlowHash(), lines_of(*[9600] * 8)
    assert len({policy.place(Packet(bytes([n]) * 50), lines, 0.0).line for n in range(16)}) == 1


def test_lines_of_the_same_name_are_told_apart() -> None:
    lines = testing.line("same"), testing.line("same")
    policy = FlowHash()
    chosen = [policy.place(Packet(b"", flow=n), lines, 0.0).line for n in range(400)]
    assert 150 < chosen.count(lines[0]) < 250


def test_memory_is_bounded() -> None:
    policy, lines = FlowHash(), lines_of(9600, 9600)
    for n in range(20_000):
        policy.place(Packet(b"x", flow=n), lines, n * 0.01)
    assert len(policy._flows) <= 1025


def test_a_choice_does_not_depend_on_the_process() -> None:
    program = (
        "from eqlbond.packet import Packet; from eqlbond.schedulers import FlowHash, testing;"
        "lines = tuple(testing.line(n) for n in 'abcd'); p = FlowHash();"
        "print(''.join(p.place(Packet(b'', flow=('tcp', str(n))), lines, 0.0).line.name for n in range(40)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert runs[0] == runs[1]


@given(
    st.lists(st.tuples(st.sampled_from([9600, 57600, 300]), st.floats(0, 2)), min_size=2, max_size=6),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 5), st.integers(1, 1500)), max_size=120),
    st.integers(1, 20),
)
def test_no_flow_is_reordered_when_lines_come(
    given_lines: list[tuple[int, float]], packets: list[tuple[float, int, int]], every: int
) -> None:
    lines = tuple(testing.line(f"{n}", rate=rate, latency=late) for n, (rate, late) in enumerate(given_lines))
    policy = FlowHash()
    last: dict[int, float] = {}
    now = 0.0
    up = lines[:1]
    for n, (pause, flow, size) in enumerate(packets):
        now += pause
        if n % every == 0 and len(up) < len(lines):
            up = lines[: len(up) + 1]
        packet = Packet(bytes(size), flow=flow)
        arrives = testing.take(policy.place(packet, up, now).line, packet, now)
        assert arrives >= last.get(flow, 0.0)
        last[flow] = arrives


def test_a_flow_is_never_reordered_in_a_bond() -> None:
    lines = [SimLine(57600), SimLine(28800, latency=0.2), SimLine(14400, jitter=0.05)]
    result = simulate(lines, Trace([(n * 0.02, (40, 576, 1500)[n % 3]) for n in range(300)]), FlowHash())
    assert result.delivered == 300
    assert result.reordered == 0


def test_keeps_the_contract() -> None:
    check_scheduler(FlowHash())
