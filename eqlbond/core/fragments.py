"""The sending end of Multilink: packets cut into fragments, numbered in the order of the queue (RFC 1990 section 4).

A fragment gets its number when it begins to go to a port, or when a later one does: until then it can be planned
again at will. With it all that are in front of it get theirs, so numbers follow the order in which packets entered.
On each link they rise, since a line's plan is in that order; only a fragment that a line gives back after
it was numbered may go out of turn, by another link, which receivers take as long as they still wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs

from eqlbond.codec.multilink import MP, encode_header, encode_protocol, header_size
from eqlbond.packet import IPV4, IPV6, Packet


@attrs.define(eq=False)
class Fragment(Packet):
    """A piece of a packet, or all of it, as Multilink carries it: a packet of protocol MP."""

    begin: bool = True
    end: bool = True
    number: int | None = None
    whole: Packet | None = None


def protocol_of(packet: Packet) -> int:
    """The packet's PPP protocol number; by the IP version where none was given."""
    if packet.protocol is not None:
        return packet.protocol
    return IPV6 if packet.payload[:1] and packet.payload[0] >> 4 == 6 else IPV4


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
        self._unnumbered: deque[list[Fragment]] = deque()
        self.packets = 0
        self.fragments = 0

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
            self._unnumbered.appendleft(fragments)  # ahead of all that can still be planned again
        else:
            self._unnumbered.append(fragments)
        self.packets += 1
        return fragments

    def _fragment(self, packet: Packet, payload: bytes, begin: bool, end: bool) -> Fragment:
        fragment = Fragment(payload, MP, None, packet.priority, packet.flow, packet.sequence, packet.entered)
        fragment.begin, fragment.end, fragment.whole = begin, end, packet
        fragment.express = packet.express
        self.fragments += 1
        return fragment

    def number(self, fragment: Fragment) -> None:
        """The fragment begins to go: it and all in front of it get their numbers."""
        while fragment.number is None:
            for each in self._unnumbered.popleft():
                each.number = self._next
                self._next += 1
                header = encode_header(each.number, each.begin, each.end, self._short)
                each.payload = header + each.payload[self._header :]
                each.sized_for = None
