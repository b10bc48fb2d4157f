"""Each flow on one line.

Sources: the weights and the choice are rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", IEEE/ACM Trans. Networking 6(1), 1998), in its weighted form (``-w / ln(u)``). That a flow
may move in a gap without reordering is the thought of flowlets (Sinha, Kandula and Katabi, HotNets 2004).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from hashlib import blake2b

import attrs

from eqlbond.codec.ip import flow_key
from eqlbond.packet import Packet
from eqlbond.schedulers.base import Line, Placement
from eqlbond.schedulers.weights import weights

_WORD = (1 << 64) - 1
_UNPACED_TIME = 1.0  # seconds that a packet may take where there is no clock to tell
_REMEMBERED = 1024  # flows; above it those with nothing on its way are forgotten
_UNKNOWN: tuple[Line | None, float, int] = (None, 0.0, 0)


@attrs.define
class FlowHash:
    """A flow keeps its line, so that its packets are never reordered; many flows spread over all lines.

    A packet's flow is the `flow` that it was sent with, otherwise protocol, addresses and ports of its IP header;
    packets that are no IP are one flow, for each protocol. Flows fall on lines in proportion to the lines'
    `priority`, which is the rate unless you say otherwise. When a line goes, its flows spread over the others, and no
    other flow moves. When one comes, it gets its share of the flows and no flow moves between others; a flow
    moves to it only once all its packets will have arrived.

    One flow is never faster than its line.

    >>> from eqlbond.packet import Packet
    >>> from eqlbond.schedulers import testing
    >>> lines = tuple(testing.line(name) for name in "abc")
    >>> policy = FlowHash()
    >>> "".join(policy.place(Packet(b"x", flow=n % 7), lines, 0.0).line.name for n in range(21))
    'bbbcbcabbbcbcabbbcbca'
    """

    _flows: dict[Hashable, tuple[Line, float, int]] = attrs.field(factory=dict, init=False, repr=False)
    _lines: Sequence[Line] = attrs.field(default=(), init=False, repr=False)
    _scale: list[tuple[Line, float, int]] = attrs.field(factory=list, init=False, repr=False)
    _survey_number: int = attrs.field(default=0, init=False, repr=False)
    _room: int = attrs.field(default=_REMEMBERED, init=False, repr=False)

    def place(self, packet: Packet, lines: Sequence[Line], now: float) -> Placement:
        """The flow's line."""
        flow = packet.flow
        if flow is None:
            flow = flow_key(packet.payload)
            if flow is None:
                flow = "protocol", packet.protocol
        if lines is not self._lines:
            self._survey(lines)
        number = self._survey_number
        line, arrives, chosen_at = self._flows.get(flow, _UNKNOWN)
        # A flow that was placed among other lines stays while anything of it is on its way.
        if line is None or (chosen_at != number and (arrives <= now or line not in lines)):
            line, chosen_at = self._choose(flow), number
        arrives = line.eta(line.wire_size(packet), now) if line.byte_time else now + _UNPACED_TIME
        self._flows[flow] = line, arrives, chosen_at
        if len(self._flows) > self._room:
            self._forget(now)
        return Placement(line)

    def _choose(self, flow: Hashable) -> Line:
        # Not hash(), which differs from run to run.
        number = int.from_bytes(blake2b(repr(flow).encode(), digest_size=8).digest(), "big")
        best, highest = self._scale[0][0], -1.0
        for line, weight, seed in self._scale:
            # 0 < u < 1 from a hash of flow and line; of n lines the one with the highest score wins in the
            # proportion of the weights.
            score = weight / -math.log(((_mix(number ^ seed) >> 12) + 0.5) / (1 << 52))
            if score > highest:
                best, highest = line, score
        return best

    def _survey(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._survey_number += 1
        self._scale = []
        names: dict[str, int] = {}
        for line, weight in zip(lines, weights(lines), strict=True):
            again = names[line.name] = names.get(line.name, -1) + 1
            seed = int.from_bytes(blake2b(f"{line.name}/{again}".encode(), digest_size=8).digest(), "big")
            self._scale.append((line, weight, seed))

    def _forget(self, now: float) -> None:
        self._flows = {flow: entry for flow, entry in self._flows.items() if entry[1] > now}
        self._room = max(_REMEMBERED, 2 * len(self._flows))


def _mix(number: int) -> int:
    """A 64-bit number whose bits all depend on all bits of `number` (the finaliser of SplitMix64)."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _WORD
    return number ^ number >> 31
