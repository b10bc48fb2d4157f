"""A Multilink bundle (RFC 1990): one network layer, one sequence, any number of links."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from eqlbond.codec.multilink import MP, decode_protocol
from eqlbond.codec.options import EndpointDiscriminator
from eqlbond.core.fragments import Fragmenter
from eqlbond.core.ppp_connection import PppConnection
from eqlbond.core.reassembly import Reassembler
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.negotiation import RandomSource
from eqlbond.ppp.network import Network
from eqlbond.ppp.phases import PeerIdentity

_LCP = 0xC021
_CONFIGURE_REQUEST = b"\x01"
_MRU_ROOM = 8  # MP header and protocol field, so that a packet of the MRRU's size fits into one frame


@attrs.frozen(kw_only=True)
class Multilink:
    """PPP Multilink over the slaves of a bond, all of which have `Ppp` framing.

    Raises:
        ConfigurationError: a value cannot work; `field` names it.
    """

    mrru: int = 1500
    """The largest packet that we reassemble, bytes (RFC 1990 section 5.1.1); 1500 to 65535."""
    short: bool = False
    """Ask the peer for the short header: two bytes less a fragment, and a sequence of 4096 numbers."""
    endpoint: EndpointDiscriminator | None = None
    """Who this system is, on all its lines; None: a random number, drawn once for each bond."""
    fragment: bool = True
    """Cut packets into fragments for lines that are idle, so that they arrive sooner; False: whole packets only."""
    margin: float = 0.25
    """Seconds that packets wait for a missing fragment beyond the time that the slowest line needs for a packet."""

    def __attrs_post_init__(self) -> None:
        if isinstance(self.mrru, bool) or not isinstance(self.mrru, int) or not 1500 <= self.mrru <= 65535:
            raise ConfigurationError("mrru", f"bytes from 1500 (RFC 1990 section 5.1.1) to 65535, not {self.mrru!r}")
        if isinstance(self.margin, bool) or not isinstance(self.margin, int | float) or not 0 <= self.margin < 3600:
            raise ConfigurationError("margin", f"seconds from 0, not {self.margin!r}")
        if self.endpoint is not None and not isinstance(self.endpoint, EndpointDiscriminator):
            raise ConfigurationError("endpoint", f"an EndpointDiscriminator, not {self.endpoint!r}")


class Mux:
    """The bundle between the links and the network layer. Sans-IO.

    Its first link makes it: that one's peer, MRRU and header are the bundle's, and links that differ are kept out. When
    the last link leaves, the sequence ends with it (section 4), and the next link begins another.
    """

    def __init__(self, config: Multilink, random: RandomSource) -> None:
        self.config = config
        self.endpoint = config.endpoint or EndpointDiscriminator.magic(random.randbytes(20))
        self.links: dict[PppConnection, None] = {}
        self.fragmenter = Fragmenter()
        self.reassembler = Reassembler(config.mrru, short=config.short)
        self.identity: PeerIdentity | None = None
        self.peer_mrru = config.mrru
        self.discarded: dict[str, int] = {}
        self.stirred = False
        """Whether links or network protocols have moved since the last `flush`."""
        self._network: Network | None = None
        self._unset = Network(Ppp(), random)
        self._random = random
        self._short: tuple[bool, bool] = (False, False)
        self._free: list[bytes] = []  # packets that a link's leaving has set free
        self._failed = False

    def line_config(self, ppp: Ppp) -> Ppp:
        """A slave's options as a link of this bundle needs them."""
        config = attrs.evolve(
            ppp,
            mrru=self.config.mrru,
            short_sequence=self.config.short,
            endpoint=ppp.endpoint or self.endpoint,
            mru=max(ppp.mru, min(65535, self.config.mrru + _MRU_ROOM)),
        )
        if self._network is None:
            self._network = Network(config, self._random)
        return config

    @property
    def network(self) -> Network:
        """The bundle's network protocols."""
        # Before the first line has told the options; kept apart, since somebody may only be looking at the addresses.
        return self._unset if self._network is None else self._network

    def join(self, connection: PppConnection, now: float) -> str | None:
        """A link has reached the Network phase. Returns why it may not join, or None."""
        link = connection.link
        if not link.multilink or link.mrru is None:
            return "the peer does not speak Multilink on this line"
        identity = link.peer_identity
        short = link.transmit_short, link.receive_short
        if self.links:
            assert self.identity is not None
            if identity != self.identity:
                return f"the peer is another one than on the other lines: {_who(identity)}, not {_who(self.identity)}"
            if link.mrru != self.peer_mrru:
                return f"the peer's MRRU differs between the lines: {link.mrru}, not {self.peer_mrru}"
            if short != self._short:
                return "the peer's Multilink header differs between the lines"
        else:
            self.identity = identity
            self.peer_mrru = link.mrru
            self._short = short
            self.fragmenter = Fragmenter(short=short[0])
            counters = self.reassembler.counters
            self.reassembler = Reassembler(self.config.mrru, short=short[1], patience=self.reassembler.patience)
            self.reassembler.counters = counters
        self.stirred = True
        self.links[connection] = None
        self.network.set_least_wait(max(each.exchange_time for each in self.links))
        self.reassembler.add_link(connection, connection.fragments)
        if len(self.links) == 1:
            self._failed = False
            self.network.up(now, self.peer_mrru)
        return None

    def leave(self, connection: PppConnection, now: float) -> None:
        """A link has ended."""
        self.links.pop(connection, None)
        self.stirred = True
        self._free += self.reassembler.remove_link(connection, now)
        if not self.links:
            self.network.down(now)

    def set_patience(self, frame_time: float) -> None:
        """`frame_time`: seconds that the slowest line needs for the largest packet, latency included."""
        self.reassembler.patience = frame_time + self.config.margin

    # -- receiving

    def receive(self, connection: PppConnection, packets: Iterable[Packet], now: float) -> list[Packet]:
        """Packets from a link: fragments are put together, the rest goes where it belongs."""
        delivered: list[Packet] = []
        permits = self.network.permits
        reassemble = self.reassembler.receive
        for packet in packets:
            if packet.protocol == MP:
                for data in reassemble(connection, packet.payload, now):
                    if data[0] & 1 and permits(data[0]):  # nearly always: an odd octet is a protocol field by itself
                        delivered.append(Packet(data[1:], data[0]))
                    else:
                        self._deliver(connection, data, now, delivered)
            elif packet.protocol in self.network.protocols:
                self._network_packet(connection, packet, now)
            elif permits(packet.protocol):
                delivered.append(packet)  # sent beside the bundle, where order did not matter
            else:
                self._discard("network not open")
        return delivered

    def tick(self, now: float) -> list[Packet]:
        """A deadline has come; returns packets that need not wait any longer."""
        due = self.network.next_deadline
        if due is not None and due <= now:
            self.network.tick(now)
            if len(self.links) > 1:  # what is repeated goes by another link: the first one may be dead
                first = next(iter(self.links))
                del self.links[first]
                self.links[first] = None
        return self.take_free(now, self.reassembler.tick(now))

    def take_free(self, now: float, more: Iterable[bytes] = ()) -> list[Packet]:
        """Packets that became free when a link left."""
        delivered: list[Packet] = []
        free, self._free = self._free, []
        for data in (*free, *more):
            self._deliver(None, data, now, delivered)
        return delivered

    def next_deadline(self) -> float | None:
        """When `tick` is due."""
        waiting, network = self.reassembler.next_deadline(), self.network.next_deadline
        if waiting is None or (network is not None and network < waiting):
            return network
        return waiting

    def flush(self, now: float) -> None:
        """Give the network protocols' packets to a link; end the links where there is nothing that they could carry."""
        self.stirred = False
        failure = self.network.failure
        if failure is not None and self.links and not self._failed:
            self._failed = True
            for connection in list(self.links):
                connection.refuse(f"no network protocol could be opened: {failure}", now)
        output = self.network.take_output()
        if not output:
            return
        if not self.links:
            return
        connection = next(iter(self.links))
        for packet in output:
            connection.send_control(packet)

    def _deliver(self, connection: PppConnection | None, data: bytes, now: float, delivered: list[Packet]) -> None:
        field = decode_protocol(data)
        if field is None:
            self._discard("bad protocol field")
            return
        protocol, size = field
        packet = Packet(data[size:], protocol)
        if self.network.permits(protocol):
            delivered.append(packet)
        elif protocol in self.network.protocols:
            self._network_packet(connection, packet, now)
        elif protocol == _LCP:
            self._discard("LCP inside the bundle")  # section 2: LCP belongs to the links
        else:
            self._discard("network not open" if protocol in (0x21, 0x57) else "unknown protocol")
            if connection is not None and protocol not in (0x21, 0x57):
                connection.link.reject_protocol(packet, now)

    def _network_packet(self, connection: PppConnection | None, packet: Packet, now: float) -> None:
        """A packet of a network control protocol. Its answer goes by the link that it came by.

        A peer that was restarted makes a bundle of the first link that it hears of, while we may still hold others
        to a process of its that is gone.
        """
        if connection in self.links and len(self.links) > 1:
            self.links = {connection: None, **self.links}
        self.network.receive(packet, now)
        self.stirred = True
        if packet.payload[:1] == _CONFIGURE_REQUEST and len(self.links) > 1:
            self.fragmenter.suit_a_new_bundle()

    def _discard(self, reason: str) -> None:
        self.discarded[reason] = self.discarded.get(reason, 0) + 1


def _who(identity: PeerIdentity) -> str:
    parts = []
    if identity.name is not None:
        parts.append(repr(identity.name))
    if identity.endpoint is not None:
        parts.append(f"endpoint {identity.endpoint}")
    return " at ".join(parts) or "one without a name and an endpoint"
