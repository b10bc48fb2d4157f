"""The sending end of Multilink: packets cut into fragments, numbered in the order of the queue (RFC 1990 section 4).

A fragment gets its number when it begins to go to a port, or when a later one does: until then it can be planned
again at will. With it all that are in front of it get theirs, so numbers follow the order in which packets entered.
On each link they rise, since a line's plan is in that order; only a fragment that a line gives back after
it was numbered may go out of turn, by another link, which receivers take as long as they still wait for it.
Packets that pass others (`Packet.express`) pass what has no number yet, and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from eqlbond.codec.hdlc import default_protocol
from eqlbond.codec.multilink import MP, encode_header, encode_protocol, header_size, sequence_space
from eqlbond.packet import Packet


@attrs.define(eq=False)
class Fragment(Packet):
    """A piece of a packet, or all of it, as Multilink carries it: a packet of protocol MP."""

    begin: bool = True
    end: bool = True
    number: int | None = None
    last: int = 0
    """The number of its packet's last fragment, once it has a number."""
    whole: Packet | None = None
    maker: object = None
    """The `Fragmenter` that it is from."""
    cut: int = 0
    """Its packet's place in the order of cutting."""


def protocol_of(packet: Packet) -> int:
    """The packet's PPP protocol number; by the IP version where none was given."""
    return default_protocol(packet.payload) if packet.protocol is None else packet.protocol


def queue_order(packet: Packet) -> tuple[int, int]:
    """The order in which packets that come back are to go: by number, as they were cut, the others as they entered.

    What is cut has been the next one once, so it was in front of what is not. A fair queue does not give packets out as
    they entered, but numbers are given in the order of cutting, and have to rise on each link.
    """
    if not isinstance(packet, Fragment):
        return 2, packet.sequence
    return (1, packet.cut) if packet.number is None else (0, packet.number)


class Fragmenter:
    """Makes and numbers the fragments of a bundle.

    Args:
        short: short sequence numbers (12 bits), which the peer has to have asked for.
    """

    def __init__(self, *, short: bool = False) -> None:
        self._short = short
        self._header = header_size(short)
        self._blank = bytes(self._header)
        self._next = 0
        self._express: deque[list[Fragment]] = deque()  # unnumbered, and in front of the others
        self._plain: deque[list[Fragment]] = deque()
        self._cuts = 0
        self.express_run = 0
        """Bytes that have passed others since one of those began to go."""
        self.gone = -1
        """The highest number that has left whole on a link that has ended."""

    @property
    def overhead(self) -> int:
        """Bytes that a fragment is larger than the data it carries; the first one has the protocol field as well."""
        return self._header

    @property
    def next_number(self) -> int:
        """The number, not wrapped, that the next fragment gets."""
        return self._next

    def cut(self, packet: Packet, sizes: Sequence[int] = ()) -> list[Fragment]:
        """The packet as fragments that carry `sizes` bytes of it; without sizes, as one.

        The sizes add up to the packet's; their order is that of the sequence numbers.
        """
        self._cuts += 1
        field = encode_protocol(protocol_of(packet))
        payload = packet.payload
        fragments: list[Fragment] = []
        if len(sizes) < 2:
            fragments.append(self._fragment(packet, self._blank + field + payload, True, True))
        else:
            at = 0
            for index, size in enumerate(sizes):
                data = payload[at : at + size]
                at += size
                head = self._blank if index else self._blank + field
                fragments.append(self._fragment(packet, head + data, index == 0, index == len(sizes) - 1))
        if packet.express:
            self._express.append(fragments)
            self.express_run += len(payload)
        else:
            self._plain.append(fragments)
        return fragments

    def _fragment(self, packet: Packet, payload: bytes, begin: bool, end: bool) -> Fragment:
        fragment = Fragment(payload, MP, None, packet.priority, packet.flow, packet.sequence, packet.entered)
        fragment.begin, fragment.end, fragment.whole = begin, end, packet
        fragment.express = packet.express
        fragment.maker = self
        fragment.cut = self._cuts
        return fragment

    def number(self, fragment: Fragment) -> None:
        """The fragment begins to go: it and all in front of it get their numbers."""
        while fragment.number is None:
            group = (self._express or self._plain).popleft()
            if not group[0].express:
                self.express_run = 0
            last = self._next + len(group) - 1
            for each in group:
                each.number = self._next
                each.last = last
                self._next += 1
                header = encode_header(each.number, each.begin, each.end, self._short)
                each.payload = header + each.payload[self._header :]
                each.sized_for = None

    def suit_a_new_bundle(self) -> None:
        """The peer may have begun the bundle anew, so that it expects 0 and takes what is half the space ahead for old.

        In that half the numbers go on with the next 0. To a peer that still has the old bundle this is a gap, which
        is ahead as well: the numbers rise in any case.
        """
        space = sequence_space(self._short)
        if self._next % space >= space // 2:
            self._next += space - self._next % space

    def withdraw(self) -> None:
        """All that has no number was taken back, to be cut again."""
        self._express.clear()
        self._plain.clear()
