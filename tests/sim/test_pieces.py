"""Lines that are paced in pieces: what is random or happens to them happens to frames, and packets are told by name."""

from __future__ import annotations

import pytest

from eqlbond import HalfDuplex, Hdlc, Ppp
from eqlbond.core.multilink import Multilink
from eqlbond.sim import Bulk, LineSpec, SimLine, Trace, simulate
from tests.sim.test_engine import balanced

IN_PIECES = pytest.mark.parametrize(
    ("line", "options"),
    [
        ({}, {"pacing": "pieces"}),
        ({"buffer": 300}, {}),
        ({"half_duplex": True}, {}),
        ({"turns": HalfDuplex()}, {}),
        ({"nominal_rate": 115200, "tells_queue": True}, {"pacing": "pieces"}),
    ],
    ids=["pacing", "buffer", "half-duplex", "turns", "told"],
)


@IN_PIECES
def test_loss_takes_frames_and_is_called_so(line, options):
    result = simulate([SimLine(57600, loss=0.05, **line)], Bulk(400_000, 900), mtu=900, seed=3, **options)
    assert balanced(result)
    assert set(result.lost) == {"loss"}
    assert result.drops == result.lost, "each lost frame is counted once, and nothing is left of it at the far end"
    assert result.lost["loss"] == pytest.approx(0.05 * result.sent, rel=0.4)
    assert result.damaged == 0


@pytest.mark.parametrize("size", [40, 1500])
@pytest.mark.parametrize("rate", [57600, 115200, None])
def test_every_frame_has_its_own_chance(rate, size):
    """Whether a frame goes in many pieces, or many frames in one."""
    packets = Trace([(0.1 * n if rate is None else 0.0, size) for n in range(300)])
    result = simulate([SimLine(rate, loss=0.1)], packets, pacing="pieces", queue_bytes=10**6)
    assert result.lost["loss"] == pytest.approx(30, abs=15)
    assert balanced(result)


def test_all_is_lost():
    result = simulate([SimLine(57600, loss=1.0)], Bulk(20_000), pacing="pieces")
    assert result.lost == result.drops == {"loss": result.sent}
    assert result.delivered == 0


def test_the_back_direction_has_its_own_loss():
    line = SimLine(57600, back=LineSpec(57600, loss=1.0))
    result = simulate([line], Bulk(20_000))
    assert result.lost == result.drops == {}


def test_a_fragment_that_is_lost_names_its_packet():
    lines = [SimLine(57600, framing=Ppp(), loss=0.02), SimLine(14400, framing=Ppp(), loss=0.02)]
    result = simulate(lines, Bulk(200_000), multilink=Multilink(), pacing="pieces")
    assert balanced(result)
    assert result.lost["loss"] > 0
    assert "waiting" not in result.lost


@pytest.mark.parametrize("pacing", ["frames", "pieces"])
def test_byte_errors_are_told_from_loss(pacing):
    line = SimLine(57600, byte_error_rate=5e-5, loss=0.05, framing=Hdlc())
    result = simulate([line], Bulk(400_000, 900), mtu=900, pacing=pacing)
    assert balanced(result)
    assert set(result.lost) == {"loss", "byte errors"}
    assert result.drops["loss"] == result.lost["loss"]


@pytest.mark.parametrize("pacing", ["frames", "pieces"])
def test_a_silent_cut_takes_what_was_on_its_way(pacing):
    line = SimLine(57600, latency=0.5, cut_at=2.0, revive_at=4.0, cut="silence", framing=Hdlc())
    result = simulate([line], Bulk(150_000, 900), mtu=900, pacing=pacing)
    assert set(result.lost) == {"cut"}
    assert balanced(result)
    assert result.lost["cut"] == pytest.approx(2.5 / 0.158, abs=2)


@pytest.mark.parametrize("pacing", ["frames", "pieces"])
def test_a_hung_up_line_loses_what_had_left(pacing):
    lines = [SimLine(57600), SimLine(57600, name="cut", latency=0.5, cut_at=2.0)]
    result = simulate(lines, Bulk(150_000, 900), mtu=900, pacing=pacing)
    assert (result.lost, result.drops["cut"]) == ({"cut": 3}, 4)
    assert balanced(result)


@pytest.mark.parametrize("line", [SimLine(115200, buffer=50), SimLine(28800, rate_changes=((0.5, 115200),))])
def test_a_run_does_not_end_amid_a_frame(line):
    """A port that is empty before it gets the next piece has nothing on its way."""
    result = simulate([line], Trace([(0.0, 900), (1.0, 900)]), pacing="pieces")
    assert (result.delivered, result.lost) == (2, {})


def test_pieces_have_the_number_of_their_packet():
    packets = Trace([(0.0, 900), (0.0, 40), (0.0, 40), (0.5, 900)])
    result = simulate(
        [SimLine(57600, rate_changes=((0.6, 28800),))], packets, pacing="pieces", content="text", trace=True
    )
    sizes: dict[int, int] = {}
    for frame in result.placed:
        sizes[frame.number] = sizes.get(frame.number, 0) + frame.size
    assert sizes == {0: 902, 1: 42, 2: 42, 3: 902}
    for sooner, later in zip(result.placed, result.placed[1:], strict=False):
        assert later.start >= sooner.leave - 1e-9
    sent = sum(frame.leave - frame.start for frame in result.placed)
    assert result.lines[0].busy == pytest.approx(sent / result.duration)
    assert sent > 1888 * 10 / 57600 + 0.04


def test_what_ppp_says_is_not_counted():
    result = simulate([SimLine(57600, framing=Ppp())], Trace([(0.0, 900), (100.0, 900)]), pacing="pieces")
    assert result.lines[0].wire_bytes == pytest.approx(2 * 910, abs=20)
    assert result.back["wire_bytes"] == 0
